"""Decides everything in one session. Pure: events in, effects out; no tasks, no clock, no I/O.

Who has the floor is one table (`floor.py`). This is what its actions do: to the turn under way, to its
reply, to the conversation, and for the client.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from duologue import metrics
from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.effects import (
    Ask,
    Drop,
    Effect,
    Forget,
    Refuse,
    Save,
    SaveFigures,
    SavePatience,
    Send,
    Start,
    WakeAt,
    Withhold,
)
from duologue.errors import DuologueError, InvalidAudio, InvalidEvent
from duologue.events import (
    AudioCleared,
    AudioReceived,
    ChunkGenerated,
    ClearRequested,
    ClientErred,
    ClientEvent,
    ClientLeft,
    CommitRequested,
    CutMarked,
    DetectorEvent,
    DrainRequested,
    EndpointAnswered,
    ErrorOccurred,
    IdleTimedOut,
    LimitApproached,
    LimitNear,
    Overheard,
    Pinged,
    PlaybackStarted,
    PlaybackTruncated,
    Ponged,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyDucked,
    ReplyDue,
    ReplyEnded,
    ReplyRequested,
    ReplyRestored,
    ReplyStarted,
    ReplyTruncated,
    Report,
    ServerEvent,
    SettingsApplied,
    SettingsChanged,
    SoundMissed,
    SoundSent,
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
from duologue.floor import (
    Action,
    Event,
    Floor,
    ReplyGenerated,
    ReplyPlayed,
    ReplySounds,
    State,
    TurnSealed,
)
from duologue.model import Capabilities, Prompt, ReplyChunk, Turn
from duologue.overhearing import Overhearing
from duologue.receipt import CutBy, Receipt
from duologue.turn import TurnDetector

logger = logging.getLogger(__name__)

_AT_ONCE = 0.01  # seconds between two things that one window of audio has caused
_RUSHED = (
    0.25  # seconds of sound that came faster than anybody speaks, from which a client plays nothing
)

_ANSWERING = (State.AWAITED, State.THINKING, State.SPEAKING, State.DUCKED)
"""A reply is made, and the client may know of it."""

_Reason = Literal["turn_detected", "client_cancelled"]


@dataclass(slots=True)
class _Reply:
    """A reply that is made, or sounds.

    Attributes:
        number: of the reply, as the session and the model know it.
        turn: that it answers.
        begun: when the model was asked, by the session's clock.
        waiting: what the model has made, and the client was not sent yet.
        said: the words that the client was sent.
        ended: the model has made all of it, or has failed.
        error: why it failed.
        finished: the client was told that it is complete.
        seconds: of sound that the client was sent.
        sealed: it was truncated: what comes now is not part of the turn.
    """

    number: int
    turn: Turn
    begun: float
    waiting: list[ReplyChunk] = field(default_factory=list)
    said: str = ""
    ended: bool = False
    error: DuologueError | None = None
    finished: bool = False
    seconds: float = 0.0
    sealed: bool = False

    @property
    def sounds(self) -> bool:
        """Whether there is sound that waits."""
        return any(chunk.audio for chunk in self.waiting)

    @property
    def plays_until(self) -> float:
        """When it will have been played, by the session's clock, if it is played without a hole."""
        return (self.turn.audible_at or 0.0) + self.seconds


