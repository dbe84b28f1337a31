"""A reply that is abandoned, and a part that dies: what it costs the others."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

pytest.importorskip("ctranslate2")
pytest.importorskip("xllamacpp")
pytest.importorskip("espeakng_loader")

from rigs.processes import children, computed

from duologue.audio import INPUT_RATE, AudioChunk, concatenate
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.errors import ModelFailed
from duologue.models import SpeechModel
from duologue.models.cascade import language
from models.cascade.rig import (
    abandon_at_once,
    collect,
    come_to_rest,
    ends_at_once,
    needs_weights,
    said,
    together,
)


async def read_at_length(
    model: SpeechModel, speech: AudioChunk
) -> "tuple[asyncio.Task[ReplyChunk], AsyncGenerator[ReplyChunk, None]]":
    """A reply whose instructions, which are in no cache, the language model reads for seconds.

    The task is its next chunk.
    """
    reply = model.reply(Prompt(speech, instructions=f"{time.time()} is the time. " * 20))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.2)
    return task, reply


@needs_weights
@together
async def test_abandoned_while_recognising(model: SpeechModel, speech: AudioChunk) -> None:
    long = concatenate([speech] * 20, INPUT_RATE)  # takes seconds
    for _ in range(3):
        task = asyncio.ensure_future(collect(model, Prompt(long)))
        await asyncio.sleep(0.1)
        await abandon_at_once(task)
    await come_to_rest("whisper_child")
    assert len(children("whisper_child")) == 1
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
    await abandon_at_once(waiting)
    assert all(map(said, await asyncio.gather(*busy, last)))


@needs_weights
@together
async def test_abandoned_while_the_conversation_is_read(
    model: SpeechModel, speech: AudioChunk
) -> None:
    before = computed("llama_child")
    task, _ = await read_at_length(model, speech)
    await task
    whole = computed("llama_child") - before
    await come_to_rest("llama_child")
    task, _ = await read_at_length(model, speech)
    assert not task.done()
    await abandon_at_once(task)
    assert await come_to_rest("llama_child") < whole / 2  # a tenth, where this was written
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
    await ends_at_once(asyncio.ensure_future(reply.aclose()))
    await come_to_rest("llama_child")


@needs_weights
@together
async def test_abandoned_while_the_answer_is_written(
    model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech, instructions="Answer in ten long sentences."))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.15)  # the first token is there, or about to come; the first clause is not
    await abandon_at_once(task)
    await come_to_rest("llama_child")


@needs_weights
@together
async def test_a_language_model_that_dies_before_its_first_word_costs_no_reply(
    model: SpeechModel, speech: AudioChunk
) -> None:
    task, reply = await read_at_length(model, speech)
    [process] = children("llama_child")
    process.kill()
    # The first chunk may be the usage: an answer of one clause is spoken when all of it is written.
    assert said([await task, *[chunk async for chunk in reply]])
    assert said(await collect(model, Prompt(speech)))
    assert len(children("llama_child")) == 1


@needs_weights
@together
async def test_a_language_model_that_dies_while_it_writes_fails_that_reply(
    model: SpeechModel, speech: AudioChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So many that it still writes when the first clause is spoken, however busy the machine is.
    monkeypatch.setattr(language, "_LONGEST_ANSWER", 1500)
    reply = model.reply(Prompt(speech, instructions="Whatever I say, count to a thousand."))
    for _ in range(2):
        await anext(reply)
    [process] = children("llama_child")
    process.kill()
    with pytest.raises(ModelFailed, match="the language model broke down"):
        async for _ in reply:
            pass
    assert said(await collect(model, Prompt(speech)))
