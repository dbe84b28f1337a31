"""A reply that is abandoned, and a part that dies: what it costs the others."""

import asyncio
import contextlib
import time
from typing import cast

import pytest

pytest.importorskip("pocketsphinx")
pytest.importorskip("xllamacpp")
pytest.importorskip("espeakng_loader")

from duologue.audio import INPUT_RATE, AudioChunk, concatenate
from duologue.errors import ModelFailed
from duologue.model import Prompt, SpeechModel
from models.cascade.rig import (
    SOON,
    abandon,
    children,
    collect,
    computes_on,
    duration,
    needs_weights,
    said,
    together,
    wait_for,
)


def unread() -> str:
    """Instructions that are not in the language model's cache; reading them takes seconds."""
    return f"{time.time()} is the time. " * 20


@needs_weights
@together
async def test_abandoned_while_recognising(model: SpeechModel, speech: AudioChunk) -> None:
    long = concatenate([speech] * 20, INPUT_RATE)  # takes seconds
    for _ in range(3):
        task = asyncio.ensure_future(collect(model, Prompt(long)))
        await asyncio.sleep(0.1)
        assert await abandon(cast("asyncio.Task[object]", task)) < SOON
    assert await computes_on("pocketsphinx_child") < 5
    await wait_for(lambda: len(children("pocketsphinx_child")) == 2)
    assert said(await collect(model, Prompt(speech)))


@needs_weights
@together
async def test_abandoned_while_waiting_for_a_recogniser(
    model: SpeechModel, speech: AudioChunk
) -> None:
    busy = [asyncio.create_task(collect(model, Prompt(speech))) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(collect(model, Prompt(speech)))
    last = asyncio.create_task(collect(model, Prompt(speech)))
    await asyncio.sleep(0.05)
    assert await abandon(cast("asyncio.Task[object]", waiting)) < SOON
    assert all(map(said, await asyncio.gather(*busy, last)))


@needs_weights
@together
async def test_abandoned_while_the_conversation_is_read(
    model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech, instructions=unread()))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.2)
    assert not task.done()
    assert await abandon(cast("asyncio.Task[object]", task)) < SOON
    assert await computes_on("llama_child") < 1.5  # reading it all takes longer
    assert said(await collect(model, Prompt(speech)))


@needs_weights
@together
@pytest.mark.parametrize("chunks", [1, 2])
async def test_abandoned_between_two_chunks(
    chunks: int, model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech))
    for _ in range(chunks):
        await anext(reply)
    assert await duration(reply.aclose()) < SOON
    assert await computes_on("llama_child") < 1


@needs_weights
@together
async def test_abandoned_while_the_answer_is_written(
    model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech, instructions="Answer in ten long sentences."))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.15)  # the first token is there, or about to come; the first clause is not
    assert await abandon(cast("asyncio.Task[object]", task)) < SOON
    assert await computes_on("llama_child") < 1


@needs_weights
@together
async def test_a_language_model_that_dies_fails_one_reply(
    model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech, instructions=unread()))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.2)
    [process] = children("llama_child")
    process.kill()
    with pytest.raises(ModelFailed, match="the language model broke down"):
        await task
    assert said(await collect(model, Prompt(speech)))
    assert len(children("llama_child")) == 1


@needs_weights
@together
async def test_a_language_model_that_dies_between_replies_is_started_again(
    model: SpeechModel, speech: AudioChunk
) -> None:
    [process] = children("llama_child")
    process.kill()
    await wait_for(lambda: not process.is_running())
    assert said(await collect(model, Prompt(speech)))


@needs_weights
@together
async def test_a_recogniser_that_dies_fails_one_reply(
    model: SpeechModel, speech: AudioChunk
) -> None:
    task = asyncio.create_task(collect(model, Prompt(concatenate([speech] * 5, INPUT_RATE))))
    await asyncio.sleep(0.1)
    for process in children("pocketsphinx_child"):
        process.kill()
    with pytest.raises(ModelFailed, match="the recogniser broke down"):
        await task
    with contextlib.suppress(ModelFailed):  # the other one was killed too
        await collect(model, Prompt(speech))
    for _ in range(3):
        assert said(await collect(model, Prompt(speech)))
    await wait_for(lambda: len(children("pocketsphinx_child")) == 2)
