"""What every model must do, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, silence
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.errors import ModelUnavailable
from duologue.models import SpeechModel, load_model
from duologue.testing import tone


@pytest.fixture(params=["echo", "cascade", "mini-omni"])
async def model(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SpeechModel]:
    """Each model that is in the package, started; Mini-Omni in small."""
    options = {}
    if request.param == "mini-omni":
        cache = request.getfixturevalue("mini_omni_cache")
        monkeypatch.setenv("DUOLOGUE_CACHE", str(cache))
        options = {"max_reply": "2", "slots": "2"}
    try:
        model = load_model(request.param, **options)
        await model.start()
    except ModelUnavailable as error:
        pytest.skip(str(error))
    yield model
    await model.close()


async def hear(model: SpeechModel, prompt: Prompt) -> list[ReplyChunk]:
    async with aclosing(model.reply(prompt)) as chunks:
        return [chunk async for chunk in chunks]


def noise(seconds: float) -> AudioChunk:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * INPUT_RATE))
    return AudioChunk(samples.astype(np.float32), INPUT_RATE)


def check(chunks: list[ReplyChunk], model: SpeechModel) -> None:
    told = [chunk.user_text for chunk in chunks if chunk.user_text is not None]
    assert len(told) == (1 if model.capabilities.transcribes else 0)
    for chunk in chunks:
        if chunk.audio:
            assert chunk.audio.rate == REPLY_RATE
            assert chunk.audio.samples.dtype == np.float32
            assert chunk.audio.samples.ndim == 1
            assert np.isfinite(chunk.audio.samples).all()
            assert np.abs(chunk.audio.samples).max(initial=0) <= 1
        if chunk.text:
            assert chunk.audio, "words come with their sound"


async def test_it_says_in_one_line_what_it_is(model: SpeechModel) -> None:
    note = model.capabilities.note
    assert note
    assert "\n" not in note


async def test_it_answers_with_sound(model: SpeechModel, question: AudioChunk) -> None:
    chunks = await hear(model, Prompt(question))
    check(chunks, model)
    assert sum(chunk.audio.duration for chunk in chunks if chunk.audio) > 0.3


@pytest.mark.parametrize(
    "utterance",
    [silence(0, INPUT_RATE), silence(0.01, INPUT_RATE), silence(2, INPUT_RATE), noise(1), tone(31)],
    ids=["nothing", "10 ms", "silence", "noise", "31 s"],
)
async def test_it_bears_what_is_no_speech(model: SpeechModel, utterance: AudioChunk) -> None:
    check(await hear(model, Prompt(utterance)), model)


async def test_it_serves_several_at_once(model: SpeechModel) -> None:
    prompts = [Prompt(tone(0.5 + n / 10)) for n in range(4)]
    for chunks in await asyncio.gather(*(hear(model, prompt) for prompt in prompts)):
        check(chunks, model)


async def test_it_can_be_abandoned_at_any_time_and_answers_the_next(model: SpeechModel) -> None:
    for delay in (0.0, 0.02, 0.3):
        task = asyncio.create_task(hear(model, Prompt(noise(2))))
        await asyncio.sleep(delay)
        task.cancel()
        for _ in range(10):  # rounds of the loop: so it has waited for nothing
            await asyncio.sleep(0)
        assert task.done()
    check(await hear(model, Prompt(noise(1))), model)
