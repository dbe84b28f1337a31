"""What the three parts of the chain are: one that hears, one that thinks, one that speaks.

Each may run on this computer or on a server; the chain does not know which.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from duologue.audio import AudioChunk
from duologue.conversation.items import FunctionCall, Item, Usage
from duologue.errors import DuologueError
from duologue.tools import NO_TOOLS, Tools

SLOWEST, QUICKEST = 0.5, 2.0
"""Between them every voice is understood; 1 is usual. espeak-ng goes no slower."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a recogniser made of an utterance.

    Attributes:
        words: as people write them; empty: there were none, or they were not understood.
        language: ISO 639-1, as "en"; empty: not known.
    """

    words: str
    language: str = ""


class AnswerCut(DuologueError):
    """An answer was ended before its end."""


class LimitReached(AnswerCut):
    """An answer has as many tokens as it was to have."""


class Part(Protocol):
    """What all parts have in common."""

    @property
    def name(self) -> str:
        """What it is and where it runs, for people: "Whisper base, here"."""
        ...

    @property
    def trouble(self) -> str:
        """What is wrong with it at this moment, in a sentence that names it; empty: nothing."""
        ...

    async def start(self) -> None:
        """Load whatever must be loaded, and warm it up. Called once.

        Raises:
            ModelUnavailable: it cannot be had; names the part and says what to do.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; also of what a `start` that failed has loaded."""
        ...


class Recogniser(Part, Protocol):
    """Speech to words. One object for all sessions; it serves them in turn, the final words first."""

    async def overhear(self, utterance: AudioChunk, listener: str) -> Heard:
        """Work ahead on an utterance that still goes on.

        A call replaces the listener's one before; it may be cancelled. A recogniser that cannot work
        ahead gives back no words at once.

        Args:
            utterance: so far, at `INPUT_RATE`: the samples of the call before, and more.
            listener: whose it is; one at a time each.

        Returns:
            The words that will not change any more, and the language, as far as it is known: also of
            what the listener said before.

        Raises:
            ModelFailed: it broke down or hangs.
        """
        ...

    async def recognise(
        self, utterance: AudioChunk, listener: str = "", language: str = "", likely: str = ""
    ) -> Heard:
        """All that was said.

        Args:
            utterance: whole, at `INPUT_RATE`.
            listener: who was overheard, if somebody was: what is settled is not worked out again.
            language: that is spoken, ISO 639-1; empty: the usual one, or it is found out.
            likely: words that are likely, as a text in that language; empty: none are.

        Raises:
            InvalidSetting: it does not know that language.
            ModelFailed: it broke down or hangs; names the part and says what to do.
        """
        ...


class LanguageModel(Part, Protocol):
    """Words to words.

    Attributes:
        writes: the one language that it answers in, ISO 639-1; empty: it answers in the user's.
        advice: how to get a better one, in a sentence; empty: this one will do.
        calls: it calls functions.
    """

    @property
    def writes(self) -> str: ...  # noqa: D102

    @property
    def advice(self) -> str: ...  # noqa: D102

    @property
    def calls(self) -> bool: ...  # noqa: D102

    def read_ahead(
        self,
        items: Sequence[Item],
        instructions: str = "",
        language: str = "",
        tools: Tools = NO_TOOLS,
    ) -> None:
        """Begin to read what the next answer to this conversation goes by, while the user still speaks.

        Takes no time, and changes no answer. One that would gain nothing by it does nothing.

        Args:
            items: of the conversation so far, oldest first.
            instructions: of the session.
            language: that the user speaks, ISO 639-1; empty: not known.
            tools: that it may call.
        """
        ...

    def held(self) -> AbstractContextManager[None]:
        """While inside, it computes nothing on this computer, so that another part has the processors."""
        ...

    def answer(
        self,
        question: str | None,
        items: Sequence[Item] = (),
        instructions: str = "",
        language: str = "",
        tools: Tools = NO_TOOLS,
        limit: int = 0,
    ) -> AsyncGenerator[str | FunctionCall | Usage, None]:
        """The answer as it is written, in pieces of any length, and the functions that it calls.

        How many tokens it has, and how many were read for it, comes once all of it is written, if it is
        known. Closing the generator abandons it.

        Args:
            question: what the user has just said; None: nothing, and the answer is to the items.
            items: of the conversation before, oldest first. As many of them as fit are read.
            instructions: of the session.
            language: that the user speaks, ISO 639-1; empty: not known.
            tools: that it may call.
            limit: tokens that it may have, calls among them; 0: as many as usual.

        Raises:
            LimitReached: it has `limit` tokens; what was given stands.
            AnswerCut: it grew too long; what was given stands, but for the sentence that has no end.
            ModelFailed: it broke down or hangs; names the part and says what to do. What was given stands.
        """
        ...


class Synthesiser(Part, Protocol):
    """Words to speech. One object for all sessions; it serves them in turn, clause by clause.

    Attributes:
        threads: that compute on this computer for long, while it speaks; 0: it is quick, or elsewhere.
        voices: that it is known to have, by name, the usual one first.
        speed: that it was started with.
    """

    @property
    def threads(self) -> int: ...  # noqa: D102

    @property
    def voices(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def speed(self) -> float: ...  # noqa: D102

    def for_reply(self) -> "AbstractContextManager[Synthesiser]":
        """Who speaks one reply: this one, or a quicker one where this one has its hands full."""
        ...

    def speak(
        self, words: str, language: str = "", voice: str = "", speed: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """The sound of one clause, at `REPLY_RATE`, as it is made; no silence around it.

        Markup, figures, emoji and so on are its business: what cannot be spoken makes no sound.

        Args:
            words: as they were written; up to a few hundred characters.
            language: ISO 639-1; empty: not known.
            voice: empty: the usual one, or one for the language.
            speed: 1 is usual; 0: as it was started with.

        Raises:
            InvalidSetting: there is no such voice.
            ModelFailed: it broke down or hangs; names the part and says what to do.
        """
        ...
