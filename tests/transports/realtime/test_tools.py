"""Functions that a client offers: the model calls them, the client answers, the model goes on."""

import json
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection

from conftest import Serve
from duologue.audio import silence
from duologue.conversation.items import FunctionCall, ReplyChunk
from duologue.testing import ScriptedModel, say, tone
from duologue.tools import Function, Tools
from transports.realtime.messages import append, message
from transports.realtime.test_endpoint import hear, line

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
}
SERVER = {"type": "mcp", "server_label": "files", "server_url": "http://127.0.0.1:9/mcp"}
CALL = ReplyChunk(call=FunctionCall("weather", '{"town": "Oslo"}'))
WORDS = ReplyChunk(user_text="how is it in oslo")

_SCHEMA: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def session(**fields: Any) -> str:
    return message("session.update", session={"type": "realtime", **fields})


async def listen(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """All that is told up to an event of this kind; each as the API has it."""
    seen = []
    while True:
        fields: dict[str, Any] = json.loads(await socket.recv())
        if not fields["type"].startswith("session."):
            _SCHEMA.validate_python(fields, strict=True)
        seen.append(fields)
        if fields["type"] == kind:
            return seen


async def ask(socket: ClientConnection) -> list[dict[str, Any]]:
    await socket.send(append(tone(1, 24_000)))
    await socket.send(append(silence(0.8, 24_000)))
    return await listen(socket, "response.done")


async def test_a_call_is_told_and_what_the_function_gave_is_answered(serve: Serve) -> None:
    model = ScriptedModel([WORDS, say("One moment. ", 0.2), CALL], reads=True, calls=True)
    server = serve(model)
    async with line(server) as socket:
        await socket.send(session(tools=[WEATHER], tool_choice="auto"))
        told = (await hear(socket, "session.updated"))["session"]
        assert (told["tools"], told["tool_choice"]) == ([WEATHER], "auto")
        seen = await ask(socket)
        kinds = [event["type"] for event in seen]
        place = kinds.index("response.function_call_arguments.delta")
        assert kinds[place - 2 : place + 4] == [
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "conversation.item.done",
        ]
        begun, done = seen[place - 2], seen[place + 1]
        assert begun["item"]["status"] == "in_progress"
        assert begun["item"]["arguments"] == ""
        assert (done["name"], done["arguments"]) == ("weather", '{"town": "Oslo"}')
        assert done["output_index"] == begun["output_index"] == 1
        response = seen[-1]["response"]
        message_, call = response["output"]
        assert (response["status"], message_["role"]) == ("completed", "assistant")
        assert (call["type"], call["status"]) == ("function_call", "completed")
        assert call["call_id"] == done["call_id"]

        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        await socket.send(message("conversation.item.create", item=output))
        await socket.send(message("response.create"))
        await listen(socket, "response.created")
    first, second = model.prompts
    assert first.tools == Tools(
        (Function("weather", "The weather in a town.", WEATHER["parameters"]),)
    )
    assert not second.spoken
    assert [item.kind for item in second.items] == [
        *("message", "message"),
        *("function_call", "function_call_output"),
    ]
    assert second.items[2].call_id == second.items[3].call_id


async def test_a_reply_may_be_a_call_alone(serve: Serve) -> None:
    server = serve(ScriptedModel([WORDS, CALL], calls=True))
    async with line(server) as socket:
        await socket.send(
            session(tools=[WEATHER], tool_choice={"type": "function", "name": "weather"})
        )
        told = (await hear(socket, "session.updated"))["session"]
        assert told["tool_choice"] == {"type": "function", "name": "weather"}
        seen = await ask(socket)
        assert [item["type"] for item in seen[-1]["response"]["output"]] == ["function_call"]
        assert "response.output_audio.delta" not in [event["type"] for event in seen]


async def test_functions_of_one_response_are_its_own(serve: Serve) -> None:
    model = ScriptedModel([CALL], reads=True, calls=True)
    server = serve(model)
    async with line(server) as socket:
        response = {"conversation": "none", "tools": [WEATHER], "tool_choice": "required"}
        await socket.send(message("response.create", response=response))
        seen = await listen(socket, "response.done")
        assert "conversation.item.added" not in [event["type"] for event in seen]
        await socket.send(message("response.create", response={"tool_choice": "none"}))
        await listen(socket, "response.done")
    of_its_own, plain = model.prompts
    assert [function.name for function in of_its_own.tools.offered] == ["weather"]
    assert of_its_own.tools.choice == "required"
    assert plain.tools.offered == ()


@pytest.mark.parametrize("part", ["function", "mcp"])
async def test_a_model_without_functions_says_so_once(serve: Serve, part: str) -> None:
    tool = WEATHER if part == "function" else SERVER
    server = serve(ScriptedModel([say("Yes.")], reads=True))
    async with line(server) as socket:
        await socket.send(session(tools=[tool]))
        assert (await hear(socket, "session.updated"))["session"]["tools"] == []
        error = (await hear(socket, "error"))["error"]
        assert (error["param"], error["code"]) == ("session.tools", "invalid_event")
        await socket.send(session(instructions="Be kind."))
        await hear(socket, "session.updated")
        await socket.send(message("response.create", response={"tools": []}))
        kinds = [event["type"] for event in await listen(socket, "response.created")]
        assert "error" not in kinds
        await listen(socket, "response.done")
        await socket.send(message("response.create", event_id="e1", response={"tools": [WEATHER]}))
        error = (await hear(socket, "error"))["error"]
        assert (error["param"], error["event_id"]) == ("response.tools", "e1")


async def test_who_interrupts_after_a_call_has_it_in_the_conversation(serve: Serve) -> None:
    model = ScriptedModel([WORDS, CALL, say("One moment.", 60)], calls=True)
    server = serve(model)
    async with line(server) as socket:
        await socket.send(session(tools=[WEATHER]))
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(0.8, 24_000)))
        call = await hear(socket, "response.function_call_arguments.done")
        await hear(socket, "response.output_audio.delta")
        await socket.send(message("response.cancel"))
        response = (await hear(socket, "response.done"))["response"]
        await socket.send(message("conversation.item.retrieve", item_id=call["item_id"]))
        item = (await hear(socket, "conversation.item.retrieved"))["item"]
        assert item["arguments"] == '{"town": "Oslo"}'
    assert [part["type"] for part in response["output"]] == ["function_call", "message"]
