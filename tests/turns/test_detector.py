"""When a turn begins and ends, with made-up sounds: what is loud is speech."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.errors import InvalidAudio, InvalidEvent
from duologue.settings import Settings
from duologue.testing import LoudnessVad, tone
from duologue.turns.detector import WINDOW, TurnDetector
from duologue.turns.events import (
    DetectorEvent,
    LimitNear,
    Nodded,
    ReplyDue,
    SpeechDenied,
    SpeechHeld,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechSuspected,
    TurnEnded,
    WordsWanted,
)
from duologue.turns.patience import Patience
from duologue.turns.words import Said

WINDOW_SECONDS = WINDOW / INPUT_RATE
FIXED = Settings(patience="fixed")


def quiet(seconds: float) -> AudioChunk:
    return silence(seconds, INPUT_RATE)


def listen(
    *sounds: AudioChunk, settings: Settings = FIXED, step: int = 640
) -> list[SpeechStarted | TurnEnded]:
    """Where turns begin and end when these sounds come one after the other, 40 ms a chunk."""
    events = follow(TurnDetector(LoudnessVad(), settings), *sounds, step=step)
    return [event for event in events if isinstance(event, SpeechStarted | TurnEnded)]


def follow(detector: TurnDetector, *sounds: AudioChunk, step: int = 640) -> list[DetectorEvent]:
    """All that is detected in these sounds."""
    samples = concatenate(sounds, INPUT_RATE).samples
    events: list[DetectorEvent] = []
    for start in range(0, len(samples), step):
        events += detector.push(AudioChunk(samples[start : start + step], INPUT_RATE))
    return events


def at(event: DetectorEvent) -> float:
    assert not isinstance(event, SpeechPaused | ReplyDue | WordsWanted)
    return event.at


def kinds(events: list[DetectorEvent]) -> list[type[DetectorEvent]]:
    return [type(event) for event in events]


def listener(settings: Settings = Settings(), patience: Patience | None = None) -> TurnDetector:
    return TurnDetector(LoudnessVad(), settings, patience)


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
    assert at(events[2]) > 300


def test_settings_may_change_in_mid_stream() -> None:
    detector = listener()
    follow(detector, tone(1))
    detector.settings = Settings(patience="fixed", silence=1.5)
    assert TurnEnded not in kinds(follow(detector, quiet(1.4)))
    assert TurnEnded in kinds(follow(detector, quiet(0.2)))


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


def test_speech_before_a_commit_begins_no_utterance_after_it() -> None:
    detector = listener()
    follow(detector, tone(1))
    detector.commit()
    assert follow(detector, quiet(3)) == []


def test_what_was_cleared_cannot_be_committed() -> None:
    detector = TurnDetector(LoudnessVad(), Settings(turn_detection=False))
    list(detector.push(tone(1)))
    detector.clear()
    with pytest.raises(InvalidEvent):
        detector.commit()


def test_of_more_than_the_time_limit_without_a_commit_the_beginning_is_kept() -> None:
    detector = TurnDetector(LoudnessVad(), Settings(turn_detection=False, time_limit=2))
    sound = AudioChunk(np.linspace(0, 1, 3 * INPUT_RATE, dtype=np.float32), INPUT_RATE)
    with pytest.raises(InvalidAudio, match="may last 2 s"):
        list(detector.push(sound))
    assert list(detector.push(tone(100))) == []  # said once
    assert detector.position == pytest.approx(103, abs=WINDOW_SECONDS)
    kept = detector.commit().utterance
    assert kept.duration == pytest.approx(2, abs=WINDOW_SECONDS)
    assert np.array_equal(kept.samples, sound.samples[: len(kept.samples)])
    with pytest.raises(InvalidAudio):  # and again of the next
        list(detector.push(tone(3)))
    detector.clear()
    assert list(detector.push(tone(1))) == []
    assert detector.commit().utterance.duration == pytest.approx(1)


@pytest.mark.parametrize("turn_detection", [True, False])
def test_the_time_limit_is_told_of_five_seconds_before(turn_detection: bool) -> None:
    detector = listener(Settings(turn_detection=turn_detection))
    for _ in range(2):
        events = follow(detector, tone(15), quiet(0.2), tone(14.7))
        (warning,) = [event for event in events if isinstance(event, LimitNear)]
        assert warning.left == pytest.approx(5, abs=WINDOW_SECONDS)
        detector.commit()
        follow(detector, quiet(2))
        detector.clear()


def test_of_a_limit_that_is_short_nothing_is_told() -> None:
    events = follow(listener(Settings(time_limit=10)), tone(9.5), quiet(2))
    assert LimitNear not in kinds(events)


@settings(deadline=None)
@given(st.integers(1, 5000), st.lists(st.sampled_from([0.1, 0.3, 0.7]), max_size=12))
def test_the_size_of_the_chunks_changes_nothing(step: int, lengths: list[float]) -> None:
    sounds = [tone(s) if i % 2 else quiet(s) for i, s in enumerate(lengths)] or [quiet(0.1)]
    assert [e.at for e in listen(*sounds, step=step)] == [e.at for e in listen(*sounds)]


# Pauses.


def paused(settings: Settings = Settings(), patience: Patience | None = None) -> TurnDetector:
    """A detector in a pause, 0.128 s of it long, after a second of speech."""
    detector = listener(settings, patience)
    events = follow(detector, quiet(0.992), tone(0.992), quiet(0.128))
    assert kinds(events) == [SpeechStarted, SpeechPaused]
    return detector


def test_a_pause_is_known_after_96_ms_with_all_that_was_said() -> None:
    events = follow(listener(), quiet(1), tone(2), quiet(0.13))
    pause = events[1]
    assert isinstance(pause, SpeechPaused)
    assert pause.last_word == pytest.approx(3, abs=2 * WINDOW_SECONDS)
    assert pause.sound.duration == pytest.approx(0.3 + 2 + 0.1, abs=3 * WINDOW_SECONDS)


def test_of_a_long_turn_smart_turn_hears_the_last_eight_seconds() -> None:
    pause = follow(listener(), tone(20), quiet(0.2))[1]
    assert isinstance(pause, SpeechPaused)
    assert pause.sound.duration == pytest.approx(8)


@pytest.mark.parametrize(
    ("probability", "wait"), [(0.95, 0.6), (0.85, 1.0), (0.6, 1.0), (0.3, 1.1), (0.1, 1.25)]
)
def test_the_less_finished_it_sounds_the_longer_it_waits(probability: float, wait: float) -> None:
    detector = paused()
    detector.answer(1, probability)
    events = follow(detector, quiet(2))
    assert kinds(events) == [ReplyDue, TurnEnded]
    assert at(events[1]) == pytest.approx(2 + wait, abs=2 * WINDOW_SECONDS)


@pytest.mark.parametrize(
    ("seconds", "probability", "wait"),
    [(0.5, 0.43, 0.6), (0.5, 0.1, 1.25), (1.5, 0.43, 1.1), (0.5, None, 1.0)],
)
def test_a_few_words_answer_a_question_unless_they_sound_unfinished(
    seconds: float, probability: float | None, wait: float
) -> None:
    detector = listener()
    detector.asked = True
    follow(detector, quiet(0.992), tone(seconds), quiet(0.128))
    if probability is not None:
        detector.answer(1, probability)
    (*_, ended) = follow(detector, quiet(2))
    assert at(ended) == pytest.approx(0.992 + seconds + wait, abs=2 * WINDOW_SECONDS)


def test_without_an_answer_it_waits_as_long_as_for_a_doubtful_one() -> None:
    events = follow(paused(), quiet(2))
    assert at(events[1]) == pytest.approx(3.0, abs=2 * WINDOW_SECONDS)


def test_an_answer_to_an_earlier_pause_is_not_believed() -> None:
    detector = paused()
    follow(detector, tone(0.3), quiet(0.13))
    detector.answer(1, 0.99)
    events = follow(detector, quiet(2))
    assert at(events[-1]) == pytest.approx(2.4 + 1.0, abs=3 * WINDOW_SECONDS)


def test_a_late_answer_still_counts_and_an_answer_after_the_end_does_not() -> None:
    detector = paused()
    assert kinds(follow(detector, quiet(0.6))) == [ReplyDue]
    detector.answer(1, 0.95)
    assert kinds(follow(detector, quiet(0.04))) == [TurnEnded]
    detector.answer(1, 0.1)
    assert follow(detector, quiet(2)) == []


def test_a_user_who_was_cut_off_is_given_more_time() -> None:
    patience = Patience()
    patience.cut()
    events = follow(paused(patience=patience), quiet(2))
    assert at(events[1]) == pytest.approx(2 + 1.25, abs=2 * WINDOW_SECONDS)


def test_the_reply_is_due_in_time_for_the_end_once_the_models_speed_is_known() -> None:
    patience = Patience()
    patience.learn(0.4)
    detector = paused(patience=patience)
    detector.answer(1, 0.6)
    assert follow(detector, quiet(0.4)) == []
    assert kinds(follow(detector, quiet(0.15))) == [ReplyDue]


def test_a_reply_that_is_probably_wanted_is_due_at_once() -> None:
    patience = Patience()
    patience.learn(0.1)
    detector = paused(patience=patience)
    detector.answer(1, 0.95)
    assert kinds(follow(detector, quiet(0.1))) == [ReplyDue]


def test_where_nothing_is_answered_no_answer_is_begun() -> None:
    asking = follow(paused(Settings(create_response=False)), quiet(2))
    assert kinds(asking) == [ReplyDue, TurnEnded]  # the client may ask for it
    writing = Settings(create_response=False, only_words=True)
    assert kinds(follow(paused(writing), quiet(2))) == [TurnEnded]


def test_speech_in_a_pause_goes_on_with_the_utterance() -> None:
    detector = paused()
    events = follow(detector, quiet(0.3), tone(1), quiet(2))
    assert kinds(events) == [ReplyDue, SpeechResumed, SpeechPaused, ReplyDue, TurnEnded]
    ended = events[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.utterance.duration == pytest.approx(0.3 + 1 + 0.4 + 1 + 1.0, abs=0.1)


def test_a_click_in_a_pause_does_not_end_it() -> None:
    events = follow(paused(), quiet(0.2), tone(0.02), quiet(2))
    assert kinds(events) == [ReplyDue, TurnEnded]


def test_what_is_flagged_as_echo_is_no_speech() -> None:
    detector = listener()
    assert list(detector.push(tone(2), echo=True)) == []


# After the end.


def ended(settings: Settings = Settings()) -> TurnDetector:
    detector = paused(settings)
    assert TurnEnded in kinds(follow(detector, quiet(1)))
    return detector


def test_an_ended_turn_can_be_gone_on_with_while_no_reply_is_heard() -> None:
    detector = ended()
    assert kinds(follow(detector, quiet(3), tone(0.2))) == [SpeechResumed]


@pytest.mark.parametrize("settings", [FIXED, Settings(interrupt_response=False)])
def test_with_fixed_silences_or_without_interruptions_it_cannot(settings: Settings) -> None:
    assert kinds(follow(ended(settings), quiet(1), tone(0.2))) == [SpeechStarted]


def test_it_stays_open_for_ten_seconds_without_a_reply_and_no_longer() -> None:
    detector = ended()
    assert detector.is_open
    assert kinds(follow(detector, quiet(10), tone(0.2))) == [SpeechStarted]


def test_who_goes_on_within_a_second_of_the_reply_had_not_finished() -> None:
    detector = ended()
    detector.playing = True
    events = follow(detector, quiet(0.8), tone(0.5))
    assert kinds(events) == [SpeechSuspected, SpeechResumed]


def test_who_speaks_later_begins_another_turn_with_its_first_words() -> None:
    detector = ended()
    detector.playing = True
    events = follow(detector, quiet(2), tone(0.5))
    assert kinds(events) == [SpeechSuspected, SpeechStarted]
    onset = 1 + 1 + 0.1 + 1 + 2
    assert at(events[0]) == pytest.approx(onset + 0.064, abs=2 * WINDOW_SECONDS)
    assert at(events[1]) == pytest.approx(onset - 0.3, abs=2 * WINDOW_SECONDS)
    spoken = detector.commit().utterance.samples
    assert np.flatnonzero(np.abs(spoken) > 0.01)[0] / INPUT_RATE == pytest.approx(0.3, abs=0.07)


def test_an_interruption_is_believed_after_a_quarter_of_a_second() -> None:
    detector = listener()
    detector.playing = True
    assert kinds(follow(detector, quiet(1), tone(0.2))) == [SpeechSuspected]
    assert kinds(follow(detector, tone(0.1))) == [SpeechStarted]


def test_a_cough_is_suspected_and_denied() -> None:
    detector = listener()
    detector.playing = True
    events = follow(detector, quiet(1), tone(0.15), quiet(1), tone(0.15), quiet(1))
    assert kinds(events) == [SpeechSuspected, SpeechDenied] * 2
    assert at(events[1]) - at(events[0]) < 0.4


def interrupted(*sounds: AudioChunk) -> tuple[TurnDetector, list[DetectorEvent]]:
    """A detector that weighs words, 1 s into a reply, after these sounds; and what it found."""
    detector = listener()
    detector.playing = detector.weighs = True
    return detector, follow(detector, quiet(1.024), *sounds)


HELD: list[type[DetectorEvent]] = [SpeechSuspected, SpeechHeld, WordsWanted]


def test_where_words_are_weighed_a_reply_is_held_and_the_words_are_asked_for() -> None:
    _, events = interrupted(tone(0.4), quiet(0.1))
    assert kinds(events) == HELD
    assert at(events[1]) == pytest.approx(1.024 + 0.24, abs=WINDOW_SECONDS)
    *_, wanted = events
    assert isinstance(wanted, WordsWanted)
    spoken = np.flatnonzero(np.abs(wanted.sound.samples) > 0.01)
    assert len(spoken) == pytest.approx(0.4 * INPUT_RATE, rel=0.05)


def test_a_nod_and_a_silence_let_the_reply_go_on() -> None:
    detector, _ = interrupted(tone(0.4), quiet(0.1))
    detector.judge(1, Said.NOD)
    assert follow(detector, quiet(0.04)) == []
    assert kinds(follow(detector, quiet(0.1))) == [Nodded]
    assert follow(detector, quiet(2)) == []
    assert kinds(follow(detector, tone(0.4), quiet(0.1))) == HELD  # the next one is weighed anew


@pytest.mark.parametrize(
    ("said", "kind"), [(Said.SPEECH, SpeechStarted), (Said.NOTHING, SpeechDenied)]
)
def test_other_words_stop_it_at_once_and_none_are_nothing(
    said: Said, kind: type[DetectorEvent]
) -> None:
    detector, _ = interrupted(tone(0.4), quiet(0.1))
    detector.judge(1, said)
    (event,) = follow(detector, quiet(0.04))
    assert type(event) is kind


def test_an_interruption_that_was_weighed_has_its_first_word() -> None:
    detector, _ = interrupted(tone(0.4), quiet(0.1))
    detector.judge(1, Said.SPEECH)
    follow(detector, quiet(0.04))
    detector.playing = False
    *_, ended = follow(detector, tone(0.5), quiet(2))
    assert isinstance(ended, TurnEnded)
    spoken = np.count_nonzero(np.abs(ended.utterance.samples) > 0.01)
    assert spoken == pytest.approx(0.9 * INPUT_RATE, rel=0.05)


def test_nine_tenths_of_a_second_of_speech_are_an_interruption_whatever_they_say() -> None:
    _, events = interrupted(tone(1.0))
    assert kinds(events)[:3] == [*HELD[:2], SpeechStarted]
    _, events = interrupted(*[sound for _ in range(4) for sound in (tone(0.3), quiet(0.128))])
    assert kinds(events)[:5] == [*HELD, WordsWanted, SpeechStarted]


def test_words_that_nobody_tells_in_time_are_an_interruption() -> None:
    detector, _ = interrupted(tone(0.4), quiet(0.1))
    assert follow(detector, quiet(0.48)) == []
    assert kinds(follow(detector, quiet(0.1))) == [SpeechStarted]
    detector.judge(1, Said.NOD)
    assert SpeechPaused in kinds(follow(detector, quiet(0.1)))


def test_who_is_not_understood_for_three_seconds_interrupts_with_all_that_was_said() -> None:
    blips = [sound for _ in range(5) for sound in (tone(0.128), quiet(0.512))]
    _, events = interrupted(tone(0.256), quiet(0.128), *blips)
    assert SpeechStarted in kinds(events)
    started = events[kinds(events).index(SpeechStarted)]
    assert at(started) == pytest.approx(1.024 - 0.3, abs=2 * WINDOW_SECONDS)


def test_a_nod_that_goes_on_is_asked_about_again() -> None:
    detector, _ = interrupted(tone(0.3), quiet(0.096))
    assert follow(detector, tone(0.2)) == []
    detector.judge(1, Said.NOD)
    events = follow(detector, quiet(0.3))
    assert kinds(events) == [WordsWanted]
    assert isinstance(events[0], WordsWanted)
    assert events[0].number == 2
    detector.judge(1, Said.SPEECH)  # what was no nod is none with more words behind it
    assert kinds(follow(detector, quiet(0.04))) == [SpeechStarted]


def test_words_of_an_earlier_interruption_are_not_believed() -> None:
    detector, _ = interrupted(tone(0.4), quiet(0.1))
    detector.judge(1, Said.NOTHING)
    follow(detector, quiet(1))
    follow(detector, tone(0.4), quiet(0.1))
    detector.judge(1, Said.SPEECH)
    assert follow(detector, quiet(0.1)) == []


def test_a_drumming_is_denied_after_a_second() -> None:
    detector = listener()
    detector.playing = True
    beats = [tone(0.064), *[sound for _ in range(9) for sound in (quiet(0.224), tone(0.032))]]
    events = follow(detector, quiet(0.992), *beats)
    assert kinds(events)[:2] == [SpeechSuspected, SpeechDenied]
    assert at(events[1]) - at(events[0]) == pytest.approx(0.94, abs=3 * WINDOW_SECONDS)


def test_speech_as_the_reply_ends_begins_a_turn_like_any_other() -> None:
    detector = listener()
    detector.playing = True
    assert kinds(follow(detector, quiet(1), tone(0.128))) == [SpeechSuspected]
    detector.playing = False
    assert kinds(follow(detector, tone(0.064))) == [SpeechStarted]


def test_who_talks_on_after_the_time_limit_stops_the_reply_and_loses_no_word() -> None:
    detector = listener(Settings(time_limit=5))
    started, ended = follow(detector, tone(5.1))
    assert kinds([started, ended]) == [SpeechStarted, TurnEnded]
    assert follow(detector, tone(3)) == []  # while the model thinks
    detector.playing = True
    suspected, again = follow(detector, tone(0.3))
    assert kinds([suspected, again]) == [SpeechSuspected, SpeechStarted]
    assert at(again) == at(ended)
    detector.playing = False
    follow(detector, tone(0.5))
    assert detector.commit().utterance.duration == pytest.approx(0.1 + 3 + 0.3 + 0.5, abs=0.1)


def test_who_talks_on_after_the_time_limit_is_heard_at_once_where_no_reply_comes() -> None:
    detector = listener(Settings(time_limit=5))
    ended = follow(detector, tone(5.1))[-1]
    detector.close()
    (again,) = follow(detector, tone(0.3))
    assert isinstance(again, SpeechStarted)
    assert again.at == at(ended)


def test_who_ends_shortly_after_the_time_limit_hears_the_answer() -> None:
    detector = listener(Settings(time_limit=5))
    assert kinds(follow(detector, tone(5.5), quiet(1))) == [SpeechStarted, TurnEnded]
    detector.playing = True
    assert kinds(follow(detector, quiet(1), tone(0.3))) == [SpeechSuspected, SpeechStarted]
    detector.playing = False
    assert detector.commit().utterance.duration < 1


# Sound that does not come.


def miss(detector: TurnDetector, seconds: float) -> list[DetectorEvent]:
    return list(detector.miss(seconds))


def test_without_sound_a_turn_ends_as_in_silence_and_the_position_stands_still() -> None:
    detector = listener()
    follow(detector, quiet(1), tone(1.01))
    events = miss(detector, 0.5) + miss(detector, 0.6)
    assert kinds(events) == [SpeechPaused, ReplyDue, TurnEnded]
    assert at(events[-1]) == detector.position == pytest.approx(2.01, abs=1e-3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.01, 0.3, 0.7]), st.booleans()), max_size=12))
def test_positions_count_only_sound_that_came(pieces: list[tuple[float, bool]]) -> None:
    detector, came = listener(FIXED), 0
    before = 0.0
    for seconds, comes in pieces:
        chunk = tone(seconds)
        events = list(detector.push(chunk)) if comes else miss(detector, seconds)
        came += len(chunk.samples) * comes
        times = [event.at for event in events if isinstance(event, SpeechStarted | TurnEnded)]
        assert all(0 <= time <= came / INPUT_RATE for time in times)
        assert came / INPUT_RATE - WINDOW_SECONDS < detector.position <= came / INPUT_RATE
        assert detector.position >= before
        before = detector.position


def test_speech_after_a_gap_begins_where_it_was_sent() -> None:
    detector = listener()
    follow(detector, quiet(1))
    miss(detector, 3)
    (started,) = follow(detector, tone(0.5))
    assert at(started) == pytest.approx(1, abs=WINDOW_SECONDS)


def test_what_may_be_an_interruption_is_none_when_no_more_sound_comes() -> None:
    detector = listener()
    detector.playing = True
    assert kinds(follow(detector, quiet(1), tone(0.15))) == [SpeechSuspected]
    assert kinds(miss(detector, 1)) == [SpeechDenied]


def test_a_turn_that_is_over_is_not_gone_on_with() -> None:
    detector = ended()
    detector.close()
    assert kinds(follow(detector, tone(0.2))) == [SpeechStarted]


def test_what_the_decision_went_by_is_told() -> None:
    detector = paused()
    detector.answer(1, 0.85)
    event = follow(detector, quiet(1.1))[-1]
    assert isinstance(event, TurnEnded)
    assert event.pause is not None
    assert (event.pause.probability, event.pause.patience) == (0.85, "normal")
    assert (event.pause.factor, event.pause.wait) == (1, 1.0)
    assert event.pause.speech == pytest.approx(1, abs=4 * WINDOW_SECONDS)
    assert event.pause.level == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.5)
    assert event.pause.background == -100


@settings(deadline=None)
@given(st.lists(st.floats(0.02, 1.5), max_size=14))
def test_starts_and_ends_alternate_and_time_never_runs_back(lengths: list[float]) -> None:
    sounds = [tone(s) if i % 2 else quiet(s) for i, s in enumerate(lengths)] or [quiet(0.1)]
    events = listen(*sounds)
    assert all(isinstance(event, SpeechStarted) for event in events[::2])
    assert all(isinstance(event, TurnEnded) for event in events[1::2])
    assert [event.at for event in events] == sorted(event.at for event in events)
