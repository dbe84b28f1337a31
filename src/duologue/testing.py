"""What tests need in place of people, networks and time; for your own tests, too."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

import numpy as np

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, Samples
from duologue.conversation.events import ClientEvent, ServerEvent
from duologue.conversation.items import Conversation, Item, ReplyChunk, Response, Status, Turn
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import DuologueError, NotOffered

_Event = TypeVar("_Event")


def tone(seconds: float, rate: int = INPUT_RATE, level: float = 0.3) -> AudioChunk:
    """A sound of 220 Hz; `LoudnessVad` takes it for speech."""
    time = np.arange(round(seconds * rate)) / rate
    return AudioChunk((level * np.sin(2 * np.pi * 220 * time)).astype(np.float32), rate)


class LoudnessVad:
    """A voice-activity detector for made-up sounds: what is loud is speech."""

    def __call__(self, window: Samples) -> float:
        """1.0 above -40 dB, else 0.0."""
        return float(np.sqrt(np.mean(window**2)) > 0.01)


class FakeClock:
    """Time that passes only by `advance`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def now(self) -> float:
        """Seconds since the start."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Until somebody has advanced the clock by `seconds`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._count), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass; whoever slept until then has gone on when this returns."""
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now = end


async def settle() -> None:
    """Let every task that can run do so, until all of them wait."""
    for _ in range(500):
        await asyncio.sleep(0)


class ScriptedModel:
    """Says the same to everybody.

    Attributes:
        prompts: what it was asked, in order.
        overheard: what it heard while it went on, in order.
        abandoned: how many replies were closed before their end.
    """

    def __init__(
        self,
        chunks: Sequence[ReplyChunk | Exception] = (),
        *,
        history: bool = True,
        gate: asyncio.Semaphore | None = None,
        overhears: Sequence[str | Exception] = (),
        only_pauses: bool = False,
        reads: bool = False,
        transcript: str | None = None,
        calls: bool = False,
        counts: bool = False,
        voices: tuple[str, ...] = (),
        speeds: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Say `chunks`, raising those that are errors; with a gate, one for each release of it.

        With `overhears`, it understands so much each time that it hears along, and then no more.
        """
        self.capabilities = Capabilities(
            history=history,
            instructions=True,
            transcribes=True,
            reads=reads,
            calls=calls,
            writes=transcript is not None,
            counts=counts,
            voices=voices,
            speeds=speeds,
            note="A script.",
            overhears="nothing" if not overhears else "pauses" if only_pauses else "speech",
        )
        self.overheard: list[Prompt] = []
        self._words = overhears
        self.prompts: list[Prompt] = []
        self.abandoned = 0
        self._chunks = chunks
        self._gate = gate
        self._transcript = transcript

    async def start(self) -> None:
        """Nothing to load."""

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """The script."""
        self.prompts.append(prompt)
        try:
            for chunk in self._chunks:
                if self._gate:
                    await self._gate.acquire()
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            self.abandoned += 1
            raise

    async def transcribe(
        self,
        utterance: AudioChunk,  # noqa: ARG002
        language: str = "",  # noqa: ARG002
        listener: str = "",  # noqa: ARG002
        likely: str = "",  # noqa: ARG002
    ) -> tuple[str, str]:
        """The words that the script has for it.

        Raises:
            NotOffered: it has none.
        """
        if self._transcript is None:
            raise NotOffered("the script has no words for what was said")
        return self._transcript, "en"

    async def overhear(self, prompt: Prompt) -> str:
        """What the script says of it."""
        self.overheard.append(prompt)
        words = self._words[min(len(self.overheard), len(self._words)) - 1]
        if isinstance(words, Exception):
            raise words
        return words

    async def close(self) -> None:
        """Nothing to let go of."""


def say(text: str, seconds: float = 1.0) -> ReplyChunk:
    """A piece of a reply: `text`, with a tone for its voice."""
    return ReplyChunk(tone(seconds, REPLY_RATE), text)


class MemoryTransport:
    """A client without a network: `push` what it wants, look at what it was `sent`.

    Attributes:
        sent: in order.
        closed: why the server hung up, if it did.
        extensions: it knows our extensions of the Realtime API.
    """

    def __init__(self, *, extensions: bool = True) -> None:
        self.extensions = extensions
        self.sent: list[ServerEvent] = []
        self.closed: DuologueError | None = None
        self._events: asyncio.Queue[ClientEvent | None] = asyncio.Queue()
        self._reading = asyncio.Event()
        self._reading.set()

    def push(self, *events: ClientEvent) -> None:
        """The client wants this."""
        for event in events:
            self._events.put_nowait(event)

    def hang_up(self) -> None:
        """The client goes."""
        self._events.put_nowait(None)

    def stop_reading(self) -> None:
        """The client takes nothing more, until `read_on`."""
        self._reading.clear()

    def read_on(self) -> None:
        """The client reads again."""
        self._reading.set()

    def told(self, kind: type[_Event]) -> list[_Event]:
        """All that was sent of one kind."""
        return [event for event in self.sent if isinstance(event, kind)]

    async def __aiter__(self) -> AsyncIterator[ClientEvent]:
        """What was pushed, until `hang_up`."""
        while (event := await self._events.get()) is not None:
            yield event

    async def send(self, event: ServerEvent) -> None:
        """Keep it."""
        await self._reading.wait()
        self.sent.append(event)

    async def close(self, error: DuologueError) -> None:
        """Note why."""
        self.closed = error


class MemoryRecord:
    """A conversation kept in a list.

    Attributes:
        conversation: its items.
        noted: turns whose figures were kept, again for each change; also of what was forgotten since.
        patience: of its user.
    """

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.noted: list[Turn] = []
        self.patience = 1.0

    @property
    def saved(self) -> list[Turn]:
        """What was said and answered, oldest first."""
        return self.conversation.turns()

    def save(self, item: Item) -> None:
        """Keep it."""
        if item not in self.conversation:
            self.conversation.add(item)

    def forget(self, item: Item) -> None:
        """Let go of it."""
        self.conversation.remove(item)

    def note(self, turn: Turn) -> None:
        """Keep its figures."""
        self.noted.append(turn)


def turn_items(
    name: str,
    utterance: AudioChunk,
    words: str | None = None,
    reply: Sequence[ReplyChunk] = (),
    status: Status = "completed",
) -> list[Item]:
    """The items of a turn that is called `name`: what was said, and the reply to it, if there is one."""
    user = Item(f"item_u{name}", sound=utterance, words=words)
    if not reply:
        return [user]
    response = user.response = Response(f"resp_{name}", user, status=status, timings=user.timings)
    answer = response.item = Item(f"item_a{name}", "assistant", response=response, status=status)
    answer.spoken = list(reply)
    return [user, answer]
