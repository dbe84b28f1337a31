"""Which positions the encoder computes: each of the window is stood for once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.models.mini_omni.nets.window import Window, exact, pooled


@given(total=st.integers(1, 1500), share=st.floats(0, 1))
def test_together_they_weigh_as_much_as_the_whole_window(total: int, share: float) -> None:
    heard = max(1, round(share * total))
    window = pooled(heard, total)
    assert np.exp(window.weights).sum() == pytest.approx(total, rel=1e-5)
    assert (np.diff(window.positions) > 0).all()
    assert window.positions[-1] < total
    assert len(window.positions) == len(window.taken) == len(window.weights) <= total
    # The utterance and the second behind it are there as they are.
    near = min(total, heard + 50)
    assert list(window.positions[:near]) == list(window.taken[:near]) == list(range(near))
    assert not window.weights[:near].any()
    # What the convolutions are asked for, they have seen.
    assert window.taken.max() < window.mel // 2 <= total


def test_it_is_about_a_third_of_what_is_silent() -> None:
    window = pooled(165, 1500)  # 3.3 s: 4 s, a second of silence, and 25 s in groups
    assert len(window.positions) == 250 + 1250 // 3 + 1
    assert window.mel == 504


def test_thirty_seconds_have_no_tail() -> None:
    for heard in (1450, 1500):
        assert same(pooled(heard, 1500), exact(1500))


def test_there_is_one_size_for_each_second() -> None:
    assert len({len(pooled(heard, 1500).positions) for heard in range(1, 1501)}) <= 30


def same(one: Window, other: Window) -> bool:
    return one.mel == other.mel and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("taken", "positions", "weights")
    )
