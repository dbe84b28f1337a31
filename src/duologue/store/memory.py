"""The conversations of all users, in memory, for as long as the server runs; figures for longer."""

import logging

from duologue.conversation.items import Conversation, Item, Turn
from duologue.store.figures import TurnLog

logger = logging.getLogger(__name__)


_ITEMS = 4_000  # kept, however short they are: each costs time and memory of its own


class History:
    """Keeps items with their recordings; when they exceed `seconds` of sound, the oldest go first.

    Attributes:
        seconds: of sound that are kept.
    """

    def __init__(self, seconds: float = 3600.0, log: TurnLog | None = None) -> None:
        # Float32 at 16 and 24 kHz: 80 kB a second of conversation, 290 MB an hour.
        self.seconds = 0.0
        self._limit = seconds
        self._kept: dict[Item, ConversationRecord] = {}  # oldest first
        self._turns: dict[tuple[str, str], Item] = {}  # by owner and turn id
        self._durations: dict[Item, float] = {}  # of them, as they count in `seconds`
        self._log = log

    def conversation(
        self, owner: str, name: str, *, is_local: bool = False
    ) -> "ConversationRecord":
        """The conversation that `owner` calls `name`; empty if there was none.

        Args:
            owner: whose it is.
            name: what the owner calls it.
            is_local: a new one is held on this computer itself.
        """
        for record in self._kept.values():
            if (record.owner, record.name) == (owner, name):
                return record
        return ConversationRecord(self, owner, name, self._log, is_local=is_local)

    def turn(self, owner: str, turn_id: str) -> Turn | None:
        """One turn, to its owner only."""
        item = self._turns.get((owner, turn_id))
        return Turn(item) if item else None

    def keep(self, item: Item, record: "ConversationRecord") -> None:
        """Keep an item, new or changed, and let go of the oldest ones for it."""
        self._kept.setdefault(item, record)
        if item.sound:
            self._turns[record.owner, item.turn_id] = item
        duration = _duration(item)
        self.seconds += duration - self._durations.get(item, 0.0)
        self._durations[item] = duration
        while len(self._kept) > 1 and (self.seconds > self._limit or len(self._kept) > _ITEMS):
            oldest, of = next(iter(self._kept.items()))
            of.forget(oldest)
            logger.info("the recording of %s made room for newer ones", oldest.id)

    def forget(self, item: Item) -> None:
        """Let go of an item and its recording."""
        if record := self._kept.pop(item, None):
            self._turns.pop((record.owner, item.turn_id), None)
        self.seconds -= self._durations.pop(item, 0.0)


class ConversationRecord:
    """One conversation of one user: a `session.Record`.

    Attributes:
        conversation: what is kept of it.
    """

    def __init__(
        self, history: History, owner: str, name: str, log: TurnLog | None, *, is_local: bool
    ) -> None:
        self.owner, self.name = owner, name
        self.conversation = Conversation()
        self._history = history
        self._log = log
        self._local = is_local
        self._patience = 1.0  # where there is no log

    @property
    def patience(self) -> float:
        """The factor by which this user's waits are longer, in whichever conversation."""
        return self._log.patience(self.owner) if self._log else self._patience

    @patience.setter
    def patience(self, factor: float) -> None:
        self._patience = factor
        if self._log:
            self._log.set_patience(self.owner, factor)

    def save(self, item: Item) -> None:
        """Keep this item, new or changed."""
        if item not in self.conversation:
            self.conversation.add(item)
        self._history.keep(item, self)

    def forget(self, item: Item) -> None:
        """Let go of an item and its recording; its figures stay."""
        self.conversation.remove(item)
        self._history.forget(item)

    def note(self, turn: Turn) -> None:
        """Keep the figures of this turn, new or changed."""
        if self._log:
            self._log.keep(self.owner, turn.id, turn.timings, turn.status, self._local)


def _duration(item: Item) -> float:
    """Seconds of sound. A text counts as the sound that takes its room: 4 bytes a letter, 80 kB/s."""
    return item.seconds + len(item.text) / 20_000
