"""The turns of one session as they happen: carries out what the `Conversation` decides about them."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from duologue import metrics
from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.clock import Clock
from duologue.conversation import Action, Conversation, Event, State
from duologue.errors import DuologueError, InvalidEvent, ModelFailed
from duologue.events import (
    ClearRequested,
    CommitRequested,
    DetectorEvent,
    ErrorOccurred,
    ReplyAudible,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyDucked,
    ReplyDue,
    ReplyGenerated,
    ReplyHeard,
    ReplyRequested,
    ReplyRestored,
    ReplyStarted,
    ReplyTruncated,
    ServerEvent,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TurnCommitted,
    TurnEnded,
    TurnReopened,
    TurnStarted,
    TurnWithdrawn,
    UserTranscribed,
)
from duologue.model import Prompt, ReplyChunk, SpeechModel, Turn
from duologue.outbox import Outbox
from duologue.receipt import CutBy, Receipt
from duologue.turn import TurnDetector

logger = logging.getLogger(__name__)

_AT_ONCE = 0.01  # seconds between two things that one window of audio has caused


Endpoint = Callable[[AudioChunk], Awaitable[float | None]]
"""How finished the user sounds: up to 8 s at `INPUT_RATE` -> 0..1, or None if that takes too long."""


class Record(Protocol):
    """Where the turns of one conversation are kept.

    Attributes:
        patience: `Patience.factor` of its user.
    """

    patience: float

    def turns(self) -> Sequence[Turn]:
        """Oldest first."""
        ...

    def save(self, turn: Turn) -> None:
        """Keep this turn, new or changed."""
        ...

    def forget(self, turn: Turn) -> None:
        """Let go of a turn that became part of the next one."""
        ...

    def note(self, turn: Turn) -> None:
        """Keep the figures of this turn, new or changed."""
        ...


@dataclass(slots=True)
class _Reply:
    """A reply under way.

    Attributes:
        number: as the conversation counts.
        turn: of which it is a part, or will be.
        utterance: what it answers.
        begun: when the model was asked, by the session's clock.
        let_out: set when the turn has ended, so that it may be heard.
        waiting: what was generated, and nobody was told yet.
    """

    number: int
    turn: Turn
    utterance: AudioChunk
    begun: float
    let_out: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: list[ReplyChunk] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Exchange:
    """The turn under way, its reply, and the conversation that they become part of.

    Attributes:
        tasks: that the replies run in; to be set before the first event.
    """

    tasks: asyncio.TaskGroup

    def __init__(
        self,
        session_id: str,
        outbox: Outbox,
        detector: TurnDetector,
        model: SpeechModel,
        record: Record,
        clock: Clock,
        endpoint: Endpoint | None = None,
    ) -> None:
        self._id = session_id
        self._outbox = outbox
        self._detector = detector
        self._model = model
        self._record = record
        self._clock = clock
        self._endpoint = endpoint
        self._conversation = Conversation()
        self._turn: Turn | None = None  # the newest
        self._utterance = silence(0, INPUT_RATE)  # its, so far
        self._stopped = False  # the client was told that the user has finished speaking
        self._committed = False  # it is part of the conversation
        self._reply: _Reply | None = None
        self._last_word = 0.0  # of the newest turn, by the clock
        self._withdrawn: set[str] = set()  # ids of turns that became part of the next one

    @property
    def state(self) -> State:
        """Who has the floor."""
        return self._conversation.state

    @property
    def turns(self) -> int:
        """Begun so far."""
        return self._conversation.turns

    @property
    def answering(self) -> bool:
        """Whether a reply is under way to a turn that has ended."""
        return self._reply is not None and self._reply.let_out.is_set()

    def detect(self, event: DetectorEvent) -> None:
        """Take into account what the detector hears."""
        if isinstance(event, TurnEnded) and not self._detector.settings.create_response:
            self._utterance = event.utterance
            self._receive(CommitRequested())
        else:
            self._receive(event)

    def settle(self) -> None:
        """Commit a turn that stays open no more, though nothing of its reply came yet."""
        if self.answering and not self._detector.is_open:
            self._commit_turn()

    # What the client wants.

    def commit(self) -> None:
        """The client ends the utterance; a reply that was begun on the quiet is what it gets.

        Raises:
            InvalidEvent: there is none.
        """
        if self._detector.playing and self._detector.settings.turn_detection:
            self._detector.close()  # what can still be gone on with is committed already
        ended = self._detector.commit()
        if self._reply and not self._committed:
            self._receive(ended)
            return
        self._utterance, self._last_word = ended.utterance, self._clock.now()
        self._receive(CommitRequested())

    def clear(self) -> None:
        """Forget what was heard since the last turn."""
        self._detector.clear()
        if self.state is not State.THINKING or not self._committed:
            self._receive(ClearRequested())

    def request_reply(self) -> None:
        """Answer the last turn.

        Raises:
            InvalidEvent: there is nothing to answer, or somebody is speaking.
        """
        turn = self._turn
        if not turn or not turn.utterance.duration or turn.status != "in_progress":
            raise InvalidEvent("there is nothing to answer; commit some audio first")
        self._receive(ReplyRequested())

    def cancel_reply(self) -> None:
        """Stop the reply, if there is one."""
        self._receive(ReplyCancelled())

    def truncate(self, turn_id: str, heard: float) -> None:
        """Cut the reply to a turn to what was heard of it.

        Raises:
            InvalidEvent: there is no such turn.
        """
        if turn_id not in self._withdrawn:
            turn = next((turn for turn in self._record.turns() if turn.id == turn_id), None)
            if not turn:
                raise InvalidEvent("there is no such item to truncate in this conversation")
            self._cut(turn, heard)
            self._record.note(turn)
        self._outbox.tell(ReplyTruncated(turn_id, heard))

    def note_playback(self, turn_id: str, ago: float) -> None:
        """Write down when the reply was first heard. A report that comes too late is worth nothing."""
        turn = self._turn
        if turn and turn.id == turn_id and turn.receipt.sent is not None:
            turn.receipt.played = max(turn.receipt.sent, self._since_last_word() - ago)
            self._record.note(turn)

    def note_sent(self, event: ServerEvent) -> None:
        """Write down when the first sound of the reply was sent."""
        turn = self._turn
        if isinstance(event, ReplyDelta) and event.audio and turn and turn.id == event.turn_id:
            sent = turn.receipt.sent
            turn.receipt.sent = self._since_last_word() if sent is None else sent

    def mark_cut(self) -> None:
        """The user was cut off in the newest turn.

        Raises:
            InvalidEvent: there is none.
        """
        turns = self._record.turns()
        if not turns:
            raise InvalidEvent("no turn has ended yet, so none can have been cut off")
        if not turns[-1].receipt.cut:
            self._note_cut(turns[-1], "marked")

    # The end.

    async def drain(self) -> None:
        """Let the reply under way be heard."""
        if self._reply and not self.answering:
            self._receive(self._detector.commit())
        if self._reply and self._reply.task:
            await asyncio.wait([self._reply.task])

    def abandon(self) -> None:
        """The client has gone: stop, and keep what the user was saying."""
        under_way = self.state in (State.HEARING, State.PAUSED, State.THINKING)
        if self._turn and under_way and not self._committed:
            self._drop_reply()
            if self._detector.is_open:
                self._utterance = self._detector.commit().utterance
            self._turn.utterance = self._utterance
            self._turn.status = "interrupted"
            self._record.save(self._turn)
        self._stop_reply("client_cancelled")

    def _note_cut(self, turn: Turn, by: CutBy) -> None:
        """This turn was ended too early: wait longer for this user from now on."""
        turn.receipt.cut = by
        self._record.note(turn)
        patience = self._detector.patience
        patience.cut()
        self._record.patience = patience.factor
        metrics.record_cut(by)
        logger.info("%s: cut off (%s), patience is %.2f now", self._id, by, patience.factor)

    # What the conversation decides.

    def _receive(self, event: Event) -> None:
        for action in self._conversation.receive(event):
            self._do(action, event)
        self._detector.playing = self.state in (State.SPEAKING, State.DUCKED)
        if self.state is State.LISTENING:
            self._detector.close()

    def _do(self, action: Action, event: Event) -> None:
        match action:
            case Action.BEGIN_TURN:
                self._begin_turn(event)
            case Action.REOPEN_TURN:
                self._reopen_turn()
            case Action.DROP_TURN:
                self._turn = None
            case Action.COMMIT_TURN:
                self._commit_turn()
            case Action.ASK if isinstance(event, SpeechPaused):
                self._ask(event)
            case Action.REFUSE:
                raise InvalidEvent("a reply can be asked for when no turn or reply is under way")
            case _:
                self._do_with_reply(action, event)

    def _do_with_reply(self, action: Action, event: Event) -> None:
        match action:
            case Action.START_REPLY:
                self._start_reply(event)
            case Action.LET_OUT:
                self._let_out(event)
            case Action.DROP_REPLY:
                self._drop_reply()
            case Action.STOP_REPLY:
                by_client = isinstance(event, ReplyCancelled)
                self._stop_reply("client_cancelled" if by_client else "turn_detected")
            case Action.DUCK:
                metrics.record_duck()
                self._tell_of_reply(ReplyDucked)
            case Action.RESTORE:
                self._tell_of_reply(ReplyRestored)

    def _begin_turn(self, event: Event) -> None:
        self._turn = Turn(secrets.token_hex(12), silence(0, INPUT_RATE))
        self._committed = self._stopped = False
        if isinstance(event, SpeechStarted):
            self._outbox.tell(TurnStarted(self._turn.id, event.at))

    def _reopen_turn(self) -> None:
        """Both halves become one turn, under a new name: a late word about the old one must not count."""
        old = self._turn
        assert old is not None
        self._note_cut(old, "resumed")
        self._withdrawn.add(old.id)
        self._record.forget(old)
        self._outbox.tell(TurnWithdrawn(old.id))
        self._begin_turn(SpeechStarted(self._detector.began))

    def _ask(self, event: SpeechPaused) -> None:
        self._last_word = self._clock.now() - (self._detector.position - event.last_word)
        if self._endpoint and self._detector.settings.patience != "fixed":
            self.tasks.create_task(self._judge(self._endpoint, event))

    async def _judge(self, endpoint: Endpoint, event: SpeechPaused) -> None:
        asked = self._clock.now()
        probability = await endpoint(event.sound)
        metrics.record_smart_turn(None if probability is None else self._clock.now() - asked)
        if probability is not None:
            self._detector.answer(event.pause, probability)

    def _commit_turn(self) -> None:
        turn = self._turn
        if self._committed or not turn:
            return
        self._committed = True
        if turn.receipt.decided is None:
            turn.receipt.decided = self._since_last_word()
        turns = self._record.turns()
        previous = turns[-1].id if turns else None
        turn.utterance = self._utterance
        self._record.save(turn)
        if self._detector.settings.turn_detection:
            self._tell_stopped()
        self._outbox.tell(TurnCommitted(turn.id, previous))
        if self._reply:
            self._outbox.tell(ReplyStarted(turn.id))

    def _tell_stopped(self) -> None:
        if self._turn and not self._stopped:
            self._stopped = True
            self._outbox.tell(SpeechStopped(self._turn.id, self._detector.position))

    # The reply.

    def _start_reply(self, event: Event) -> None:
        turn = self._turn
        assert turn is not None
        if isinstance(event, ReplyDue | TurnEnded):
            self._utterance = event.utterance
        if isinstance(event, TurnEnded) and not event.pause:
            self._last_word = self._clock.now()  # the time limit: it was not the last
        turn.receipt.started = self._since_last_word()
        number = self._conversation.number
        self._reply = _Reply(number, turn, self._utterance, self._clock.now())
        self._reply.task = self.tasks.create_task(self._speak(self._reply))

    def _let_out(self, event: Event) -> None:
        reply = self._reply
        assert reply is not None
        reply.let_out.set()
        if self._committed:
            self._outbox.tell(ReplyStarted(reply.turn.id))
            return
        receipt = reply.turn.receipt
        receipt.decided = self._since_last_word()
        receipt.pause = event.pause if isinstance(event, TurnEnded) else None
        receipt.early = (receipt.started or 0.0) < receipt.decided - _AT_ONCE
        self._tell_stopped()
        if not self._detector.is_open:
            self._commit_turn()
        self._tell_waiting(reply)

    def _drop_reply(self) -> None:
        """Take back a reply that nobody was told of."""
        if not self._reply or not self._reply.task:
            return
        self._reply.task.cancel()
        turn, self._reply = self._reply.turn, None
        turn.receipt = Receipt(drops=turn.receipt.drops + 1)
        if self._stopped:
            self._stopped = False
            self._outbox.tell(TurnReopened(turn.id, self._detector.position))

    def _stop_reply(self, reason: str) -> None:
        """Stop first, then tell: a slow client must not delay the stop."""
        if not self._reply or not self._reply.task:
            return
        self._reply.task.cancel()
        turn, self._reply = self._reply.turn, None
        self._outbox.drop_sound(turn.id)
        if turn.audible_at is not None and reason == "turn_detected":
            metrics.record_stop()
        said_all = turn.status != "in_progress"
        text = turn.reply_text
        if not said_all:
            turn.status = "interrupted"
        if turn.receipt.heard is None:
            # More than that cannot have been heard; a client that knows better cuts more.
            now = self._clock.now()
            self._cut(turn, now - (now if turn.audible_at is None else turn.audible_at))
        self._record.save(turn)
        if not said_all:
            self._outbox.tell(ReplyDone(turn.id, text, reason, receipt=turn.receipt))
        self._finish(turn)

    def _cut(self, turn: Turn, heard: float) -> None:
        """Keep of the reply what was heard of it."""
        turn.truncate(heard)
        turn.receipt.heard = turn.reply_audio.duration
        self._record.save(turn)

    async def _speak(self, reply: _Reply) -> None:
        turn = reply.turn
        error = await self._generate(reply)
        await reply.let_out.wait()
        self._commit_turn()
        self._tell_waiting(reply)
        error = error or self._outbox.overflow
        turn.status = "failed" if error else "completed"
        self._record.save(turn)
        if error:
            self._outbox.tell(ErrorOccurred(error))
        reason = "failed" if error else "completed"
        self._outbox.tell(ReplyDone(turn.id, turn.reply_text, reason, error, turn.receipt))
        self._receive(ReplyGenerated(reply.number))
        if turn.audible_at is not None:
            end = turn.audible_at + turn.reply_audio.duration
            await self._clock.sleep(max(0.0, end - self._clock.now()))
        self._reply = None
        self._receive(ReplyHeard(reply.number))
        turn.receipt.heard = turn.reply_audio.duration
        self._finish(turn)
        patience = self._detector.patience
        if not turn.receipt.cut and patience.factor > 1:
            patience.clean()
            self._record.patience = patience.factor

    def _finish(self, turn: Turn) -> None:
        """This turn is over: its figures are complete, but for what the client may still report."""
        self._record.note(turn)
        metrics.record_turn(turn.receipt, turn.status)
        figures = ", ".join(f"{name} {value}" for name, value in turn.receipt.metadata().items())
        logger.info("%s: turn %s %s: %s", self._id, turn.id, turn.status, figures)

    async def _generate(self, reply: _Reply) -> DuologueError | None:
        """Take what the model says; gives back why it stopped, if not at its end."""
        past = [past for past in self._record.turns() if past is not reply.turn]
        prompt = Prompt(reply.utterance, past, self._detector.settings.instructions)
        try:
            async with aclosing(self._model.reply(prompt)) as chunks:
                async for chunk in chunks:
                    self._take_chunk(reply, chunk)
                    if self._outbox.overflow:
                        return self._outbox.overflow
        except DuologueError as error:
            return error
        except Exception as error:
            logger.exception("%s: the model failed", self._id)
            return ModelFailed(f"the model failed: {error or type(error).__name__}")
        return None

    def _take_chunk(self, reply: _Reply, chunk: ReplyChunk) -> None:
        receipt = reply.turn.receipt
        if receipt.first_token is None:
            receipt.first_token = self._since_last_word()
        if chunk.audio and receipt.first_sound is None:
            receipt.first_sound = self._since_last_word()
            self._detector.patience.learn(self._clock.now() - reply.begun)
        reply.waiting.append(chunk)
        if reply.let_out.is_set():
            self._tell_waiting(reply)

    def _tell_waiting(self, reply: _Reply) -> None:
        """Let the client hear; of a turn that can still go on, nothing before the first sound."""
        if not self._committed:
            if not any(chunk.audio for chunk in reply.waiting):
                return
            self._commit_turn()
        waiting, reply.waiting = reply.waiting, []
        for chunk in waiting:
            self._pass_on(reply, chunk)

    def _pass_on(self, reply: _Reply, chunk: ReplyChunk) -> None:
        turn = reply.turn
        if chunk.user_text is not None:
            turn.user_text = chunk.user_text
            self._record.save(turn)
            self._outbox.tell(UserTranscribed(turn.id, chunk.user_text, turn.utterance.duration))
        if not chunk.audio and not chunk.text:
            return
        turn.reply.append(chunk)
        self._outbox.tell(ReplyDelta(turn.id, chunk.audio, chunk.text))
        if chunk.audio and turn.audible_at is None:
            turn.audible_at = self._clock.now()
            self._receive(ReplyAudible(reply.number))

    def _since_last_word(self) -> float:
        return self._clock.now() - self._last_word

    def _tell_of_reply(self, event: type[ReplyDucked | ReplyRestored]) -> None:
        assert self._turn is not None
        self._outbox.tell(event(self._turn.id))
