"""How replies sound, how long they may be and what they use, over a real WebSocket."""

import json
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection

from conftest import Serve
from duologue.audio import silence
from duologue.conversation.items import ReplyChunk, Usage
from duologue.models.echo import Echo
from duologue.testing import ScriptedModel, say, tone
from transports.realtime.messages import append, message
from transports.realtime.test_client_secrets import post
from transports.realtime.test_endpoint import client, hear, line, until

WORDS = ReplyChunk(user_text="hello there")
END = ReplyChunk(usage=Usage(40, 5), incomplete=True)

_SCHEMA: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def speaker() -> ScriptedModel:
    return ScriptedModel(
        [WORDS, say("One two", 0.5), END],
        reads=True,
        counts=True,
        voices=("eve", "adam"),
        speeds=(0.5, 2.0),
    )


def session(**fields: Any) -> str:
    return message("session.update", event_id="evt_1", session={"type": "realtime", **fields})


def shown(session: dict[str, Any]) -> tuple[object, ...]:
    output = session["audio"]["output"]
    return output["voice"], output.get("speed"), session["max_output_tokens"]


async def done(socket: ClientConnection) -> dict[str, Any]:
    fields = await hear(socket, "response.done")
    _SCHEMA.validate_python(fields, strict=True)
    response: dict[str, Any] = fields["response"]
    return response


OTHER = {"max_output_tokens": 5, "audio": {"output": {"voice": "adam", "speed": 1.5}}}


async def test_a_session_is_told_and_used_as_it_was_asked_for(serve: Serve) -> None:
    model = speaker()
    async with line(serve(model)) as socket:
        await socket.send(session(**OTHER))
        assert shown((await hear(socket, "session.updated"))["session"]) == ("adam", 1.5, 5)
        await socket.send(session(instructions="Be kind."))  # what it does not name stays
        assert shown((await hear(socket, "session.updated"))["session"]) == ("adam", 1.5, 5)
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(1.1, 24_000)))
        begun = (await hear(socket, "response.created"))["response"]
        assert begun["audio"]["output"]["voice"] == "adam"
        item = (await hear(socket, "response.output_item.done"))["item"]
        assert item["status"] == "incomplete"
        response = await done(socket)
    assert (response["status"], response["max_output_tokens"]) == ("incomplete", 5)
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["content"][0]["transcript"] == "One two"
    usage = response["usage"]
    assert usage["output_token_details"] == {"text_tokens": 5, "audio_tokens": 10}
    read = usage["input_token_details"]
    assert (read["text_tokens"], read["cached_tokens"]) == (40, 0)
    assert 12 <= read["audio_tokens"] <= 25
    assert usage["total_tokens"] == 40 + read["audio_tokens"] + 15
    (prompt,) = model.prompts
    assert (prompt.voice, prompt.speed, prompt.max_output_tokens) == ("adam", 1.5, 5)


async def test_the_voices_that_clients_send_are_no_error(serve: Serve) -> None:
    for model, used in ((speaker(), "eve"), (Echo(), "default")):
        async with line(serve(model)) as socket:
            for voice in ("alloy", "ash", "marin", {"id": "voice_1234"}):
                output = {"voice": voice}
                await socket.send(session(audio={"output": output}))
                told = json.loads(await socket.recv())
                assert told["type"] == "session.updated"
                assert told["session"]["audio"]["output"]["voice"] == used
            await socket.send(append(tone(1, 24_000)))
            await socket.send(append(silence(1.1, 24_000)))
            response = await done(socket)
            assert response["audio"]["output"]["voice"] == used


async def test_what_a_model_cannot_use_is_told_as_not_used(serve: Serve) -> None:
    async with line(serve(Echo())) as socket:
        await socket.send(session(**OTHER))
        assert shown((await hear(socket, "session.updated"))["session"]) == ("default", 1.0, "inf")
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(1.1, 24_000)))
        response = await done(socket)
    assert (response["status"], response["max_output_tokens"]) == ("completed", "inf")
    assert response["usage"]["input_token_details"]["text_tokens"] == 0
    assert response["usage"]["output_token_details"]["audio_tokens"] > 15


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_output_tokens": 5000}, "max_output_tokens"),
        ({"audio": {"output": {"speed": 9}}}, "audio.output.speed"),
        ({"audio": {"output": {"voice": 9}}}, "audio.output.voice"),
    ],
)
async def test_a_wrong_value_is_one_error_and_loses_nothing(
    serve: Serve, fields: dict[str, Any], param: str
) -> None:
    model = speaker()
    async with line(serve(model)) as socket:
        await socket.send(session(**OTHER))
        await hear(socket, "session.updated")
        await socket.send(append(tone(1, 24_000)))
        await socket.send(session(**fields))
        await socket.send(message("response.create", event_id="evt_2", response=fields))
        for where, name in (("session", "evt_1"), ("response", "evt_2")):
            error = (await hear(socket, "error"))["error"]
            assert (error["param"], error["event_id"]) == (f"{where}.{param}", name)
        await socket.send(append(silence(1.1, 24_000)))
        assert (await done(socket))["max_output_tokens"] == 5
    (prompt,) = model.prompts
    assert (prompt.voice, prompt.speed) == ("adam", 1.5)
    assert prompt.utterance.duration > 1


async def test_the_official_client_asks_for_a_response_of_its_own_kind(serve: Serve) -> None:
    model = speaker()
    async with client(serve(model)) as connection:
        await connection.response.create(
            response={
                "max_output_tokens": 5,
                "instructions": "Greet.",
                "audio": {"output": {"voice": "adam"}},
            }
        )
        *_, end = await until(connection, "response.done")
    assert end.response.status == "incomplete"
    assert end.response.status_details.reason == "max_output_tokens"
    assert end.response.audio.output.voice == "adam"
    assert end.response.usage.input_token_details.audio_tokens == 0
    assert end.response.usage.total_tokens == 40 + 5 + 10
    assert model.prompts[0].voice == "adam"


async def test_a_client_secret_tells_what_its_session_will_have(serve: Serve) -> None:
    for model, expected in ((speaker(), ("eve", 1.5, 5)), (Echo(), ("default", 1.0, "inf"))):
        output = {"voice": "alloy", "speed": 1.5}
        wanted = {"type": "realtime", "max_output_tokens": 5, "audio": {"output": output}}
        made = (await post(serve(model), "client_secrets", {"session": wanted})).json()
        assert shown(made["session"]) == expected
