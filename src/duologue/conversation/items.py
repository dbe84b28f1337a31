"""What a conversation consists of: items, in order, and the responses that made some of them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, concatenate, silence
from duologue.timings import Timings
from duologue.tools import ToolFailure


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A model calls a function, which the client carries out.

    Attributes:
        name: of the function.
        arguments: JSON, as the model wrote it.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply has used, in tokens as the Realtime API counts them.

    A model tells the text, if it counts it; sound is counted by its length, whoever makes it.

    Attributes:
        input_text: of the prompt, in words.
        output_text: of the reply, in words; calls of functions are among them.
        input_audio: of the utterance that was answered: one for 0.1 s.
        output_audio: of the reply: one for 0.05 s.
    """

    input_text: int = 0
    output_text: int = 0
    input_audio: int = 0
    output_audio: int = 0


@dataclass(frozen=True, slots=True)
class ReplyChunk:
    """A piece of a reply.

    Attributes:
        audio: sound at `REPLY_RATE`, or None when the piece has none.
        text: the words spoken in `audio`, with the white space that joins them to the last ones.
        user_text: what the user said, once the model knows; sent once at most.
        language: of that, ISO 639-1; empty: the model does not know.
        call: of a function, whole.
        usage: the text of the whole reply, as far as it is known; the newest holds.
        incomplete: the reply ends here because it has `Prompt.max_output_tokens`.
    """

    audio: AudioChunk | None = None
    text: str = ""
    user_text: str | None = None
    language: str = ""
    call: FunctionCall | None = None
    usage: Usage | None = None
    incomplete: bool = False


