import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from duologue.audio import REPLY_RATE
from duologue.conversation import events
from duologue.conversation.events import SettingsChanged
from duologue.conversation.items import Item, ToolUse, Usage
from duologue.errors import ModelFailed
from duologue.settings import Settings
from duologue.testing import tone
from duologue.timings import Timings
from duologue.transports.realtime.decode import decode_event
from duologue.transports.realtime.encode import Encoder
from transports.realtime.messages import message

DONE = events.ReplyDone(
    "r1", "a1", "Hi there.", "completed", None, Timings(sent=0.6, early=True), "u1"
)
LIST = Item("l1", "system", "mcp_list_tools", "[]", tool=ToolUse("sums"), status="completed")
CALL = Item("c1", "assistant", "mcp_call", "{}", name="add", tool=ToolUse("sums", output="5"))
ONE_TURN: list[events.ServerEvent] = [
    events.SessionStarted("sess_1", Settings(idle_timeout=5)),
    events.SettingsApplied(Settings(turn_detection=False)),
    events.TurnStarted("u1", 0.5),
    events.SpeechStopped("u1", 1.5),
    events.TurnCommitted("u1", "a0"),
    events.ReplyStarted("r1"),
    events.UserTranscribed("u1", "hello", 1.0),
    events.ReplyItemAdded("r1", "a1", "u1"),
    events.ReplyDelta("r1", "a1", tone(0.1, REPLY_RATE), "Hi "),
    events.ReplyDelta("r1", "a1", tone(0.1, REPLY_RATE), "there."),
    DONE,
    events.ReplyTruncated("a1", 0.1),
    events.ReplyStarted("r2"),
    events.ReplyDone("r2", None, "", "turn_detected"),
    events.ReplyStarted("r3"),
    events.ReplyItemAdded("r3", "a3", None),
    events.ReplyDelta("r3", "a3", tone(0.1, REPLY_RATE), "Oh"),
    events.ReplyDone("r3", "a3", "Oh", "failed", ModelFailed("it broke")),
    events.ReplyStarted("r6", events.ReplyRequested(voice="eve", max_output_tokens=4)),
    events.ReplyDone("r6", None, "", "max_output_tokens"),
    events.TurnReopened("u4", 4.5),
    events.ReplyDucked("a4"),
    events.ReplyHeld("a4"),
    events.ReplyRestored("a4"),
    events.ItemsWithdrawn(("u3", "a3")),
    events.ItemAdded(Item("u5", text="hello"), None),
    events.ItemSent(Item("u6", sound=tone(1), words="hello")),
    events.ItemDeleted("u5"),
    events.IdleTimedOut(3, 8),
    events.AudioCleared(),
    events.Ponged(),
    events.LimitApproached("u4", 4.992),
    events.UserOverheard("u4", "hello"),
    events.UserNotTranscribed("u4", ModelFailed("it broke")),
    events.ToolListBegun(LIST, "u4"),
    events.ToolListEnded(LIST, "u4"),
    events.FunctionCalled("r5", CALL, "l1"),
    events.ToolCallBegun(CALL, "l1"),
    events.ToolCallEnded(CALL, "l1"),
    events.FunctionCalled("r5", Item("f1", "assistant", "function_call", "{}", name="f"), "u4"),
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
    kinds = [fields["type"] for fields in encode(*ONE_TURN[2:11])]
    for end in ("delta", "completed"):
        kinds.remove(f"conversation.item.input_audio_transcription.{end}")
    assert kinds == ORDER


@pytest.mark.parametrize("extensions", [True, False])
def test_partial_words_are_for_clients_that_can_take_them_back(extensions: bool) -> None:
    encoder = Encoder("echo", extensions=extensions)
    told = (events.UserOverheard("u1", "What?"), events.UserTranscribed("u1", "What is it?", 1.0))
    messages = [json.loads(text) for event in told for text in encoder.encode(event)]
    deltas = [fields["delta"] for fields in messages if fields["type"].endswith(".delta")]
    assert deltas == (["What?"] if extensions else ["What is it?"])
    assert messages[-1]["transcript"] == "What is it?"


def test_a_reply_that_was_cut_to_nothing_was_spoken() -> None:
    cut = Item("a1", "assistant", status="interrupted")
    (fields,) = encode(events.ItemSent(cut))
    assert fields["item"]["content"] == [{"type": "output_audio", "transcript": ""}]
    (fields,) = encode(events.ItemSent(Item("a2", "assistant", text="Hi.")))
    assert fields["item"]["content"] == [{"type": "output_text", "text": "Hi."}]


@pytest.mark.parametrize("previous", [None, "a0"])
def test_an_utterance_follows_the_newest_item(previous: str | None) -> None:
    told = encode(events.TurnCommitted("u1", previous))
    assert [fields["previous_item_id"] for fields in told] == [previous] * 3


def test_what_was_said_has_words_that_are_not_known_yet() -> None:
    # Without the field, the JavaScript SDK of agents throws.
    for fields in encode(events.TurnCommitted("u1", None))[1:]:
        assert fields["item"]["content"] == [{"type": "input_audio", "transcript": None}]


def test_a_reply_stopped_before_its_first_sound_has_no_item() -> None:
    told = encode(events.ReplyStarted("r2"), events.ReplyDone("r2", None, "", "turn_detected"))
    assert [fields["type"] for fields in told] == ["response.created", "response.done"]
    assert told[1]["response"]["status_details"]["reason"] == "turn_detected"


def test_the_timings_is_in_the_responses_metadata() -> None:
    done = encode(DONE)[-1]
    assert done["type"] == "response.done"
    assert Timings.from_metadata(done["response"]["metadata"]) == Timings(sent=0.6, early=True)


def test_a_response_tells_what_it_has_used() -> None:
    usage = Usage(input_text=100, output_text=20, input_audio=12, output_audio=40)
    told = encode(events.ReplyDone("r1", None, "", "completed", usage=usage))
    assert told[-1]["response"]["usage"] == {
        "total_tokens": 172,
        "input_tokens": 112,
        "output_tokens": 60,
        "input_token_details": {"text_tokens": 100, "audio_tokens": 12, "cached_tokens": 0},
        "output_token_details": {"text_tokens": 20, "audio_tokens": 40},
    }


def test_a_response_that_has_all_its_tokens_is_incomplete() -> None:
    asked = events.ReplyRequested(aloud=True, voice="eve", max_output_tokens=4)
    told = encode(
        events.ReplyStarted("r1", asked),
        events.ReplyItemAdded("r1", "a1", None, asked),
        events.ReplyDelta("r1", "a1", tone(0.1, REPLY_RATE), "Hi"),
        events.ReplyDone("r1", "a1", "Hi", "max_output_tokens", asked=asked),
    )
    begun, done = told[0]["response"], told[-1]["response"]
    for response in (begun, done):
        assert response["max_output_tokens"] == 4
        assert response["audio"] == {"output": {"voice": "eve"}}
    assert begun["usage"] is None
    assert done["status"] == "incomplete"
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert [item["status"] for item in done["output"]] == ["incomplete"]
    assert {event["item"]["status"] for event in told if event["type"].endswith("item.done")} == {
        "incomplete"
    }


def test_a_response_in_words_alone_has_no_voice() -> None:
    (begun,) = encode(events.ReplyStarted("r1", events.ReplyRequested(aloud=False, voice="eve")))
    assert begun["response"]["audio"] is None


def test_a_turn_that_is_reopened_is_spoken_of_by_the_same_item() -> None:
    started, reopened = encode(events.TurnStarted("u1", 0.5), events.TurnReopened("u1", 2.5))
    assert (reopened["type"], reopened["item_id"]) == (started["type"], started["item_id"])
    assert reopened["audio_start_ms"] == 2500


def test_items_that_are_withdrawn_are_deleted() -> None:
    told = encode(events.ItemsWithdrawn(("u1", "a1")))
    assert [e["type"] for e in told] == ["conversation.item.deleted"] * 2
    assert [e["item_id"] for e in told] == ["u1", "a1"]


def test_a_long_piece_goes_out_in_deltas_of_a_second() -> None:
    long = events.ReplyDelta("r1", "a1", tone(8.2, REPLY_RATE), "Once upon a time. ")
    words, *sound = encode(long)
    assert words["delta"] == "Once upon a time. "
    assert len(sound) == 9
    assert max(len(json.dumps(fields)) for fields in sound) < 128 * 1024
    whole = b"".join(base64.b64decode(fields["delta"]) for fields in sound)
    assert whole == tone(8.2, REPLY_RATE).pcm16()


def test_a_response_has_what_the_client_has_written_on_it_and_our_figures_beside() -> None:
    asked = events.ReplyRequested(metadata={"topic": "x"}, in_band=False, aloud=False)
    told = encode(
        events.ReplyStarted("r1", asked),
        events.ReplyItemAdded("r1", "a1", None, asked),
        events.ReplyDelta("r1", "a1", None, "Hi.", aloud=False),
        events.ReplyDone("r1", "a1", "Hi.", "completed", None, Timings(sent=0.6), None, asked),
    )
    assert [fields["type"] for fields in told] == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    created, done = told[0]["response"], told[-1]["response"]
    assert created["metadata"] == {"topic": "x"}
    assert done["metadata"]["topic"] == "x"
    assert done["metadata"]["last_word_to_sent_s"] == "0.600"
    assert created["conversation_id"] is None
    assert done["output_modalities"] == ["text"]
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "Hi."}]


