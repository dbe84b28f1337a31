"""The Realtime API over a real WebSocket, with the official client and without."""

import asyncio
import base64
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from starlette.types import Message
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from conftest import Serve
from duologue.audio import REPLY_RATE, AudioChunk, LineFormat, silence
from duologue.conversation.items import ReplyChunk
from duologue.errors import ShuttingDown
from duologue.server.app import Uvicorn
from duologue.testing import ScriptedModel, say, tone
from duologue.timings import Timings
from duologue.transports.realtime import RealtimeTransport
from duologue.transports.realtime.formats import Writer, read
from transports.realtime.messages import BAD, append, message, update

HELLO = ReplyChunk(user_text="hello")
LONG = 60.0  # seconds of a reply that is still being heard at the end of its test
LIMIT = 50.0  # seconds that a test may take, on however busy a machine


@asynccontextmanager
async def client(server: Uvicorn, **query: str) -> AsyncIterator[AsyncRealtimeConnection]:
    line = server.url.replace("http", "ws") + "/v1"
    openai = AsyncOpenAI(api_key="none", websocket_base_url=line)
    options: Any = {"open_timeout": LIMIT}
    connecting = openai.realtime.connect(
        model="any", extra_query=query, websocket_connection_options=options
    )
    async with openai, asyncio.timeout(LIMIT), connecting as connection:
        yield connection


async def speak(connection: AsyncRealtimeConnection, *sounds: AudioChunk) -> None:
    for sound in sounds:
        audio = base64.b64encode(sound.pcm16()).decode()
        await connection.input_audio_buffer.append(audio=audio)


