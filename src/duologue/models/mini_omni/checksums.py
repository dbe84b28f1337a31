"""Tells damaged weights from whole ones: with a few bytes changed, a network loads, and talks nonsense."""

import shutil
from pathlib import Path

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.checkpoint import Checkpoint, digest, remedy


def verify(checkpoint: Checkpoint, *names: str) -> None:
    """Read files of a checkpoint to their end, all unless some are named.

    Raises:
        ModelUnavailable: the first that is not what was converted.
    """
    for name in names or checkpoint.sha256:
        if digest(checkpoint.folder / name) != checkpoint.sha256[name]:
            raise ModelUnavailable(
                f"{name} in {checkpoint.folder} is damaged; {remedy(checkpoint.folder)}"
            )


def seal(path: Path) -> None:
    """Write down the checksum of a file beside it, as `sha256sum` does."""
    _sum_of(path).write_text(f"{digest(path)}  {path.name}\n")


def is_whole(path: Path) -> bool:
    """Whether a file that was sealed is there, and still the same."""
    try:
        return _sum_of(path).read_text().split() == [digest(path), path.name]
    except (OSError, ValueError):  # ValueError: what stands in it is no text
        return False


def discard(path: Path) -> None:
    """Remove a file, or what has its name."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
