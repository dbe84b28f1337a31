"""The cascade, started, and somebody who speaks to it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from duologue.audio import AudioChunk
from duologue.models import SpeechModel, load_model
from models.cascade.openai_server import Behaviour, serving_openai
from models.cascade.rig import spoken


@pytest.fixture
def behaviour() -> Behaviour:
    """How the server at `address` behaves."""
    return Behaviour()


@pytest_asyncio.fixture
async def address(behaviour: Behaviour) -> AsyncIterator[str]:
    """A server with OpenAI's API on this machine."""
    async with serving_openai(behaviour) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[SpeechModel]:
    cascade = load_model("cascade", tts="espeak")  # quick: the chain is what is tested here
    await cascade.start()
    yield cascade
    await cascade.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speech() -> AudioChunk:
    """A question, at `INPUT_RATE`."""
    return await spoken("What is the weather like today?")