async def until(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    seen: list[Any] = []
    async for event in connection:
        seen.append(event)
        if event.type == kind:
            return seen
    raise AssertionError(f"the line closed before {kind}")


@asynccontextmanager
async def line(server: Uvicorn, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
    url = server.url.replace("http", "ws") + "/v1/realtime" + query
    options = {"max_size": None, "open_timeout": LIMIT, **options}
    async with asyncio.timeout(LIMIT), connect(url, **options) as socket:
        first = json.loads(await socket.recv())
        assert first["type"] == "session.created", first
        yield socket


async def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        fields: dict[str, Any] = json.loads(await socket.recv())
        if fields["type"] == kind:
            return fields


async def sessions_become(server: Uvicorn, count: int) -> None:
    """Wait until the server says that it has so many: it may hear of a hang-up later than we do."""
    async with asyncio.timeout(LIMIT):
        while True:
            health = await asyncio.to_thread(urllib.request.urlopen, server.url + "/health")
            with health:
                if json.load(health)["sessions"] == count:
                    return
            await asyncio.sleep(0.02)


async def test_the_official_client_has_a_conversation(serve: Serve) -> None:
    async with client(serve()) as connection:
        await until(connection, "session.created")
        for _ in range(2):
            # Who goes on within a second of the reply makes one turn of both: hence the first silence.
            await speak(connection, silence(1.2, 24_000), tone(1, 24_000), silence(1.2, 24_000))
            seen = await until(connection, "response.done")
            assert seen[-1].response.status == "completed"
            sound = b"".join(
                base64.b64decode(e.delta) for e in seen if e.type == "response.output_audio.delta"
            )
            assert len(sound) / 2 / REPLY_RATE == pytest.approx(1.0, abs=0.05)


async def test_the_official_client_asks_for_patience_and_gets_a_turn(serve: Serve) -> None:
    async with client(serve()) as connection:
        detection: Any = {"type": "semantic_vad", "eagerness": "low", "idle_timeout_ms": 60_000}
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        )
        (*_, updated) = await until(connection, "session.updated")
        holds = updated.session.audio.input.turn_detection
        assert (holds.type, holds.eagerness) == ("semantic_vad", "low")
        assert holds.idle_timeout_ms == 60_000
        await speak(connection, tone(1, 24_000), silence(3, 24_000))
        seen = await until(connection, "response.done")
        assert "error" not in {event.type for event in seen}
        assert Timings.from_metadata(seen[-1].response.metadata).sent is not None


async def test_the_official_client_takes_and_sends_what_the_api_does_not_have(serve: Serve) -> None:
    model = ScriptedModel([HELLO, say("La. ", LONG)])
    async with client(serve(model), extensions="1") as connection:
        await speak(connection, tone(1, 24_000), silence(1.2, 24_000))
        seen = await until(connection, "response.done")
        item = next(e.item_id for e in seen if e.type == "response.output_audio.delta")
        report = {"type": "duologue.playback.started", "item_id": item, "ago_ms": 40}
        await connection.send(cast(Any, report))
        await connection.send(cast(Any, {"type": "duologue.cut.marked"}))
        await speak(connection, silence(1.2, 24_000), tone(0.15, 24_000), silence(0.5, 24_000))
        seen = await until(connection, "duologue.reply.restored")
        assert [e.type for e in seen] == ["duologue.reply.ducked", "duologue.reply.restored"]
        assert {e.item_id for e in seen} == {item}


async def test_settings_sent_in_one_go_are_all_kept(serve: Serve) -> None:
    async with line(serve()) as socket:
        for eagerness, instructions in (("low", "Be brief."), ("high", "Be kind.")):
            await socket.send(update("semantic_vad", eagerness=eagerness))
            session = {"type": "realtime", "instructions": instructions}
            await socket.send(message("session.update", session=session))
        told = [(await hear(socket, "session.updated"))["session"] for _ in range(4)]
        held = [
            (session["audio"]["input"]["turn_detection"]["eagerness"], session["instructions"])
            for session in told
        ]
        assert held == [
            ("low", ""),
            ("low", "Be brief."),
            ("high", "Be brief."),
            ("high", "Be kind."),
        ]


async def test_barge_in_cancels_the_response_before_speech_is_told(serve: Serve) -> None:
    gate = asyncio.Semaphore(1)
    model = ScriptedModel([say("One."), say("Two.")], gate=gate)
    async with client(serve(model)) as connection:
        await speak(connection, tone(1, 24_000), silence(1.2, 24_000))
        await until(connection, "response.output_audio.delta")
        await speak(connection, tone(0.4, 24_000))
        seen = await until(connection, "input_audio_buffer.speech_started")
        done = next(event for event in seen if event.type == "response.done")
        assert done.response.status == "cancelled"
        assert done.response.status_details.reason == "turn_detected"


async def test_a_truncated_reply_is_cut_in_the_history_of_the_model(serve: Serve) -> None:
    model = ScriptedModel([ReplyChunk(user_text="hello"), say("One two three four.", 2.0)])
    async with client(serve(model)) as connection:
        await speak(connection, tone(1, 24_000), silence(1.2, 24_000))
        seen = await until(connection, "response.done")
        item = next(e.item_id for e in seen if e.type == "response.output_audio.delta")
        await connection.conversation.item.truncate(
            item_id=item, content_index=0, audio_end_ms=1000
        )
        await until(connection, "conversation.item.truncated")
        # More than a second after the first sound, or it would be the rest of the first turn.
        await speak(connection, silence(1.2, 24_000), tone(1, 24_000), silence(1.2, 24_000))
        await until(connection, "response.done")
        assert [item.said for item in model.prompts[1].items] == ["hello", "One two"]


async def test_what_the_official_client_was_told_stays_told(serve: Serve) -> None:
    model = ScriptedModel([HELLO, say("One two three.", LONG)], transcript="half")
    async with client(serve(model)) as connection:
        await speak(connection, tone(1, 24_000), silence(1.2, 24_000))
        first = await until(connection, "response.done")
        await speak(connection, tone(1, 24_000), silence(1.5, 24_000))
        seen = [*first, *await until(connection, "response.done")]
        assert {e.type for e in seen if e.type in ("error", "conversation.item.deleted")} == set()
        committed = [e.item_id for e in seen if e.type == "input_audio_buffer.committed"]
        assert len(committed) == 2
        assert model.prompts[1].items == []
        assert model.prompts[1].utterance.duration > 2.5
        items: Any = connection.conversation.item
        for item in committed:
            await items.retrieve(item_id=item)
            retrieved = (await until(connection, "conversation.item.retrieved"))[-1]
            assert retrieved.item.id == item


async def test_a_client_with_extensions_sees_a_turn_withdrawn_and_made_whole(serve: Serve) -> None:
    model = ScriptedModel([say("One two three.", LONG)])
    async with client(serve(model), extensions="1") as connection:
        await speak(connection, tone(1, 24_000), silence(1.2, 24_000))
        await until(connection, "response.done")
        await speak(connection, tone(1, 24_000), silence(1.5, 24_000))
        seen = await until(connection, "response.done")
        deleted = [e.item_id for e in seen if e.type == "conversation.item.deleted"]
        assert [item[:6] for item in deleted] == ["item_u", "item_a"]
        (committed,) = [e for e in seen if e.type == "input_audio_buffer.committed"]
        assert committed.item_id not in deleted
        assert model.prompts[1].items == []
        assert model.prompts[1].utterance.duration > 2.5
        # A client that has not understood truncates what is not there any more: no error.
        await connection.conversation.item.truncate(
            item_id=deleted[1], content_index=0, audio_end_ms=100
        )
        await until(connection, "conversation.item.truncated")


async def test_the_official_client_writes_items_and_asks_for_responses(serve: Serve) -> None:
    model = ScriptedModel([say("It rains.", 1.0)], reads=True)
    async with client(serve(model)) as connection:
        items: Any = connection.conversation.item
        text = {"type": "input_text", "text": "What is the weather?"}
        message = {"type": "message", "role": "user", "content": [text]}
        await items.create(item={**message, "id": "mine"}, previous_item_id="root")
        await connection.response.create(response={"metadata": {"topic": "weather"}})
        seen = await until(connection, "response.done")
        added = [e for e in seen if e.type == "conversation.item.added"]
        assert [e.item.id for e in added] == ["mine", seen[-1].response.output[0].id]
        created = next(e for e in seen if e.type == "response.created")
        assert created.response.metadata == {"topic": "weather"}
        assert seen[-1].response.metadata["topic"] == "weather"
        # At once, and out of band: the first is still being played.
        await connection.response.create(
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "input": [{"type": "item_reference", "id": "mine"}],
                "instructions": "Name the topic.",
            }
        )
        seen = await until(connection, "response.done")
        assert {e.type for e in seen if "audio" in e.type or e.type.startswith("conv")} == set()
        assert seen[-1].response.conversation_id is None
        assert seen[-1].response.output[0].content[0].text == "It rains."
        await items.retrieve(item_id="mine")
        (retrieved,) = await until(connection, "conversation.item.retrieved")
        assert retrieved.item.content[0].text == "What is the weather?"
        await items.delete(item_id="mine")
        await until(connection, "conversation.item.deleted")
        await items.retrieve(item_id="mine")
        (error,) = await until(connection, "error")
        assert error.error.code == "item_retrieve_invalid_item_id"
        assert error.error.param == "item_id"


