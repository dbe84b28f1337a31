import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.models.mini_omni.pace import FRAME_SECONDS, Pace


@pytest.mark.parametrize(("speed", "held"), [(1.2, 0.21), (2.0, 0.125), (4.0, 0.06), (10.0, 0.025)])
def test_a_fast_machine_holds_back_three_times_what_the_next_takes_and_no_more(
    speed: float, held: float
) -> None:
    pace = Pace(speed, 30.0, 0.0)
    pace.make(held)
    assert pace.is_held
    pace.make(0.004)
    assert not pace.is_held


def test_what_is_left_to_hear_is_what_went_out_and_was_not_heard() -> None:
    pace = Pace(2.0, 30.0, 0.0)
    assert pace.reserve(5.0) == 0
    pace.make(1.0)
    pace.let_out(5.0)
    assert pace.reserve(5.25) == 0.75


@given(
    speed=st.floats(0.05, 3.0), longest=st.floats(1.0, 120.0), frame=st.floats(0.02, FRAME_SECONDS)
)
def test_a_reply_of_full_length_has_no_hole_on_any_machine(
    speed: float, longest: float, frame: float
) -> None:
    pace = Pace(speed, longest, 0.0)
    frames = int(longest / frame)
    for number in range(1, frames + 1):
        now = number * frame / speed
        pace.make(frame)
        if not pace.is_held or number == frames:
            pace.let_out(now)
        if number > 1 and not pace.is_held:
            # What goes out now had to be there when what went out before was heard.
            assert pace.reserve(now) >= frame - 1e-6


def test_on_a_slow_machine_the_wait_is_no_longer_than_it_must_be() -> None:
    pace = Pace(0.5, 10.0, 0.0)
    made = 0.0
    while pace.is_held:
        pace.make(0.1)
        made += 0.1
    # Half of it, as the other half is made while this is heard; and a tenth of caution.
    assert 5.5 <= made <= 5.8
