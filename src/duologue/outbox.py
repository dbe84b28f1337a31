"""What waits to be sent to a client."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from duologue.errors import ClientTooSlow
from duologue.events import ReplyDelta, ServerEvent


class Outbox:
    """One task empties it, so that only that task waits for a slow client.

    Attributes:
        seconds: of sound that wait.
        overflowed: set when they exceeded the `limit` that the outbox was made with.
    """

    def __init__(self, limit: float) -> None:
        self.seconds = 0.0
        self.overflowed = asyncio.Event()
        self._limit = limit
        self._events: deque[ServerEvent] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def tell(self, event: ServerEvent) -> None:
        """Let the client know, after all that is there."""
        self._events.append(event)
        self.seconds += _duration(event)
        if self.seconds > self._limit:
            self.overflowed.set()
        self._filled.set()
        self._emptied.clear()

    @property
    def overflow(self) -> ClientTooSlow | None:
        """What to tell a client for whom too much waits."""
        if not self.overflowed.is_set():
            return None
        return ClientTooSlow(
            f"more than {self._limit:g} s of a reply wait to be read; read faster, or ask for less"
        )

    def drop_sound(self, turn_id: str) -> None:
        """Take back the sound of a reply that was stopped."""
        self._events = deque(
            event
            for event in self._events
            if not (isinstance(event, ReplyDelta) and event.turn_id == turn_id)
        )
        self.seconds = sum(map(_duration, self._events))

    async def empty(self, send: Callable[[ServerEvent], Awaitable[None]]) -> None:
        """Send, for as long as the session lasts, or until `send` raises ConnectionError."""
        while True:
            await self._filled.wait()
            while self._events:
                event = self._events.popleft()
                self.seconds -= _duration(event)
                try:
                    await send(event)
                except ConnectionError:
                    return  # whoever reads the transport notices, too
            self._filled.clear()
            self._emptied.set()

    async def join(self) -> None:
        """Wait until all is sent."""
        await self._emptied.wait()


def _duration(event: ServerEvent) -> float:
    return event.audio.duration if isinstance(event, ReplyDelta) and event.audio else 0.0
