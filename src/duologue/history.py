"""The turns of all conversations, in memory, for as long as the server runs; their figures for longer."""

import logging
from collections.abc import Sequence

from duologue.model import Turn
from duologue.turnlog import TurnLog

logger = logging.getLogger(__name__)


_TURNS = 2_000  # kept, however short they are: each costs time and memory of its own


class History:
    """Keeps turns with their recordings; when they exceed `seconds` of sound, the oldest go first.

    Attributes:
        seconds: of sound that are kept.
    """

    def __init__(self, seconds: float = 3600.0, log: TurnLog | None = None) -> None:
        # Float32 at 16 and 24 kHz: 80 kB a second of conversation, 290 MB an hour.
        self.seconds = 0.0
        self._limit = seconds
        self._kept: dict[str, tuple[Turn, ConversationRecord]] = {}  # by turn id, oldest first
        self._durations: dict[str, float] = {}  # of them, as they count in `seconds`
        self._log = log

    def conversation(self, owner: str, name: str, *, here: bool = False) -> "ConversationRecord":
        """The conversation that `owner` calls `name`; empty if there was none.

        Args:
            owner: whose it is.
            name: what the owner calls it.
            here: a new one is held on this computer itself.
        """
        for _, record in self._kept.values():
            if (record.owner, record.name) == (owner, name):
                return record
        return ConversationRecord(self, owner, name, self._log, here=here)

    def turn(self, owner: str, turn_id: str) -> Turn | None:
        """One turn, to its owner only."""
        turn, record = self._kept.get(turn_id, (None, None))
        return turn if record and record.owner == owner else None

    def keep(self, turn: Turn, record: "ConversationRecord") -> None:
        """Keep a turn, new or changed, and let go of the oldest ones for it."""
        self._kept.setdefault(turn.id, (turn, record))
        duration = _duration(turn)
        self.seconds += duration - self._durations.get(turn.id, 0.0)
        self._durations[turn.id] = duration
        while len(self._kept) > 1 and (self.seconds > self._limit or len(self._kept) > _TURNS):
            oldest, of = next(iter(self._kept.values()))
            of.forget(oldest)
            logger.info("the recordings of turn %s made room for newer ones", oldest.id)

    def forget(self, turn: Turn) -> None:
        """Let go of a turn and its recordings."""
        self._kept.pop(turn.id, None)
        self.seconds -= self._durations.pop(turn.id, 0.0)


class ConversationRecord:
    """One conversation of one user: an `exchange.Record`."""

    def __init__(
        self, history: History, owner: str, name: str, log: TurnLog | None, *, here: bool
    ) -> None:
        self.owner, self.name = owner, name
        self._history = history
        self._log = log
        self._here = here
        self._patience = 1.0  # where there is no log
        self._turns: list[Turn] = []

    @property
    def patience(self) -> float:
        """The factor by which this user's waits are longer, in whichever conversation."""
        return self._log.patience(self.owner) if self._log else self._patience

    @patience.setter
    def patience(self, factor: float) -> None:
        self._patience = factor
        if self._log:
            self._log.set_patience(self.owner, factor)

    def turns(self) -> Sequence[Turn]:
        """Oldest first."""
        return self._turns

    def save(self, turn: Turn) -> None:
        """Keep this turn, new or changed."""
        if turn not in self._turns:
            self._turns.append(turn)
        self._history.keep(turn, self)

    def forget(self, turn: Turn) -> None:
        """Let go of a turn and its recordings; its figures stay."""
        if turn in self._turns:
            self._turns.remove(turn)
        self._history.forget(turn)

    def note(self, turn: Turn) -> None:
        """Keep the figures of this turn, new or changed."""
        if self._log:
            self._log.keep(self.owner, turn.id, turn.receipt, turn.status, self._here)


def _duration(turn: Turn) -> float:
    return turn.utterance.duration + turn.reply_seconds
