from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from duologue.audio import Samples
from duologue.models.mini_omni.nets.shapes import FRAME, SnacShape
from duologue.models.mini_omni.nets.snac_stream import (
    Codes,
    Floats,
    NoNoise,
    SeededNoise,
    SnacStream,
    fold,
    plan,
    speak,
)

SHAPE = SnacShape()


class Counting:
    """A decoder that gives each sample its number in its stream, late as the real one."""

    def step(
        self,
        codes: Codes,
        noise: Sequence[Floats],
        spans: NDArray[np.int64] | None,
        states: Sequence[object],
    ) -> tuple[Samples, Sequence[object]]:
        starts = [-plan(SHAPE).latency if state is None else int(str(state)) for state in states]
        size = codes.shape[1] * plan(SHAPE).hop
        numbers = np.stack([np.arange(start, start + size) for start in starts])
        return numbers.astype(np.float32), [start + size for start in starts]


class Early(Counting):
    """The same, of a stream whose first latent is no sound."""

    def step(
        self,
        codes: Codes,
        noise: Sequence[Floats],
        spans: NDArray[np.int64] | None,
        states: Sequence[object],
    ) -> tuple[Samples, Sequence[object]]:
        begun = [-plan(SHAPE).latency - plan(SHAPE).hop if s is None else s for s in states]
        return super().step(codes, noise, spans, begun)


def _groups(count: int) -> Codes:
    return np.zeros((1, 4 * count, 3), np.int64)


def _voice() -> SnacStream:
    return SnacStream(SHAPE, NoNoise())


def test_the_sound_is_as_late_as_the_network_looks_ahead() -> None:
    assert plan(SHAPE).latency == 4757  # from the study of Mini-Omni on CPUs
    assert plan(SHAPE).hop * 4 == FRAME


def test_after_three_groups_the_first_samples_are_known() -> None:
    [sound] = speak(Counting(), [_voice()], _groups(3))
    assert sound.tolist() == list(range(1387))


def test_each_sample_comes_once_and_none_before_the_first() -> None:
    voice = _voice()
    parts = [speak(Counting(), [voice], _groups(n))[0] for n in (1, 1, 2, 1)]
    assert [len(part) for part in parts[:2]] == [0, 0]
    voice.end()
    parts += speak(Counting(), [voice], _groups(voice.tail))
    assert np.concatenate(parts).tolist() == list(range(5 * FRAME))


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_a_voice_may_begin_with_latents_that_are_no_sound(frames: int) -> None:
    voice = SnacStream(SHAPE, NoNoise(), start=-1)
    parts = [speak(Early(), [voice], _groups(1))[0] for _ in range(frames)]
    # One latent of the last frame is still to come; of a group that came later, none is sound.
    voice.end(4 * frames)
    parts += speak(Early(), [voice], _groups(voice.tail))
    assert voice.tail == 0
    assert np.concatenate(parts).tolist() == list(range(frames * FRAME))


def test_groups_after_the_tail_give_nothing() -> None:
    voice = _voice()
    speak(Counting(), [voice], _groups(1))
    voice.end()
    [sound] = speak(Counting(), [voice], _groups(voice.tail + 2))
    [more] = speak(Counting(), [voice], _groups(1))
    assert (len(sound), len(more)) == (FRAME, 0)


def test_the_tail_shrinks_as_it_is_pushed() -> None:
    voice = _voice()
    assert voice.tail == 0
    speak(Counting(), [voice], _groups(2))
    voice.end()
    tails = [voice.tail]
    while voice.tail:
        speak(Counting(), [voice], _groups(1))
        tails.append(voice.tail)
    assert tails == [3, 2, 1, 0]


def test_a_voice_that_said_nothing_has_no_tail() -> None:
    voice = _voice()
    voice.end()
    assert voice.tail == 0


def test_to_end_twice_is_to_end_once() -> None:
    voice = _voice()
    speak(Counting(), [voice], _groups(1))
    voice.end()
    speak(Counting(), [voice], _groups(1))
    voice.end()
    assert voice.tail == 2


@pytest.mark.parametrize("code", [-1, 4096])
def test_a_code_outside_the_codebook_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.4095"):
        speak(Counting(), [_voice()], _groups(1) + code)


def test_codes_after_the_end_are_not_looked_at() -> None:
    voice = _voice()
    speak(Counting(), [voice], _groups(1))
    voice.end()
    [sound] = speak(Counting(), [voice], _groups(voice.tail) + 4096)
    assert len(sound) == FRAME


def test_latents_come_in_groups() -> None:
    with pytest.raises(ValueError, match="groups of 4, not 6"):
        speak(Counting(), [_voice()], np.zeros((1, 6, 3), np.int64))


def test_other_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="strides"):
        plan(replace(SHAPE, strides=(8, 4, 2, 1)))


def test_noise_is_the_same_however_it_is_drawn_and_differs_between_blocks_and_seeds() -> None:
    whole, cut = SeededNoise(7), SeededNoise(7)
    at_once = whole.draw(0, 1000)
    np.testing.assert_array_equal(at_once, np.concatenate([cut.draw(0, n) for n in (1, 7, 0, 992)]))
    assert not np.array_equal(at_once, whole.draw(1, 1000))
    assert not np.array_equal(at_once, SeededNoise(8).draw(0, 1000))


def test_folding_gives_each_matrix_its_norm() -> None:
    direction = np.random.default_rng(0).normal(size=(4, 3, 2))
    folded = fold(
        {
            "decoder.model.0.parametrizations.weight.original0": np.full((4, 1, 1), 5.0),
            "decoder.model.0.parametrizations.weight.original1": direction,
            "decoder.model.0.bias": np.ones(4),
            "quantizer.quantizers.0.in_proj.bias": np.ones(4),
            "encoder.block.0.bias": np.ones(4),
        }
    )
    assert sorted(folded) == ["decoder.model.0.bias", "decoder.model.0.weight"]
    weight = folded["decoder.model.0.weight"]
    np.testing.assert_allclose(np.linalg.norm(weight.reshape(4, -1), axis=1), 5, rtol=1e-6)
    factor = weight / direction
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1], factor.shape), rtol=1e-5)
