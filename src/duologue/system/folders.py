"""The user's home, and the temporary folder of this process."""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duologue.errors import InvalidSetting

if sys.platform != "win32":
    import fcntl

_PREFIX = "duologue-process-"
_NAME = re.compile(_PREFIX + r"\w{8}")  # what mkdtemp makes of it


def expand(path: str) -> Path:
    """A path of which ~ is the user's home.

    Raises:
        InvalidSetting: nobody knows where that is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InvalidSetting(
            f"{path} is not to be found, because the user of that home is not known here; "
            "set HOME, or DUOLOGUE_CACHE and DUOLOGUE_DATA, to folders that can be written"
        ) from error


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder that goes with this process: with the block, or, after a kill -9, at the next start.

    Raises:
        InvalidSetting: there is no place for it.
    """
    try:
        _remove_those_of_the_dead()
        folder, lock = _make()
    except OSError as error:
        raise InvalidSetting(
            f"a temporary folder cannot be made ({error.strerror or error}); "
            "set TMPDIR to a folder that can be written"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make() -> tuple[Path, int]:
    """A new folder and its lock, which the system lets go of when this process ends, however it does."""
    for _ in range(10 if sys.platform != "win32" else 0):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        if (lock := _lock(folder)) is not None:
            if folder.exists():
                return folder, lock
            os.close(lock)
        # Another process that starts just now took it for a dead one's: then once more.
        with contextlib.suppress(OSError):
            folder.rmdir()
    # There are no locks here, so no later start takes the folder for a dead process's either.
    return Path(tempfile.mkdtemp(prefix=_PREFIX)), os.open(os.devnull, os.O_RDONLY)


def _remove_those_of_the_dead() -> None:
    if sys.platform == "win32":  # it has no lock on folders
        return
    with os.scandir(tempfile.gettempdir()) as entries:
        folders = [Path(entry.path) for entry in entries if _NAME.fullmatch(entry.name)]
    for folder in folders:
        if (lock := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


if sys.platform != "win32":

    def _lock(folder: Path) -> int | None:
        """Lock a folder of this user that nobody has locked; None: it is not to be had."""
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return lock
            except OSError:
                pass
            os.close(lock)
        return None
