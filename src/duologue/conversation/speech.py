"""What the user says, as it becomes an item of the conversation. Pure.

The detector hears when an utterance begins, pauses and ends (`turn.py`), and the floor decides what follows
(`floor.py`). This is what happens to the item then.
"""

import secrets

from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation.effects import Ask, Effect, Forget, Save, Send
from duologue.conversation.events import (
    ItemsWithdrawn,
    ServerEvent,
    SpeechStopped,
    TurnCommitted,
    TurnReopened,
    TurnStarted,
)
from duologue.conversation.items import Conversation, Item, Turn
from duologue.conversation.replies import Replies
from duologue.turns.detector import TurnDetector
from duologue.turns.events import SpeechPaused, TurnEnded

_AT_ONCE = 0.01  # seconds between two things that one window of audio has caused


class Speech:
    """The item under way, or the last one.

    Attributes:
        count: of items begun so far.
        item: what the user says, or said last; None: it was forgotten.
        utterance: its sound so far, with that of the items that it goes on with.
        is_committed: it is part of the conversation.
        last_word: when its last word ended, as far as is known, by the session's clock.
        pause: that the detector heard last.
        withdrawn: ids of items that became part of the next one.
    """

    def __init__(
        self,
        detector: TurnDetector,
        conversation: Conversation,
        replies: Replies,
        *,
        extensions: bool,
    ) -> None:
        """Make items of what the user says.

        Args:
            detector: that hears it.
            conversation: that they become part of.
            replies: to them.
            extensions: the client knows our extensions of the Realtime API: an item that it was told of may
                become part of the next one.
        """
        self.count = 0
        self.item: Item | None = None
        self.utterance = silence(0, INPUT_RATE)
        self.is_committed = False
        self.last_word = replies.now
        self.pause = 0
        self.withdrawn: set[str] = set()
        self._stopped = False  # the client was told that the user has finished
        self._detector = detector
        self._conversation = conversation
        self._replies = replies
        self._extensions = extensions

    @property
    def is_open(self) -> bool:
        """Whether the user says something that is not committed."""
        return self.item is not None and not self.is_committed and self._detector.is_open

    @property
    def before(self) -> list[Item]:
        """The conversation, oldest first, but for what the user says now."""
        said = self.item.chain if self.item else []
        return [item for item in self._conversation.for_models() if item not in said]

    @property
    def _since_last_word(self) -> float:
        """Seconds."""
        return self._replies.now - self.last_word

    def begin(self, at: float | None) -> Item:
        """The user begins an item.

        Args:
            at: where in the session's audio, in seconds, for a client that has to be told.
        """
        self.count += 1
        self._detector.asked = self._conversation.asks
        self.item = item = Item(f"item_u{secrets.token_hex(12)}")
        self.is_committed = self._stopped = False
        if at is not None:
            self._send(TurnStarted(item.id, at))
        return item

    def go_on(self) -> None:
        """Both halves become one item, under a new id: a late word about the old one must not count."""
        old = self.item
        assert old is not None
        self._replies.note_cut(Turn(old), "resumed")
        answer = old.response.item if old.response else None
        if not self._extensions:
            if answer:
                answer.superseded = True
            self.begin(self._detector.position).continues = old
            return
        withdrawn = [item for item in (old, answer) if item and item in self._conversation]
        for item in withdrawn:
            self.withdrawn.add(item.id)
            self._conversation.remove(item)
            self._do(Forget(item))
        self._send(ItemsWithdrawn(tuple(item.id for item in withdrawn)))
        self.begin(self._detector.began)

    def note_pause(self, event: SpeechPaused) -> None:
        """The user has paused: ask how finished it sounds."""
        self.pause = event.pause
        ago = self._detector.position - event.last_word + self._detector.behind
        self.last_word = self._replies.now - ago
        if self._detector.settings.patience != "fixed":
            self._do(Ask(event.pause, event.sound))

    def end(self, event: TurnEnded) -> None:
        """The user has finished, as far as is known."""
        item = self.item
        assert item is not None
        timings = item.timings
        timings.decided = self._since_last_word
        timings.pause = event.pause
        timings.early = (timings.started or 0.0) < timings.decided - _AT_ONCE
        self._send_stopped()

    def _send_stopped(self) -> None:
        """The user seems to have finished."""
        if self.item and not self._stopped:
            self._stopped = True
            self._send(SpeechStopped(self.item.id, self._detector.position))

    def reopen(self) -> None:
        """The user goes on with an item that was told as ended."""
        if self.item and self._stopped:
            self._stopped = False
            self._send(TurnReopened(self.item.id, self._detector.position))

    def commit(self) -> None:
        """Make what the user said part of the conversation."""
        item, before = self.item, self._conversation.newest
        assert item is not None
        self.is_committed = True
        if item.timings.decided is None:
            item.timings.decided = self._since_last_word
        item.sound = self._own_part(item)
        self._conversation.add(item)
        self._do(Save(item))
        if self._detector.settings.turn_detection:
            self._send_stopped()
        self._send(TurnCommitted(item.id, before.id if before else None))

    def keep(self) -> None:
        """The client has gone: what was said is kept, though the user has not finished."""
        item = self.item
        assert item is not None
        if self._detector.is_open:
            self.utterance = self._detector.commit().utterance
        item.sound, item.status = self._own_part(item), "interrupted"
        self._conversation.add(item)
        self._do(Save(item))

    def _own_part(self, item: Item) -> AudioChunk:
        """Of the utterance, what no item that this one goes on with has."""
        if not item.continues:
            return self.utterance
        before = sum(part.seconds for part in item.chain[:-1])
        return self.utterance.between(before, self.utterance.duration)

    def _send(self, event: ServerEvent) -> None:
        self._do(Send(event))

    def _do(self, effect: Effect) -> None:
        self._replies.effects.append(effect)
