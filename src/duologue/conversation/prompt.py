"""What a model is given, and what it can do. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from duologue.audio import AudioChunk
from duologue.conversation.items import Item
from duologue.tools import NO_TOOLS, Tools


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do.

    Attributes:
        history: it takes the earlier turns into account.
        instructions: it follows the session's instructions.
        transcribes: it tells what the user said (`ReplyChunk.user_text`).
        note: one line for the user: what to expect of this model.
        reads: it answers what was written, too, and goes on without a new utterance.
        overhears: it is an `Overhearer`, too: of all speech, or of pauses only, in which the utterance may
            be over.
        calls: it calls functions (`ReplyChunk.call`).
    """

    history: bool
    instructions: bool
    transcribes: bool
    note: str
    overhears: Literal["nothing", "speech", "pauses"] = "nothing"
    reads: bool = False
    calls: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model answers.

    Attributes:
        utterance: what the user has just said, at `INPUT_RATE`, with a little of the silence around it.
        items: of the conversation before the utterance, oldest first.
        instructions: how to behave; empty when the user has said nothing about it.
        listener: under which the utterance was overheard; empty: it was not.
        pause: number of the pause that it ends in. Two prompts with one listener and one pause differ by
            silence. 0: it ends in none, as far as is known.
        aloud: the answer is to be spoken; else words alone are wanted.
        spoken: False: nothing was said; the utterance is empty, and the answer is to the items. Only models
            that read are asked so.
        tools: that it may call. Only models that call functions are given any.
    """

    utterance: AudioChunk
    items: Sequence[Item] = ()
    instructions: str = ""
    listener: str = ""
    pause: int = 0
    aloud: bool = True
    spoken: bool = True
    tools: Tools = NO_TOOLS
