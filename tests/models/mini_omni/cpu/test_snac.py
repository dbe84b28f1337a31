import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.models.mini_omni.cpu.snac import SnacDecoder
from duologue.models.mini_omni.nets.snac_stream import NoNoise, SeededNoise
from duologue.system.openvino import ov
from models.mini_omni.nets.voice import (
    ROUNDING,
    SHAPE,
    GivenNoise,
    decode,
    golden,
    golden_codes,
    golden_noise,
    random_codes,
    reference,
    tensors,
    together,
)


@pytest.fixture(scope="module")
def decoder() -> SnacDecoder:
    return SnacDecoder(ov.Core(), SHAPE, tensors(), {"INFERENCE_NUM_THREADS": 2})


def test_without_noise_the_sound_is_the_golden_one(decoder: SnacDecoder) -> None:
    sound = decode(decoder, golden_codes(), NoNoise(), [6])
    np.testing.assert_allclose(sound, golden()["audio_zeronoise"][0, 0], rtol=0, atol=ROUNDING)


def test_with_the_golden_noise_the_sound_is_the_golden_one(decoder: SnacDecoder) -> None:
    sound = decode(decoder, golden_codes(), GivenNoise(golden_noise()), [3, 1, 2])
    np.testing.assert_allclose(sound, golden()["audio_noise"][0, 0], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_shortest_voices_are_whole(decoder: SnacDecoder, groups: int) -> None:
    codes = random_codes(groups)
    sound = decode(decoder, codes, SeededNoise(1), [groups])
    np.testing.assert_allclose(sound, reference(codes, SeededNoise(1)), rtol=0, atol=ROUNDING)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_however_the_groups_are_cut_into_calls_the_sound_is_the_same(
    decoder: SnacDecoder, calls: list[int]
) -> None:
    codes = random_codes(sum(calls))
    sound = decode(decoder, codes, SeededNoise(2), calls)
    np.testing.assert_allclose(sound, reference(codes, SeededNoise(2)), rtol=0, atol=ROUNDING)


def test_three_voices_at_different_places_share_calls(decoder: SnacDecoder) -> None:
    voices = [random_codes(groups, seed) for seed, groups in enumerate((9, 2, 5))]
    for seed, sound in enumerate(together(decoder, voices, starts=[0, 3, 5])):
        alone = reference(voices[seed], SeededNoise(seed))
        np.testing.assert_allclose(sound, alone, rtol=0, atol=ROUNDING)
