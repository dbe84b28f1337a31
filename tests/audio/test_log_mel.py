import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch

from duologue.audio.log_mel import _filters, frames_of, log_mel
from models.mini_omni.nets.generate import assert_near, vectors


def _plain(samples: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """The same by torch, every frame computed."""
    length = frames * 160
    padded = np.zeros(length, np.float32)
    padded[: min(len(samples), length)] = samples[:length]
    spectrum = torch.stft(
        torch.from_numpy(padded), 400, 160, window=torch.hann_window(400), return_complex=True
    )
    power = spectrum[:, :-1].abs() ** 2
    logs = (torch.from_numpy(_filters()) @ power).clamp(min=1e-10).log10()
    mel: NDArray[np.float32] = ((logs.maximum(logs.max() - 8) + 4) / 4).numpy()
    return mel


def _noise(length: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(length).standard_normal(length)).astype(np.float32)


def test_the_spectrum_of_a_recording_is_the_original_s() -> None:
    golden = vectors("whisper")
    samples = golden["audio16k"].numpy()
    mel = log_mel(samples)
    assert mel.shape == (80, 3000)
    assert mel.dtype == np.float32
    assert_near(torch.from_numpy(mel[:, :260]), golden["mel_first260"])
    assert_near(torch.from_numpy(mel[:, -4:]), golden["mel_last4"])
    assert frames_of(samples) == golden["leng"]


@pytest.mark.parametrize("length", [0, 1, 119, 120, 121, 280, 281, 7_999, 15_959, 16_000, 20_000])
def test_a_sound_of_any_length_has_the_spectrum_that_every_frame_computed_gives(
    length: int,
) -> None:
    samples = _noise(length)
    np.testing.assert_allclose(log_mel(samples, 100), _plain(samples, 100), rtol=0, atol=2e-4)


@pytest.mark.parametrize("loudness", [1.0, 1e-3, 1e-6])
def test_silence_is_80_db_below_the_loudest_or_at_the_floor(loudness: float) -> None:
    samples = np.float32(loudness) * _noise(1_000)
    mel = log_mel(samples, 100)
    np.testing.assert_allclose(mel, _plain(samples, 100), rtol=0, atol=2e-4)
    np.testing.assert_allclose(mel[:, 50:], max(-1.5, mel.max() - 2), rtol=0, atol=1e-6)


def test_digital_silence_is_the_constant_of_silence() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(16_000, np.float32), 100), -1.5, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "frames"),
    [(0, 1), (319, 1), (320, 2), (64_320, 201), (479_679, 1499), (479_680, 1500), (960_000, 1500)],
)
def test_a_sound_has_a_frame_for_each_20_ms_begun(length: int, frames: int) -> None:
    # 64,320 samples are 201 times 20 ms exactly, and have one frame less than they should: so does
    # the original count.
    assert frames_of(np.zeros(length, np.float32)) == frames


def test_nine_lengths_below_30_s_have_one_frame_less_than_they_should() -> None:
    whole = range(0, 480_001, 320)  # elsewhere, no rounding reaches the next whole number
    short = [n for n in whole if frames_of(np.zeros(n, np.float32)) != min(n // 320 + 1, 1500)]
    assert short == [64_320, 64_960, 128_640, 129_920, 256_960, 257_280, 259_520, 259_840, 262_080]


def test_the_spectrum_needs_no_torch() -> None:
    code = (
        "import sys, duologue.audio.log_mel, duologue.models.mini_omni.nets.shapes; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
