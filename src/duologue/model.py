"""What a speech model is to the rest of the program, and what it is given and gives back."""

import importlib
import pkgutil
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

from duologue.audio import REPLY_RATE, AudioChunk, concatenate
from duologue.errors import ModelUnavailable
from duologue.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do.

    Attributes:
        history: it takes the earlier turns into account.
        instructions: it follows the session's instructions.
        transcribes: it tells what the user said (`ReplyChunk.user_text`).
        note: one line for the user: what to expect of this model.
        overhears: it is an `Overhearer`, too: of all speech, or of pauses only, in which the utterance may
            be over.
    """

    history: bool
    instructions: bool
    transcribes: bool
    note: str
    overhears: Literal["nothing", "speech", "pauses"] = "nothing"


@dataclass(frozen=True, slots=True)
class ReplyChunk:
    """A piece of a reply.

    Attributes:
        audio: sound at `REPLY_RATE`, or None when the piece has none.
        text: the words spoken in `audio`, with the white space that joins them to the last ones.
        user_text: what the user said, once the model knows; sent once at most.
    """

    audio: AudioChunk | None = None
    text: str = ""
    user_text: str | None = None


TurnStatus = Literal["in_progress", "completed", "interrupted", "failed"]


@dataclass(slots=True, eq=False)
class Turn:
    """An utterance and its reply, as they grow.

    Attributes:
        id: unique on this server, hard to guess.
        utterance: what the user said, at `INPUT_RATE`.
        user_text: its words, or None while (or if never) known.
        reply: the pieces of the answer that were sent, in order.
        audible_at: when its first sound went out, by the session's clock; None before.
        status: of the reply. "interrupted": not all of it was generated, or not all was heard.
        receipt: how long everything took.
    """

    id: str
    utterance: AudioChunk
    user_text: str | None = None
    reply: list[ReplyChunk] = field(default_factory=list)
    audible_at: float | None = None
    status: TurnStatus = "in_progress"
    receipt: Receipt = field(default_factory=Receipt)

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

    def truncate(self, heard: float) -> None:
        """Cut sound and words of the reply to the `heard` seconds that reached the user's ear.

        Of a piece that was heard in part, as many words stay as its share that was heard.
        """
        kept: list[ReplyChunk] = []
        left = heard
        for chunk in self.reply:
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
        if kept != self.reply:
            self.reply = kept
            if self.status != "failed":
                self.status = "interrupted"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model answers.

    Attributes:
        utterance: at `INPUT_RATE`, with a little of the silence around it.
        turns: the turns before, oldest first.
        instructions: how to behave; empty when the user has said nothing about it.
        listener: under which the utterance was overheard; empty: it was not.
        pause: number of the pause that it ends in. Two prompts with one listener and one pause differ by
            silence. 0: it ends in none, as far as is known.
    """

    utterance: AudioChunk
    turns: Sequence[Turn] = ()
    instructions: str = ""
    listener: str = ""
    pause: int = 0


class SpeechModel(Protocol):
    """Answers speech with speech. One object, shared by all sessions.

    It may have a property `trouble`: what is wrong with it at this moment, in a sentence; empty:
    nothing. `/health` tells it.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def start(self) -> None:
        """Load whatever must be loaded, and warm it up. Called once, before the first reply."""
        ...

    def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """Answer, piece by piece, as fast as the pieces come. Closing the generator abandons it.

        Raises:
            ModelFailed: it broke down. What was already given stands.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; no reply is under way any more."""
        ...


class Overhearer(Protocol):
    """A model that hears while the user still speaks, so that it has less to do afterwards."""

    async def overhear(self, prompt: Prompt) -> str:
        """Work ahead on a prompt whose utterance goes on. May be cancelled.

        For a model that overhears pauses: it is cancelled as soon as the user goes on.

        Args:
            prompt: with the utterance so far: the samples of the call before, and more. The prompt that is
                answered in the end has the same listener.

        Returns:
            The words that will not change any more.

        Raises:
            ModelFailed: it broke down.
        """
        ...


class Transcriber(Protocol):
    """A model that writes down what somebody says, too."""

    async def transcribe(self, utterance: AudioChunk, language: str = "") -> tuple[str, str]:
        """The words, and the language.

        Args:
            utterance: at `INPUT_RATE`.
            language: that is spoken, ISO 639-1; empty: not known.

        Raises:
            ModelFailed: it broke down.
        """
        ...


class Speaker(Protocol):
    """A model that reads a text out, too."""

    def speak(
        self, text: str, voice: str = "", speed: float = 1.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """The sound of a text at `REPLY_RATE`, as it is made.

        Args:
            text: of any length.
            voice: empty: the usual one.
            speed: 1 is usual.

        Raises:
            InvalidSetting: there is no such voice.
            ModelFailed: it broke down.
        """
        ...


class BatchedModel(Protocol):
    """What the author of a network writes: synchronous, one thread, no asyncio (see `engine`)."""

    def start(self) -> None:
        """Load whatever must be loaded, and warm it up. Called once, before the first reply."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    @property
    def slots(self) -> int:
        """How many replies it can have under way at once."""
        ...

    def admit(self, slot: int, prompt: Prompt) -> None:
        """Begin a reply in a free slot (the prefill)."""
        ...

    def step(self, slots: Sequence[int]) -> Sequence[ReplyChunk | None]:
        """Go on with the replies in these slots by one frame each; None: that reply has ended.

        An empty chunk: nothing to hear yet. A long prefill is best cut into such steps.
        """
        ...

    def evict(self, slot: int) -> None:
        """Free a slot, at the end of its reply or before."""
        ...

    def close(self) -> None:
        """Let go of everything, also of what a `start` that failed has loaded."""
        ...


class BatchedOverhearer(BatchedModel, Protocol):
    """A network that works ahead on utterances in pauses; its capabilities say so."""

    def overhear(self, slot: int, prompt: Prompt) -> None:
        """Begin to work ahead, in a slot of its own: there are `slots` of them, numbered from `slots` on.

        `step` goes on with it, and gives None when nothing is left to be done before the reply. What came
        of it stays after `evict`, for a reply to a prompt with the same listener and pause.
        """
        ...


def load_model(name: str, **options: str) -> SpeechModel:
    """Make the model called `name`: a module of `duologue.models`, or any module by its dotted name.

    The module defines `load(**options) -> SpeechModel`.

    Raises:
        ModelUnavailable: there is no such module, or it misses something. Says what.
    """
    path = name if "." in name else f"duologue.models.{name.replace('-', '_')}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and path.startswith(error.name):
            package = importlib.import_module("duologue.models")
            known = ", ".join(module.name for module in pkgutil.iter_modules(package.__path__))
            raise ModelUnavailable(
                f"there is no model named {name!r}; there are {known}, "
                "and anybody's module by its dotted name"
            ) from error
        raise ModelUnavailable(
            f"the model {name!r} needs the package {error.name!r}; "
            "install it with: pip install 'duologue[all]'"
        ) from error
    if not hasattr(module, "load"):
        raise ModelUnavailable(f"the module {path} defines no load(), so it is no model")
    try:
        return cast(SpeechModel, module.load(**options))
    except TypeError as error:
        raise ModelUnavailable(
            f"the model {name!r} does not take these options: {error}"
        ) from error
