"""What a language model reads: who it is, the turns that fit, the question. Made for speech."""

import datetime
import json
import math
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from openai.types.chat import (
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionMessageParam,
)

from duologue.conversation.items import Item
from duologue.tools import NO_TOOLS, Tools

_LETTERS = f"{string.ascii_letters} ".encode()

_SPEECH = (
    "You talk with the user by voice: they hear you, and see nothing of what you write. Answer in one to "
    "three short sentences, as one speaks. No lists, headings, tables, markup, emoji or links. You hear "
    "through a recogniser: where words make no sense, think of what sounds alike, or ask. Say that you do "
    "not know what you do not know."
)
_ALONE = "You cannot look anything up, see anything, or do anything but talk; say so when you are asked to."
_WITH_TOOLS = "You can do what your functions do, and nothing else but talk."

_LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Room:
    """How many tokens there are for each part of a conversation.

    They are estimates: a conversation has room for half as many again.
    """

    instructions: int
    history: int
    question: int


@dataclass(frozen=True, slots=True)
class Style:
    """How a language model is spoken to.

    Attributes:
        room: for each part.
        character: who it is; empty: the one for speech, with the day's date and the user's language.
        example: a turn that shows how to answer; empty: none.
    """

    room: Room
    character: str = ""
    example: tuple[tuple[str, str], ...] = ()


SMALL = Style(
    # One thread reads 130 tokens a second, so what is new in them delays the answer.
    Room(600, 300, 150),
    "You are a helpful voice assistant. Answer in one short sentence.",
    # An example does more than instructions to keep the answers of so small a model short.
    (("Good morning.", "Good morning! How can I help you?"),),
)
"""For a model of a hundred million parameters, in 2,048 tokens with its answer."""

LARGE = Style(Room(1000, 1200, 400))
"""For models that do what they are told, in 4,096 tokens with their answer."""


def messages(
    question: str | None,
    items: Sequence[Item],
    instructions: str,
    language: str = "",
    style: Style = LARGE,
    *,
    calls: bool = False,
    tools: Tools = NO_TOOLS,
) -> list[ChatCompletionMessageParam]:
    """The conversation. Its beginning stays the same from turn to turn, so that it is read once.

    Args:
        question: what the user has just said; None: nothing, and the answer is to the items.
        items: of the conversation before, oldest first; the last ones that fit are taken.
        instructions: of the session.
        language: that the user speaks, ISO 639-1; empty: not known.
        style: how the model is spoken to.
        calls: it knows functions; else what they gave is told as the user's words.
        tools: that it may call now.
    """
    room = style.room
    character = style.character or _speech(language, calls=bool(tools.offered))
    most = math.ceil(3 * room.instructions)  # letters: no text has fewer than a token for three
    system = [item.said[:most] for item in items if item.role == "system"]
    context = " ".join([instructions, *system[:most]])[:most]
    told = f"{character} {_fitting(context.strip(), room.instructions)}".strip()
    conversation: list[ChatCompletionMessageParam] = [{"role": "system", "content": told}]
    for user, reply in style.example:
        conversation.append({"role": "user", "content": user})
        conversation.append({"role": "assistant", "content": reply})
    exchanges = _exchanges(items, math.ceil(3 * room.history), calls=calls)
    for exchange in _last(exchanges, room.history):
        conversation += exchange.messages(room.history / 2)
    if question is not None:
        question = _fitting(question, room.question)
        if conversation[-1]["role"] == "user":  # many models know only who takes turns
            question = f"{conversation.pop()['content']}\n{question}"
        conversation.append({"role": "user", "content": question})
    elif conversation[-1]["role"] in ("system", "assistant"):
        # Small models write nothing where nobody has asked them anything.
        asked = _fitting(instructions.strip(), room.question) or "Go on."
        conversation.append({"role": "user", "content": asked})
    return conversation


