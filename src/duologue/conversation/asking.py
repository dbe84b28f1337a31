"""What a client asks to be answered. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation.events import ReplyRequested
from duologue.conversation.items import Conversation, Item
from duologue.errors import InvalidEvent, quoted


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks to be answered.

    Attributes:
        utterance: what was said; empty: the answer is to the items.
        items: the others, oldest first.
        answers: the item of the conversation that has the utterance.
    """

    utterance: AudioChunk
    items: Sequence[Item]
    answers: Item | None


def question_of(asked: ReplyRequested, conversation: Conversation) -> Question:
    """What a request is about: the newest utterance, if only system messages follow it, or the items.

    Raises:
        InvalidEvent: it refers to an item that is not there.
    """
    items = [item for item in conversation if not item.superseded]
    if asked.input is not None:
        items = [_item_of(part, conversation) for part in asked.input]
    spoken = next((item for item in reversed(items) if item.role != "system"), None)
    if not spoken or not spoken.sound:
        return Question(silence(0, INPUT_RATE), items, None)
    if asked.input is not None:
        rest = [item for item in items if item is not spoken]
        return Question(spoken.sound, rest, None)
    rest = [item for item in items if item not in spoken.chain]
    return Question(spoken.utterance, rest, spoken)


def _item_of(part: Item | str, conversation: Conversation) -> Item:
    """An item of a request; a reference is the id of one that is there."""
    if isinstance(part, Item):
        return part
    item = conversation.find(part)
    if not item:
        raise InvalidEvent(
            f"response.input refers to the item {quoted(part)}, which does not exist"
        )
    return item
