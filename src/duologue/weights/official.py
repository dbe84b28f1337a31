"""Weights from their official place, over HTTP."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from duologue.weights.catalogue import File, Weights
from duologue.weights.files import is_right

Say = Callable[[str], None]

HUB = "https://huggingface.co"
"""Where its files are, unless HF_ENDPOINT says otherwise."""

_ANSWERS_WITHIN = 3.0  # seconds: then the next source is asked
_STALLS = 30.0  # seconds without a byte
_BLOCK = 1 << 16


def download(weights: Weights, work: Path, say: Say) -> bool:
    """Download the files into `work` from their official place, going on where it was left.

    Returns:
        False: they can't be had there; `say` was told why.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        say("HF_HUB_OFFLINE is set, so the model hub is not asked")
        return False
    source = weights.source.replace(HUB, os.environ.get("HF_ENDPOINT", HUB).rstrip("/"), 1)
    limits = httpx2.Timeout(_STALLS, connect=_ANSWERS_WITHIN)
    try:
        with httpx2.Client(timeout=limits, follow_redirects=True) as client:
            _see_if_it_answers(client, f"{source}/{weights.files[-1].name}")
            for file in weights.files:
                if not is_right(work / file.name, file):
                    download_file(client, f"{source}/{file.name}", file, work)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, ImportError) as error:
        host = source.split("/")[2] if "//" in source else source
        why = (str(error) or type(error).__name__).splitlines()[0]
        say(f"{host} does not give it ({why}); trying packages of the registry")
        return False
    return True


def _see_if_it_answers(client: httpx2.Client, address: str) -> None:
    client.head(address, timeout=_ANSWERS_WITHIN).raise_for_status()


def download_file(client: httpx2.Client, address: str, file: File, work: Path) -> None:
    """Put one file into `work`; what there is of it from before is gone on with.

    Raises:
        httpx2.HTTPError: it does not come.
        ValueError: what came is not the file.
    """
    part = work / f"{file.name}.part"
    begun = part.stat().st_size if part.is_file() else 0
    if begun >= file.size:
        begun = 0
    headers = {"Range": f"bytes={begun}-"} if begun else {}
    with client.stream("GET", address, headers=headers) as answer:
        answer.raise_for_status()
        if answer.status_code != httpx2.codes.PARTIAL_CONTENT:
            begun = 0
        with part.open("ab" if begun else "wb") as written, _Progress(file, begun) as progress:
            for block in answer.iter_bytes(_BLOCK):
                written.write(block)
                progress.add(len(block))
            written.flush()
            os.fsync(written.fileno())
    if not is_right(part, file):
        part.unlink()
        raise ValueError(f"{file.name} is not the file it should be")
    part.replace(work / file.name)


class _Progress:
    """A line on a terminal: how much of a file is there, and how fast the rest comes."""

    def __init__(self, file: File, begun: int) -> None:
        self._file, self._there, self._begun = file, begun, begun
        self._since, self._told = time.monotonic(), 0.0
        self._shown = sys.stdout is not None and sys.stdout.isatty()

    def __enter__(self) -> "_Progress":
        return self

    def add(self, count: int) -> None:
        self._there += count
        now = time.monotonic()
        if self._shown and now - self._told > 0.1:
            self._told = now
            rate = (self._there - self._begun) / max(1e-3, now - self._since)
            width = 30
            full = min(width, round(width * self._there / self._file.size))
            sys.stdout.write(
                f"\r  {self._file.name} [{'#' * full}{' ' * (width - full)}] "
                f"{self._there / 1e6:.0f} of {self._file.size / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s "
            )
            sys.stdout.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stdout.write("\n")
