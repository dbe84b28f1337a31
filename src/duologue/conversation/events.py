"""What happens in a session. Times are seconds of the session's incoming audio unless said otherwise.

Four kinds: what the client wants, what the detector hears, what everybody else reports (the model, the
clock, the line), and what the client is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from duologue.audio import AudioChunk
from duologue.conversation.items import Item, ReplyChunk, Usage
from duologue.errors import DuologueError
from duologue.settings import Settings
from duologue.timings import Timings
from duologue.tools import Function, ToolFailure, Tools

# What the client wants.


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Anything that the client wants; `event_id`: its own name for that, for an error about it."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class AudioReceived(Wish):
    """`input_audio_buffer.append`: A chunk from the microphone.

    It is at `INPUT_RATE`; off the line, at the rate of its format.

    Attributes:
        chunk: the sound.
        echo: it is no louder than the client's own playback is in its microphone.
    """

    chunk: AudioChunk
    echo: bool = False


@dataclass(frozen=True, slots=True)
class SettingsChanged(Wish):
    """`session.update`: The session shall go on with these settings."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class CommitRequested(Wish):
    """`input_audio_buffer.commit`: The utterance ends here, and nobody asked for an answer yet."""


@dataclass(frozen=True, slots=True)
class ClearRequested(Wish):
    """`input_audio_buffer.clear`: Forget the sound that is not part of a turn yet."""


@dataclass(frozen=True, slots=True)
class ReplyRequested(Wish):
    """`response.create`: Answer the last utterance, or the conversation as it stands.

    Attributes:
        instructions: for this reply; None: the session's.
        metadata: the client's own, for `ReplyStarted` and `ReplyDone`.
        aloud: speak; False: words alone; None: as the session has it.
        in_band: the reply becomes part of the conversation.
        input: what is answered instead of the conversation: items, and ids of items that are there.
        tools: that the model may call; None: as the session has it.
        voice: to speak with; None: as the session has it.
        speed: of that voice, 1 is usual; None: as the session has it.
        max_output_tokens: tokens of text that the reply may have, 0: as many as the model likes; None: as
            the session has it.
    """

    instructions: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    aloud: bool | None = None
    in_band: bool = True
    input: tuple[Item | str, ...] | None = None
    tools: Tools | None = None
    voice: str | None = None
    speed: float | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ReplyCancelled(Wish):
    """`response.cancel`: Stop the reply, or the one of this id."""

    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class PlaybackTruncated(Wish):
    """`conversation.item.truncate`: Only `heard` seconds of the item `item_id` were played."""

    item_id: str
    heard: float


@dataclass(frozen=True, slots=True)
class PlaybackStarted(Wish):
    """`duologue.playback.started`: The first sound of the item `item_id` was played, `ago` seconds ago."""

    item_id: str
    ago: float


@dataclass(frozen=True, slots=True)
class ItemCreated(Wish):
    """`conversation.item.create`: Put this item into the conversation.

    `previous_id`: behind which; "root": first; None: last.
    """

    item: Item
    previous_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemRequested(Wish):
    """`conversation.item.retrieve`: Send the item as it is now."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ItemRemoved(Wish):
    """`conversation.item.delete`: Take the item out of the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ReplyResumed(Wish):
    """`duologue.reply.resume`: Let the reply go on that has this item (None: the last) and was stopped."""

    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class CutMarked(Wish):
    """`duologue.cut.marked`: “You cut me off”, says the user of the newest turn."""


@dataclass(frozen=True, slots=True)
class Pinged(Wish):
    """`duologue.ping`: The client asks whether the session still answers."""


@dataclass(frozen=True, slots=True)
class ClientErred:
    """A message that was no event; `event_id` is its own name for itself, if it had one."""

    error: DuologueError
    event_id: str | None = None


ClientEvent = (
    AudioReceived
    | SettingsChanged
    | CommitRequested
    | ClearRequested
    | ReplyRequested
    | ReplyCancelled
    | PlaybackTruncated
    | PlaybackStarted
    | ItemCreated
    | ItemRequested
    | ItemRemoved
    | CutMarked
    | ReplyResumed
    | Pinged
    | ClientErred
)


# What everybody else reports.


@dataclass(frozen=True, slots=True)
class SoundMissed:
    """No sound came for `seconds`; `late`: seconds without sound before them, in which it was awaited."""

    seconds: float
    late: float


