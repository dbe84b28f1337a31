"""What a dialogue wants done. Values: the session does what they say, in their order."""

from dataclasses import dataclass

from duologue.audio import AudioChunk
from duologue.conversation.events import ServerEvent
from duologue.conversation.items import Item, Turn
from duologue.conversation.prompt import Prompt
from duologue.errors import DuologueError
from duologue.tools import ToolServer


@dataclass(frozen=True, slots=True)
class Send:
    """Send this to the client, after all that waits."""

    event: ServerEvent


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the client that what it sent is wrong; `event_id` is its own name for that."""

    error: DuologueError
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask how finished the user sounds, for an `EndOfTurnAnswered` about this pause.

    `sound`: the newest 8 s of the utterance, at `INPUT_RATE`.
    """

    pause: int
    sound: AudioChunk


@dataclass(frozen=True, slots=True)
class Weigh:
    """Write down what was said into a reply, for a `WordsTold` with this number.

    `language`: that the user speaks, empty if nobody knows; `likely`: words that are likely, as a text.
    """

    number: int
    sound: AudioChunk
    language: str
    likely: str


@dataclass(frozen=True, slots=True)
class Start:
    """Let the model answer, for `ChunkGenerated` and one `ReplyEnded` about `reply`."""

    reply: int
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Drop:
    """Let the model abandon the reply `reply`; nothing of it is wanted any more."""

    reply: int


@dataclass(frozen=True, slots=True)
class Withhold:
    """Do not send the sound that waits of the item `item_id`."""

    item_id: str


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Let somebody write down what an item says, for a `Transcribed` about it."""

    item_id: str
    sound: AudioChunk


@dataclass(frozen=True, slots=True)
class ListTools:
    """Ask a server for its tools, for a `ToolsListed` about the item `item_id`."""

    item_id: str
    server: ToolServer


@dataclass(frozen=True, slots=True)
class CallTool:
    """Let a server carry out the function `name`, for a `ToolAnswered` about the item `item_id`.

    `arguments`: JSON, as the model wrote it.
    """

    item_id: str
    server: ToolServer
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Overhear:
    """Let the model look at an utterance that goes on, for an `Overheard` with this number."""

    look: int
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class StopOverhearing:
    """The look under way is in vain."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send `Woken` at this time of the session's clock, and at none that was asked for before."""

    time: float


@dataclass(frozen=True, slots=True)
class Save:
    """Keep this item, new or changed."""

    item: Item


@dataclass(frozen=True, slots=True)
class Forget:
    """Let go of an item that is no longer part of the conversation."""

    item: Item


@dataclass(frozen=True, slots=True)
class SaveFigures:
    """Keep the figures of this turn, new or changed."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class SavePatience:
    """Keep the factor by which this user's waits are longer."""

    factor: float


Effect = (
    Send
    | Refuse
    | Ask
    | Weigh
    | Start
    | Drop
    | Withhold
    | Transcribe
    | ListTools
    | CallTool
    | Overhear
    | StopOverhearing
    | WakeAt
    | Save
    | Forget
    | SaveFigures
    | SavePatience
)
