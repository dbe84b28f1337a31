"""One user, from connect to hang-up: carries out what the `Conversation` decides."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol

from duologue.audio import AudioChunk
from duologue.clock import Clock, WallClock
from duologue.conversation import State
from duologue.errors import (
    DuologueError,
    InvalidAudio,
    InvalidEvent,
    SessionExpired,
    TooManyErrors,
)
from duologue.events import (
    AudioCleared,
    AudioReceived,
    ClearRequested,
    ClientErred,
    ClientEvent,
    CommitRequested,
    CutMarked,
    DetectorEvent,
    ErrorOccurred,
    IdleTimedOut,
    Pinged,
    PlaybackStarted,
    PlaybackTruncated,
    Ponged,
    ReplyCancelled,
    ReplyRequested,
    ServerEvent,
    SessionStarted,
    Settings,
    SettingsApplied,
    SettingsChanged,
)
from duologue.exchange import Endpoint, Exchange
from duologue.ledger import Ledger, Record
from duologue.model import SpeechModel
from duologue.outbox import Outbox
from duologue.patience import Patience
from duologue.turn import TurnDetector, Vad

logger = logging.getLogger(__name__)

_GAP = 1.0  # seconds without a sound after which silence takes its place
_PIECE = 2.0  # seconds by which that is later at most, for who sends sound in long pieces
_STALL = 0.5  # seconds by which a clock is late when the whole server stood still
_SLICE = 0.1  # seconds of audio worked through between two looks at the event loop: 0.4 ms of VAD


class Transport(Protocol):
    """A client: iterate over what it wants, send it what it is told."""

    def __aiter__(self) -> AsyncIterator[ClientEvent]:
        """Ends when the client has hung up, or after `close`."""
        ...

    async def send(self, event: ServerEvent) -> None:
        """Send an event, as slowly as the client reads.

        Raises:
            ConnectionError: the client has gone.
        """
        ...

    async def close(self, error: DuologueError) -> None:
        """Hang up on the client.

        Raises:
            ConnectionError: the client has gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one session may take.

    Attributes:
        length: seconds until a session is ended; the Realtime API's hour.
        unsent: seconds of sound that may wait for a client that reads slowly.
        drain: seconds that a closing session may take to say its last words.
        ahead: seconds of sound that are heard at once, as a whole file may be sent; what comes beyond
            them is heard at `pace` times the speed of life, for there are others.
        pace: likewise.
        errors: in one second that end the session.
    """

    length: float = 3600.0
    unsent: float = 120.0
    drain: float = 2.0
    ahead: float = 300.0
    pace: float = 10.0
    errors: int = 100


class Session:
    """One user. Owns the tasks that serve it, and nothing that outlives it but its record.

    Attributes:
        id: as the client is told.
    """

    def __init__(
        self,
        transport: Transport,
        vad: Vad,
        model: SpeechModel,
        record: Record,
        settings: Settings = Settings(),  # noqa: B008  frozen
        *,
        endpoint: Endpoint | None = None,
        limits: Limits = Limits(),
        clock: Clock | None = None,
    ) -> None:
        self.id = f"sess_{secrets.token_hex(8)}"
        self._transport = transport
        self._limits = limits
        self._clock = clock or WallClock()
        self._detector = TurnDetector(vad, settings, Patience(record.patience))
        self._outbox = Outbox(limits.unsent)
        self._ledger = Ledger(self.id, self._outbox, self._detector, record, self._clock)
        self._exchange = Exchange(
            self.id, self._outbox, self._detector, model, self._ledger, self._clock, endpoint
        )
        self._quiet = 0.0  # seconds for which nobody has had the floor
        self._quiet_since = 0.0  # where in the incoming audio they began
        self._draining = False
        self._newest = self._clock.now()  # when the client's newest message came
        self._ahead = 0.0  # seconds of sound that came faster than at `limits.pace`
        self._heard = self._clock.now()  # when the newest sound came
        self._gap = _GAP  # seconds after it from which silence counts
        self._hearing = False  # it is being worked through
        self._stirred = asyncio.Event()  # the client wanted something
        self._errors: deque[float] = deque(maxlen=limits.errors)  # when the client sent the newest
        self._listener: asyncio.Task[None]

    @property
    def silent_for(self) -> float:
        """Seconds since the client has sent anything, or a reply to it was heard to its end."""
        if self._exchange.state is not State.LISTENING:
            return 0.0
        return self._clock.now() - max(self._newest, self._exchange.at_rest_since)

    async def run(self) -> None:
        """Serve until the client hangs up, the session expires or `drain` was called."""
        logger.info("%s begins", self.id)
        self._tell(SessionStarted(self.id, self._detector.settings))
        try:
            async with asyncio.TaskGroup() as tasks:
                self._exchange.tasks = tasks
                keepers = [
                    tasks.create_task(self._outbox.empty(self._send)),
                    tasks.create_task(self._expire()),
                    tasks.create_task(self._give_up_if_too_slow()),
                    tasks.create_task(self._go_on_in_silence()),
                ]
                self._listener = tasks.create_task(self._listen())
                await asyncio.wait([self._listener])
                for task in keepers:
                    task.cancel()
        finally:
            logger.info("%s ends after %d turns", self.id, self._exchange.turns)

    async def _listen(self) -> None:
        try:
            async for event in self._transport:
                self._newest = self._clock.now()
                await self._take(event)
                self._stirred.set()
                if self._errs_on_and_on():
                    await self.hang_up(
                        TooManyErrors(f"{self._limits.errors} messages in a second were no events")
                    )
                await asyncio.sleep(0)  # a transport that has more does not wait for anything
        finally:
            self._exchange.abandon()

    async def drain(self, error: DuologueError) -> None:
        """Take no new turn, let the reply under way be heard, then hang up with `error`."""
        self._draining = True
        await self._exchange.drain()
        await self.hang_up(error)

    async def hang_up(self, error: DuologueError) -> None:
        """Tell the client why, and end."""
        self._outbox.tell_last(ErrorOccurred(error))
        try:
            async with asyncio.timeout(self._limits.drain):
                await self._outbox.join()
                await self._transport.close(error)
        except (TimeoutError, ConnectionError):
            logger.info("%s does not read its last words", self.id)
        self._listener.cancel()

    async def _expire(self) -> None:
        await self._clock.sleep(self._limits.length)
        minutes = self._limits.length / 60
        await self.hang_up(
            SessionExpired(f"a session lasts {minutes:g} minutes at most; start a new one to go on")
        )

    async def _give_up_if_too_slow(self) -> None:
        await self._outbox.overflowed.wait()
        if error := self._outbox.overflow:
            await self.hang_up(error)

    # What the client wants.

    async def _take(self, event: ClientEvent) -> None:
        try:
            match event:
                case AudioReceived(chunk, echo):
                    await self._hear(chunk, echo=echo)
                case PlaybackTruncated(turn_id, heard):
                    self._ledger.truncate(turn_id, heard)
                case PlaybackStarted(turn_id, ago):
                    self._ledger.note_playback(turn_id, ago)
                case CutMarked():
                    self._ledger.mark_cut()
                case Pinged():
                    self._tell(Ponged())
                case ClientErred(error, event_id):
                    self._refuse(error, event_id)
                case _:
                    self._obey(event)
        except (InvalidEvent, InvalidAudio) as error:
            self._refuse(error)

    def _refuse(self, error: DuologueError, event_id: str | None = None) -> None:
        self._errors.append(self._clock.now())
        self._tell(ErrorOccurred(error, event_id))

    def _errs_on_and_on(self) -> bool:
        errors = self._errors
        return len(errors) == errors.maxlen and errors[-1] - errors[0] < 1.0

    def _obey(
        self,
        event: SettingsChanged | CommitRequested | ClearRequested | ReplyRequested | ReplyCancelled,
    ) -> None:
        match event:
            case SettingsChanged(settings):
                self._apply(settings)
            case CommitRequested():
                self._exchange.commit()
            case ClearRequested():
                self._exchange.clear()
                self._tell(AudioCleared())
            case ReplyRequested() if not self._draining:
                self._exchange.request_reply()
            case ReplyCancelled():
                self._exchange.cancel_reply()

    async def _hear(self, chunk: AudioChunk, *, echo: bool) -> None:
        start, self._hearing = 0.0, True
        self._gap = _GAP + min(chunk.duration, _PIECE)
        while start < chunk.duration and not self._draining:
            self._follow(self._detector.push(chunk.between(start, start + _SLICE), echo=echo))
            start += _SLICE
            await self._keep_pace(min(_SLICE, chunk.duration - start + _SLICE))
        self._hearing = False
        self._watch_idle(chunk.duration)

    def _follow(self, events: Iterator[DetectorEvent]) -> None:
        """Let happen what the detector hears."""
        try:
            for event in events:
                if not self._is_deaf():
                    self._exchange.detect(event)
        except InvalidAudio as error:
            self._refuse(error)
        if self._is_deaf():
            self._detector.clear()
        self._exchange.settle()

    async def _go_on_in_silence(self) -> None:
        """When no sound comes any more (muted, a file that has ended), go on as if silence came then.

        Without turn detection, no sound is no silence: the client commits.
        """
        silent_to = self._heard
        while True:
            listening = self._exchange.state is State.LISTENING
            if listening and self._detector.settings.idle_timeout is None:
                await self._stirred.wait()
            self._stirred.clear()
            step = _GAP if listening else _SLICE
            woken = max(self._heard + self._gap, self._clock.now() + step)
            await self._clock.sleep(woken - self._clock.now())
            now = self._clock.now()
            if self._hearing or now - woken > _STALL:
                self._heard = now  # what was sent meanwhile is to be heard first
            if now - self._heard < self._gap or self._draining:
                continue
            late = self._gap - _SLICE
            missed, silent_to = now - max(self._heard + late, silent_to), now
            if not self._detector.settings.turn_detection:
                continue
            if self._exchange.state is not State.LISTENING:
                logger.debug("%s: no sound came for %.1f s", self.id, now - self._heard)
                self._follow(self._detector.miss(missed, late))
            self._watch_idle(missed)

    async def _keep_pace(self, seconds: float) -> None:
        """Let others go on, and longer when this client sends sound faster than anybody can speak."""
        now = self._clock.now()
        self._ahead = max(0.0, self._ahead - (now - self._heard) * self._limits.pace) + seconds
        self._heard = now
        await (self._clock.sleep(_SLICE) if self._ahead > self._limits.ahead else asyncio.sleep(0))

    def _is_deaf(self) -> bool:
        """Whether what comes in is not listened to: a reply is under way and may not be interrupted."""
        return self._exchange.answering and not self._detector.settings.interrupt_response

    def _watch_idle(self, seconds: float) -> None:
        """So many seconds have passed, with sound or without."""
        now, settings = self._detector.position, self._detector.settings
        if self._exchange.state is not State.LISTENING or not settings.turn_detection:
            self._quiet, self._quiet_since = 0.0, now
            return
        self._quiet += seconds
        if settings.idle_timeout is not None and self._quiet >= settings.idle_timeout:
            self._tell(IdleTimedOut(self._quiet_since, now))
            self._quiet, self._quiet_since = 0.0, now

    def _apply(self, settings: Settings) -> None:
        ducked = self._exchange.state is State.DUCKED
        if settings.turn_detection != self._detector.settings.turn_detection:
            self._exchange.clear()
        elif ducked and not settings.interrupt_response:
            self._exchange.clear()  # what may be an interruption is none any more
        self._detector.settings = settings
        self._tell(SettingsApplied(settings))

    def _tell(self, event: ServerEvent) -> None:
        self._outbox.tell(event)

    async def _send(self, event: ServerEvent) -> None:
        await self._transport.send(event)
        self._ledger.note_sent(event)
