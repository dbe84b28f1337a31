"""How long a pause may be, by how finished it sounds and by how often its user was cut off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.settings import Settings
from duologue.turns.patience import Patience

SETTINGS = [Settings(patience="quick"), Settings(patience="normal"), Settings(patience="patient")]
probabilities = st.none() | st.floats(0, 1)


@given(st.floats(0, 1), st.floats(0, 1))
def test_who_sounds_less_finished_is_never_waited_for_less(one: float, other: float) -> None:
    for settings in SETTINGS:
        waits = [Patience().wait(settings, p) for p in sorted((one, other))]
        assert waits[0] >= waits[1]


@given(probabilities)
def test_the_patient_setting_waits_longest_and_the_quick_one_shortest(p: float | None) -> None:
    quick, normal, patient = (Patience().wait(settings, p) for settings in SETTINGS)
    assert quick <= normal < patient


def test_a_fixed_silence_is_that_whoever_was_cut_off() -> None:
    patience = Patience(1.5)
    settings = Settings(patience="fixed", silence=0.7)
    assert [patience.wait(settings, p) for p in (None, 0.1, 0.99)] == [0.7] * 3


@given(st.floats(0, 10), st.lists(st.booleans(), max_size=30))
def test_the_factor_stays_within_its_limits(kept: float, cuts: list[bool]) -> None:
    patience = Patience(kept)
    for cut in cuts:
        before = patience.factor
        if cut:
            patience.cut()
        else:
            patience.clean()
        assert patience.factor >= before if cut else patience.factor <= before
        assert 1.0 <= patience.factor <= 1.6


@given(probabilities, st.lists(st.floats(0.01, 8), max_size=12), st.floats(1, 1.6))
def test_no_reply_is_due_after_the_end_nor_in_the_first_fifth_of_a_second(
    p: float | None, model_times: list[float], factor: float
) -> None:
    patience = Patience(factor)
    for seconds in model_times:
        patience.learn(seconds)
    for settings in SETTINGS:
        assert 0.2 < patience.start(settings, p) <= patience.wait(settings, p)


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0.01, 8), max_size=3))
def test_who_sounds_less_finished_is_never_answered_sooner(
    one: float, other: float, model_times: list[float]
) -> None:
    patience = Patience()
    for seconds in model_times:
        patience.learn(seconds)
    for settings in SETTINGS:
        starts = [patience.start(settings, p) for p in sorted((one, other))]
        assert starts[0] >= starts[1]


def test_one_slow_answer_does_not_make_the_next_ones_early() -> None:
    patience, settings = Patience(), Settings()
    for seconds in (0.1, 0.1, 5.0, 0.1, 0.1):
        patience.learn(seconds)
    assert patience.start(settings, 0.6) == pytest.approx(patience.wait(settings, 0.6) - 0.1)
