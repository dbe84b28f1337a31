"""What one listener has understood of an utterance that goes on."""

import numpy as np

from duologue.audio import INPUT_RATE, Samples
from duologue.models.cascade.overheard import Overheard, quietest
from duologue.models.cascade.transcript import Segment
from duologue.testing import tone


def speech(seconds: float, *pauses: float) -> Samples:
    """A tone with noise under it, silent for 0.3 s around each pause."""
    samples = tone(seconds).samples.copy()
    for pause in pauses:
        samples[round((pause - 0.15) * INPUT_RATE) : round((pause + 0.15) * INPUT_RATE)] = 0
    noise = np.random.default_rng(0).normal(0, 1e-3, len(samples))
    return (samples + noise).astype(np.float32)


def test_what_two_looks_have_understood_alike_is_stable() -> None:
    samples, heard = speech(3), Overheard()
    heard.note(samples[:16_000], [Segment(0, None, " What is")])
    assert (heard.stable, heard.words) == ("", "What is")
    heard.note(samples[:32_000], [Segment(0, None, " What is the whether")])
    assert heard.stable == "What is"
    heard.note(samples, [Segment(0, 3.0, " What is the weather like?")])
    assert (heard.stable, heard.words) == ("What is the", "What is the weather like?")


def test_sentences_of_a_long_utterance_are_settled_once_two_looks_agree() -> None:
    samples, heard = speech(12, 4.0, 8.0), Overheard()
    first, second = Segment(0, 4.3, " The first."), Segment(4.3, 8.1, " The second.")
    third = Segment(8.1, None, " The th")
    heard.note(samples[: 9 * INPUT_RATE], [first, second, third])
    assert (heard.settled, heard.begin) == ("", 0)
    heard.note(samples[: 10 * INPUT_RATE], [first, second, Segment(8.1, None, " The third")])
    assert heard.settled == "The first. The second."
    assert heard.words == "The first. The second. The third"
    # In the pause, though Whisper's timestamp is beside it.
    assert abs(heard.begin / INPUT_RATE - 8.0) < 0.15
    heard.note(samples, [Segment(0, 3.0, " The third.")])
    assert heard.words == "The first. The second. The third."
    assert heard.stable.startswith("The first. The second.")


def test_sentences_that_are_understood_otherwise_each_time_are_not_settled() -> None:
    samples, heard = speech(12), Overheard()
    rest = Segment(4.0, None, " rest")
    heard.note(samples[: 9 * INPUT_RATE], [Segment(0, 4.0, " One."), rest])
    heard.note(samples[: 10 * INPUT_RATE], [Segment(0, 4.0, " Two."), rest])
    assert (heard.settled, heard.begin) == ("", 0)


def test_an_utterance_is_known_by_its_samples() -> None:
    samples, heard = speech(3), Overheard()
    heard.note(samples[:32_000], [Segment(0, None, " One")])
    assert heard.is_of(samples)
    assert heard.is_of(samples[:32_000])
    assert not heard.is_of(samples[:31_000])
    assert not heard.is_of(samples[::-1])


def test_silence_after_what_was_heard_is_covered_and_speech_is_not() -> None:
    samples, heard = speech(2), Overheard()
    assert not heard.covers(samples)
    heard.note(samples, [Segment(0, 2.0, " One.")])
    quiet = np.random.default_rng(1).normal(0, 1e-3, INPUT_RATE).astype(np.float32)
    assert heard.covers(samples)
    assert heard.covers(np.concatenate([samples, quiet[:100]]))
    assert heard.covers(np.concatenate([samples, quiet]))
    assert not heard.covers(np.concatenate([samples, quiet, speech(0.1)]))


def test_the_quietest_place_is_found_within_half_a_second() -> None:
    samples = speech(6, 3.0)
    assert abs(quietest(samples, round(3.4 * INPUT_RATE)) / INPUT_RATE - 3.0) < 0.2
    assert 0 <= quietest(samples, 0) < INPUT_RATE
    assert quietest(samples, len(samples)) < len(samples)