@dataclass(frozen=True, slots=True)
class EndOfTurnAnswered:
    """Smart Turn has answered about a pause: `probability` that the turn is over."""

    pause: int
    probability: float


@dataclass(frozen=True, slots=True)
class WordsTold:
    """What was said into a reply is written down; None: nobody could."""

    number: int
    words: str | None


@dataclass(frozen=True, slots=True)
class ChunkGenerated:
    """The model has made a piece of the reply `reply`."""

    reply: int
    chunk: ReplyChunk


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The model has made all of the reply `reply`, or has failed with `error`."""

    reply: int
    error: DuologueError | None


@dataclass(frozen=True, slots=True)
class Overheard:
    """The model has looked at an utterance that goes on; `words`: those that will not change."""

    look: int
    words: str


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What the item `item_id` says is written down; or cannot be, for this `error`."""

    item_id: str
    words: str
    error: DuologueError | None = None


@dataclass(frozen=True, slots=True)
class ToolsListed:
    """A server has told its tools, for the item `item_id`; or has not, for this `error`."""

    item_id: str
    functions: tuple[Function, ...] = ()
    error: DuologueError | None = None


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """A server has carried out the call of the item `item_id`; or has not, for this `failure`."""

    item_id: str
    output: str = ""
    failure: ToolFailure | None = None


@dataclass(frozen=True, slots=True)
class SoundSent:
    """Sound of the item `item_id` was handed to the connection."""

    item_id: str


@dataclass(frozen=True, slots=True)
class Woken:
    """The time has come that the dialogue asked to be woken at."""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """The session is about to end: take no new turn."""


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """The client has hung up, or is about to be hung up on because of `error`."""

    error: DuologueError | None = None


Report = (
    SoundMissed
    | EndOfTurnAnswered
    | WordsTold
    | ChunkGenerated
    | ReplyEnded
    | Overheard
    | Transcribed
    | ToolsListed
    | ToolAnswered
    | SoundSent
    | Woken
    | DrainRequested
    | ClientLeft
)


