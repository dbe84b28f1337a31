"""Clients of `POST /chat`: they ask, read a piece, look at what the server is about."""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import numpy as np
import soundfile

from duologue.audio import AudioChunk, to_wav
from duologue.server.app import Uvicorn
from duologue.testing import tone

FRAME = 2048  # samples of the original's frame

LIMIT = 120.0  # seconds that something may take to come about, on however busy a machine


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def file(chunk: AudioChunk, kind: str, subtype: str | None = None, channels: int = 1) -> bytes:
    data = io.BytesIO()
    samples = np.stack([chunk.samples] * channels, axis=1)
    soundfile.write(data, samples, chunk.rate, format=kind, subtype=subtype)
    return data.getvalue()


QUESTION = encode(to_wav(tone(1)))


def ask(server: Uvicorn, accept: str = "*/*", **fields: Any) -> httpx.Response:
    """As `requests.post(url, json=...)` asks."""
    body = {"audio": QUESTION, **fields}
    return httpx.post(server.url + "/chat", json=body, headers={"accept": accept}, timeout=LIMIT)


def post(server: Uvicorn, body: bytes | Iterable[bytes], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("content-type", "application/json; charset=utf-8")
    return httpx.post(server.url + "/chat", content=body, headers=named, timeout=LIMIT)


def error(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    fields = response.json()["error"]
    assert set(fields) == {"message", "type", "code", "param"}
    assert isinstance(fields, dict)
    return fields


def under_way(server: Uvicorn) -> int:
    chats = httpx.get(server.url + "/health", timeout=LIMIT).json()["chats"]
    assert isinstance(chats, int)
    return chats


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@asynccontextmanager
async def asking(
    server: Uvicorn, accept: str = "*/*", **fields: Any
) -> AsyncIterator[httpx.Response]:
    """The response as soon as its head is there."""
    async with (
        httpx.AsyncClient(timeout=LIMIT) as client,
        client.stream(
            "POST",
            server.url + "/chat",
            json={"audio": QUESTION, **fields},
            headers={"accept": accept},
        ) as response,
    ):
        yield response


class Gate(asyncio.Semaphore):
    """Lets a scripted model, whose loop is another thread's, say one thing more."""

    loop: asyncio.AbstractEventLoop | None = None

    async def acquire(self) -> Literal[True]:
        self.loop = asyncio.get_running_loop()
        return await super().acquire()

    def open(self) -> None:
        wait_for(lambda: self.loop is not None)
        assert self.loop
        self.loop.call_soon_threadsafe(self.release)


async def anext_piece(server: Uvicorn, accept: str, gate: Gate) -> tuple[bytes, int]:
    """The first piece of a body, while the gate is closed; then how long the rest is."""
    async with asking(server, accept) as response:
        pieces = response.aiter_raw()
        first = await anext(pieces)
        gate.open()
        return first, sum([len(piece) async for piece in pieces])
