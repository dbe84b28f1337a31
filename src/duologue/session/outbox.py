"""What waits to be sent to a client."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from duologue.conversation.events import (
    ErrorOccurred,
    ItemAdded,
    ItemSent,
    ReplyDelta,
    ReplyDone,
    ReplyItemAdded,
    ReplyRequested,
    ReplyStarted,
    ServerEvent,
    SessionStarted,
    SettingsApplied,
    UserOverheard,
    UserTranscribed,
)
from duologue.errors import ClientTooSlow

_EVENTS, _CHARACTERS = 1_000, 4_000_000  # that may wait; the sound of a reply is counted in seconds


class Outbox:
    """One task empties it, so that only that task waits for a slow client.

    Attributes:
        seconds: of sound that wait.
        overflowed: set when too much waited: from then on, only the last word is taken.
    """

    def __init__(self, limit: float) -> None:
        """`limit`: seconds of sound that may wait."""
        self.seconds = 0.0
        self.overflowed = asyncio.Event()
        self._limit = limit
        self._count = self._characters = 0  # of what waits
        self._why = ""  # it overflowed
        self._events: deque[ServerEvent] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def tell(self, event: ServerEvent) -> None:
        """Let the client know, after all that is there."""
        if self.overflowed.is_set():
            return
        self._append(event)
        if self.seconds > self._limit:
            self._why = f"more than {self._limit:g} s of a reply"
        elif self._count > _EVENTS:
            self._why = f"more than {_EVENTS} events"
        elif self._characters > _CHARACTERS:
            self._why = f"more than {_CHARACTERS / 1e6:g} MB of events"
        if self._why:
            self.overflowed.set()

    def tell_last(self, error: ErrorOccurred) -> None:
        """Let the client know why the server hangs up, however much waits."""
        self._append(error)

    @property
    def overflow(self) -> ClientTooSlow | None:
        """What to tell a client for whom too much waits."""
        if not self.overflowed.is_set():
            return None
        return ClientTooSlow(f"{self._why} wait to be read; read faster, or ask for less")

    def drop_sound(self, item_id: str) -> None:
        """Take back the sound of an item whose reply was stopped."""
        kept = [
            event
            for event in self._events
            if not (isinstance(event, ReplyDelta) and event.item_id == item_id)
        ]
        self._events.clear()
        self.seconds, self._count, self._characters = 0.0, 0, 0
        for event in kept:
            self._append(event)

    async def empty(self, send: Callable[[ServerEvent], Awaitable[None]]) -> None:
        """Send, for as long as the session lasts, or until `send` raises ConnectionError."""
        while True:
            await self._filled.wait()
            while self._events:
                event = self._events.popleft()
                self._count_up(event, -1)
                try:
                    await send(event)
                except ConnectionError:
                    return  # whoever reads the transport notices, too
                await asyncio.sleep(0)  # sending need not wait for anything
            self._filled.clear()
            self._emptied.set()

    def _append(self, event: ServerEvent) -> None:
        self._events.append(event)
        self._count_up(event, 1)
        self._filled.set()
        self._emptied.clear()

    def _count_up(self, event: ServerEvent, sign: int) -> None:
        seconds = _duration(event)
        self.seconds += sign * seconds
        self._count += 0 if seconds else sign
        self._characters += sign * _length(event)

    async def join(self) -> None:
        """Wait until all is sent."""
        await self._emptied.wait()


def _duration(event: ServerEvent) -> float:
    return event.audio.duration if isinstance(event, ReplyDelta) and event.audio else 0.0


def _length(event: ServerEvent) -> int:
    """Characters of what strangers and models put into an event."""
    match event:
        case SessionStarted(settings=settings) | SettingsApplied(settings=settings):
            return len(settings.instructions)
        case UserOverheard(text=text) | UserTranscribed(text=text) | ReplyDelta(text=text):
            return len(text)
        case ReplyDone(text=text, asked=asked):
            return len(text) + _length_of(asked)
        case ItemAdded(item=item) | ItemSent(item=item):
            return len(item.said)
        case ReplyStarted(asked=asked) | ReplyItemAdded(asked=asked):
            return _length_of(asked)
        case ErrorOccurred(error=error, event_id=event_id):
            return len(str(error)) + len(event_id or "")
    return 0


def _length_of(asked: ReplyRequested) -> int:
    return sum(len(name) + len(value) for name, value in asked.metadata.items())