@dataclass(slots=True)
class _Exchange:
    """What the user said, and what the model said and did then. Each may be empty.

    Attributes:
        user: the user's words.
        rest: the model's words; and calls of functions, each with what the function gave.
    """

    user: str = ""
    rest: list[str | tuple[Item, Item]] = field(default_factory=list)

    @property
    def length(self) -> float:
        """In tokens, about."""
        texts = [self.user]
        for part in self.rest:
            texts += [part] if isinstance(part, str) else [part[0].text, part[1].text]
        return sum(_tokens(text) for text in texts)

    def messages(self, most: float) -> Iterator[ChatCompletionMessageParam]:
        """As a language model reads it, each part cut to `most` tokens."""
        if self.user:
            yield {"role": "user", "content": _fitting(self.user, most)}
        for part in self.rest:
            if isinstance(part, str):
                yield {"role": "assistant", "content": _fitting(part, most)}
                continue
            call, output = part
            made: ChatCompletionMessageFunctionToolCallParam = {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.text},
            }
            yield {"role": "assistant", "tool_calls": [made]}
            given = _fitting(output.text, most)
            yield {"role": "tool", "tool_call_id": call.call_id, "content": given}


def _exchanges(items: Sequence[Item], most: int, *, calls: bool) -> list[_Exchange]:
    """What the user and the model said in turns, as far as it is known.

    What was not understood is left out, and the answer to it; so is a call without what the function gave.
    Of what one of them said at once, `most` letters are enough: more has no room, and a client may write
    any number of items.
    """
    exchanges: list[_Exchange] = []
    unheard = {id(item.response) for item in items if item.response and item.words == ""}
    called: dict[str, Item] = {}
    for item in items:
        if item.role == "system" or id(item.response) in unheard:
            continue
        if item.kind == "function_call":
            called[item.call_id] = item
            continue
        call = called.get(item.call_id) if item.kind == "function_call_output" and calls else None
        if not (said := item.said[:most]) and not call:
            continue
        newest = exchanges[-1] if exchanges else _Exchange()
        if not exchanges or (item.role != "assistant" and not call and newest.rest):
            exchanges.append(newest := _Exchange())
        if call:
            newest.rest.append((replace(call, text=_arguments(call.text)), item))
        elif item.role != "assistant":
            newest.user = f"{newest.user}\n{said}".strip()[:most]
        elif newest.rest and isinstance(last := newest.rest[-1], str):
            newest.rest[-1] = f"{last} {said}".strip()[:most]
        else:
            newest.rest.append(said)
    return exchanges


def _arguments(text: str) -> str:
    """Of a call, as JSON that any template can read."""
    try:
        known = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        known = False
    return text if known else "{}"


def _speech(language: str, *, calls: bool) -> str:
    # The date alone: with the time, it would have to be read anew in each turn.
    today = datetime.date.today()
    spoken = _LANGUAGES.get(language, "")
    answer = (
        f"The user speaks {spoken}; answer in {spoken}."
        if spoken
        else "Answer in the user's language."
    )
    can = _WITH_TOOLS if calls else _ALONE
    return f"{_SPEECH} {can} {answer} Today is {today:%A}, {today:%B} {today.day}, {today.year}."


def _last(turns: list[_Exchange], history: float) -> list[_Exchange]:
    """The last of them, at least one.

    They are forgotten half of `history` at a time: from one turn to the next the conversation mostly
    begins as before, and the language model finds that beginning in its cache.
    """
    lengths = (turn.length for turn in turns)
    *starts, end = accumulate(lengths, initial=0.0)
    step = history / 2
    forgotten = math.ceil((end - history) / step) * step
    kept = sum(start >= forgotten for start in starts)
    return turns[-max(1, kept) :]


def _fitting(text: str, tokens: float) -> str:
    """The beginning of a text, cut between words where it is too long."""
    text = text.encode(errors="replace").decode()  # half a surrogate pair cannot be sent
    while _tokens(text) > tokens:
        shorter = text[: int(len(text) * 0.9)]
        text = shorter.rpartition(" ")[0] or shorter
    return text


def _tokens(text: str) -> float:
    """About how many tokens a text has: three letters each in English, else up to a byte each."""
    data = text.encode(errors="replace")
    others = len(data.translate(None, _LETTERS))
    return (len(data) - others) / 3 + others
