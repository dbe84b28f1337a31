"""What a model is given, and what it can do. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from duologue.audio import AudioChunk
from duologue.conversation.items import Item
from duologue.settings import Settings
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
        writes: it is a `Transcriber`, too, and has the words of a second of speech in about 0.2 s.
        counts: it counts the tokens that it writes, and ends a reply at `Prompt.max_output_tokens`.
        voices: that it can speak with, by name, the usual one first; empty: one that has no name.
        speeds: the slowest and the quickest at which it can speak; 1 is usual.
    """

    history: bool
    instructions: bool
    transcribes: bool
    note: str
    overhears: Literal["nothing", "speech", "pauses"] = "nothing"
    reads: bool = False
    calls: bool = False
    writes: bool = False
    counts: bool = False
    voices: tuple[str, ...] = ()
    speeds: tuple[float, float] = (1.0, 1.0)


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
        voice: of the model's `voices`; empty: the usual one.
        speed: within the model's `speeds`; 1 is usual.
        max_output_tokens: tokens of text that the reply may have; 0: as many as the model likes. Only
            models that count are given any.
    """

    utterance: AudioChunk
    items: Sequence[Item] = ()
    instructions: str = ""
    listener: str = ""
    pause: int = 0
    aloud: bool = True
    spoken: bool = True
    tools: Tools = NO_TOOLS
    voice: str = ""
    speed: float = 1.0
    max_output_tokens: int = 0


def usable(settings: Settings, can: Capabilities) -> Settings:
    """The settings as far as a model can follow them.

    Of a voice that it does not have, its usual one is left, by its name; of a speed, the nearest that it
    has; of functions and of a limit of tokens, none where it calls or counts nothing.
    """
    slowest, quickest = can.speeds
    may_call = can.calls or not (settings.tools.functions or settings.tools.servers)
    usual = can.voices[0] if can.voices else ""
    return replace(
        settings,
        tools=settings.tools if may_call else NO_TOOLS,
        voice=settings.voice if settings.voice in can.voices else usual,
        speed=min(max(settings.speed, slowest), quickest),
        max_output_tokens=settings.max_output_tokens if can.counts else 0,
    )
