"""What the order pass takes for a violation."""

import json
from typing import Any

import pytest

from duologue.check.order import Order
from duologue.conversation.events import (
    ReplyDelta,
    ReplyDone,
    ReplyItemAdded,
    ReplyStarted,
    ServerEvent,
    SessionStarted,
)
from duologue.settings import Settings
from duologue.testing import tone
from duologue.transports.realtime.encode import Encoder
from transports.realtime.test_encode import ONE_TURN


def messages() -> list[dict[str, Any]]:
    """A session with one reply, as our own encoder has it."""
    encoder = Encoder("echo")
    told: list[ServerEvent] = [
        SessionStarted("sess_1", Settings()),
        ReplyStarted("r1"),
        ReplyItemAdded("r1", "a1", None),
        ReplyDelta("r1", "a1", tone(0.1, 24_000), "Hi "),
        ReplyDelta("r1", "a1", tone(0.1, 24_000), "there."),
        ReplyDone("r1", "a1", "Hi there.", "completed"),
    ]
    return [json.loads(text) for event in told for text in encoder.encode(event)]


def read(*events: dict[str, Any]) -> list[str]:
    order = Order()
    for event in events:
        order.read(event)
    return order.violations


def test_what_we_send_ourselves_is_in_order() -> None:
    assert read(*messages()) == []


def test_events_of_ours_are_passed_over() -> None:
    assert read(*messages(), {"type": "duologue.pong"}) == []


def place(events: list[dict[str, Any]], kind: str) -> int:
    return [event["type"] for event in events].index(kind)


def without(kind: str) -> list[dict[str, Any]]:
    events = messages()
    del events[place(events, kind)]
    return events


def changed(kind: str, **fields: Any) -> list[dict[str, Any]]:
    events = messages()
    events[place(events, kind)].update(fields)
    return events


def late(kind: str) -> list[dict[str, Any]]:
    events = messages()
    events.append(events.pop(place(events, kind)))
    return events


@pytest.mark.parametrize(
    ("events", "violation"),
    [
        (without("session.created"), "response.created comes before session.created"),
        (without("response.created"), "response.output_item.added comes before response.created"),
        (
            without("response.output_item.added"),
            "response.content_part.added comes before response.output_item.added",
        ),
        (
            without("response.output_audio_transcript.delta"),
            "response.output_audio_transcript.done: the deltas do not join to its transcript",
        ),
        (without("conversation.item.added"), "item.done comes before conversation.item.added"),
        (
            late("response.output_audio.done"),
            "response.output_audio.done comes after response.done",
        ),
        (changed("response.created", event_id=None), "response.created has no event_id"),
        (changed("response.created", event_id=""), "response.created has no event_id"),
        (changed("response.output_audio.delta", delta=7), "delta: Input should be a valid string"),
        (
            changed("response.done", type="response.over"),
            "response.over: the API has no such event",
        ),
        (changed("session.created", session=None), "session.created has no session"),
        ([*messages(), messages()[1]], "response.created comes twice for r1"),
        ([*messages(), *messages()[:1] * 2], "session.created has the event_id of another event"),
        (
            [
                *messages(),
                {
                    "type": "conversation.item.input_audio_transcription.failed",
                    "event_id": "e1",
                    "item_id": "u1",
                    "content_index": 0,
                    "error": {},
                },
            ],
            "transcription.failed comes before conversation.item.added",
        ),
    ],
)
def test_a_violation_is_told_in_a_sentence(events: list[dict[str, Any]], violation: str) -> None:
    assert any(violation in told for told in read(*events)), read(*events)


def test_words_are_final_once() -> None:
    encoder = Encoder("echo")
    events = [json.loads(text) for event in ONE_TURN[4:7] for text in encoder.encode(event)]
    again = {**events[-1], "event_id": "e1"}
    assert "the words of u1 are final twice" in read(messages()[0], *events, again)
