"""When a turn begins and ends, with made-up sounds: what is loud is speech."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.errors import InvalidAudio, InvalidEvent
from duologue.events import DetectorEvent, Settings, SpeechStarted, TurnEnded
from duologue.testing import LoudnessVad, tone
from duologue.turn import WINDOW, TurnDetector

WINDOW_SECONDS = WINDOW / INPUT_RATE


def quiet(seconds: float) -> AudioChunk:
    return silence(seconds, INPUT_RATE)


def listen(
    *sounds: AudioChunk, settings: Settings = Settings(), step: int = 640
) -> list[DetectorEvent]:
    """What is detected when these sounds come one after the other, 40 ms a chunk."""
    detector = TurnDetector(LoudnessVad(), settings)
    samples = concatenate(sounds, INPUT_RATE).samples
    events: list[DetectorEvent] = []
    for start in range(0, len(samples), step):
        events += detector.push(AudioChunk(samples[start : start + step], INPUT_RATE))
    return events


def test_a_turn_ends_after_the_silence_that_was_asked_for() -> None:
    started, ended = listen(quiet(1), tone(1), quiet(2))
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, TurnEnded)
    assert ended.at == pytest.approx(2.5, abs=2 * WINDOW_SECONDS)


def test_silence_before_the_first_word_never_counts() -> None:
    started, ended = listen(quiet(20), tone(0.5), quiet(1))
    assert started.at == pytest.approx(20 - 0.3, abs=3 * WINDOW_SECONDS)
    assert ended.at == pytest.approx(21.0, abs=2 * WINDOW_SECONDS)


def test_the_utterance_holds_the_speech_and_the_prefix_padding() -> None:
    started, ended = listen(quiet(1), tone(1), quiet(1))
    assert isinstance(ended, TurnEnded)
    assert ended.utterance.duration == pytest.approx(ended.at - started.at)
    loud = np.flatnonzero(np.abs(ended.utterance.samples) > 0.01)
    assert (loud[-1] - loud[0]) / INPUT_RATE == pytest.approx(1.0, abs=0.01)
    assert loud[0] / INPUT_RATE == pytest.approx(0.3, abs=2 * WINDOW_SECONDS)


def test_a_yes_of_a_quarter_second_is_a_turn() -> None:
    assert len(listen(quiet(1), tone(0.25), quiet(1))) == 2


def test_a_click_of_50_ms_is_not() -> None:
    assert listen(quiet(1), tone(0.05), quiet(1)) == []


def test_a_pause_shorter_than_the_silence_stays_inside_the_turn() -> None:
    events = listen(tone(0.5), quiet(0.4), tone(0.5), quiet(1))
    assert [type(event) for event in events] == [SpeechStarted, TurnEnded]


def test_talk_in_the_background_does_not_keep_a_turn_open() -> None:
    ended = listen(quiet(1), tone(1), tone(3, level=0.03))[1]
    assert ended.at == pytest.approx(2.5, abs=4 * WINDOW_SECONDS)


def test_a_soft_word_between_loud_ones_ends_no_turn() -> None:
    events = listen(tone(0.5), tone(0.4, level=0.01), tone(0.5), quiet(1))
    assert [type(event) for event in events] == [SpeechStarted, TurnEnded]


def test_silence_alone_is_nothing() -> None:
    assert listen(quiet(60)) == []


def test_five_minutes_without_a_pause_are_one_turn_of_the_time_limit() -> None:
    events = listen(tone(300), quiet(1), tone(1), quiet(1))
    assert [type(event) for event in events] == [SpeechStarted, TurnEnded, SpeechStarted, TurnEnded]
    first = events[1]
    assert isinstance(first, TurnEnded)
    assert first.utterance.duration == pytest.approx(30, abs=WINDOW_SECONDS)
    assert events[2].at > 300


def test_settings_may_change_in_mid_stream() -> None:
    detector = TurnDetector(LoudnessVad(), Settings())
    list(detector.push(tone(1)))
    detector.settings = Settings(silence=1.5)
    assert list(detector.push(quiet(1.4))) == []
    assert len(list(detector.push(quiet(0.2)))) == 1


def test_without_turn_detection_only_a_commit_ends_the_utterance() -> None:
    detector = TurnDetector(LoudnessVad(), Settings(turn_detection=False))
    assert list(detector.push(concatenate([tone(1), quiet(5)], INPUT_RATE))) == []
    assert detector.commit().utterance.duration == pytest.approx(6)


def test_every_sample_that_was_pushed_is_committed() -> None:
    detector = TurnDetector(LoudnessVad(), Settings(turn_detection=False))
    list(detector.push(tone(0.01)))
    assert len(detector.commit().utterance.samples) == 160


def test_nothing_cannot_be_committed() -> None:
    detector = TurnDetector(LoudnessVad(), Settings(turn_detection=False))
    with pytest.raises(InvalidEvent, match="no audio to commit"):
        detector.commit()


def test_what_was_cleared_cannot_be_committed() -> None:
    detector = TurnDetector(LoudnessVad(), Settings(turn_detection=False))
    list(detector.push(tone(1)))
    detector.clear()
    with pytest.raises(InvalidEvent):
        detector.commit()


def test_more_than_the_time_limit_without_a_commit_is_an_error() -> None:
    detector = TurnDetector(LoudnessVad(), Settings(turn_detection=False, time_limit=2))
    with pytest.raises(InvalidAudio, match="may last 2 s"):
        list(detector.push(tone(3)))


@given(st.integers(1, 5000), st.lists(st.sampled_from([0.1, 0.3, 0.7]), max_size=12))
def test_the_size_of_the_chunks_changes_nothing(step: int, lengths: list[float]) -> None:
    sounds = [tone(s) if i % 2 else quiet(s) for i, s in enumerate(lengths)] or [quiet(0.1)]
    assert [e.at for e in listen(*sounds, step=step)] == [e.at for e in listen(*sounds)]


@given(st.lists(st.floats(0.02, 1.5), max_size=14))
def test_starts_and_ends_alternate_and_time_never_runs_back(lengths: list[float]) -> None:
    sounds = [tone(s) if i % 2 else quiet(s) for i, s in enumerate(lengths)] or [quiet(0.1)]
    events = listen(*sounds)
    assert all(isinstance(event, SpeechStarted) for event in events[::2])
    assert all(isinstance(event, TurnEnded) for event in events[1::2])
    assert [event.at for event in events] == sorted(event.at for event in events)