# What the client is told.


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """`session.created`: The first event of a session; `expires_at`: when it ends, by Unix time."""

    session_id: str
    settings: Settings
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class SettingsApplied:
    """`session.updated`: These settings hold from now on."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """`input_audio_buffer.speech_started`: The user speaks. Whoever plays a reply stops it now."""

    item_id: str
    at: float


@dataclass(frozen=True, slots=True)
class TurnReopened:
    """`input_audio_buffer.speech_started`: The user goes on with a turn.

    The client was told that it had finished, and nothing of its reply.
    """

    item_id: str
    at: float


@dataclass(frozen=True, slots=True)
class ItemsWithdrawn:
    """`conversation.item.deleted`: The user went on as the reply began.

    What these items say becomes part of the next one.
    """

    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """`input_audio_buffer.speech_stopped`: The user has finished speaking."""

    item_id: str
    at: float


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """`input_audio_buffer.committed`: The utterance is complete and kept.

    It is the item `item_id` behind `previous_id`; None: the first.
    """

    item_id: str
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class LimitApproached:
    """`duologue.limit.near`: The time limit ends the utterance in `left` seconds.

    `item_id`: its item, if it has one yet.
    """

    item_id: str | None
    left: float


@dataclass(frozen=True, slots=True)
class AudioCleared:
    """`input_audio_buffer.cleared`: The sound that was not part of a turn is forgotten."""


@dataclass(frozen=True, slots=True)
class UserOverheard:
    """`….input_audio_transcription.delta`: More words of an utterance that goes on.

    `text` continues what was told of it before.
    """

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class UserTranscribed:
    """`….input_audio_transcription.completed`: The words of an utterance of `seconds`."""

    item_id: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class UserNotTranscribed:
    """`….input_audio_transcription.failed`: The words of an utterance will not be known, for this error."""

    item_id: str
    error: DuologueError


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """`response.created`: The model has begun to answer what was `asked`."""

    response_id: str
    asked: ReplyRequested = ReplyRequested()


@dataclass(frozen=True, slots=True)
class ReplyItemAdded:
    """`response.output_item.added`: The reply has an item from now on, behind `previous_id`."""

    response_id: str
    item_id: str
    previous_id: str | None
    asked: ReplyRequested = ReplyRequested()


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """`response.output_audio.delta` and so on: A piece of the item of a reply.

    It has sound, its words, or both; without `aloud`, words alone.
    """

    response_id: str
    item_id: str
    audio: AudioChunk | None
    text: str
    aloud: bool = True


@dataclass(frozen=True, slots=True)
class FunctionCalled:
    """`response.function_call_arguments.done`: The model has called a function, or would like to.

    `item` is part of the reply from now on, behind `previous_id`: a call that the client carries out, one
    that a server of tools does, or the question whether it may.
    """

    response_id: str
    item: Item
    previous_id: str | None
    asked: ReplyRequested = ReplyRequested()


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """`response.done`: The reply is over.

    Attributes:
        response_id: that is over.
        item_id: that it has made; None: none.
        text: all the words that were sent.
        reason: "completed"; "turn_detected", "client_cancelled": it was stopped; "max_output_tokens": it
            has as many as it might have; "failed".
        error: why, when it failed.
        timings: how long everything took, as far as it is known when this is sent.
        previous_id: of the item before that of the reply.
        asked: what it answers.
        calls: of functions, that it has made.
        usage: what it has used.
    """

    response_id: str
    item_id: str | None
    text: str
    reason: str
    error: DuologueError | None = None
    timings: Timings | None = None
    previous_id: str | None = None
    asked: ReplyRequested = ReplyRequested()
    calls: tuple[Item, ...] = ()
    usage: Usage = Usage()  # noqa: RUF009  frozen


@dataclass(frozen=True, slots=True)
class ReplyDucked:
    """`duologue.reply.ducked`: The user may be interrupting: whoever plays the reply makes it quieter."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ReplyHeld:
    """`duologue.reply.held`: The user interrupts, or nods: whoever plays the reply pauses it."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ReplyRestored:
    """`duologue.reply.restored`: The user did not interrupt: the reply goes on at its full level.

    `nod_id`: of the item that the user nodded with; empty: it was no nod.
    """

    item_id: str
    nod_id: str = ""


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """`conversation.item.added`: An item of the client's is part of the conversation.

    `previous_id`: of the item before it.
    """

    item: Item
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ToolListBegun:
    """`mcp_list_tools.in_progress`: A server is asked for its tools.

    `item`, behind `previous_id`, will have them.
    """

    item: Item
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ToolListEnded:
    """`mcp_list_tools.completed`: A server has told its tools; `failed`: it has not.

    The tools are in `item`, behind `previous_id`.
    """

    item: Item
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ToolCallBegun:
    """`response.mcp_call.in_progress`: A server is called.

    `approved`: the client was asked; `item`, behind `previous_id`, is part of the conversation from now on.
    """

    item: Item
    previous_id: str | None
    approved: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    """`response.mcp_call.completed`: A server has answered a call, or `failed`; `item` says what."""

    item: Item
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ItemSent:
    """`conversation.item.retrieved`: The item as it is now."""

    item: Item


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """`conversation.item.deleted`: The item is no longer part of the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ReplyTruncated:
    """`conversation.item.truncated`: What is kept of the reply ends after `heard` seconds."""

    item_id: str
    heard: float


@dataclass(frozen=True, slots=True)
class IdleTimedOut:
    """`input_audio_buffer.timeout_triggered`: Nobody has spoken from `start` to `end`."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Ponged:
    """`duologue.pong`: The session answers: all that the client sent before its question was taken."""


@dataclass(frozen=True, slots=True)
class ErrorOccurred:
    """`error`: Something went wrong; unless the connection closes, the session goes on."""

    error: DuologueError
    event_id: str | None = None


ServerEvent = (
    SessionStarted
    | SettingsApplied
    | TurnStarted
    | TurnReopened
    | ItemsWithdrawn
    | SpeechStopped
    | TurnCommitted
    | LimitApproached
    | AudioCleared
    | UserOverheard
    | UserTranscribed
    | UserNotTranscribed
    | ReplyStarted
    | ReplyItemAdded
    | ReplyDelta
    | FunctionCalled
    | ReplyDone
    | ReplyDucked
    | ReplyHeld
    | ReplyRestored
    | ReplyTruncated
    | ItemAdded
    | ToolListBegun
    | ToolListEnded
    | ToolCallBegun
    | ToolCallEnded
    | ItemSent
    | ItemDeleted
    | IdleTimedOut
    | Ponged
    | ErrorOccurred
)