def test_only_a_client_that_asks_for_extensions_is_told_that_the_session_answers() -> None:
    assert encode(events.Ponged()) == []
    (text,) = Encoder("echo", extensions=True).encode(events.Ponged())
    assert json.loads(text) == {"type": "duologue.pong"}


def test_a_client_that_asks_for_it_is_told_to_play_quieter_or_nothing() -> None:
    told = (
        events.ReplyDucked("a1"),
        events.ReplyHeld("a1"),
        events.ReplyRestored("a1"),
        events.ReplyRestored("a1", "u2"),
    )
    assert encode(*told) == []
    encoder = Encoder("echo", extensions=True)
    assert [json.loads(text) for event in told for text in encoder.encode(event)] == [
        {"type": "duologue.reply.ducked", "item_id": "a1"},
        {"type": "duologue.reply.held", "item_id": "a1"},
        {"type": "duologue.reply.restored", "item_id": "a1"},
        {"type": "duologue.reply.restored", "item_id": "a1", "nod_item_id": "u2"},
    ]


# What a client is told of the settings, it can send back.


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
    assert decode_event(message("session.update", session=session), settings) == SettingsChanged(
        settings
    )


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
        voice=st.sampled_from(["", "eve"]),
        speed=st.floats(0.25, 1.5),
        max_output_tokens=st.integers(0, 4096),
    )
    | st.builds(Settings, patience=st.just("fixed"), silence=thousandths.map(lambda n: 0.1 + n))
)
def test_what_the_client_is_told_of_the_settings_is_all_of_them(settings: Settings) -> None:
    (told,) = Encoder("echo").encode(events.SessionStarted("sess_1", settings))
    event = decode_event(message("session.update", session=json.loads(told)["session"]), Settings())
    assert isinstance(event, SettingsChanged)
    for name in Settings.__dataclass_fields__:
        assert getattr(event.settings, name) == pytest.approx(getattr(settings, name))


def test_the_session_is_told_as_the_api_has_it() -> None:
    encoder = Encoder("echo")
    settings = Settings(sound_in="pcmu", sound_out="pcm16")
    (created,) = encoder.encode(events.SessionStarted("sess_1", Settings(), 1_800_000_000))
    (updated,) = encoder.encode(events.SettingsApplied(settings))
    session = json.loads(created)["session"]
    assert session["id"] == json.loads(updated)["session"]["id"] == "sess_1"
    assert (session["object"], session["expires_at"]) == ("realtime.session", 1_800_000_000)
    assert (session["tools"], session["tool_choice"]) == ([], "auto")
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    audio = json.loads(updated)["session"]["audio"]
    assert audio["input"]["format"] == {"type": "audio/pcmu"}
    assert audio["output"]["format"] == {"type": "audio/pcm", "rate": 16_000}
    *_, delta = encoder.encode(events.ReplyDelta("r1", "a1", tone(1, REPLY_RATE), ""))
    assert len(base64.b64decode(json.loads(delta)["delta"])) == pytest.approx(32_000, abs=100)
