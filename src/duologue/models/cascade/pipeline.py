"""The three parts, put together."""

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncGenerator

import numpy as np

from duologue import weights
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, concatenate, silence
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.model import Capabilities, Prompt, ReplyChunk
from duologue.models.cascade.clauses import speakable
from duologue.models.cascade.recogniser import Recogniser

_PACKAGES = ("pocketsphinx", "xllamacpp", "espeakng_loader")

_NOT_HEARD = "I did not catch that."
_SPEECHLESS = "I don't know what to say."

_AUDIBLE = 0.003  # of full scale, -50 dB: pocketsphinx hears words in a silence of zeros

_SENTENCE_PAUSE = 0.3  # seconds between clauses; without them, speech made in pieces sounds hasty
_CLAUSE_PAUSE = 0.12


class Cascade:
    """Recognises, thinks and speaks: the speech begins while the rest is still being written."""

    capabilities = Capabilities(
        history=True,
        instructions=True,
        transcribes=True,
        note="A small built-in model (SmolLM2 135M): quick to try, often wrong.",
    )

    def __init__(self, voice: str, recognisers: str) -> None:
        if not recognisers.isdecimal() or not 1 <= int(recognisers) <= 8:
            raise InvalidSetting(f"recognisers is a number from 1 to 8, not {recognisers!r}")
        for package in _PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise ModelUnavailable(
                    f"the model 'cascade' needs the package {package!r}; "
                    "install it with: pip install 'duologue[cascade]'"
                )
        # Not above: they cannot be imported without those packages.
        from duologue.models.cascade.language import LanguageModel
        from duologue.models.cascade.synthesiser import Synthesiser

        self._recogniser = Recogniser(int(recognisers))
        self._language = LanguageModel(weights.locate("smollm2-135m"))
        self._synthesiser = Synthesiser(voice)

    @property
    def trouble(self) -> str:
        """What is wrong with one of the processes at this moment; empty: nothing."""
        return self._recogniser.trouble or self._language.trouble

    async def start(self) -> None:
        """Start the processes, and warm them up."""
        try:
            started = await asyncio.gather(
                self._recogniser.start(), self._language.start(), return_exceptions=True
            )
        except asyncio.CancelledError:
            await self.close()
            raise
        for failure in started:
            if failure is not None:
                await self.close()
                raise failure

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """What was said, then the answer, clause by clause as it is written."""
        question = await self._recognise(prompt.utterance)
        yield ReplyChunk(user_text=question)
        if not question:
            yield ReplyChunk(await self._synthesiser.speak(_NOT_HEARD), _NOT_HEARD)
            return
        answer = self._language.answer(question, prompt.turns, prompt.instructions)
        pause, space = 0.0, ""
        async with contextlib.aclosing(answer):
            async for clause in answer:
                if words := speakable(clause):
                    sound = await self._synthesiser.speak(words)
                    sound = concatenate([silence(pause, REPLY_RATE), sound], REPLY_RATE)
                    yield ReplyChunk(sound, space + words)
                    pause = _SENTENCE_PAUSE if words[-1] in ".!?…" else _CLAUSE_PAUSE
                    space = " "
        if not space:
            yield ReplyChunk(await self._synthesiser.speak(_SPEECHLESS), _SPEECHLESS)

    async def close(self) -> None:
        """End the processes."""
        await asyncio.gather(self._recogniser.close(), self._language.close())
        self._synthesiser.close()

    async def _recognise(self, utterance: AudioChunk) -> str:
        if np.abs(utterance.samples).max(initial=0) < _AUDIBLE:
            return ""
        return await self._recogniser.recognise(utterance.at(INPUT_RATE).pcm16())