class Dialogue:
    """The turns of one session, their replies, and the conversation that they become part of.

    Attributes:
        turns: begun so far.
        at_rest_since: when something last ended that leaves the floor to nobody, by the session's clock.
    """

    def __init__(
        self,
        session_id: str,
        detector: TurnDetector,
        capabilities: Capabilities,
        conversation: Callable[[], Sequence[Turn]],
        now: float = 0.0,
    ) -> None:
        """A dialogue that goes on with a conversation.

        Args:
            session_id: for models, and for the log.
            detector: that hears the user.
            capabilities: of the model.
            conversation: gives the turns that are kept, oldest first.
            now: by the session's clock.
        """
        self.turns = 0
        self.at_rest_since = now
        self._id = session_id
        self._detector = detector
        self._conversation = conversation
        self._floor = Floor()
        self._overhearing = Overhearing(
            capabilities.overhears,
            detector,
            lambda utterance: self._prompt(self._turn, utterance, detector.pause),
        )
        self._now = now
        self._effects: list[Effect] = []
        self._replies = 0  # begun so far
        self._reply: _Reply | None = None
        self._turn: Turn | None = None  # the newest; None: there is none, or it was forgotten
        self._utterance = silence(0, INPUT_RATE)  # its, so far
        self._committed = False  # it is part of the conversation
        self._stopped = False  # the client was told that the user has finished
        self._withdrawn: set[str] = set()  # ids of turns that became part of the next one
        self._last_word = now  # when it ended, as far as is known
        self._pause = 0  # that the detector heard last
        self._quiet = 0.0  # seconds for which nobody has had the floor
        self._quiet_since = 0.0  # where in the incoming audio they began
        self._lead = 0.0  # seconds of sound that came faster than anybody speaks
        self._lead_at = now
        self._draining = False

    @property
    def state(self) -> State:
        """Who has the floor."""
        return self._floor.state

    @property
    def is_answering(self) -> bool:
        """Whether a reply is made or sounds, to a turn that has ended."""
        return self.state in _ANSWERING

    def receive(self, event: ClientEvent | Report, now: float) -> Sequence[Effect]:
        """Take an event into account.

        Args:
            event: what happened.
            now: when, by the session's clock.

        Returns:
            What has to be done, in this order.
        """
        self._now, self._effects = now, []
        self._advance()
        try:
            if isinstance(event, Report):
                self._learn(event)
            else:
                self._obey(event)
        except (InvalidEvent, InvalidAudio) as error:
            self._effects.append(Refuse(error))
        return self._effects

    def _learn(self, event: Report) -> None:
        """Take into account what is reported of the model, the line and the clock."""
        match event:
            case SoundMissed(seconds, late):
                self._miss(seconds, late)
            case ChunkGenerated(number, chunk):
                self._receive_chunk(number, chunk)
            case ReplyEnded(number, error):
                self._end_reply(number, error)
            case EndpointAnswered(pause, probability):
                self._detector.answer(pause, probability)
            case Overheard():
                self._effects += self._overhearing.hear(event)
            case SoundSent(turn_id):
                self._note_sent(turn_id)
            case DrainRequested():
                self._drain()
            case ClientLeft():
                self._follow(event)
                self._effects += self._overhearing.stop()

    # What the client wants.

    def _obey(self, event: ClientEvent) -> None:
        """Do what the client wants."""
        match event:
            case AudioReceived():
                self._hear(event)
            case CommitRequested():
                self._commit()
            case ClearRequested():
                self._clear()
                self._send(AudioCleared())
            case ReplyRequested():
                self._request_reply()
            case ReplyCancelled():
                self._follow(event)
            case SettingsChanged():
                self._change(event)
            case _:
                self._note(event)

    def _note(
        self, event: PlaybackTruncated | PlaybackStarted | CutMarked | Pinged | ClientErred
    ) -> None:
        """Take into account what the client reports."""
        match event:
            case PlaybackTruncated(turn_id, heard):
                self._truncate(turn_id, heard)
            case PlaybackStarted(turn_id, ago):
                self._note_playback(turn_id, ago)
            case CutMarked():
                self._mark_cut()
            case Pinged():
                self._send(Ponged())
            case ClientErred(error, event_id):
                self._effects.append(Refuse(error, event_id))

    def _commit(self) -> None:
        """End the utterance here. Who is interrupting a reply has interrupted it."""
        if self.state is State.AWAITED and self._detector.is_open:
            self._detector.close()  # nothing was said since: the user cannot go on with it any more
            self._advance()
            return
        if begun := self._detector.believe():
            self._follow(begun)
        if self._detector.playing and self._detector.settings.turn_detection:
            raise InvalidEvent("there is no audio to commit; append some first")
        ended = self._detector.commit()
        self._utterance, self._last_word = ended.utterance, self._now
        self._follow(CommitRequested())

    def _clear(self) -> None:
        self._detector.clear()
        self._follow(ClearRequested())

    def _request_reply(self) -> None:
        if self._draining:
            return
        if self.state is not State.LISTENING:
            raise InvalidEvent("a reply can be asked for when no turn or reply is under way")
        turn = self._turn
        if not turn or not turn.utterance.duration or turn.status != "in_progress":
            raise InvalidEvent("there is nothing to answer; commit some audio first")
        self._follow(ReplyRequested())

    def _change(self, event: SettingsChanged) -> None:
        old, new = self._detector.settings, event.settings
        interrupting = self.state is State.DUCKED and not new.interrupt_response
        if new.turn_detection != old.turn_detection or interrupting:
            self._clear()
        self._detector.settings = new
        self._send(SettingsApplied(new))

    def _truncate(self, turn_id: str, heard: float) -> None:
        """Keep of a reply what the client has played of it."""
        if turn_id not in self._withdrawn:
            turn = next((turn for turn in self._conversation() if turn.id == turn_id), None)
            if not turn:
                raise InvalidEvent("there is no such item to truncate in this conversation")
            if self._reply and self._reply.turn is turn:
                self._reply.sealed = True
            self._cut(turn, heard)
            self._effects.append(SaveFigures(turn))
        self._send(ReplyTruncated(turn_id, heard))

    def _note_playback(self, turn_id: str, ago: float) -> None:
        """Write down when the reply was first played. A report that comes too late is worth nothing."""
        turn = self._turn
        if turn and turn.id == turn_id and turn.receipt.sent is not None:
            turn.receipt.played = max(turn.receipt.sent, self._since_last_word - ago)
            self._effects.append(SaveFigures(turn))

    def _note_sent(self, turn_id: str) -> None:
        turn = self._turn
        if turn and turn.id == turn_id and turn.receipt.sent is None:
            turn.receipt.sent = self._since_last_word

    def _mark_cut(self) -> None:
        turns = self._conversation()
        if not turns:
            raise InvalidEvent("no turn has ended yet, so none can have been cut off")
        if not turns[-1].receipt.cut:
            self._note_cut(turns[-1], "marked")

    # What the detector hears.

    def _hear(self, event: AudioReceived) -> None:
        if self._draining:
            return
        chunk = event.chunk
        self._lead = max(0.0, self._lead - (self._now - self._lead_at)) + chunk.duration
        self._lead_at = self._now
        try:
            self._detect(self._detector.push(chunk, echo=event.echo))
        finally:
            self._watch_idle(chunk.duration)

    def _miss(self, seconds: float, late: float) -> None:
        if self._draining or not self._detector.settings.turn_detection:
            return
        if self.state is not State.LISTENING:
            self._detect(self._detector.miss(seconds, late))
        self._watch_idle(seconds)

    def _detect(self, events: Iterator[DetectorEvent]) -> None:
        """Take into account what the detector hears, and let the model overhear a turn that is open."""
        try:
            for event in events:
                if not self._is_deaf():
                    self._follow_detector(event)
        finally:
            if self._is_deaf():
                self._detector.clear()
            self._advance()
            turn = self._turn
            speaks = turn is not None and not self._committed and self._detector.is_open
            self._effects += self._overhearing.follow(turn.id if turn and speaks else None)

    def _follow_detector(self, event: DetectorEvent) -> None:
        match event:
            case LimitNear():
                turn = self._turn if self.state is State.HEARING else None
                self._send(LimitApproached(turn.id if turn else None, event.left))
            case TurnEnded() if not self._detector.settings.create_response:
                self._utterance = event.utterance
                self._follow(CommitRequested())
            case _:
                self._follow(event)

    def _is_deaf(self) -> bool:
        """Whether what comes in is not listened to: a reply is under way and may not be interrupted."""
        return self.is_answering and not self._detector.settings.interrupt_response

    def _watch_idle(self, seconds: float) -> None:
        """So many seconds have passed, with sound or without."""
        position, settings = self._detector.position, self._detector.settings
        if self.state is not State.LISTENING or not settings.turn_detection:
            self._quiet, self._quiet_since = 0.0, position
            return
        self._quiet += seconds
        if settings.idle_timeout is not None and self._quiet >= settings.idle_timeout:
            self._send(IdleTimedOut(self._quiet_since, position))
            self._quiet, self._quiet_since = 0.0, position

    # The end.

    def _drain(self) -> None:
        """Take no new turn. A reply that was begun in secret is let out."""
        self._draining = True
        if self.state is State.EARLY:
            self._follow(self._detector.commit())

    # What the table says.

    def _follow(self, event: Event | None) -> None:
        """Go to the next state and do what has to be done; then what follows from that."""
        while event:
            for action in self._floor.receive(event):
                self._do(action, event)
            self._detector.playing = self.state in (State.SPEAKING, State.DUCKED)
            if self.state is State.LISTENING:
                self._detector.close()
                self.at_rest_since = self._now
            event = self._due()
        if self._reply and self.state in (State.THINKING, State.SPEAKING, State.DUCKED):
            self._send_waiting(self._reply)

    def _advance(self) -> None:
        """Let happen what is due."""
        self._follow(self._due())

    def _due(self) -> Event | None:
        """What follows from the state of the reply, without anybody's doing."""
        reply = self._reply
        if not reply:
            return None
        if self.state in (State.AWAITED, State.THINKING):
            if reply.sounds:
                return ReplySounds()
            if reply.ended:
                return ReplyGenerated()
            if self.state is State.AWAITED and not self._detector.is_open:
                return TurnSealed()
        if self.state in (State.SPEAKING, State.DUCKED):
            if reply.ended and not reply.finished:
                return ReplyGenerated()
            if reply.finished and self._now >= reply.plays_until:
                return ReplyPlayed()
        return None

    def _do(self, action: Action, event: Event) -> None:
        match action:
            case Action.BEGIN_TURN:
                self._begin_turn(event.at if isinstance(event, SpeechStarted) else None)
            case Action.CONTINUE_TURN:
                self._continue_turn()
            case Action.COMMIT_TURN:
                self._commit_turn()
            case Action.FORGET_TURN:
                self._turn = None
            case Action.KEEP_TURN:
                self._keep_turn()
            case Action.END_TURN if isinstance(event, TurnEnded):
                self._end_turn(event)
            case Action.REOPEN_TURN:
                self._reopen_turn()
            case Action.ASK_ENDPOINT if isinstance(event, SpeechPaused):
                self._ask(event)
            case _:
                self._do_with_reply(action, event)

    def _do_with_reply(self, action: Action, event: Event) -> None:
        match action:
            case Action.START_REPLY:
                self._start_reply(event)
            case Action.REQUEST_REPLY if not self._reply:
                self._start_reply(event)
            case Action.DROP_REPLY if self._reply:
                self._drop_reply(self._reply)
            case Action.STOP_REPLY if self._reply:
                self._stop_reply(self._reply, event)
            case Action.FINISH_REPLY if self._reply:
                self._finish_reply(self._reply)
            case Action.CLOSE_REPLY if self._reply:
                self._close_reply(self._reply)
            case Action.ANNOUNCE_REPLY if self._reply:
                self._send(ReplyStarted(self._reply.turn.id))
            case Action.DUCK if self._reply:
                metrics.record_duck()
                self._send(ReplyDucked(self._reply.turn.id))
            case Action.RESTORE if self._reply:
                self._send(ReplyRestored(self._reply.turn.id))

    # The turn.

    @property
    def _since_last_word(self) -> float:
        """Seconds."""
        return self._now - self._last_word

    def _begin_turn(self, at: float | None) -> None:
        """A turn begins.

        Args:
            at: where in the session's audio, in seconds, for a client that has to be told.
        """
        self.turns += 1
        self._turn = Turn(secrets.token_hex(12), silence(0, INPUT_RATE))
        self._committed = self._stopped = False
        if at is not None:
            self._send(TurnStarted(self._turn.id, at))

    def _continue_turn(self) -> None:
        """Both halves become one turn, under a new id: a late word about the old one must not count."""
        old = self._turn
        assert old is not None
        self._note_cut(old, "resumed")
        self._withdrawn.add(old.id)
        self._effects.append(Forget(old))
        self._send(TurnWithdrawn(old.id))
        self._begin_turn(self._detector.began)

    def _ask(self, event: SpeechPaused) -> None:
        self._pause = event.pause
        ago = self._detector.position - event.last_word + self._detector.behind
        self._last_word = self._now - ago
        if self._detector.settings.patience != "fixed":
            self._effects.append(Ask(event.pause, event.sound))

    def _end_turn(self, event: TurnEnded) -> None:
        turn = self._turn
        assert turn is not None
        receipt = turn.receipt
        receipt.decided = self._since_last_word
        receipt.pause = event.pause
        receipt.early = (receipt.started or 0.0) < receipt.decided - _AT_ONCE
        self._send_stopped()

    def _send_stopped(self) -> None:
        """The user seems to have finished."""
        if self._turn and not self._stopped:
            self._stopped = True
            self._send(SpeechStopped(self._turn.id, self._detector.position))

    def _reopen_turn(self) -> None:
        """The user goes on with a turn that was told as ended."""
        if self._turn and self._stopped:
            self._stopped = False
            self._send(TurnReopened(self._turn.id, self._detector.position))

    def _commit_turn(self) -> None:
        """Make the turn part of the conversation."""
        turn = self._turn
        assert turn is not None
        before = next(reversed(self._before(turn)), None)
        self._committed = True
        if turn.receipt.decided is None:
            turn.receipt.decided = self._since_last_word
        turn.utterance = self._utterance
        self._effects.append(Save(turn))
        if self._detector.settings.turn_detection:
            self._send_stopped()
        answered = before is not None and (bool(before.reply) or before.audible_at is not None)
        self._send(TurnCommitted(turn.id, before.id if before else None, answered))

    def _keep_turn(self) -> None:
        turn = self._turn
        assert turn is not None
        if self._detector.is_open:
            self._utterance = self._detector.commit().utterance
        turn.utterance, turn.status = self._utterance, "interrupted"
        self._effects.append(Save(turn))

    def _before(self, turn: Turn | None) -> Sequence[Turn]:
        """The conversation, oldest first, but for this turn and what became part of it."""
        return [
            past
            for past in self._conversation()
            if past is not turn and past.id not in self._withdrawn
        ]

    # The reply.

    def _start_reply(self, event: Event) -> None:
        turn = self._turn
        assert turn is not None
        if isinstance(event, ReplyDue | TurnEnded):
            self._utterance = event.utterance
        if isinstance(event, TurnEnded) and not event.pause:
            self._last_word = self._now  # the time limit: it was not the last
        turn.receipt.started = self._since_last_word
        in_pause = isinstance(event, ReplyDue) or (isinstance(event, TurnEnded) and event.pause)
        self._replies += 1
        self._reply = _Reply(self._replies, turn, self._now)
        prompt = self._prompt(turn, self._utterance, self._pause if in_pause else 0)
        self._effects.append(Start(self._replies, prompt))

    def _prompt(self, turn: Turn | None, utterance: AudioChunk, pause: int) -> Prompt:
        instructions = self._detector.settings.instructions
        return Prompt(utterance, self._before(turn), instructions, self._id, pause)

    def _receive_chunk(self, number: int, chunk: ReplyChunk) -> None:
        reply = self._reply
        if not reply or number != reply.number:
            return
        receipt = reply.turn.receipt
        if receipt.first_token is None and (chunk.audio or chunk.text):
            receipt.first_token = self._since_last_word
        if chunk.audio and receipt.first_sound is None:
            receipt.first_sound = self._since_last_word
            self._detector.patience.learn(self._now - reply.begun)
        reply.waiting.append(chunk)
        self._advance()

    def _end_reply(self, number: int, error: DuologueError | None) -> None:
        reply = self._reply
        if reply and number == reply.number:
            reply.ended, reply.error = True, error
            self._advance()

    def _send_waiting(self, reply: _Reply) -> None:
        waiting, reply.waiting = reply.waiting, []
        for chunk in waiting:
            self._send_chunk(reply, chunk)

    def _send_chunk(self, reply: _Reply, chunk: ReplyChunk) -> None:
        turn = reply.turn
        if chunk.user_text is not None:
            turn.user_text = chunk.user_text
            self._effects.append(Save(turn))
            self._send(UserTranscribed(turn.id, chunk.user_text, turn.utterance.duration))
        if not chunk.audio and not chunk.text:
            return
        if not reply.sealed:
            turn.reply.append(chunk)
        reply.said += chunk.text
        if chunk.audio:
            reply.seconds += chunk.audio.duration
            if turn.audible_at is None:
                turn.audible_at = self._now
        self._send(ReplyDelta(turn.id, chunk.audio, chunk.text))

    def _finish_reply(self, reply: _Reply) -> None:
        """The model has made all of it: the client is told; what sounds goes on to be played."""
        self._send_waiting(reply)
        reply.finished = True
        turn, error = reply.turn, reply.error
        turn.status = "failed" if error else "interrupted" if reply.sealed else "completed"
        self._effects.append(Save(turn))
        if error:
            self._send(ErrorOccurred(error))
        reason = "failed" if error else "completed"
        self._send(ReplyDone(turn.id, reply.said.strip(), reason, error, turn.receipt))
        self._effects.append(WakeAt(reply.plays_until))

    def _close_reply(self, reply: _Reply) -> None:
        """It was played to its end."""
        self._reply = None
        if not reply.sealed:
            reply.turn.receipt.heard = reply.turn.reply_seconds
        self._close_turn(reply.turn, whole=True)

    def _drop_reply(self, reply: _Reply) -> None:
        """Take back a reply that nobody was told of."""
        self._reply = None
        if not reply.ended:
            self._effects.append(Drop(reply.number))
        receipt = reply.turn.receipt
        kept = receipt.decided if self._committed else None
        reply.turn.receipt = Receipt(decided=kept, drops=receipt.drops + 1)

    def _stop_reply(self, reply: _Reply, event: Event) -> None:
        """Stop first, then tell: a slow client must not delay the stop."""
        self._reply, turn = None, reply.turn
        reason: _Reason = "turn_detected"
        if isinstance(event, ReplyCancelled | ClientLeft):
            reason = "client_cancelled"
        if not reply.ended:
            self._effects.append(Drop(reply.number))
        self._effects.append(Withhold(turn.id))
        if turn.audible_at is not None and reason == "turn_detected":
            metrics.record_stop()
        if isinstance(event, ClientLeft) and event.error:
            turn.status = "failed"
        elif not reply.finished:
            turn.status = "interrupted"
        if turn.receipt.heard is None:
            self._cut(turn, self._played(reply, event))
        self._effects.append(Save(turn))
        if not reply.finished:
            self._send(ReplyDone(turn.id, reply.said.strip(), reason, receipt=turn.receipt))
        self._close_turn(turn)

    def _played(self, reply: _Reply, event: Event) -> float:
        """Seconds of a reply that can have been played by now; a client that knows better truncates more.

        A client that sends sound faster than anybody speaks does not play what it gets, and one that ends
        its utterances itself truncates what it has not played: to both, a finished reply is whole.
        """
        audible_at = reply.turn.audible_at
        if audible_at is None:
            return 0.0
        rushes = self._lead - (self._now - self._lead_at) >= _RUSHED
        if reply.finished and (rushes or isinstance(event, CommitRequested)):
            return reply.seconds
        return self._now - audible_at

    def _cut(self, turn: Turn, heard: float) -> None:
        """Keep of the reply what was heard of it, in seconds."""
        turn.truncate(heard)
        turn.receipt.heard = turn.reply_seconds
        self._effects.append(Save(turn))

    def _close_turn(self, turn: Turn, *, whole: bool = False) -> None:
        """This turn is over: its figures are complete, but for what the client may still report.

        Args:
            turn: of the conversation.
            whole: the reply was heard to its end, so its user may be waited for less again.
        """
        self._effects.append(SaveFigures(turn))
        metrics.record_turn(turn.receipt, turn.status)
        figures = ", ".join(f"{name} {value}" for name, value in turn.receipt.metadata().items())
        logger.info("%s: turn %s %s: %s", self._id, turn.id, turn.status, figures)
        patience = self._detector.patience
        if whole and not turn.receipt.cut and patience.factor > 1:
            patience.clean()
            self._effects.append(SavePatience(patience.factor))

    def _note_cut(self, turn: Turn, by: CutBy) -> None:
        """This turn was ended too early: wait longer for this user from now on."""
        turn.receipt.cut = by
        patience = self._detector.patience
        patience.cut()
        self._effects += [SaveFigures(turn), SavePatience(patience.factor)]
        metrics.record_cut(by)
        logger.info("%s: cut off (%s), patience is %.2f now", self._id, by, patience.factor)

    def _send(self, event: ServerEvent) -> None:
        self._effects.append(Send(event))
