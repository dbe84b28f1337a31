"""The turns of one session: what becomes of the newest, and what their client is told of them."""

import logging
import secrets
from collections.abc import Sequence
from typing import Protocol

from duologue import metrics
from duologue.audio import INPUT_RATE, silence
from duologue.clock import Clock
from duologue.errors import InvalidEvent
from duologue.events import (
    ReplyDelta,
    ReplyTruncated,
    ServerEvent,
    SpeechStopped,
    TurnCommitted,
    TurnReopened,
    TurnStarted,
    TurnWithdrawn,
)
from duologue.model import Turn
from duologue.outbox import Outbox
from duologue.receipt import CutBy, Receipt
from duologue.turn import TurnDetector

logger = logging.getLogger(__name__)


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


class Ledger:
    """Begins, commits, cuts and closes the turns of a session, in its record and for its client.

    Attributes:
        newest: turn; None before the first, or when it was let go of.
        utterance: its, so far.
        committed: whether it is part of the conversation.
        last_word: when its last word ended, as far as is known, by the session's clock.
    """

    def __init__(
        self,
        session_id: str,
        outbox: Outbox,
        detector: TurnDetector,
        record: Record,
        clock: Clock,
    ) -> None:
        self.newest: Turn | None = None
        self.utterance = silence(0, INPUT_RATE)
        self.committed = False
        self.last_word = 0.0
        self._id = session_id
        self._outbox = outbox
        self._detector = detector
        self._record = record
        self._clock = clock
        self._stopped = False  # the client was told that the user has finished speaking
        self._withdrawn: set[str] = set()  # ids of turns that became part of the next one

    @property
    def since_last_word(self) -> float:
        """Seconds."""
        return self._clock.now() - self.last_word

    def before(self, turn: Turn | None) -> Sequence[Turn]:
        """The conversation, oldest first, but for this turn."""
        return [past for past in self._record.turns() if past is not turn]

    def begin(self, at: float | None) -> None:
        """A turn begins.

        Args:
            at: where in the session's audio, in seconds, for a client that is to be told.
        """
        self.newest = Turn(secrets.token_hex(12), silence(0, INPUT_RATE))
        self.committed = self._stopped = False
        if at is not None:
            self._outbox.tell(TurnStarted(self.newest.id, at))

    def reopen(self) -> None:
        """Both halves become one turn, under a new name: a late word about the old one must not count."""
        old = self.newest
        assert old is not None
        self._note_cut(old, "resumed")
        self._withdrawn.add(old.id)
        self._record.forget(old)
        self._outbox.tell(TurnWithdrawn(old.id))
        self.begin(self._detector.began)

    def tell_stopped(self) -> None:
        """The user seems to have finished."""
        if self.newest and not self._stopped:
            self._stopped = True
            self._outbox.tell(SpeechStopped(self.newest.id, self._detector.position))

    def go_on(self) -> None:
        """The user goes on with the newest turn, whose reply nobody was told of."""
        turn = self.newest
        assert turn is not None
        turn.receipt = Receipt(drops=turn.receipt.drops + 1)
        if self._stopped:
            self._stopped = False
            self._outbox.tell(TurnReopened(turn.id, self._detector.position))

    def commit(self) -> bool:
        """Make the newest turn part of the conversation. False: it is, or there is none."""
        turn = self.newest
        if self.committed or not turn:
            return False
        self.committed = True
        if turn.receipt.decided is None:
            turn.receipt.decided = self.since_last_word
        before = next(reversed(self._record.turns()), None)
        turn.utterance = self.utterance
        self._record.save(turn)
        if self._detector.settings.turn_detection:
            self.tell_stopped()
        answered = before is not None and (bool(before.reply) or before.audible_at is not None)
        self._outbox.tell(TurnCommitted(turn.id, before.id if before else None, answered))
        return True

    def break_off(self) -> None:
        """The client has gone in the middle of the newest turn: keep what was said."""
        turn = self.newest
        if not turn or self.committed:
            return
        turn.utterance, turn.status = self.utterance, "interrupted"
        self._record.save(turn)

    def save(self, turn: Turn) -> None:
        """Keep this turn, new or changed."""
        self._record.save(turn)

    def cut(self, turn: Turn, heard: float) -> None:
        """Keep of the reply what was heard of it, in seconds."""
        turn.truncate(heard)
        turn.receipt.heard = turn.reply_seconds
        self._record.save(turn)

    def close(self, turn: Turn, *, whole: bool = False) -> None:
        """This turn is over: its figures are complete, but for what the client may still report.

        Args:
            turn: of the conversation.
            whole: the reply was heard to its end, so its user may be waited for less again.
        """
        self._record.note(turn)
        metrics.record_turn(turn.receipt, turn.status)
        figures = ", ".join(f"{name} {value}" for name, value in turn.receipt.metadata().items())
        logger.info("%s: turn %s %s: %s", self._id, turn.id, turn.status, figures)
        patience = self._detector.patience
        if whole and not turn.receipt.cut and patience.factor > 1:
            patience.clean()
            self._record.patience = patience.factor

    # What the client reports.

    def truncate(self, turn_id: str, heard: float) -> None:
        """Cut the reply to a turn to what was heard of it.

        Raises:
            InvalidEvent: there is no such turn.
        """
        if turn_id not in self._withdrawn:
            turn = next((turn for turn in self._record.turns() if turn.id == turn_id), None)
            if not turn:
                raise InvalidEvent("there is no such item to truncate in this conversation")
            self.cut(turn, heard)
            self._record.note(turn)
        self._outbox.tell(ReplyTruncated(turn_id, heard))

    def note_playback(self, turn_id: str, ago: float) -> None:
        """Write down when the reply was first heard. A report that comes too late is worth nothing."""
        turn = self.newest
        if turn and turn.id == turn_id and turn.receipt.sent is not None:
            turn.receipt.played = max(turn.receipt.sent, self.since_last_word - ago)
            self._record.note(turn)

    def note_sent(self, event: ServerEvent) -> None:
        """Write down when the first sound of the reply was sent."""
        turn = self.newest
        if isinstance(event, ReplyDelta) and event.audio and turn and turn.id == event.turn_id:
            sent = turn.receipt.sent
            turn.receipt.sent = self.since_last_word if sent is None else sent

    def mark_cut(self) -> None:
        """The user was cut off in the newest turn of the conversation.

        Raises:
            InvalidEvent: there is none.
        """
        turns = self._record.turns()
        if not turns:
            raise InvalidEvent("no turn has ended yet, so none can have been cut off")
        if not turns[-1].receipt.cut:
            self._note_cut(turns[-1], "marked")

    def _note_cut(self, turn: Turn, by: CutBy) -> None:
        """This turn was ended too early: wait longer for this user from now on."""
        turn.receipt.cut = by
        self._record.note(turn)
        patience = self._detector.patience
        patience.cut()
        self._record.patience = patience.factor
        metrics.record_cut(by)
        logger.info("%s: cut off (%s), patience is %.2f now", self._id, by, patience.factor)
