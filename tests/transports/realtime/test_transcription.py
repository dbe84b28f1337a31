"""Sessions that write down what is said, and answer nothing: dictation."""

from typing import Any

import pytest
from openai import AsyncOpenAI

from conftest import Serve
from duologue.audio import silence
from duologue.testing import ScriptedModel, say, tone
from transports.realtime.messages import append, message
from transports.realtime.test_endpoint import hear, line
from transports.realtime.test_tools import listen


async def test_what_is_said_is_written_down_and_never_answered(serve: Serve) -> None:
    model = ScriptedModel([say("No.")], transcript="hello there", overhears=["hello"], reads=True)
    server = serve(model)
    async with line(server, "?intent=transcription") as socket:
        written: dict[str, Any] = {"model": "any", "language": "en"}
        session = {"type": "transcription", "audio": {"input": {"transcription": written}}}
        await socket.send(message("session.update", session=session))
        told = (await hear(socket, "session.updated"))["session"]
        assert (told["type"], told["object"]) == (
            "transcription",
            "realtime.transcription_session",
        )
        assert told["audio"]["input"]["transcription"]["language"] == "en"
        assert "tools" not in told
        for _ in range(2):
            await socket.send(append(tone(1.2, 24_000)))
            await socket.send(append(silence(0.8, 24_000)))
            end = "conversation.item.input_audio_transcription.completed"
            seen = await listen(socket, end)
            assert seen[-1]["transcript"] == "hello there"
            kinds = [event["type"] for event in seen]
            assert kinds.index("input_audio_buffer.committed") < kinds.index(end)
        await socket.send(message("response.create", event_id="e1"))
        error = (await hear(socket, "error"))["error"]
        assert "writes down what is said, and answers nothing" in error["message"]
        assert error["event_id"] == "e1"
        await socket.send(message("session.update", session={"type": "realtime"}))
        assert (await hear(socket, "error"))["error"]["param"] == "session.type"
    assert model.prompts == []
    assert model.overheard


async def test_push_to_talk_writes_down_what_is_committed(serve: Serve) -> None:
    model = ScriptedModel(transcript="hello there")
    server = serve(model)
    async with line(server, "?intent=transcription") as socket:
        off = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        await socket.send(message("session.update", session=off))
        await hear(socket, "session.updated")
        await socket.send(append(tone(1, 24_000)))
        await socket.send(message("input_audio_buffer.commit"))
        done = await hear(socket, "conversation.item.input_audio_transcription.completed")
        assert done["transcript"] == "hello there"


async def test_the_official_client_dictates(serve: Serve) -> None:
    server = serve(ScriptedModel(transcript="hello there"))
    base = server.url.replace("http", "ws") + "/v1"
    openai = AsyncOpenAI(api_key="none", websocket_base_url=base)
    connecting = openai.realtime.connect(extra_query={"intent": "transcription"})
    async with openai, connecting as connection:
        first = await connection.recv()
        assert first.type == "session.created"
        assert first.session.type == "transcription"


@pytest.mark.parametrize("extensions", ["", "&extensions=1"])
async def test_a_realtime_session_may_become_one(serve: Serve, extensions: str) -> None:
    model = ScriptedModel([say("No.")], transcript="hello there")
    server = serve(model)
    async with line(server, f"?model=any{extensions}") as socket:
        await socket.send(message("session.update", session={"type": "transcription"}))
        assert (await hear(socket, "session.updated"))["session"]["type"] == "transcription"
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(0.8, 24_000)))
        await hear(socket, "conversation.item.input_audio_transcription.completed")
    assert model.prompts == []
