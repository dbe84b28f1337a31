"""One user, from connect to hang-up: carries out what the `Conversation` decides."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation import Action, Conversation, Event, State
from duologue.errors import (
    ClientTooSlow,
    DuologueError,
    InvalidAudio,
    InvalidEvent,
    ModelFailed,
    SessionExpired,
)
from duologue.events import (
    AudioCleared,
    AudioReceived,
    ClearRequested,
    ClientErred,
    ClientEvent,
    CommitRequested,
    ErrorOccurred,
    IdleTimedOut,
    PlaybackTruncated,
    ReplyAudible,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyGenerated,
    ReplyHeard,
    ReplyRequested,
    ReplyStarted,
    ReplyTruncated,
    ServerEvent,
    SessionStarted,
    Settings,
    SettingsApplied,
    SettingsChanged,
    SpeechStarted,
    SpeechStopped,
    TurnCommitted,
    TurnEnded,
    TurnStarted,
    UserTranscribed,
)
from duologue.model import Prompt, ReplyChunk, SpeechModel, Turn
from duologue.turn import TurnDetector, Vad

logger = logging.getLogger(__name__)

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
        """Hang up on the client."""
        ...


class Record(Protocol):
    """Where the turns of one conversation are kept."""

    def turns(self) -> Sequence[Turn]:
        """Oldest first."""
        ...

    def save(self, turn: Turn) -> None:
        """Keep this turn, new or changed."""
        ...


class Clock(Protocol):
    """Time, for whoever waits; tests drive it."""

    def now(self) -> float:
        """Seconds since whenever."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return `seconds` later."""
        ...


