"""The Realtime API: as text, and over a real WebSocket with the official client."""

import asyncio
import base64
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from conftest import Serve
from duologue import events
from duologue.audio import REPLY_RATE, AudioChunk, silence
from duologue.errors import ModelFailed
from duologue.events import ClientErred, Settings, SettingsChanged
from duologue.model import ReplyChunk
from duologue.receipt import Receipt
from duologue.server import Uvicorn
from duologue.testing import ScriptedModel, say, tone
from duologue.transports.realtime.codec import Encoder, decode


def message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def append(chunk: AudioChunk, **more: Any) -> str:
    sound = base64.b64encode(chunk.pcm16()).decode()
    return message("input_audio_buffer.append", audio=sound, **more)


def update(kind: Any = "server_vad", **turn_detection: Any) -> str:
    detection = {"type": kind, **turn_detection}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    return message("session.update", session=session)


# As text.


def test_settings_are_merged_field_by_field() -> None:
    before = Settings(threshold=0.7, instructions="Be brief.")
    event = decode(update(silence_duration_ms=800, idle_timeout_ms=6000), before)
    assert event == SettingsChanged(
        Settings(
            threshold=0.7,
            instructions="Be brief.",
            patience="fixed",
            silence=0.8,
            idle_timeout=6.0,
        )
    )


@pytest.mark.parametrize(
    ("detection", "patience"),
    [
        ({"eagerness": "low"}, "patient"),
        ({"eagerness": "medium"}, "normal"),
        ({"eagerness": "high"}, "quick"),
        ({"eagerness": "auto"}, "normal"),
        ({}, "normal"),
    ],
)
def test_eagerness_is_the_opposite_of_patience(detection: Any, patience: Any) -> None:
    event = decode(update("semantic_vad", **detection), Settings(patience="fixed"))
    assert event == SettingsChanged(Settings(patience=patience))


def test_semantic_vad_takes_the_numbers_of_server_vad_too() -> None:
    numbers = {"threshold": 0.6, "prefix_padding_ms": 100, "idle_timeout_ms": 5000}
    event = decode(update("semantic_vad", **numbers), Settings())
    assert event == SettingsChanged(Settings(threshold=0.6, prefix_padding=0.1, idle_timeout=5.0))


@pytest.mark.parametrize(
    ("settings", "detection"),
    [
        (Settings(patience="patient"), {"type": "semantic_vad", "eagerness": "low"}),
        (Settings(), {"type": "semantic_vad", "eagerness": "medium"}),
        (Settings(patience="quick"), {"type": "semantic_vad", "eagerness": "high"}),
        (Settings(patience="fixed"), {"type": "server_vad", "silence_duration_ms": 500}),
    ],
)
def test_the_client_is_told_how_turns_end(settings: Settings, detection: dict[str, Any]) -> None:
    (told,) = Encoder("echo").encode(events.SettingsApplied(settings))
    session = json.loads(told)["session"]
    assert session["audio"]["input"]["turn_detection"].items() >= detection.items()
    assert decode(message("session.update", session=session), settings) == SettingsChanged(settings)


thousandths = st.integers(0, 1000).map(lambda n: n / 1000)


@given(
    st.builds(
        Settings,
        threshold=st.floats(0, 1),
        prefix_padding=thousandths,
        patience=st.sampled_from(["quick", "normal", "patient"]),
        create_response=st.booleans(),
        interrupt_response=st.booleans(),
        idle_timeout=st.none() | thousandths.map(lambda more: 1 + more),
        instructions=st.text(),
    )
    | st.builds(Settings, patience=st.just("fixed"), silence=thousandths.map(lambda n: 0.1 + n))
)
def test_what_the_client_is_told_of_the_settings_is_all_of_them(settings: Settings) -> None:
    (told,) = Encoder("echo").encode(events.SessionStarted("sess_1", settings))
    event = decode(message("session.update", session=json.loads(told)["session"]), Settings())
    assert isinstance(event, SettingsChanged)
    for name in Settings.__dataclass_fields__:
        assert getattr(event.settings, name) == pytest.approx(getattr(settings, name))


