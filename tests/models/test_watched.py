"""A model that hangs, keeps others waiting, or gives what is no piece of a reply."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import numpy as np
import pytest

from conftest import Serve
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, silence
from duologue.cli.say import ask
from duologue.conversation.items import ReplyChunk, Usage
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import DuologueError, ModelFailed
from duologue.models.watched import Watched
from duologue.testing import FakeClock, ScriptedModel, say, settle, tone
from transports import chats

PROMPT = Prompt(silence(1, INPUT_RATE))


async def hear(model: Watched, prompt: Prompt = PROMPT) -> list[ReplyChunk]:
    async with aclosing(model.reply(prompt)) as chunks:
        return [chunk async for chunk in chunks]


class Paced:
    """Gives a word each so many seconds of a clock, as the prompt's instructions say; "-": never."""

    capabilities = Capabilities(history=False, instructions=True, transcribes=False, note="Paced.")

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.closed = 0

    async def start(self) -> None:
        pass

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        try:
            for seconds in prompt.instructions.split():
                if seconds == "-":
                    await asyncio.Event().wait()
                elif float(seconds):
                    await self.clock.sleep(float(seconds))
                yield ReplyChunk(text="word")
        finally:
            self.closed += 1

    async def close(self) -> None:
        pass


def paced(instructions: str) -> Prompt:
    return Prompt(silence(1, INPUT_RATE), instructions=instructions)


async def test_a_model_that_gives_nothing_for_a_minute_fails_in_one_sentence() -> None:
    clock = FakeClock()
    inner = Paced(clock)
    model = Watched(inner, 60, clock)
    reply = asyncio.create_task(hear(model, paced("1 -")))
    await clock.advance(60.5)
    assert not reply.done()
    await clock.advance(1)
    with pytest.raises(ModelFailed, match="the model gave nothing for 60 s"):
        await reply
    assert inner.closed == 1
    assert model.trouble == "the model hangs: it gave nothing for 60 s"
    assert asyncio.all_tasks() == {asyncio.current_task()}
    again = asyncio.create_task(hear(model, paced("1")))
    await clock.advance(1)
    assert len(await again) == 1
    assert model.trouble == ""


async def test_a_slow_model_is_waited_for_as_long_as_it_gives_something() -> None:
    clock = FakeClock()
    reply = asyncio.create_task(hear(Watched(Paced(clock), 60, clock), paced("59 59 59 59")))
    for _ in range(4):
        await clock.advance(59)
    assert len(await reply) == 4


async def test_who_waits_while_others_are_served_is_waited_for_longer_and_not_for_ever() -> None:
    clock = FakeClock()
    model = Watched(Paced(clock), 60, clock)
    served = asyncio.create_task(hear(model, paced("30 " * 10)))
    waiting = asyncio.create_task(hear(model, paced("-")))
    await clock.advance(179)
    assert not waiting.done()
    await clock.advance(2)
    with pytest.raises(ModelFailed, match="busy with other replies for 180 s; try again later"):
        await waiting
    assert model.trouble == ""
    await clock.advance(120)
    assert len(await served) == 10


async def test_the_time_that_a_client_takes_for_a_piece_is_not_the_models() -> None:
    clock = FakeClock()
    async with aclosing(Watched(Paced(clock), 60, clock).reply(paced("0 0 1"))) as chunks:
        await anext(chunks)
        await clock.advance(1000)
        await anext(chunks)
        last = asyncio.ensure_future(anext(chunks))
        await clock.advance(1)
        assert (await last).text == "word"


async def test_who_is_cancelled_is_cancelled_and_no_failure() -> None:
    clock = FakeClock()
    inner = Paced(clock)
    reply = asyncio.create_task(hear(Watched(inner, 60, clock), paced("-")))
    await settle()
    reply.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reply
    assert inner.closed == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


def sound(samples: object, rate: object = REPLY_RATE) -> ReplyChunk:
    return ReplyChunk(AudioChunk(cast("np.ndarray", samples), cast("int", rate)), "word")


@pytest.mark.parametrize(
    ("chunk", "sentence"),
    [
        (sound(np.array([0.1, np.nan], np.float32)), "holds no numbers"),
        (sound(np.array([0.1, -np.inf], np.float32)), "holds no numbers"),
        (sound(np.zeros(9, np.float64)), r"gave float64 \[9\] for samples; they are float32"),
        (sound(np.zeros((9, 2), np.float32)), r"gave float32 \[9, 2\] for samples"),
        (sound([0.1, 0.2]), "gave a list for samples"),
        (sound(np.zeros(9, np.float32), 16_000), "at 16000 Hz; it is 24000 Hz"),
        (ReplyChunk(cast("AudioChunk", np.zeros(9, np.float32))), "and not an AudioChunk"),
        (ReplyChunk(text=cast("str", 7)), "words that are no str"),
        (ReplyChunk(user_text=cast("str", b"hi")), "words that are no str"),
        (ReplyChunk(usage=cast("Usage", 7)), "gave usage that is no count of tokens"),
        (ReplyChunk(usage=Usage(-1, 2)), "gave usage that is no count of tokens"),
        (ReplyChunk(usage=Usage(1, cast("int", 2.5))), "gave usage that is no count of tokens"),
        (cast("ReplyChunk", "hello"), "gave a str and not a ReplyChunk"),
        (cast("ReplyChunk", None), "gave a NoneType and not a ReplyChunk"),
    ],
)
async def test_what_is_no_piece_of_a_reply_is_a_failure_in_one_sentence(
    chunk: ReplyChunk, sentence: str
) -> None:
    model = Watched(ScriptedModel([say("Hi."), chunk]))
    async with aclosing(model.reply(PROMPT)) as chunks:
        assert (await anext(chunks)).text == "Hi."
        with pytest.raises(ModelFailed, match=sentence):
            await anext(chunks)


async def test_sound_without_samples_is_no_sound() -> None:
    (chunk,) = await hear(Watched(ScriptedModel([sound(np.zeros(0, np.float32))])))
    assert chunk == ReplyChunk(text="word")


NOISE = sound(np.full(2400, np.nan, np.float32))


async def test_a_session_hears_of_sound_that_is_no_number(serve: Serve) -> None:
    server = serve(ScriptedModel([NOISE]))
    with pytest.raises(DuologueError, match="holds no numbers"):
        await ask(server.url, tone(0.5))


def test_chat_hears_of_sound_that_is_no_number(serve: Serve) -> None:
    response = chats.ask(serve(ScriptedModel([NOISE])))
    assert (response.status_code, chats.error(response)["code"]) == (500, "model_failed")
    assert "holds no numbers" in chats.error(response)["message"]


async def test_a_session_hears_of_a_model_that_hangs_and_so_does_health(serve: Serve) -> None:
    server = serve(ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(0)), model_timeout=1)
    assert "trouble" not in health(server.url)
    with pytest.raises(DuologueError, match="the model gave nothing for 1 s"):
        await ask(server.url, tone(0.5))
    told = health(server.url)
    assert (told["status"], told["trouble"]) == (
        "degraded",
        "the model hangs: it gave nothing for 1 s",
    )


def test_chat_hears_of_a_model_that_hangs(serve: Serve) -> None:
    silent = ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(0))
    response = chats.ask(serve(silent, model_timeout=1))
    assert (response.status_code, chats.error(response)["code"]) == (500, "model_failed")
    assert "gave nothing for 1 s" in chats.error(response)["message"]


def health(url: str) -> dict[str, str]:
    with urllib.request.urlopen(f"{url}/health") as response:
        return cast("dict[str, str]", json.load(response))
