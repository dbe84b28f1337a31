"""The turns of one session as they happen: carries out what the `Conversation` decides about them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from duologue import metrics
from duologue.audio import AudioChunk
from duologue.clock import Clock
from duologue.conversation import Action, Conversation, Event, State
from duologue.errors import DuologueError, InvalidEvent, ModelFailed
from duologue.events import (
    ClearRequested,
    CommitRequested,
    DetectorEvent,
    ErrorOccurred,
    LimitApproached,
    LimitNear,
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
    SpeechPaused,
    SpeechStarted,
    TurnEnded,
    UserTranscribed,
)
from duologue.ledger import Ledger
from duologue.model import Prompt, ReplyChunk, SpeechModel, Turn
from duologue.outbox import Outbox
from duologue.overhearing import Overhearing
from duologue.turn import TurnDetector

logger = logging.getLogger(__name__)

_AT_ONCE = 0.01  # seconds between two things that one window of audio has caused


Endpoint = Callable[[AudioChunk], Awaitable[float | None]]
"""How finished the user sounds: up to 8 s at `INPUT_RATE` -> 0..1, or None if that takes too long."""


@dataclass(slots=True)
class _Reply:
    """A reply under way.

    Attributes:
        number: as the conversation counts.
        turn: of which it is a part, or will be.
        utterance: what it answers.
        pause: that the utterance ends in, as the detector counts; 0: in none.
        begun: when the model was asked, by the session's clock.
        let_out: set when the turn has ended, so that it may be heard.
        waiting: what was generated, and nobody was told yet.
    """

    number: int
    turn: Turn
    utterance: AudioChunk
    pause: int
    begun: float
    let_out: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: list[ReplyChunk] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Exchange:
    """The turn under way, its reply, and the conversation that they become part of.

    Attributes:
        tasks: that the replies run in; to be set before the first event.
        at_rest_since: when something last ended that leaves the floor to nobody, by the session's clock.
    """

    tasks: asyncio.TaskGroup

    def __init__(
        self,
        session_id: str,
        outbox: Outbox,
        detector: TurnDetector,
        model: SpeechModel,
        ledger: Ledger,
        clock: Clock,
        endpoint: Endpoint | None = None,
    ) -> None:
        self._id = session_id
        self._outbox = outbox
        self._detector = detector
        self._model = model
        self._ledger = ledger
        self._clock = clock
        self._endpoint = endpoint
        self._conversation = Conversation()
        self._overhearing = Overhearing(
            model,
            detector,
            outbox,
            lambda utterance: self._prompt(ledger.newest, utterance, detector.pause),
        )
        self.at_rest_since = clock.now()
        self._reply: _Reply | None = None
        self._pause = 0  # that the detector heard last

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
            self._ledger.utterance = event.utterance
            self._receive(CommitRequested())
        else:
            self._receive(event)

    def settle(self) -> None:
        """Commit a turn that stays open no more, and let the model overhear one that does."""
        if self.answering and not self._detector.is_open:
            self._commit_turn()
        turn = self._ledger.newest
        speaks = turn is not None and not self._ledger.committed and self._detector.is_open
        self._overhearing.follow(turn.id if turn and speaks else None, self.tasks)

    # What the client wants.

    def commit(self) -> None:
        """The client ends the utterance; a reply that was begun on the quiet is what it gets.

        Raises:
            InvalidEvent: there is none.
        """
        if self._detector.playing and self._detector.settings.turn_detection:
            self._detector.close()  # what can still be gone on with is committed already
        ended = self._detector.commit()
        if self._reply and not self._ledger.committed:
            self._receive(ended)
            return
        self._ledger.utterance, self._ledger.last_word = ended.utterance, self._clock.now()
        self._receive(CommitRequested())

    def clear(self) -> None:
        """Forget what was heard since the last turn."""
        self._detector.clear()
        if self.state is not State.THINKING or not self._ledger.committed:
            self._receive(ClearRequested())

    def request_reply(self) -> None:
        """Answer the last turn.

        Raises:
            InvalidEvent: there is nothing to answer, or somebody is speaking.
        """
        turn = self._ledger.newest
        if not turn or not turn.utterance.duration or turn.status != "in_progress":
            raise InvalidEvent("there is nothing to answer; commit some audio first")
        self._receive(ReplyRequested())

    def cancel_reply(self) -> None:
        """Stop the reply, if there is one."""
        self._receive(ReplyCancelled())

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
        if under_way and not self._ledger.committed:
            self._drop_reply()
            if self._detector.is_open:
                self._ledger.utterance = self._detector.commit().utterance
            self._ledger.break_off()
        self._stop_reply("client_cancelled")
        self._overhearing.stop()

    # What the conversation decides.

    def _receive(self, event: Event) -> None:
        for action in self._conversation.receive(event):
            self._do(action, event)
        self._detector.playing = self.state in (State.SPEAKING, State.DUCKED)
        if self.state is State.LISTENING:
            self._detector.close()
            self.at_rest_since = self._clock.now()

    def _do(self, action: Action, event: Event) -> None:
        match action:
            case Action.BEGIN_TURN:
                self._ledger.begin(event.at if isinstance(event, SpeechStarted) else None)
            case Action.REOPEN_TURN:
                self._ledger.reopen()
            case Action.DROP_TURN:
                self._ledger.newest = None
            case Action.COMMIT_TURN:
                self._commit_turn()
            case Action.ASK if isinstance(event, SpeechPaused):
                self._ask(event)
            case Action.WARN if isinstance(event, LimitNear):
                turn = self._ledger.newest if self.state is State.HEARING else None
                self._outbox.tell(LimitApproached(turn.id if turn else None, event.left))
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

    def _ask(self, event: SpeechPaused) -> None:
        self._pause = event.pause
        position, behind = self._detector.position, self._detector.behind
        self._ledger.last_word = self._clock.now() - (position - event.last_word) - behind
        if self._endpoint and self._detector.settings.patience != "fixed":
            self.tasks.create_task(self._judge(self._endpoint, event))

    async def _judge(self, endpoint: Endpoint, event: SpeechPaused) -> None:
        asked = self._clock.now()
        probability = await endpoint(event.sound)
        metrics.record_smart_turn(None if probability is None else self._clock.now() - asked)
        if probability is not None:
            self._detector.answer(event.pause, probability)

    def _commit_turn(self) -> None:
        if self._ledger.commit() and self._reply:
            self._outbox.tell(ReplyStarted(self._reply.turn.id))

    # The reply.

    def _start_reply(self, event: Event) -> None:
        turn = self._ledger.newest
        assert turn is not None
        if isinstance(event, ReplyDue | TurnEnded):
            self._ledger.utterance = event.utterance
        if isinstance(event, TurnEnded) and not event.pause:
            self._ledger.last_word = self._clock.now()  # the time limit: it was not the last
        turn.receipt.started = self._ledger.since_last_word
        in_pause = isinstance(event, ReplyDue) or (isinstance(event, TurnEnded) and event.pause)
        pause = self._pause if in_pause else 0
        number = self._conversation.number
        self._reply = _Reply(number, turn, self._ledger.utterance, pause, self._clock.now())
        self._reply.task = self.tasks.create_task(self._speak(self._reply))

    def _let_out(self, event: Event) -> None:
        reply = self._reply
        assert reply is not None
        reply.let_out.set()
        if self._ledger.committed:
            self._outbox.tell(ReplyStarted(reply.turn.id))
            return
        receipt = reply.turn.receipt
        receipt.decided = self._ledger.since_last_word
        receipt.pause = event.pause if isinstance(event, TurnEnded) else None
        receipt.early = (receipt.started or 0.0) < receipt.decided - _AT_ONCE
        self._ledger.tell_stopped()
        if not self._detector.is_open:
            self._commit_turn()
        self._tell_waiting(reply)

    def _drop_reply(self) -> None:
        """Take back a reply that nobody was told of."""
        if not self._reply or not self._reply.task:
            return
        self._reply.task.cancel()
        self._reply = None
        self._ledger.go_on()

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
            self._ledger.cut(turn, now - (now if turn.audible_at is None else turn.audible_at))
        self._ledger.save(turn)
        if not said_all:
            self._outbox.tell(ReplyDone(turn.id, text, reason, receipt=turn.receipt))
        self._ledger.close(turn)

    async def _speak(self, reply: _Reply) -> None:
        turn = reply.turn
        error = await self._generate(reply)
        await reply.let_out.wait()
        self._commit_turn()
        self._tell_waiting(reply)
        error = error or self._outbox.overflow
        turn.status = "failed" if error else "completed"
        self._ledger.save(turn)
        if error:
            self._outbox.tell(ErrorOccurred(error))
        reason = "failed" if error else "completed"
        self._outbox.tell(ReplyDone(turn.id, turn.reply_text, reason, error, turn.receipt))
        self._receive(ReplyGenerated(reply.number))
        if turn.audible_at is not None:
            end = turn.audible_at + turn.reply_seconds
            await self._clock.sleep(max(0.0, end - self._clock.now()))
        self._reply = None
        self._receive(ReplyHeard(reply.number))
        turn.receipt.heard = turn.reply_seconds
        self._ledger.close(turn, whole=True)

    async def _generate(self, reply: _Reply) -> DuologueError | None:
        """Take what the model says; gives back why it stopped, if not at its end."""
        prompt = self._prompt(reply.turn, reply.utterance, reply.pause)
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

    def _prompt(self, turn: Turn | None, utterance: AudioChunk, pause: int) -> Prompt:
        past = self._ledger.before(turn)
        return Prompt(utterance, past, self._detector.settings.instructions, self._id, pause)

    def _take_chunk(self, reply: _Reply, chunk: ReplyChunk) -> None:
        receipt = reply.turn.receipt
        if receipt.first_token is None and (chunk.audio or chunk.text):
            receipt.first_token = self._ledger.since_last_word
        if chunk.audio and receipt.first_sound is None:
            receipt.first_sound = self._ledger.since_last_word
            self._detector.patience.learn(self._clock.now() - reply.begun)
        reply.waiting.append(chunk)
        if reply.let_out.is_set():
            self._tell_waiting(reply)

    def _tell_waiting(self, reply: _Reply) -> None:
        """Let the client hear; of a turn that can still go on, nothing before the first sound."""
        if not self._ledger.committed:
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
            self._ledger.save(turn)
            self._outbox.tell(UserTranscribed(turn.id, chunk.user_text, turn.utterance.duration))
        if not chunk.audio and not chunk.text:
            return
        turn.reply.append(chunk)
        self._outbox.tell(ReplyDelta(turn.id, chunk.audio, chunk.text))
        if chunk.audio and turn.audible_at is None:
            turn.audible_at = self._clock.now()
            self._receive(ReplyAudible(reply.number))

    def _tell_of_reply(self, event: type[ReplyDucked | ReplyRestored]) -> None:
        turn = self._ledger.newest
        assert turn is not None
        self._outbox.tell(event(turn.id))