class WallClock:
    """The time that passes for people."""

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one session may take.

    Attributes:
        length: seconds until a session is ended; the Realtime API's hour.
        unsent: seconds of sound that may wait for a client that reads slowly.
        drain: seconds that a closing session may take to say its last words.
    """

    length: float = 3600.0
    unsent: float = 120.0
    drain: float = 2.0


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
        limits: Limits = Limits(),
        clock: Clock | None = None,
    ) -> None:
        self.id = f"sess_{secrets.token_hex(8)}"
        self._transport = transport
        self._model = model
        self._record = record
        self._limits = limits
        self._clock = clock or WallClock()
        self._detector = TurnDetector(vad, settings)
        self._conversation = Conversation()
        self._outbox = _Outbox()
        self._turn: Turn | None = None  # the newest
        self._reply: asyncio.Task[None] | None = None
        self._quiet_since = 0.0  # where in the incoming audio the user last had reason to speak
        self._draining = False
        self._tasks: asyncio.TaskGroup
        self._listener: asyncio.Task[None]

    async def run(self) -> None:
        """Serve until the client hangs up, the session expires or `drain` was called."""
        logger.info("%s begins", self.id)
        self._tell(SessionStarted(self.id, self._detector.settings))
        try:
            async with asyncio.TaskGroup() as self._tasks:
                keepers = [
                    self._tasks.create_task(self._outbox.empty_into(self._transport)),
                    self._tasks.create_task(self._expire()),
                ]
                self._listener = self._tasks.create_task(self._listen())
                await asyncio.wait([self._listener])
                for task in keepers:
                    task.cancel()
        finally:
            logger.info("%s ends after %d turns", self.id, self._conversation.number)

    async def _listen(self) -> None:
        try:
            async for event in self._transport:
                await self._take(event)
        finally:
            self._stop_reply("client_cancelled")
            self._keep_unfinished()

    def _keep_unfinished(self) -> None:
        """Keep what the user was saying when the line went dead."""
        if self._turn and self._conversation.state is State.HEARING:
            self._turn.utterance = self._detector.commit().utterance
            self._turn.status = "interrupted"
            self._record.save(self._turn)

    async def drain(self, error: DuologueError) -> None:
        """Take no new turn, let the reply under way be heard, then hang up with `error`."""
        self._draining = True
        if self._reply:
            await asyncio.wait([self._reply])
        await self._hang_up(error)

    async def _hang_up(self, error: DuologueError) -> None:
        self._tell(ErrorOccurred(error))
        try:
            async with asyncio.timeout(self._limits.drain):
                await self._outbox.join()
                await self._transport.close(error)
        except TimeoutError:
            logger.info("%s does not read its last words", self.id)
        self._listener.cancel()

    async def _expire(self) -> None:
        await self._clock.sleep(self._limits.length)
        minutes = self._limits.length / 60
        await self._hang_up(
            SessionExpired(f"a session lasts {minutes:g} minutes at most; start a new one to go on")
        )

    # What the client wants.

    async def _take(self, event: ClientEvent) -> None:
        try:
            match event:
                case AudioReceived(chunk):
                    await self._hear(chunk)
                case SettingsChanged(settings):
                    self._apply(settings)
                case CommitRequested():
                    self._receive(self._detector.commit())
                case ClearRequested():
                    self._detector.clear()
                    self._receive(event)
                    self._tell(AudioCleared())
                case ReplyRequested():
                    self._request_reply(event)
                case ReplyCancelled():
                    self._receive(event)
                case PlaybackTruncated(turn_id, heard):
                    self._truncate(turn_id, heard)
                case ClientErred(error, event_id):
                    self._tell(ErrorOccurred(error, event_id))
        except (InvalidEvent, InvalidAudio) as error:
            self._tell(ErrorOccurred(error))

    async def _hear(self, chunk: AudioChunk) -> None:
        start = 0.0
        while start < chunk.duration and not self._draining:
            for event in self._detector.push(chunk.between(start, start + _SLICE)):
                if not self._is_deaf():
                    self._receive(event)
            if self._is_deaf():
                self._detector.clear()
            start += _SLICE
            if start < chunk.duration:
                await asyncio.sleep(0)
        self._watch_idle()

    def _is_deaf(self) -> bool:
        """Whether what comes in is not listened to: a reply is under way and may not be interrupted."""
        return not self._detector.settings.interrupt_response and self._conversation.state in (
            State.THINKING,
            State.SPEAKING,
        )

    def _watch_idle(self) -> None:
        now, limit = self._detector.position, self._detector.settings.idle_timeout
        if self._conversation.state is not State.LISTENING:
            self._quiet_since = now
        elif limit is not None and now - self._quiet_since >= limit:
            self._tell(IdleTimedOut(self._quiet_since, now))
            self._quiet_since = now

    def _request_reply(self, event: ReplyRequested) -> None:
        if (
            not self._turn
            or not self._turn.utterance.duration
            or self._turn.status != "in_progress"
        ):
            raise InvalidEvent("there is nothing to answer; commit some audio first")
        if not self._draining:
            self._receive(event)

    def _apply(self, settings: Settings) -> None:
        if settings.turn_detection != self._detector.settings.turn_detection:
            self._detector.clear()
            self._receive(ClearRequested())
        self._detector.settings = settings
        self._tell(SettingsApplied(settings))

    def _truncate(self, turn_id: str, heard: float) -> None:
        turn = next((turn for turn in self._record.turns() if turn.id == turn_id), None)
        if not turn:
            raise InvalidEvent("there is no such item to truncate in this conversation")
        turn.truncate(heard)
        self._record.save(turn)
        self._tell(ReplyTruncated(turn_id, heard))

    # What the conversation decides.

    def _receive(self, event: Event) -> None:
        for action in self._conversation.receive(event):
            match action:
                case Action.STOP_REPLY:
                    by_client = isinstance(event, ReplyCancelled)
                    self._stop_reply("client_cancelled" if by_client else "turn_detected")
                case Action.BEGIN_TURN:
                    self._begin_turn(event)
                case Action.DROP_TURN:
                    self._turn = None
                case Action.COMMIT_TURN if isinstance(event, TurnEnded):
                    self._commit_turn(event)
                case Action.START_REPLY:
                    self._start_reply()
                case Action.REFUSE:
                    raise InvalidEvent(
                        "a reply can be asked for when no turn or reply is under way"
                    )

    def _begin_turn(self, event: Event) -> None:
        self._turn = Turn(secrets.token_hex(12), silence(0, INPUT_RATE))
        if isinstance(event, SpeechStarted):
            self._tell(TurnStarted(self._turn.id, event.at))

    def _commit_turn(self, event: TurnEnded) -> None:
        turns = self._record.turns()
        turn = self._turn
        assert turn is not None
        turn.utterance = event.utterance
        self._record.save(turn)
        if self._detector.settings.turn_detection:
            self._tell(SpeechStopped(turn.id, event.at))
        self._tell(TurnCommitted(turn.id, turns[-1].id if turns else None))
        if self._detector.settings.create_response and self._detector.settings.turn_detection:
            self._receive(ReplyRequested())

    def _start_reply(self) -> None:
        assert self._turn is not None
        self._reply = self._tasks.create_task(self._speak(self._turn, self._conversation.number))

    def _stop_reply(self, reason: str) -> None:
        """Stop first, then tell: a slow client must not delay the stop."""
        turn = self._turn
        if not self._reply or not turn:
            return
        self._reply.cancel()
        self._reply = None
        self._outbox.drop_sound(turn.id)
        if turn.status == "in_progress":
            turn.status = "interrupted"
            self._record.save(turn)
            self._tell(ReplyDone(turn.id, turn.reply_text, reason))

    # The reply.

    async def _speak(self, turn: Turn, number: int) -> None:
        self._tell(ReplyStarted(turn.id))
        error = await self._generate(turn, number)
        turn.status = "failed" if error else "completed"
        self._record.save(turn)
        if error:
            self._tell(ErrorOccurred(error))
        reason = "failed" if error else "completed"
        self._tell(ReplyDone(turn.id, turn.reply_text, reason, error))
        self._receive(ReplyGenerated(number))
        if turn.audible_at is not None:
            end = turn.audible_at + turn.reply_audio.duration
            await self._clock.sleep(max(0.0, end - self._clock.now()))
        self._receive(ReplyHeard(number))

    async def _generate(self, turn: Turn, number: int) -> DuologueError | None:
        """Pass on what the model says; gives back why it stopped, if not at its end."""
        past = [past for past in self._record.turns() if past is not turn]
        prompt = Prompt(turn.utterance, past, self._detector.settings.instructions)
        try:
            async with aclosing(self._model.reply(prompt)) as chunks:
                async for chunk in chunks:
                    self._pass_on(turn, number, chunk)
        except ClientTooSlow as error:
            self._tasks.create_task(self._hang_up(error))
            return error
        except DuologueError as error:
            return error
        except Exception as error:
            logger.exception("%s: the model failed", self.id)
            return ModelFailed(f"the model failed: {error or type(error).__name__}")
        return None

    def _pass_on(self, turn: Turn, number: int, chunk: ReplyChunk) -> None:
        if chunk.user_text is not None:
            turn.user_text = chunk.user_text
            self._record.save(turn)
            self._tell(UserTranscribed(turn.id, chunk.user_text, turn.utterance.duration))
        if not chunk.audio and not chunk.text:
            return
        turn.reply.append(chunk)
        self._tell(ReplyDelta(turn.id, chunk.audio, chunk.text))
        if chunk.audio and turn.audible_at is None:
            turn.audible_at = self._clock.now()
            self._receive(ReplyAudible(number))
        if self._outbox.seconds > self._limits.unsent:
            raise ClientTooSlow(
                f"{self._outbox.seconds:.0f} s of the reply wait to be read; read faster, or ask for less"
            )

    def _tell(self, event: ServerEvent) -> None:
        self._outbox.put(event)


class _Outbox:
    """What waits to be sent. One task empties it, so that only that task waits for a slow client.

    Attributes:
        seconds: of sound that wait.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._events: deque[ServerEvent] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def put(self, event: ServerEvent) -> None:
        self._events.append(event)
        self.seconds += _duration(event)
        self._filled.set()
        self._emptied.clear()

    def drop_sound(self, turn_id: str) -> None:
        """Take back the sound of a reply that was stopped."""
        self._events = deque(
            event
            for event in self._events
            if not (isinstance(event, ReplyDelta) and event.turn_id == turn_id)
        )
        self.seconds = sum(map(_duration, self._events))

    async def empty_into(self, transport: Transport) -> None:
        """Send, for as long as the session lasts."""
        while True:
            await self._filled.wait()
            while self._events:
                event = self._events.popleft()
                self.seconds -= _duration(event)
                try:
                    await transport.send(event)
                except ConnectionError:
                    return  # whoever reads the transport notices, too
            self._filled.clear()
            self._emptied.set()

    async def join(self) -> None:
        """Wait until all is sent."""
        await self._emptied.wait()


def _duration(event: ServerEvent) -> float:
    return event.audio.duration if isinstance(event, ReplyDelta) and event.audio else 0.0
