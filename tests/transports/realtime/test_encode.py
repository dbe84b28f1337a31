import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from duologue import events
from duologue.audio import REPLY_RATE
from duologue.errors import ModelFailed
from duologue.events import Settings, SettingsChanged
from duologue.receipt import Receipt
from duologue.testing import tone
from duologue.transports.realtime.decode import decode_event
from duologue.transports.realtime.encode import Encoder
from transports.realtime.messages import message

ONE_TURN: list[events.ServerEvent] = [
    events.SessionStarted("sess_1", Settings(idle_timeout=5)),
    events.SettingsApplied(Settings(turn_detection=False)),
    events.TurnStarted("t1", 0.5),
    events.SpeechStopped("t1", 1.5),
    events.TurnCommitted("t1", "t0", answered=True),
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
    events.Ponged(),
    events.LimitApproached("t4", 4.992),
    events.UserOverheard("t4", "hello"),
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


@pytest.mark.parametrize(
    ("event", "previous"),
    [
        (events.TurnCommitted("t1", None), None),
        (events.TurnCommitted("t1", "t0", answered=True), "item_at0"),
        (events.TurnCommitted("t1", "t0"), "item_ut0"),
    ],
)
def test_an_utterance_follows_the_newest_item(
    event: events.TurnCommitted, previous: str | None
) -> None:
    assert [fields["previous_item_id"] for fields in encode(event)] == [previous] * 3


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


def test_only_a_client_that_asks_for_extensions_is_told_that_the_session_answers() -> None:
    assert encode(events.Ponged()) == []
    (text,) = Encoder("echo", extensions=True).encode(events.Ponged())
    assert json.loads(text) == {"type": "duologue.pong"}


def test_a_client_that_asks_for_it_is_told_to_play_quieter() -> None:
    told = (events.ReplyDucked("t1"), events.ReplyRestored("t1"))
    assert encode(*told) == []
    encoder = Encoder("echo", extensions=True)
    assert [json.loads(text) for event in told for text in encoder.encode(event)] == [
        {"type": "duologue.reply.ducked", "item_id": "item_at1"},
        {"type": "duologue.reply.restored", "item_id": "item_at1"},
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
    )
    | st.builds(Settings, patience=st.just("fixed"), silence=thousandths.map(lambda n: 0.1 + n))
)
def test_what_the_client_is_told_of_the_settings_is_all_of_them(settings: Settings) -> None:
    (told,) = Encoder("echo").encode(events.SessionStarted("sess_1", settings))
    event = decode_event(message("session.update", session=json.loads(told)["session"]), Settings())
    assert isinstance(event, SettingsChanged)
    for name in Settings.__dataclass_fields__:
        assert getattr(event.settings, name) == pytest.approx(getattr(settings, name))