def test_no_turn_detection_is_push_to_talk() -> None:
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    event = decode(message("session.update", session=session), Settings())
    assert event == SettingsChanged(Settings(turn_detection=False))


def test_what_means_nothing_here_is_ignored() -> None:
    session = {
        "type": "realtime",
        "tracing": "auto",
        "tools": [],
        "wonder": 7,
        "audio": {
            "input": {"turn_detection": {"type": "semantic_vad", "wonder": 7}},
            "output": {"voice": "ash", "speed": 1.5},
        },
    }
    assert decode(message("session.update", session=session), Settings()) == SettingsChanged(
        Settings()
    )


BAD = [
    ("", "no JSON"),
    ("{", "no JSON"),
    ("[" * 100_000, "no JSON"),
    ("[]", "not a JSON list"),
    ("{}", "event type None is not known"),
    (message("make.coffee"), "'make.coffee' is not known here; known are session.update"),
    (message("input_audio_buffer.append"), "audio: Field required"),
    (message("input_audio_buffer.append", audio=7), "audio: Input should be a valid string"),
    (message("input_audio_buffer.append", audio="!!!"), "must be base64"),
    (message("input_audio_buffer.append", audio=""), "audio is empty"),
    (message("input_audio_buffer.append", audio="QUJD"), "3 bytes"),
    (update(threshold="high"), "audio.input.turn_detection.threshold"),
    (update(threshold=2), "threshold goes from 0 to 1, not 2"),
    (update("semantic_vad", eagerness="keen"), "audio.input.turn_detection.eagerness"),
    (update("semantic_vad", threshold="high"), "threshold is a number, not 'high'"),
    (update("semantic_vad", idle_timeout_ms=True), "idle_timeout_ms is a number, not True"),
    (message("duologue.playback.started", item_id="item_u1", ago_ms=1), "item_id: String should"),
    (message("duologue.playback.started", item_id="item_a1", ago_ms=-1), "ago_ms: Input should"),
    (message("duologue.playback.started", item_id="item_a1", ago_ms="1"), "ago_ms: Input should"),
    ('{"type": "duologue.playback.started", "item_id": "item_a1", "ago_ms": NaN}', "ago_ms: Input"),
    (message("duologue.playback.started"), "Field required"),
    (message("input_audio_buffer.append", audio="QUJD", echo="yes"), "echo: Input should be"),
    (update(silence_duration_ms=-5), "silence_duration_ms goes from 100 to 10000, not -5"),
    (message("session.update"), "session.update"),
    (message("session.update", session={"type": "transcription"}), "session.update"),
    (
        message(
            "session.update",
            session={"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}},
        ),
        "audio/pcm at 24000 Hz here, not as audio/pcmu",
    ),
    (
        message("conversation.item.truncate", item_id="item_u1", content_index=0, audio_end_ms=1),
        "only an assistant's item",
    ),
    (
        message("conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=-1),
        "to 0 to 3600000 ms",
    ),
    (
        message(
            "conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=10**400
        ),
        "to 0 to 3600000 ms",
    ),
    (update("semantic_vad", threshold=2), "threshold goes from 0 to 1, not 2"),
    (update("semantic_vad", threshold=float("nan")), "threshold goes from 0 to 1, not nan"),
    (update("semantic_vad", prefix_padding_ms=5001), "prefix_padding_ms goes from 0 to 5000"),
    (update("semantic_vad", idle_timeout_ms=10), "idle_timeout_ms goes from 1000 to 3600000"),
    (update("semantic_vad", eagerness=["low"]), "audio.input.turn_detection.eagerness"),
    (update("semantic_vad", create_response="maybe"), "turn_detection.create_response"),
    (message("duologue.playback.started", item_id="item_a1", ago_ms=True), "ago_ms: Input should"),
    (
        message("duologue.playback.started", item_id="item_a1", ago_ms=60_001),
        "ago_ms: Input should be less than or equal to 60000",
    ),
    (message("duologue.playback.started", item_id=7, ago_ms=1), "item_id: Input should be a valid"),
    (message("input_audio_buffer.append", audio="QUJD", echo=1), "echo: Input should be"),
    (message("input_audio_buffer.append", audio="QUJD", echo=None), "echo: Input should be"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_what_is_no_event_gets_one_sentence(text: str, sentence: str) -> None:
    event = decode(text, Settings())
    assert isinstance(event, ClientErred)
    assert sentence in str(event.error)
    assert "\n" not in str(event.error)


def test_what_the_api_has_no_event_for_is_understood() -> None:
    started = message("duologue.playback.started", item_id="item_aabc", ago_ms=40)
    assert decode(started, Settings()) == events.PlaybackStarted("abc", 0.04)
    assert decode(message("duologue.cut.marked"), Settings()) == events.CutMarked()
    sound = base64.b64encode(silence(0.1, REPLY_RATE).pcm16()).decode()
    for echo in (True, False):
        chunk = decode(message("input_audio_buffer.append", audio=sound, echo=echo), Settings())
        assert isinstance(chunk, events.AudioReceived)
        assert chunk.echo is echo
    plain = decode(append(silence(0.1, REPLY_RATE)), Settings())
    assert isinstance(plain, events.AudioReceived)
    assert plain.echo is False


@given(st.floats(0, 60_000) | st.integers(0, 60_000))
@example(0)
@example(60_000)
def test_a_report_of_playback_is_taken_whenever_it_comes_within_a_minute(ago: float) -> None:
    report = message("duologue.playback.started", item_id="item_aabc", ago_ms=ago)
    assert decode(report, Settings()) == events.PlaybackStarted("abc", ago / 1000)


def test_an_error_names_the_event_that_it_is_about() -> None:
    event = decode(message("make.coffee", event_id="evt_7"), Settings())
    assert isinstance(event, ClientErred)
    assert event.event_id == "evt_7"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
kinds = st.sampled_from(
    [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "conversation.item.truncate",
        "response.create",
        "duologue.playback.started",
        "duologue.cut.marked",
    ]
)
detections = st.dictionaries(
    st.sampled_from(
        [
            "kind",
            "eagerness",
            "threshold",
            "prefix_padding_ms",
            "silence_duration_ms",
            "idle_timeout_ms",
            "create_response",
            "interrupt_response",
        ]
    ),
    st.sampled_from(["semantic_vad", "server_vad", "low", "auto", None, True, 10**400])
    | json_values,
)


@given(
    st.text()
    | json_values.map(json.dumps)
    | st.builds(
        lambda kind, rest: json.dumps({**rest, "type": kind}),
        kinds,
        st.dictionaries(
            st.sampled_from(
                ["audio", "echo", "session", "item_id", "audio_end_ms", "ago_ms", "response"]
            ),
            json_values,
        ),
    )
    | detections.map(lambda detection: update(**detection))
)
@example('{"audio": "\\u0080", "type": "input_audio_buffer.append"}')
def test_nothing_a_client_sends_breaks_the_decoder(text: str) -> None:
    decode(text, Settings())


ONE_TURN: list[events.ServerEvent] = [
    events.SessionStarted("sess_1", Settings(idle_timeout=5)),
    events.SettingsApplied(Settings(turn_detection=False)),
    events.TurnStarted("t1", 0.5),
    events.SpeechStopped("t1", 1.5),
    events.TurnCommitted("t1", "t0"),
    events.ReplyStarted("t1"),
    events.UserTranscribed("t1", "hello", 1.0),
    events.ReplyDelta("t1", tone(0.1, REPLY_RATE), "Hi "),
    events.ReplyDelta("t1", tone(0.1, REPLY_RATE), "there."),
    events.ReplyDone("t1", "Hi there.", "completed", receipt=Receipt(sent=0.6, early=True)),
    events.ReplyTruncated("t1", 0.1),
    events.ReplyStarted("t2"),
    events.ReplyDone("t2", "", "turn_detected"),
    events.ReplyStarted("t3"),
    events.ReplyDelta("t3", tone(0.1, REPLY_RATE), "Oh"),
    events.ReplyDone("t3", "Oh", "failed", ModelFailed("it broke")),
    events.TurnReopened("t4", 4.5),
    events.ReplyDucked("t4"),
    events.ReplyRestored("t4"),
    events.TurnWithdrawn("t3"),
    events.IdleTimedOut(3, 8),
    events.AudioCleared(),
    events.ErrorOccurred(ModelFailed("it broke"), "evt_1"),
]


def encode(*told: events.ServerEvent) -> list[dict[str, Any]]:
    encoder = Encoder("echo")
    return [json.loads(text) for event in told for text in encoder.encode(event)]


def test_every_message_is_what_the_official_package_takes_it_for() -> None:
    adapter: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)
    for fields in encode(*ONE_TURN):
        parsed = adapter.validate_json(json.dumps(fields), strict=True)
        assert type(parsed).model_fields["type"].annotation.__args__[0] == fields["type"]  # type: ignore[union-attr]
        assert fields["event_id"].startswith("event_")


def test_every_kind_of_event_has_messages() -> None:
    assert {type(event) for event in ONE_TURN} == set(events.ServerEvent.__args__)


ORDER = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


def test_a_turn_has_the_documented_order() -> None:
    kinds = [fields["type"] for fields in encode(*ONE_TURN[2:10])]
    kinds.remove("conversation.item.input_audio_transcription.completed")
    assert kinds == ORDER


def test_a_reply_stopped_before_its_first_sound_has_no_item() -> None:
    told = encode(events.ReplyStarted("t2"), events.ReplyDone("t2", "", "turn_detected"))
    assert [fields["type"] for fields in told] == ["response.created", "response.done"]
    assert told[1]["response"]["status_details"]["reason"] == "turn_detected"


def test_the_receipt_is_in_the_responses_metadata() -> None:
    done = encode(*ONE_TURN)[-1 - len(encode(*ONE_TURN[10:]))]
    assert done["type"] == "response.done"
    assert Receipt.from_metadata(done["response"]["metadata"]) == Receipt(sent=0.6, early=True)


def test_a_turn_that_is_reopened_is_spoken_of_by_the_same_item() -> None:
    started, reopened = encode(events.TurnStarted("t1", 0.5), events.TurnReopened("t1", 2.5))
    assert (reopened["type"], reopened["item_id"]) == (started["type"], started["item_id"])
    assert reopened["audio_start_ms"] == 2500


def test_a_turn_that_is_withdrawn_loses_both_its_items() -> None:
    told = encode(*ONE_TURN[2:10], events.TurnWithdrawn("t1"))
    deleted = [e["item_id"] for e in told if e["type"] == "conversation.item.deleted"]
    assert deleted == ["item_ut1", "item_at1"]
    (only,) = encode(events.TurnWithdrawn("t1"))
    assert only["item_id"] == "item_ut1"  # there was no other


def test_a_client_that_asks_for_it_is_told_to_play_quieter() -> None:
    told = (events.ReplyDucked("t1"), events.ReplyRestored("t1"))
    assert encode(*told) == []
    encoder = Encoder("echo", extensions=True)
    assert [json.loads(text) for event in told for text in encoder.encode(event)] == [
        {"type": "duologue.reply.ducked", "item_id": "item_at1"},
        {"type": "duologue.reply.restored", "item_id": "item_at1"},
    ]


# Over a real line, with the official client.


@asynccontextmanager
async def client(server: Uvicorn, **query: str) -> AsyncIterator[AsyncRealtimeConnection]:
    line = server.url.replace("http", "ws") + "/v1"
    openai = AsyncOpenAI(api_key="none", websocket_base_url=line)
    connecting = openai.realtime.connect(model="any", extra_query=query)
    async with openai, asyncio.timeout(20), connecting as connection:
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
        assert Receipt.from_metadata(seen[-1].response.metadata).sent is not None


async def test_the_official_client_takes_and_sends_what_the_api_does_not_have(serve: Serve) -> None:
    model = ScriptedModel([say("La. ", 5.0)])
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
        assert model.prompts[1].turns[0].reply_text == "One two"


async def test_the_official_client_sees_a_turn_withdrawn_and_made_whole(serve: Serve) -> None:
    model = ScriptedModel([say("One two three.", 3.0)])
    async with client(serve(model)) as connection:
        await speak(connection, tone(1, 24_000), silence(1.2, 24_000))
        await until(connection, "response.done")
        await speak(connection, tone(1, 24_000), silence(1.5, 24_000))
        seen = await until(connection, "response.done")
        deleted = [e.item_id for e in seen if e.type == "conversation.item.deleted"]
        assert [item[:6] for item in deleted] == ["item_u", "item_a"]
        (committed,) = [e for e in seen if e.type == "input_audio_buffer.committed"]
        assert committed.item_id not in deleted
        assert model.prompts[1].turns == []
        assert model.prompts[1].utterance.duration > 2.5
        # A client that has not understood truncates what is not there any more: no error.
        await connection.conversation.item.truncate(
            item_id=deleted[1], content_index=0, audio_end_ms=100
        )
        await until(connection, "conversation.item.truncated")


async def test_what_the_client_flags_as_echo_does_not_interrupt(serve: Serve) -> None:
    model = ScriptedModel([say("La. ", 5.0)])
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


@asynccontextmanager
async def line(server: Uvicorn, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
    url = server.url.replace("http", "ws") + "/v1/realtime" + query
    async with asyncio.timeout(20), connect(url, max_size=None, **options) as socket:
        await socket.recv()  # session.created
        yield socket


async def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        fields: dict[str, Any] = json.loads(await socket.recv())
        if fields["type"] == kind:
            return fields


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


async def test_five_minutes_in_one_message_are_taken_as_they_are(serve: Serve) -> None:
    # max_queue: what is not read any more must not keep the client from reading the good-bye.
    async with line(serve(message_bytes=30_000_000), max_queue=None) as socket:
        await socket.send(append(tone(300, 24_000)))
        stopped = await hear(socket, "input_audio_buffer.speech_stopped")
        assert stopped["audio_end_ms"] == pytest.approx(30_000, abs=100)
        assert (await hear(socket, "response.done"))["response"]["status"] == "completed"


async def test_one_more_than_the_server_takes_is_told_so(serve: Serve) -> None:
    server = serve(sessions=1)
    async with line(server), connect(server.url.replace("http", "ws") + "/v1/realtime") as second:
        fields = json.loads(await second.recv())
        assert (fields["type"], fields["error"]["code"]) == ("error", "too_many_sessions")
        with pytest.raises(ConnectionClosed):
            await second.recv()
        assert second.close_code == 1013
    async with line(server):
        pass


async def test_a_page_of_another_origin_is_refused_unless_it_is_allowed(serve: Serve) -> None:
    server = serve(allow_origin=("https://friend.example",))
    with pytest.raises(InvalidStatus) as refused:
        async with line(server, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    async with line(server, origin="https://friend.example"):
        pass
    async with line(server, origin=server.url):
        pass


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
    for _ in range(100):
        if model.abandoned:
            break
        await asyncio.sleep(0.02)
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
        for _ in range(250):
            health = await asyncio.to_thread(urllib.request.urlopen, server.url + "/health")
            with health:
                if json.load(health)["sessions"] == 1:
                    break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the slow client was never let go")
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
