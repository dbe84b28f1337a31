"""What is said into a reply and may be a nod, which the reply goes on from. Pure."""

import secrets

from duologue.audio import INPUT_RATE, silence
from duologue.conversation.effects import Save, Send, Weigh
from duologue.conversation.events import ItemAdded, ReplyRestored, WordsTold
from duologue.conversation.items import Conversation, Item, copy
from duologue.conversation.replies import Replies
from duologue.turns.events import WordsWanted
from duologue.turns.words import Said, weigh


class Nods:
    """What may be one, until it is known what was said; those that were, are items of the conversation."""

    def __init__(self, conversation: Conversation, replies: Replies) -> None:
        self._conversation = conversation
        self._replies = replies
        self._asked = 0  # number of the newest question for words
        self._sound = silence(0, INPUT_RATE)
        self._words = ""

    def ask(self, event: WordsWanted) -> None:
        """Have somebody tell the words of what is said."""
        self._asked, self._sound, self._words = event.number, event.sound, ""
        self._replies.effects.append(Weigh(event.number, event.sound))

    def weigh(self, told: WordsTold, language: str) -> Said:
        """What the words mean that somebody has told.

        Where nobody knows them, nobody shall be ignored; and assent to a question is its answer.
        """
        if told.words is None:
            return Said.SPEECH
        if told.number == self._asked:
            self._words = told.words
        said = weigh(told.words, language)
        return Said.SPEECH if said is Said.NOD and self._replies.asks else said

    def add(self, item_id: str) -> None:
        """It was a nod: it stands in the conversation, and the reply that has this item goes on."""
        before = self._conversation.newest
        nod = Item(f"item_u{secrets.token_hex(12)}", status="completed", nod=True)
        nod.sound, nod.words = self._sound, self._words
        self._conversation.add(nod)
        added = ItemAdded(copy(nod), before.id if before else None)
        self._replies.effects += [Send(ReplyRestored(item_id, nod.id)), Save(nod), Send(added)]
