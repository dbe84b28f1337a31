"""The cascade, started, and somebody who speaks to it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.model import SpeechModel, load_model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[SpeechModel]:
    cascade = load_model("cascade")
    await cascade.start()
    yield cascade
    await cascade.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speech() -> AudioChunk:
    """A question, at `INPUT_RATE`."""
    # Not above: it takes espeak-ng.
    from duologue.models.cascade.synthesiser import Synthesiser

    synthesiser = Synthesiser("en-us")
    sound = (await synthesiser.speak("What is the weather like today?")).at(INPUT_RATE)
    synthesiser.close()
    edge = silence(0.3, INPUT_RATE)
    return concatenate([edge, sound, edge], INPUT_RATE)
