"""The chain's ear for models that write nothing down: it starts when somebody first wants words."""

import asyncio
import importlib.util

from duologue import weights
from duologue.audio import AudioChunk
from duologue.models import Ear
from duologue.models.cascade.parts import Recogniser

_WEIGHTS = "whisper-base"


class LazyEar:
    """An `Ear` whose process runs only where it is needed."""

    def __init__(self) -> None:
        self._recogniser: Recogniser | None = None
        self._starting = asyncio.Lock()

    async def transcribe(
        self,
        utterance: AudioChunk,
        language: str = "",
        listener: str = "",  # noqa: ARG002  it overhears nobody
        likely: str = "",
    ) -> tuple[str, str]:
        """The words, and the language.

        Raises:
            ModelUnavailable: it cannot be started; says why.
            ModelFailed: it broke down.
        """
        async with self._starting:
            if not self._recogniser:
                # Not above: it cannot be imported without its packages.
                from duologue.models.cascade.whisper import Whisper

                recogniser = Whisper()
                await recogniser.start()
                self._recogniser = recogniser
        heard = await self._recogniser.recognise(utterance, language=language, likely=likely)
        return heard.words, heard.language

    async def close(self) -> None:
        """End its process, if there is one."""
        if self._recogniser:
            await self._recogniser.close()


def find_ear() -> Ear | None:
    """The ear, if its packages and its weights are here."""
    packages = ("ctranslate2", "tokenizers")
    there = all(importlib.util.find_spec(package) for package in packages)
    return LazyEar() if there and weights.is_there(_WEIGHTS) else None
