import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.models.mini_omni.nets.shapes import FRAME
from duologue.models.mini_omni.nets.snac import SnacDecoder, snac_decoder
from duologue.models.mini_omni.nets.snac_stream import NoNoise, SeededNoise
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

FINE = 1e-6  # between computations in float64, given as float32


@pytest.fixture(scope="module")
def decoder() -> SnacDecoder:
    return snac_decoder(SHAPE, tensors())


@pytest.fixture(scope="module")
def fine() -> SnacDecoder:
    """In float64, so that what is compared is the method, not its rounding."""
    return snac_decoder(SHAPE, tensors()).double()


def test_without_noise_the_sound_is_the_golden_one(decoder: SnacDecoder) -> None:
    sound = decode(decoder, golden_codes(), NoNoise(), [6])
    np.testing.assert_allclose(sound, golden()["audio_zeronoise"][0, 0], rtol=0, atol=ROUNDING)


def test_with_the_golden_noise_the_sound_is_the_golden_one(decoder: SnacDecoder) -> None:
    sound = decode(decoder, golden_codes(), GivenNoise(golden_noise()), [6])
    np.testing.assert_allclose(sound, golden()["audio_noise"][0, 0], rtol=0, atol=ROUNDING)


def test_a_voice_that_ends_early_sounds_as_if_no_more_had_been_planned(
    decoder: SnacDecoder,
) -> None:
    sound = decode(decoder, golden_codes()[:, :4], NoNoise(), [1, 3])
    np.testing.assert_allclose(
        sound, golden()["audio_zeronoise_first4"][0, 0], rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("groups", [1, 2, 3, 7])
def test_the_plain_reference_is_met_whatever_the_length(fine: SnacDecoder, groups: int) -> None:
    codes = random_codes(groups)
    sound = decode(fine, codes, SeededNoise(1), [groups])
    np.testing.assert_allclose(sound, reference(codes, SeededNoise(1)), rtol=0, atol=FINE)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 99))
def test_however_the_groups_are_cut_into_calls_the_sound_is_the_same(
    fine: SnacDecoder, calls: list[int], seed: int
) -> None:
    codes = random_codes(sum(calls), seed)
    sound = decode(fine, codes, SeededNoise(seed), calls)
    assert len(sound) == FRAME * sum(calls)
    np.testing.assert_allclose(sound, reference(codes, SeededNoise(seed)), rtol=0, atol=FINE)


def test_voices_at_their_beginning_middle_and_end_share_calls(fine: SnacDecoder) -> None:
    voices = [random_codes(groups, seed) for seed, groups in enumerate((9, 2, 5))]
    for seed, sound in enumerate(together(fine, voices, starts=[0, 3, 5])):
        alone = reference(voices[seed], SeededNoise(seed))
        np.testing.assert_allclose(sound, alone, rtol=0, atol=FINE)
