"""One WebSocket to a Realtime server, with a microphone that never stops."""

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from duologue.audio import REPLY_RATE, AudioChunk, silence
from duologue.check.order import Order

_STEP = 0.04  # seconds of sound in one message
_LARGEST = 64 * 2**20  # bytes of a message

Event = dict[str, Any]


class Missing(Exception):
    """What a check waited for did not come; says what."""


class Line:
    """A session with a server.

    Attributes:
        seen: all events, in order, each with the time when it came under "at".
        order: that reads them along.
    """

    def __init__(self, socket: ClientConnection, patience: float) -> None:
        self.seen: list[Event] = []
        self.order = Order()
        self._socket, self._patience = socket, patience
        self._new = asyncio.Event()
        self._closed = False
        self._sounds: asyncio.Queue[AudioChunk] = asyncio.Queue()
        self._said = asyncio.Event()
        self._place = 0  # behind the last event that was waited for

    async def send(self, kind: str, **fields: Any) -> str:
        """Send an event; its `event_id`."""
        name = f"check_{secrets.token_hex(4)}"
        message = {"type": kind, "event_id": name, **fields}
        try:
            await self._socket.send(json.dumps(message))
        except ConnectionClosed as error:
            raise Missing(f"the server hung up before {kind}: {error}") from error
        return name

    async def update(self, **session: Any) -> Event:
        """Change the session, and take what the server makes of it."""
        await self.send("session.update", session={"type": "realtime", **session})
        updated: Event = (await self.until("session.updated"))["session"]
        return updated

    async def append(self, sound: AudioChunk) -> None:
        """Send a sound at once, as push to talk does."""
        step = round(REPLY_RATE * 0.5)
        samples = sound.at(REPLY_RATE).samples
        for start in range(0, len(samples), step):
            await self._append(AudioChunk(samples[start : start + step], REPLY_RATE))

    async def say(self, sound: AudioChunk) -> float:
        """Let the microphone have a sound, in real time; when its last word had been said."""
        self._said.clear()
        await self._sounds.put(sound.at(REPLY_RATE))
        await self._said.wait()
        return time.perf_counter()

    async def until(self, *kinds: str, where: Callable[[Event], bool] = lambda _: True) -> Event:
        """The next event of one of these kinds, behind the last that was waited for.

        Raises:
            Missing: it does not come in time, or the server hangs up.
        """
        named = " or ".join(kinds)
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    while self._place < len(self.seen):
                        event = self.seen[self._place]
                        self._place += 1
                        if event.get("type") in kinds and where(event):
                            return event
                    if self._closed:
                        raise Missing(f"the server hung up before {named}")
                    self._new.clear()
                    await self._new.wait()
        except TimeoutError:
            raise Missing(f"{named} did not come in {self._patience:g} s") from None

    def since(self, kind: str, start: int = 0) -> list[Event]:
        """All events of a kind that have come, from this place on."""
        return [event for event in self.seen[start:] if event.get("type") == kind]

    def errors(self) -> list[str]:
        """What the server has complained of."""
        return [str(event.get("error", {}).get("message")) for event in self.since("error")]

    async def run(self) -> None:
        """Read until the server hangs up."""
        try:
            async for message in self._socket:
                with contextlib.suppress(ValueError):
                    event = json.loads(message)
                    if isinstance(event, dict):
                        self.order.read(event)
                        self.seen.append({**event, "at": time.perf_counter()})
                        self._new.set()
        except ConnectionClosed:
            pass
        finally:
            self._closed = True
            self._new.set()

    async def speak_on(self) -> None:
        """Send what is said, and silence in between, in real time."""
        due = time.perf_counter()
        while True:
            sound, spoken = silence(_STEP, REPLY_RATE), not self._sounds.empty()
            if spoken:
                sound = self._sounds.get_nowait()
            start = 0.0
            while start < sound.duration:
                await self._append(sound.between(start, start + _STEP))
                start += _STEP
                due += _STEP
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if spoken:
                self._said.set()

    async def _append(self, piece: AudioChunk) -> None:
        with contextlib.suppress(ConnectionClosed):
            audio = base64.b64encode(piece.pcm16()).decode()
            message = {"type": "input_audio_buffer.append", "audio": audio}
            await self._socket.send(json.dumps(message))


@asynccontextmanager
async def connected(
    url: str,
    key: str = "",
    *,
    microphone: bool = False,
    patience: float = 30.0,
    **query: str,
) -> AsyncIterator[Line]:
    """A session, begun.

    Args:
        url: of the WebSocket.
        key: that the server wants; empty: none.
        microphone: send sound all the time.
        patience: seconds to wait for each event.
        query: more of the address.

    Raises:
        Missing: no session begins.
    """
    parts = urlsplit(url)
    asked = "&".join(filter(None, (parts.query, urlencode(query))))
    address = urlunsplit((*parts[:3], asked, ""))
    near = parts.hostname in ("127.0.0.1", "localhost", "::1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with connect(
        address,
        additional_headers=headers,
        proxy=None if near else True,
        max_size=_LARGEST,
        open_timeout=patience,
        compression=None,
    ) as socket:
        line = Line(socket, patience)
        tasks = [asyncio.create_task(line.run())]
        try:
            await line.until("session.created")
            if microphone:
                tasks.append(asyncio.create_task(line.speak_on()))
            yield line
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
