"""Long messages: how much of them anybody parses, and what is in the way of a sound."""

import base64
import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from duologue.audio import REPLY_RATE, AudioChunk, silence, unbase64
from duologue.conversation.events import AudioReceived, ClientErred, ClientEvent
from duologue.errors import InvalidAudio, MessageTooBig
from duologue.settings import Settings
from duologue.testing import tone
from duologue.transports.realtime.decode import SHORT, decode_event, decode_message
from transports.realtime.messages import GROWING, append, grown, message

VALUES = ["{}", "1", "[]", '"a"', "null", '{"type": "message"}']
LONGEST = 15 * 2**20


def read(text: str) -> list[ClientEvent]:
    return [event for event in decode_message(text, Settings()) if event]


def sound_of(text: str) -> np.ndarray[Any, Any]:
    events = read(text)
    assert all(isinstance(event, AudioReceived) for event in events), events
    return np.concatenate([e.chunk.samples for e in events if isinstance(e, AudioReceived)])


def refused(text: str) -> MessageTooBig | InvalidAudio:
    (event,) = read(text)
    assert isinstance(event, ClientErred)
    assert isinstance(event.error, MessageTooBig | InvalidAudio)
    assert len(str(event.error)) < 300
    return event.error


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all texts that the parser of JSON is given."""
    lengths: list[int] = []
    loads = json.loads

    def spy(text: str, **options: Any) -> Any:
        lengths.append(len(text))
        return loads(text, **options)

    monkeypatch.setattr(json, "loads", spy)
    return lengths


def leaves(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(leaves, value.values()))
    return 1 + sum(map(leaves, value)) if isinstance(value, list) else 1


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values there were in each thing that pydantic is given to validate."""
    counts: list[int] = []
    validate: Callable[..., Any] = BaseModel.model_validate.__func__  # type: ignore[attr-defined]

    def spy(model: type[BaseModel], /, value: object, **options: Any) -> Any:
        counts.append(leaves(value))
        return validate(model, value, **options)

    monkeypatch.setattr(BaseModel, "model_validate", classmethod(spy))
    return counts


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("length", [250_000, LONGEST])
def test_what_is_no_sound_is_refused_unread_when_it_is_long(
    name: str, length: int, parsed: list[int], validated: list[int]
) -> None:
    text = grown(name, "{}", length)
    parsed.clear()
    assert isinstance(refused(text), MessageTooBig)
    assert max(parsed, default=0) <= SHORT + 64
    assert validated == []


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("value", VALUES)
def test_pydantic_never_sees_more_than_the_fields_that_mean_something(
    name: str, value: str, validated: list[int]
) -> None:
    decode_event(grown(name, value, SHORT * 4 // 5), Settings())
    assert max(validated, default=0) <= 25


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("value", ["{}", "1"])
def test_reading_a_message_costs_not_much_more_than_its_json(name: str, value: str) -> None:
    text = grown(name, value, SHORT * 4 // 5)

    def cost(work: Callable[[], object]) -> float:
        costs = []
        for _ in range(5):
            start = time.thread_time()
            work()
            costs.append(time.thread_time() - start)
        return min(costs)

    # It was 2,000 times as much.
    assert cost(lambda: decode_event(text, Settings())) < 20 * cost(lambda: json.loads(text)) + 0.01


@pytest.mark.parametrize(
    "text",
    [
        "x" * LONGEST,
        "[" * LONGEST,
        '"' * LONGEST,
        "\\" * LONGEST,
        '{"a":' * (LONGEST // 5),
        f'"{"x" * LONGEST}"',
        f'{{"type": "input_audio_buffer.append", "audio": "", "x": "{"A" * LONGEST}"}}',
        f'{{"type": "input_audio_buffer.append", "x": {{"audio": "{"A" * LONGEST}"}}}}',
        f'{{"type": "input_audio_buffer.append", "x": "\\"audio\\": \\"{"A" * LONGEST}\\""}}',
        f'{{"type": "input_audio_buffer.append", "audio": "" {" " * LONGEST} }}',
        f'{{"type": "input_audio_buffer.append", "audio" {" " * LONGEST} : "AAAA"}}',
        f'{{"type": "input_audio_buffer.append", "audio": [{"1," * (LONGEST // 2)}1], "x": ""}}',
        f'{{"type": "input_audio_buffer.append", "audio": {"1" * LONGEST}, "x": ""}}',
        f'{{"type": "input_audio_buffer.append", "audio": "{"A" * LONGEST}"',
        f'{{"type": "session.update", "audio": "{"A" * LONGEST}"}}',
        f'{{"audio": "{"A" * LONGEST}"}}',
        f'{{"type": "input_audio_buffer.append", "audio": "{"A" * LONGEST}", "audio": "QUJD"}}',
        f'{{"type": "input_audio_buffer.append", "audio": "{"A" * LONGEST}", "x": "{"A" * SHORT}"}}',
    ],
    ids=range(18),
)
def test_no_decoy_is_taken_for_a_sound(text: str, parsed: list[int]) -> None:
    assert isinstance(refused(text), MessageTooBig)
    assert max(parsed, default=0) <= SHORT + 64


def test_a_field_that_names_the_cut_sound_itself_gets_no_sound() -> None:
    fields = f'"type": "input_audio_buffer.append", "audio": "{"A" * 200_000}"'
    assert len(sound_of("{" + fields + "}")) == 75_000
    assert isinstance(refused("{" + fields + ', "audio": "sound"}'), MessageTooBig)


@pytest.mark.parametrize("bad", ["!", "é", "=", "A=", "\\", "\\x", "\x00"])
@pytest.mark.parametrize("at", [0, 63_998, 64_000, 100_001, 199_999])
def test_a_long_sound_that_is_bad_somewhere_is_refused_as_a_whole(bad: str, at: int) -> None:
    sound = "A" * at + bad + "A" * (200_004 - at - len(bad))
    text = f'{{"type": "input_audio_buffer.append", "audio": "{sound}"}}'
    if bad == "\\":  # makes an escaped A of the next
        assert isinstance(refused(text), InvalidAudio)
    else:
        assert "base64" in str(refused(text))


def test_half_a_sample_is_refused_before_any_of_the_sound_is_taken() -> None:
    sound = base64.b64encode(bytes(200_001)).decode()
    assert "two bytes a sample" in str(refused(message("input_audio_buffer.append", audio=sound)))


def test_a_long_sound_is_decoded_second_by_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []

    def spy(text: str) -> bytes:
        pieces.append(len(text))
        return unbase64(text)

    monkeypatch.setattr("duologue.transports.realtime.decode.unbase64", spy)
    steps = list(decode_message(append(tone(60, REPLY_RATE), echo=True), Settings()))
    assert max(pieces) <= 64_000
    assert all(step is None for step in steps[: len(pieces)])
    for step in steps[len(pieces) :]:
        assert isinstance(step, AudioReceived)
        assert step.chunk.duration <= 1
        assert step.echo


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "for URLs": lambda text: text.replace("+", "-").replace("/", "_"),
    "for URLs without padding": lambda text: text.replace("+", "-").replace("/", "_").rstrip("="),
    "with line breaks": lambda text: "\r\n".join(
        text[start : start + 76] for start in range(0, len(text), 76)
    ),
    "as a data: URL": lambda text: f"data:audio/pcm;rate=24000;base64,{text}",
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("escape", ["plain", "slashes", "all"])
@pytest.mark.parametrize("samples", [1, 5000, 99_998, 99_999, 100_000])
def test_every_way_to_write_base64_is_read(
    write: Callable[[str], str], escape: str, samples: int
) -> None:
    random = np.random.default_rng(7)
    sound = AudioChunk(random.uniform(-1, 1, samples).astype(np.float32), REPLY_RATE)
    text = append(sound)
    plain = json.loads(text)["audio"]
    text = message("input_audio_buffer.append", audio=write(plain))
    if escape == "slashes":  # as PHP does
        text = text.replace("/", "\\/")
    elif escape == "all":  # as .NET does
        text = text.replace("+", "\\u002B").replace("=", "\\u003D")
    assert np.array_equal(sound_of(text), sound_of(append(sound)))


def test_the_pieces_are_the_whole() -> None:
    sound = tone(10, REPLY_RATE)
    assert np.abs(sound_of(append(sound)) - sound.samples).max() < 1 / 16_000
    lengths = [
        e.chunk.duration
        for e in read(append(silence(2.5, REPLY_RATE)))
        if isinstance(e, AudioReceived)
    ]
    assert lengths == [1, 1, 0.5]
    assert all(before >= after for before, after in pairwise(lengths))


def test_an_error_about_a_long_message_names_it() -> None:
    sound = base64.b64encode(bytes(200_001)).decode()
    event = message("input_audio_buffer.append", audio=sound, event_id="mine")
    (refused,) = [step for step in decode_message(event, Settings()) if step is not None]
    assert isinstance(refused, ClientErred)
    assert refused.event_id == "mine"
