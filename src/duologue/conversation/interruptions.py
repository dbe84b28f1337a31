"""What is said into a reply: a nod, perhaps; and the reply that it stops, which may go on again. Pure."""

import secrets

from duologue.audio import INPUT_RATE, silence
from duologue.conversation.effects import Save, Send, Weigh
from duologue.conversation.events import ItemAdded, ReplyRestored, WordsTold
from duologue.conversation.items import Conversation, Item, ReplyChunk, copy
from duologue.conversation.replies import Replies
from duologue.conversation.stopped import Stopped
from duologue.errors import InvalidEvent
from duologue.turns.detector import TurnDetector
from duologue.turns.events import WordsWanted
from duologue.turns.words import Said, asks_to_go_on, likely, weigh

_FORGOTTEN = 60.0  # seconds after which a reply that was stopped is not taken up any more


class Interruptions:
    """What may be one, until it is known what was said, and what becomes of the reply."""

    def __init__(
        self, conversation: Conversation, replies: Replies, detector: TurnDetector
    ) -> None:
        self._conversation = conversation
        self._replies = replies
        self._detector = detector
        self._told = ""  # the language that the user spoke last, as a model tells
        self._asked = 0  # number of the newest question for words
        self._sound = silence(0, INPUT_RATE)
        self._words = ""

    # Nods.

    def ask(self, event: WordsWanted) -> None:
        """Have somebody tell the words of what is said."""
        self._asked, self._sound, self._words = event.number, event.sound, ""
        language = self._language
        self._replies.effects.append(Weigh(event.number, event.sound, language, likely(language)))

    def weigh(self, told: WordsTold) -> Said:
        """What the words mean that somebody has told.

        Where nobody knows them, nobody shall be ignored; and assent to a question is its answer.
        """
        if told.words is None:
            return Said.SPEECH
        if told.number == self._asked:
            self._words = told.words
        said = weigh(told.words, self._language)
        return Said.SPEECH if said is Said.NOD and self._replies.asks else said

    def add_nod(self, item_id: str) -> None:
        """It was a nod: it stands in the conversation, and the reply that has this item goes on."""
        before = self._conversation.newest
        nod = Item(f"item_u{secrets.token_hex(12)}", status="completed", nod=True)
        nod.sound, nod.words = self._sound, self._words
        self._conversation.add(nod)
        added = ItemAdded(copy(nod), before.id if before else None)
        self._replies.effects += [Send(ReplyRestored(item_id, nod.id)), Save(nod), Send(added)]

    # Replies that are taken up again.

    def note(self, item: Item) -> None:
        """The user says this; if a reply was stopped at this moment, it was for it."""
        stopped = self._replies.stopped
        if stopped and stopped.at == self._replies.now:
            stopped.by = item

    def take_up(self, number: int, chunk: ReplyChunk) -> None:
        """Where the model tells what was said, let the reply that was stopped go on, if that asks for it.

        What stopped it, and proves to be a nod or nothing, asks for it, too.
        """
        reply, stopped, words = self._replies.made, self._stopped, chunk.user_text
        if words is None or not reply or reply.number != number:
            return
        self._told = chunk.language or self._told
        asked = reply.asked
        plain = (asked.instructions, asked.input, asked.tools) == (None, None, None)
        if not stopped or reply.item or not (plain and asked.aloud):
            return
        stopped_it = stopped.by is not None and stopped.by is reply.response.answers
        # Who was asked something answers: "yes, go ahead".
        answers = self._detector.asked or (stopped_it and stopped.asked)
        said = weigh(words, self._language)
        in_vain = stopped_it and (said is Said.NOTHING or (said is Said.NOD and not answers))
        wanted = not answers and asks_to_go_on(words, self._language)
        if (in_vain or wanted) and (rest := stopped.rest()):
            self._replies.take_up(rest)

    def rest_of(self, item_id: str | None) -> list[ReplyChunk]:
        """What is left of the reply that has this item, or was stopped last.

        Raises:
            InvalidEvent: it was not stopped, or long ago; the model had not made all of it; or it was heard
                to its end.
        """
        stopped = self._stopped
        rest = stopped.rest() if stopped and item_id in (None, stopped.item.id) else []
        if not rest:
            raise InvalidEvent(
                "there is no reply that the model had finished, that was stopped within a minute, and that "
                "has anything left to say"
            )
        return rest

    @property
    def _language(self) -> str:
        """That the user speaks, as far as it is known."""
        return self._detector.settings.language or self._told

    @property
    def _stopped(self) -> Stopped | None:
        """The reply that was stopped last, unless that is long ago, or it is not valid any more."""
        stopped = self._replies.stopped
        if stopped:
            late = self._replies.now - stopped.at > _FORGOTTEN
            if late or stopped.item.superseded or stopped.item not in self._conversation:
                self._replies.stopped = None
        return self._replies.stopped
