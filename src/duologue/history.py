"""The turns of all conversations, in memory, for as long as the server runs."""

import logging
from collections.abc import Sequence

from duologue.model import Turn

logger = logging.getLogger(__name__)


class History:
    """Keeps turns with their recordings; when they exceed `seconds` of sound, the oldest go first."""

    def __init__(self, seconds: float = 3600.0) -> None:
        # Float32 at 16 and 24 kHz: 80 kB a second of conversation, 290 MB an hour.
        self._limit = seconds
        self._kept: dict[str, tuple[Turn, ConversationRecord]] = {}  # by turn id, oldest first

    def conversation(self, owner: str, name: str) -> "ConversationRecord":
        """The conversation that `owner` calls `name`; empty if there was none."""
        for _, record in self._kept.values():
            if (record.owner, record.name) == (owner, name):
                return record
        return ConversationRecord(self, owner, name)

    def turn(self, owner: str, turn_id: str) -> Turn | None:
        """One turn, to its owner only."""
        turn, record = self._kept.get(turn_id, (None, None))
        return turn if record and record.owner == owner else None

    def keep(self, turn: Turn, record: "ConversationRecord") -> None:
        """Keep a turn, new or changed, and let go of the oldest ones for it."""
        self._kept.setdefault(turn.id, (turn, record))
        seconds = sum(_duration(kept) for kept, _ in self._kept.values())
        while seconds > self._limit and len(self._kept) > 1:
            oldest, of = self._kept.pop(next(iter(self._kept)))
            seconds -= _duration(oldest)
            of.forget(oldest)
            logger.info("the recordings of turn %s made room for newer ones", oldest.id)


class ConversationRecord:
    """One conversation of one user: a `session.Record`."""

    def __init__(self, history: History, owner: str, name: str) -> None:
        self.owner, self.name = owner, name
        self._history = history
        self._turns: list[Turn] = []

    def turns(self) -> Sequence[Turn]:
        """Oldest first."""
        return self._turns

    def save(self, turn: Turn) -> None:
        """Keep this turn, new or changed."""
        if turn not in self._turns:
            self._turns.append(turn)
        self._history.keep(turn, self)

    def forget(self, turn: Turn) -> None:
        """Let go of a turn."""
        self._turns.remove(turn)


def _duration(turn: Turn) -> float:
    return turn.utterance.duration + sum(c.audio.duration for c in turn.reply if c.audio)