@pytest.mark.parametrize("law", ["audio/pcmu", "audio/pcma"])
async def test_a_telephone_has_a_conversation(serve: Serve, law: str) -> None:
    form: LineFormat = "pcmu" if law == "audio/pcmu" else "pcma"
    async with client(serve()) as connection:
        await until(connection, "session.created")
        formats: Any = {"input": {"format": {"type": law}}, "output": {"format": {"type": law}}}
        await connection.session.update(session={"type": "realtime", "audio": formats})
        (updated,) = await until(connection, "session.updated")
        assert updated.session.audio.output.format.type == law
        said = Writer(form)
        for sound in (tone(1, 24_000), silence(1.2, 24_000)):
            audio = base64.b64encode(said.push(sound)).decode()
            await connection.input_audio_buffer.append(audio=audio)
        seen = await until(connection, "response.done")
        deltas = [e.delta for e in seen if e.type == "response.output_audio.delta"]
        reply = read(b"".join(base64.b64decode(delta) for delta in deltas), form)
        assert reply.duration == pytest.approx(1.0, abs=0.05)
        assert np.sqrt(np.mean(reply.samples**2)) == pytest.approx(0.21, abs=0.02)


async def test_what_the_client_flags_as_echo_does_not_interrupt(serve: Serve) -> None:
    model = ScriptedModel([HELLO, say("La. ", LONG)])
    async with line(serve(model), query="?extensions=1") as socket:
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(1.2, 24_000)))
        await hear(socket, "response.done")
        await socket.send(append(silence(1.2, 24_000)))
        await socket.send(append(tone(1, 24_000), echo=True))
        await socket.send(append(silence(0.5, 24_000)))
        await socket.send(append(tone(0.15, 24_000)))
        await socket.send(append(silence(0.5, 24_000)))
        kinds = [json.loads(await socket.recv())["type"] for _ in range(2)]
        assert kinds == ["duologue.reply.ducked", "duologue.reply.restored"]


async def test_a_ping_is_answered_after_all_that_was_sent_before_it(serve: Serve) -> None:
    async with line(serve(), query="?extensions=1") as socket:
        for eagerness in ("low", "high"):
            await socket.send(update("semantic_vad", eagerness=eagerness))
            await socket.send(message("duologue.ping"))
        kinds = [json.loads(await socket.recv())["type"] for _ in range(4)]
        assert kinds == ["session.updated", "duologue.pong"] * 2


@pytest.mark.parametrize("bad", [text for text, _ in BAD[:10]] + [b"\x00\x01"])
async def test_a_bad_message_harms_neither_its_session_nor_another(
    serve: Serve, bad: str | bytes
) -> None:
    server = serve()
    async with line(server) as good, line(server) as evil:
        await evil.send(bad)
        assert (await hear(evil, "error"))["error"]["type"] == "invalid_request_error"
        for socket in (good, evil):
            await socket.send(append(tone(1, 24_000)))
            await socket.send(append(silence(1.2, 24_000)))
            await hear(socket, "response.done")


