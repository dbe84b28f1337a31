"""What `say` makes of a server's events."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from duologue.cli.say import _collect
from duologue.testing import tone
from duologue.timings import Timings

_EVENT: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)


async def reply(**response: Any) -> AsyncIterator[RealtimeServerEvent]:
    sound = base64.b64encode(tone(0.5, 24_000).pcm16()).decode()
    place: dict[str, Any] = {
        "response_id": "r",
        "item_id": "i",
        "output_index": 0,
        "content_index": 0,
    }
    events: list[dict[str, Any]] = [
        {"type": "response.output_audio.delta", "delta": sound, **place},
        {"type": "response.output_audio_transcript.delta", "delta": "Hi.", **place},
        {"type": "response.done", "response": response},
    ]
    for number, event in enumerate(events):
        yield _EVENT.validate_python({"event_id": f"event_{number}", **event})


async def test_the_server_s_timings_comes_with_the_answer() -> None:
    timings = Timings(started=0.1, first_token=0.2, first_sound=0.25, sent=0.3)
    answer = await _collect(reply(metadata=timings.metadata()))
    assert (answer.text, answer.audio.duration) == ("Hi.", 0.5)
    assert answer.timings == timings


@pytest.mark.parametrize("response", [{}, {"metadata": None}, {"metadata": {"colour": "red"}}])
async def test_a_server_without_timings_is_talked_with_too(response: dict[str, Any]) -> None:
    answer = await _collect(reply(**response))
    assert answer.timings == Timings()
    assert answer.first_sound is not None
