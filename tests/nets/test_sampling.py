import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip("torch")

import torch
from torch import Tensor

from duologue.errors import InvalidSetting
from duologue.nets.sampling import greedy, sample

LOGITS = arrays(
    "float32",
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 12)),
    elements=st.floats(-8, 8, width=32),
).map(torch.from_numpy)


def _draw(logits: Tensor, temperature: float, top_k: int | None, top_p: float) -> Tensor:
    """50 draws from each distribution: [50, ...]."""
    generator = torch.Generator().manual_seed(5)
    return sample(logits.expand(50, *logits.shape), temperature, top_k, top_p, generator)


@given(LOGITS, st.floats(0.1, 3), st.floats(0.1, 1))
def test_the_first_of_one_is_the_greedy_choice(
    logits: Tensor, temperature: float, top_p: float
) -> None:
    assert (_draw(logits, temperature, 1, top_p) == greedy(logits)).all()


@given(LOGITS, st.floats(0.1, 3), st.integers(1, 15))
def test_nothing_outside_the_top_k_is_drawn(logits: Tensor, temperature: float, top_k: int) -> None:
    drawn = _draw(logits, temperature, top_k, 1)
    chosen = logits.expand(50, *logits.shape).gather(-1, drawn[..., None])
    better = (logits > chosen).sum(-1)  # how many ids are likelier than the one drawn
    assert (better < top_k).all()


@given(LOGITS, st.floats(0.1, 3), st.none() | st.integers(1, 15), st.floats(0.05, 0.99))
def test_nothing_outside_the_nucleus_is_drawn(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float
) -> None:
    drawn = _draw(logits, temperature, top_k, top_p)
    kept = logits.double()
    if top_k is not None and top_k < logits.shape[-1]:
        kept = kept.masked_fill(kept < kept.topk(top_k).values[..., -1:], -torch.inf)
    chances = (kept / temperature).softmax(-1).expand(50, *logits.shape)
    likelier = torch.where(chances > chances.gather(-1, drawn[..., None]), chances, 0).sum(-1)
    assert (likelier < top_p + 1e-5).all()


@given(LOGITS)
def test_of_equals_the_greedy_choice_is_the_lowest(logits: Tensor) -> None:
    twice = torch.cat((logits, logits), -1)
    assert (greedy(twice) < logits.shape[-1]).all()
    assert (greedy(torch.zeros_like(logits)) == 0).all()


def test_ids_are_drawn_as_often_as_they_are_likely() -> None:
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    generator = torch.Generator().manual_seed(1)
    logits = 2 * chances.log().expand(20_000, 4)
    cases = [
        (None, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (2, 1.0, [0.625, 0.375, 0, 0]),
        (None, 0.7, [0.625, 0.375, 0, 0]),
        (3, 0.8, [0.625, 0.375, 0, 0]),  # 0.53, 0.32 and 0.16 of the three
    ]
    for top_k, top_p, expected in cases:
        drawn = sample(logits, 2.0, top_k, top_p, generator)
        often = drawn.bincount(minlength=4) / len(drawn)
        torch.testing.assert_close(often, torch.tensor(expected), atol=0.015, rtol=0)


def test_at_hardly_any_temperature_the_likeliest_is_drawn() -> None:
    logits = torch.tensor([3.0, 9.0, 8.9, -torch.inf])
    for top_k, top_p in ((None, 1.0), (3, 0.5)):
        assert sample(logits, 1e-38, top_k, top_p) == 1


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "named"),
    [
        (0.0, None, 1.0, "temperature"),
        (-1.0, None, 1.0, "temperature"),
        (float("nan"), None, 1.0, "temperature"),
        (float("inf"), None, 1.0, "temperature"),
        (0.9, 0, 1.0, "top_k"),
        (0.9, None, 0.0, "top_p"),
        (0.9, None, 1.1, "top_p"),
        (0.9, None, float("nan"), "top_p"),
    ],
)
def test_settings_with_which_nothing_can_be_drawn_are_named(
    temperature: float, top_k: int | None, top_p: float, named: str
) -> None:
    with pytest.raises(InvalidSetting, match=named):
        sample(torch.zeros(4), temperature, top_k, top_p)