async def test_a_message_that_is_too_big_is_refused_and_a_huge_one_ends_the_line(
    serve: Serve,
) -> None:
    server = serve(message_bytes=100_000)
    async with line(server) as socket:
        await socket.send(append(silence(2, 24_000)))
        assert (await hear(socket, "error"))["error"]["code"] == "message_too_big"
        await socket.send("x" * 300_000)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(socket, "never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_five_minutes_in_one_message_are_taken_half_a_minute_a_turn(serve: Serve) -> None:
    # max_queue: what is not read any more must not keep the client from reading the good-bye.
    async with line(serve(message_bytes=30_000_000), max_queue=None) as socket:
        await socket.send(append(tone(300, 24_000)))
        stopped = await hear(socket, "input_audio_buffer.speech_stopped")
        assert stopped["audio_end_ms"] == pytest.approx(30_000, abs=100)
        # All of the reply may be made before the speech that goes on stops it, or not.
        done = await hear(socket, "response.done")
        assert done["response"]["status"] in ("completed", "cancelled")
        again = await hear(socket, "input_audio_buffer.speech_started")
        assert again["audio_start_ms"] == stopped["audio_end_ms"]


async def test_one_more_than_the_server_takes_is_told_so(serve: Serve) -> None:
    server = serve(sessions=1)
    url = server.url.replace("http", "ws") + "/v1/realtime"
    async with line(server), connect(url, open_timeout=LIMIT) as second:
        fields = json.loads(await second.recv())
        assert (fields["type"], fields["error"]["code"]) == ("error", "too_many_sessions")
        with pytest.raises(ConnectionClosed):
            await second.recv()
        assert second.close_code == 1013
    await sessions_become(server, 0)
    async with line(server):
        pass


async def test_a_page_of_another_origin_is_told_that_and_why_unless_it_is_allowed(
    serve: Serve,
) -> None:
    server = serve(allow_origin=("https://friend.example",))
    url = server.url.replace("http", "ws") + "/v1/realtime"
    async with connect(url, origin=Origin("https://evil.example")) as socket:
        error = (await hear(socket, "error"))["error"]
        assert error["code"] == "origin_not_allowed"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008
        assert socket.close_reason
        assert error["message"].startswith(socket.close_reason)
    async with line(server, origin="https://friend.example"):
        pass
    async with line(server, origin=server.url):
        pass


async def test_hanging_up_on_a_client_that_has_gone_is_no_error() -> None:
    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            raise OSError("the client has gone")

    socket = WebSocket({"type": "websocket", "headers": []}, receive, send)
    await socket.accept()
    transport = RealtimeTransport(socket, "echo", 1000)
    await transport.close(ShuttingDown("the server is shutting down"))


async def test_the_realtime_subprotocol_is_taken_where_it_is_offered(serve: Serve) -> None:
    async with line(serve(), subprotocols=["realtime", "openai-insecure-api-key.x"]) as socket:
        assert socket.subprotocol == "realtime"


async def test_a_session_ends_with_its_time(serve: Serve) -> None:
    async with line(serve(session_length=1)) as socket:
        assert (await hear(socket, "error"))["error"]["code"] == "session_expired"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_a_client_that_vanishes_in_mid_reply_frees_its_place(serve: Serve) -> None:
    model = ScriptedModel([say("One."), say("Two.")], gate=asyncio.Semaphore(1))
    server = serve(model, sessions=1)
    async with line(server) as socket:
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(1.2, 24_000)))
        await hear(socket, "response.output_audio.delta")
        socket.transport.abort()
    await sessions_become(server, 0)
    assert model.abandoned == 1
    async with line(server):
        pass


async def test_a_client_that_stops_reading_is_let_go_and_others_are_not_held_up(
    serve: Serve,
) -> None:
    model = ScriptedModel([say("La.", 10.0)] * 60)
    server = serve(model)
    async with line(server, max_queue=1, close_timeout=1) as slow, line(server) as other:
        await slow.send(append(tone(1, 24_000)))
        await slow.send(append(silence(1.2, 24_000)))
        await sessions_become(server, 1)
        await other.send(message("make.coffee"))
        await hear(other, "error")


async def test_shutting_down_lets_a_reply_end(serve: Serve) -> None:
    server = serve()
    async with line(server) as socket:
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(1.2, 24_000)))
        await hear(socket, "response.created")
        server.should_exit = True
        assert (await hear(socket, "response.done"))["response"]["status"] == "completed"
        assert (await hear(socket, "error"))["error"]["code"] == "server_shutting_down"
