"""A server with the Realtime API as a model: another Duologue, and some that do what they should not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.http11 import Request, Response

from conftest import Serve
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, silence
from duologue.conversation.items import FunctionCall, Item, ReplyChunk, Usage
from duologue.conversation.prompt import Prompt
from duologue.errors import InvalidSetting, ModelFailed, ModelUnavailable
from duologue.models import realtime
from duologue.models.echo import Echo
from duologue.models.realtime import Realtime, load
from duologue.testing import ScriptedModel, say, tone, turn_items
from duologue.tools import Function, Tools
from transports.realtime.messages import append, message
from transports.realtime.test_endpoint import hear, line

WORDS = ReplyChunk(user_text="hello there")


async def collect(model: Realtime, prompt: Prompt) -> list[ReplyChunk]:
    async with aclosing(model.reply(prompt)) as chunks:
        return [chunk async for chunk in chunks]


@asynccontextmanager
async def asking(url: str, **options: str) -> AsyncIterator[Realtime]:
    model = Realtime(url, **options)
    await model.start()
    try:
        yield model
    finally:
        await model.close()


def sound(chunks: list[ReplyChunk]) -> float:
    return sum(chunk.audio.duration for chunk in chunks if chunk.audio)


async def test_another_duologue_answers(serve: Serve) -> None:
    script = ScriptedModel(
        [WORDS, say("Hello! ", 0.5), say("How are you?", 0.7)], reads=True, transcript="hello there"
    )
    server = serve(script)
    async with asking(server.url) as model:
        chunks = await collect(model, Prompt(tone(1), instructions="Be kind."))
    assert [chunk.user_text for chunk in chunks if chunk.user_text] == ["hello there"]
    assert "".join(chunk.text for chunk in chunks) == "Hello! How are you?"
    assert sound(chunks) == pytest.approx(1.2, abs=0.01)
    [prompt] = script.prompts
    assert prompt.instructions == "Be kind."
    assert prompt.utterance.duration == pytest.approx(1.0, abs=0.01)


async def test_what_was_said_is_what_the_server_hears(serve: Serve) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 3 * INPUT_RATE).astype(np.float32)
    low = AudioChunk(samples, INPUT_RATE).at(2000).at(INPUT_RATE)
    server = serve(Echo())
    async with asking(server.url) as model:
        for end in (0.8, 1.7, 2.4):
            assert await model.overhear(Prompt(low.between(0, end), listener="me")) == ""
        streamed = await collect(model, Prompt(low, listener="me"))
        whole = await collect(model, Prompt(low))
    for chunks in (streamed, whole):
        heard = np.concatenate([chunk.audio.samples for chunk in chunks if chunk.audio])
        expected = low.at(REPLY_RATE).samples
        length = min(len(heard), len(expected))
        assert length > 0.95 * len(expected)
        best = max(
            np.corrcoef(heard[shift : shift + 48_000], expected[:48_000])[0, 1]
            for shift in range(200)
        )
        assert best > 0.99


async def test_the_conversation_before_is_told(serve: Serve) -> None:
    script = ScriptedModel([WORDS, say("Yes.")], reads=True, calls=True)
    call = Item("c", "assistant", "function_call", '{"a": 1}', name="f", call_id="call_1")
    output = Item("o", "user", "function_call_output", "rain", call_id="call_1")
    system = Item("s", "system", text="The user is Ada.")
    turn = turn_items("1", tone(1), "who am i", [say("You are Ada.")])
    tools = Tools((Function("f", "A function.", {"type": "object"}),), "auto")
    server = serve(script)
    async with asking(server.url) as model:
        await collect(model, Prompt(tone(1), [system, *turn, call, output], tools=tools))
    [prompt] = script.prompts
    assert [(item.role, item.kind, item.said or item.text) for item in prompt.items] == [
        ("system", "message", "The user is Ada."),
        ("user", "message", "who am i"),
        ("assistant", "message", "You are Ada."),
        ("assistant", "function_call", '{"a": 1}'),
        ("user", "function_call_output", "rain"),
    ]
    assert prompt.tools == tools


async def test_functions_are_called_and_text_is_answered_in_words(serve: Serve) -> None:
    script = ScriptedModel(
        [say("One moment."), ReplyChunk(call=FunctionCall("f", "{}"))], reads=True, calls=True
    )
    question = Item("q", "user", text="How is it?")
    server = serve(script)
    async with asking(server.url) as model:
        prompt = Prompt(
            silence(0, INPUT_RATE),
            [question],
            aloud=False,
            spoken=False,
            tools=Tools((Function("f"),)),
        )
        chunks = await collect(model, prompt)
    assert [chunk.call for chunk in chunks if chunk.call] == [FunctionCall("f", "{}")]
    assert "".join(chunk.text for chunk in chunks) == "One moment."
    assert not sound(chunks)


async def test_how_a_reply_sounds_and_how_long_it_is_is_passed_on(serve: Serve) -> None:
    end = ReplyChunk(usage=Usage(40, 5), incomplete=True)
    script = ScriptedModel(
        [WORDS, say("Hello!", 0.5), end], counts=True, voices=("eve", "adam"), speeds=(0.5, 2.0)
    )
    server = serve(script)
    async with asking(server.url, voice="adam") as model:
        can = model.capabilities
        assert (can.counts, can.voices, can.speeds) == (True, ("adam",), (0.25, 1.5))
        prompt = Prompt(tone(1), voice="eve", speed=1.5, max_output_tokens=5)
        chunks = await collect(model, prompt)
        await collect(model, Prompt(tone(1)))
    first, second = script.prompts
    assert (first.voice, first.speed, first.max_output_tokens) == ("eve", 1.5, 5)
    assert (second.voice, second.speed, second.max_output_tokens) == ("adam", 1.0, 0)
    assert chunks[-1] == end


async def test_what_a_server_does_not_take_up_it_cannot_do(serve: Serve) -> None:
    async with asking(serve(Echo()).url, voice="adam") as model:
        can = model.capabilities
        assert (can.counts, can.voices, can.speeds) == (False, ("default",), (1.0, 1.0))


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_server_that_tells_nothing_of_its_session_is_asked_for_nothing(
    refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime, "_TELLS", 0.2)

    async def behave(socket: ServerConnection) -> None:
        await created(socket)
        async for _ in socket:
            if refuses:
                await socket.send(json.dumps({"type": "error", "error": {"message": "no"}}))

    async with odd(behave) as url, asking(url) as model:
        can = model.capabilities
        assert (can.counts, can.voices, can.speeds) == (False, (), (1.0, 1.0))
        assert model.trouble == ""


async def test_what_was_said_is_written_down_without_a_reply(serve: Serve) -> None:
    script = ScriptedModel([say("No.")], transcript="hello there")
    async with asking(serve(script).url) as model:
        assert await model.transcribe(tone(1), "en") == ("hello there", "en")
    assert script.prompts == []
    async with asking(serve(Echo()).url) as model:
        with pytest.raises(ModelFailed, match="writes nothing down"):
            await model.transcribe(tone(1))


async def test_closing_a_reply_ends_it_there(serve: Serve) -> None:
    script = ScriptedModel([WORDS, *[say("On and on. ", 30)] * 100], gate=asyncio.Semaphore(4))
    server = serve(script)
    async with asking(server.url) as model:
        async with aclosing(model.reply(Prompt(tone(1)))) as chunks:
            async for chunk in chunks:
                if chunk.audio:
                    break
        async with asyncio.timeout(30):
            while not script.abandoned:
                await asyncio.sleep(0.02)


async def test_a_line_for_a_reply_that_never_comes_is_let_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime, "_KEPT", 0.05)
    server = serve(ScriptedModel())
    async with asking(server.url) as model:
        await model.overhear(Prompt(tone(1), listener="me"))
        async with asyncio.timeout(30):
            while model._lines:
                await asyncio.sleep(0.02)
        chunks = await collect(model, Prompt(tone(1), listener="me"))
    assert not sound(chunks)


async def test_a_session_of_ours_has_it_for_its_model(serve: Serve) -> None:
    script = ScriptedModel([say("Hello!", 0.5)], reads=True, transcript="hello there")
    front = serve(Realtime(serve(script).url))
    off = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    async with line(front) as socket:
        await socket.send(message("session.update", session=off))
        for _ in range(2):
            await socket.send(append(tone(1, 24_000)))
            await socket.send(message("input_audio_buffer.commit"))
            await socket.send(message("response.create"))
            done = (await hear(socket, "response.done"))["response"]
            assert done["status"] == "completed"
            assert done["output"][0]["content"][0]["transcript"] == "Hello!"
    assert [item.said for item in script.prompts[-1].items] == ["hello there", "Hello!"]


# Servers that do what they should not.

Behave = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def odd(behave: Behave, status: int = 0) -> AsyncIterator[str]:
    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        if not status:
            return None
        return connection.respond(HTTPStatus(status), "the key abc is wrong\n")

    async with serve_websocket(behave, "127.0.0.1", 0, process_request=refuse) as server:
        [socket] = server.sockets
        yield f"ws://127.0.0.1:{socket.getsockname()[1]}"


async def created(socket: ServerConnection) -> None:
    await socket.send(json.dumps({"type": "session.created", "session": {}}))


def says(*events: dict[str, Any], then: str = "wait") -> Behave:
    async def behave(socket: ServerConnection) -> None:
        await created(socket)
        async for told in socket:
            if json.loads(told)["type"] == "session.update":
                await socket.send(json.dumps({"type": "session.updated", "session": {}}))
            if json.loads(told)["type"] == "response.create":
                for event in events:
                    await socket.send(json.dumps(event))
                if then == "close":
                    return

    return behave


AUDIO = {"type": "response.output_audio.delta", "delta": "AAAA"}


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "refuses the key; set DUOLOGUE_REALTIME_KEY to a right one"),
        (404, "has no such route; see whether the address ends in /v1/realtime"),
        (500, "does not let us in \\(500\\): the key … is wrong"),
    ],
)
async def test_a_server_that_refuses_is_named_and_the_key_is_not(
    status: int, sentence: str
) -> None:
    async with odd(created, status) as url:
        with pytest.raises(ModelUnavailable, match=sentence) as refused:
            await Realtime(url, key="abc").start()
        assert "abc" not in str(refused.value)


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelUnavailable, match=r"at 127\.0\.0\.1:9 is not reached"):
        await Realtime("ws://127.0.0.1:9").start()


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "_SILENT", 0.2)

    async with odd(says()) as url, asking(url) as model:
        model.trouble = ""
        with pytest.raises(ModelFailed, match="told nothing in time"):
            await collect(model, Prompt(tone(1)))
        assert "told nothing in time" in model.trouble


@pytest.mark.parametrize("begun", [False, True])
async def test_a_line_that_is_lost_is_tried_again_only_before_the_first_sound(begun: bool) -> None:
    tries = []

    async def behave(socket: ServerConnection) -> None:
        tries.append(socket)
        await says(*([AUDIO] if begun else []), then="close")(socket)

    async with odd(behave) as url, asking(url) as model:
        tries.clear()
        with pytest.raises(ModelFailed, match="hung up; see what it logs"):
            await collect(model, Prompt(tone(1)))
    assert len(tries) == (1 if begun else 2)


async def test_what_the_server_says_of_its_failure_is_told() -> None:
    failed = {
        "type": "response.done",
        "response": {"status": "failed", "status_details": {"error": {"message": "no more money"}}},
    }
    error = {"type": "error", "error": {"message": "the key abc has expired"}}
    for event, sentence in ((failed, "failed: no more money"), (error, "the key … has expired")):
        async with odd(says(event)) as url, asking(url, key="abc") as model:
            with pytest.raises(ModelFailed, match=sentence):
                await collect(model, Prompt(tone(1)))


async def test_what_is_no_event_is_passed_over() -> None:
    strange: list[Any] = [
        1,
        [],
        {},
        {"type": 7},
        {"type": "response.output_audio.delta", "delta": 7},
        {"type": "response.output_audio.delta", "delta": "!"},
        {"type": "response.output_audio_transcript.delta", "delta": None},
        {"type": "response.output_item.added", "item": 3},
        {"type": "conversation.item.input_audio_transcription.failed"},
        AUDIO,
        {"type": "response.done"},
    ]
    async with odd(says(*strange)) as url, asking(url) as model:
        chunks = await collect(model, Prompt(tone(1)))
    assert [chunk.audio is not None for chunk in chunks] == [True]


@pytest.mark.parametrize("url", ["", "realtime", "ftp://host", "ws://", "ws://host:port"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"address is as wss://api\.openai\.com/v1/realtime"):
        load(url)


def addresses() -> Iterator[tuple[str, str]]:
    yield "ws://a", "ws://a/v1/realtime?model=m"
    yield "https://a/v1", "wss://a/v1/realtime?model=m"
    yield "http://a:1/b/v1/realtime/?x=1", "ws://a:1/b/v1/realtime?x=1&model=m"


@pytest.mark.parametrize(("given", "asked"), list(addresses()))
def test_an_address_may_be_short(given: str, asked: str) -> None:
    assert realtime._address(given, "m")[0] == asked
