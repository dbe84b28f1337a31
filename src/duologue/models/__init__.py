"""What a speech model is to the rest of the program, and what it is given and gives back."""

import importlib
import pkgutil
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, cast

from duologue.audio import AudioChunk
from duologue.conversation.items import FunctionCall, Item, ReplyChunk, Usage
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import ModelUnavailable
from duologue.tools import NO_TOOLS, Function, Tools

__all__ = [
    "NO_TOOLS",
    "BatchedModel",
    "BatchedOverhearer",
    "Capabilities",
    "Ear",
    "Function",
    "FunctionCall",
    "Item",
    "Overhearer",
    "Prompt",
    "ReplyChunk",
    "Speaker",
    "SpeechModel",
    "Tools",
    "Transcriber",
    "Usage",
    "load_model",
]


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

    async def transcribe(
        self, utterance: AudioChunk, language: str = "", listener: str = "", likely: str = ""
    ) -> tuple[str, str]:
        """The words, and the language.

        Args:
            utterance: at `INPUT_RATE`.
            language: that is spoken, ISO 639-1; empty: not known.
            listener: under which it was overheard, as in a `Prompt`; empty: it was not.
            likely: words that are likely, as a text in that language; empty: none are.

        Raises:
            ModelFailed: it broke down.
        """
        ...


class Ear(Transcriber, Protocol):
    """Writes down what somebody says, for models that do not."""

    async def close(self) -> None:
        """Let go of everything."""
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