Role = Literal["user", "assistant", "system"]
Kind = Literal[
    "message",
    "function_call",
    "function_call_output",
    "mcp_list_tools",
    "mcp_call",
    "mcp_approval_request",
    "mcp_approval_response",
]
Status = Literal["in_progress", "completed", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What an item has of the tools of a server (MCP).

    Attributes:
        server: its label.
        request_id: of the item that asks the client to approve the call; empty: it was not asked.
        approved: by the client.
        output: what the call gave; None: nothing yet.
        failure: why it gave nothing.
    """

    server: str = ""
    request_id: str = ""
    approved: bool = False
    output: str | None = None
    failure: ToolFailure | None = None


@dataclass(slots=True, eq=False)
class Item:
    """A part of a conversation.

    Attributes:
        id: as the client knows it; unique in its conversation.
        role: whose it is; of a function call and its output, "assistant" and "user".
        kind: a message; a function call, or the output of one; of tools of a server: their list, a call,
            the question whether it may be, and the answer to it.
        text: what was written: a message, the arguments of a call, its output, a list of tools (JSON), the
            reason of an answer.
        sound: what the user said, at `INPUT_RATE`; None: nothing was said.
        words: of `sound`; None while (or if never) known.
        spoken: what the model said, in the pieces that were sent.
        status: "interrupted": not all of it was made, or not all was heard.
        response: that made the item, or that answers it.
        timings: how the end of what was said was found, and how long the answer took.
        continues: the item that this one goes on with: the user had not finished.
        superseded: the reply came before the user had finished; it is there for the client, not for models.
        nod: the user assents to the reply that sounds; no model reads that, and nobody answers it.
        name: of the function.
        call_id: that joins a call and its output.
        tool: what it has of a server's tools; None: nothing.
    """

    id: str
    role: Role = "user"
    kind: Kind = "message"
    text: str = ""
    sound: AudioChunk | None = None
    words: str | None = None
    spoken: list[ReplyChunk] = field(default_factory=list)
    status: Status = "in_progress"
    response: "Response | None" = None
    timings: Timings = field(default_factory=Timings)
    continues: "Item | None" = None
    superseded: bool = False
    nod: bool = False
    name: str = ""
    call_id: str = ""
    tool: ToolUse | None = None

    @property
    def turn_id(self) -> str:
        """What recordings and figures of a spoken item go by."""
        return self.id.removeprefix("item_u")

    @property
    def chain(self) -> list["Item"]:
        """The items that this one goes on with, and itself, oldest first."""
        return [*(self.continues.chain if self.continues else []), self]

    @property
    def utterance(self) -> AudioChunk:
        """All that was said in them, as one sound."""
        if self.sound and not self.continues:
            return self.sound
        return concatenate((item.sound for item in self.chain if item.sound), INPUT_RATE)

    @property
    def said(self) -> str:
        """All words of a message: those that were written, heard or spoken."""
        spoken = "".join(chunk.text for chunk in self.spoken).strip()
        return self.text or spoken or self.words or ""

    @property
    def seconds(self) -> float:
        """The length of its sound."""
        spoken = sum(chunk.audio.duration for chunk in self.spoken if chunk.audio)
        return spoken + (self.sound.duration if self.sound else 0.0)

    def questions(self) -> list[float]:
        """Where in its sound the questions end that the model asks, in seconds, as near as one can tell."""
        ends, at = [], 0.0
        for chunk in self.spoken:
            seconds = chunk.audio.duration if chunk.audio else 0.0
            ends += [
                at + seconds * mark.end() / len(chunk.text)
                for mark in re.finditer("[?\uff1f]", chunk.text)
            ]
            at += seconds
        return ends

    def truncate(self, played: float) -> None:
        """Cut what the model said, sound and words, to the `played` seconds that reached the user's ear.

        Of a piece that was heard in part, as many words stay as its share that was heard.
        """
        kept: list[ReplyChunk] = []
        left = played
        for chunk in self.spoken:
            duration = chunk.audio.duration if chunk.audio else 0.0
            if left <= 0:
                break
            if chunk.audio and duration > left:
                words = chunk.text.split()
                said = " ".join(words[: int(len(words) * left / duration)])
                lead = chunk.text[: len(chunk.text) - len(chunk.text.lstrip())] if said else ""
                kept.append(ReplyChunk(chunk.audio.between(0, left), lead + said))
            else:
                kept.append(chunk)
            left -= duration
        if kept != self.spoken:
            self.spoken = kept
            for made in (self, self.response):
                if made and made.status != "failed":
                    made.status = "interrupted"


@dataclass(slots=True, eq=False)
class Response:
    """A model's answer.

    Attributes:
        id: as the client knows it.
        answers: the spoken item that it answers; None: the conversation as it stands.
        item: the message that it made; None: none yet.
        status: "interrupted": it was stopped, or not all was heard.
        timings: how long everything took.
        sounds_at: when its first sound is played, by the session's clock; None: it has none yet.
    """

    id: str
    answers: Item | None = None
    item: Item | None = None
    status: Status = "in_progress"
    timings: Timings = field(default_factory=Timings)
    sounds_at: float | None = None


def copy(item: Item) -> Item:
    """The item as it is now."""
    return replace(item, spoken=list(item.spoken))


def as_functions(items: Sequence[Item]) -> list[Item]:
    """Items as models read them: tools of servers are functions like others, whoever carries them out."""
    plain: list[Item] = []
    asked: dict[str, Item] = {}
    for item in items:
        tool = item.tool
        match item.kind:
            case "message" | "function_call" | "function_call_output":
                plain.append(item)
            case "mcp_call" if tool and tool.failure:
                plain += _carried_out(item, f"Error: {tool.failure.message}")
            case "mcp_call" if tool and tool.output is not None:
                plain += _carried_out(item, tool.output)
            case "mcp_approval_request":
                asked[item.id] = item
            case "mcp_approval_response" if tool and not tool.approved and tool.request_id in asked:
                refused = f"The user does not allow this call. {item.text}".strip()
                plain += _carried_out(asked[tool.request_id], refused)
    return plain


def _carried_out(call: Item, given: str) -> list[Item]:
    call_id = f"call_{call.id.removeprefix('item_')}"
    return [
        replace(call, kind="function_call", call_id=call_id, tool=None),
        Item(f"{call.id}o", "user", "function_call_output", given, call_id=call_id),
    ]


class Conversation:
    """The items of one user, in order."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def newest(self) -> Item | None:
        """The last item."""
        return self._items[-1] if self._items else None

    def find(self, item_id: str) -> Item | None:
        """The item of this id."""
        return next((item for item in reversed(self._items) if item.id == item_id), None)

    def add(self, item: Item, after: Item | None = None, *, first: bool = False) -> None:
        """Put in an item: last, after another one, or first."""
        if first:
            self._items.insert(0, item)
        elif after:
            self._items.insert(self._items.index(after) + 1, item)
        else:
            self._items.append(item)

    def remove(self, item: Item) -> None:
        """Take out an item, if it is there."""
        if item in self._items:
            self._items.remove(item)

    def for_models(self) -> list[Item]:
        """The items that models read, oldest first."""
        return [item for item in self._items if not (item.superseded or item.nod)]

    @property
    def asks(self) -> bool:
        """Whether the last thing said is the model's, and ends in a question that was heard."""
        last = next(reversed(self.for_models()), None)
        if not last or (last.role, last.kind) != ("assistant", "message"):
            return False
        return last.said.rstrip().endswith(("?", "\uff1f"))

    def turns(self) -> list["Turn"]:
        """What was said and answered, oldest first."""
        turns: list[Turn] = []
        for item in self._items:
            if item.nod:
                if turns:
                    turns[-1].nods.append(item)
            elif item.sound:
                turns.append(Turn(item))
        return turns


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user said and the response to it: a view of items, for people. Stored nowhere.

    Attributes:
        item: what the user said.
        nods: that were said into the reply.
    """

    item: Item
    nods: list[Item] = field(default_factory=list, compare=False)

    @property
    def id(self) -> str:
        """Unique on this server, hard to guess."""
        return self.item.turn_id

    @property
    def utterance(self) -> AudioChunk:
        """What the user said, at `INPUT_RATE`."""
        return self.item.sound or silence(0, INPUT_RATE)

    @property
    def user_text(self) -> str | None:
        """Its words, or None while (or if never) known."""
        return self.item.words

    @property
    def reply(self) -> list[ReplyChunk]:
        """The pieces of the answer that were sent, in order."""
        made = self.item.response.item if self.item.response else None
        return made.spoken if made else []

    @property
    def reply_text(self) -> str:
        """The words of the reply."""
        return "".join(chunk.text for chunk in self.reply).strip()

    @property
    def reply_audio(self) -> AudioChunk:
        """The sound of the reply, at `REPLY_RATE`."""
        return concatenate((chunk.audio for chunk in self.reply if chunk.audio), REPLY_RATE)

    @property
    def reply_seconds(self) -> float:
        """The length of that sound, which for this need not be joined."""
        return sum(chunk.audio.duration for chunk in self.reply if chunk.audio)

    @property
    def status(self) -> Status:
        """What became of the reply, or of the utterance where there is none."""
        return self.item.response.status if self.item.response else self.item.status

    @property
    def timings(self) -> Timings:
        """How long everything took."""
        return self.item.timings
