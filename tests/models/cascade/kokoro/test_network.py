"""The network, with its weights: what it may leave out."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("openvino")

from duologue import weights
from duologue.audio import Samples
from duologue.models.cascade import kokoro
from duologue.models.cascade.kokoro import network
from duologue.models.cascade.kokoro.network import Kokoro, read_voice, worth_decoding

needs_weights = pytest.mark.skipif(
    not weights.is_there("kokoro"), reason="needs the weights; run: duologue pull kokoro"
)


def energy(silent: int, loud: int, after: int) -> Samples:
    return np.repeat(np.array([-9, 5, -9], np.float32), [silent, loud, after])


@pytest.mark.parametrize(
    ("steps", "count"),
    [((13, 40, 17), 48), ((20, 1, 30), 16), ((13, 58, 17), 80), ((40, 200, 40), 208)],
)
def test_most_of_the_silence_is_left_out(steps: tuple[int, int, int], count: int) -> None:
    kept, absent = worth_decoding(energy(*steps))
    silent, loud, _ = steps
    assert len(kept) == count
    assert set(range(silent, silent + loud)) <= set(kept.tolist())
    assert np.all(np.diff(kept) > 0)
    assert list(kept[[0, 1, -2, -1]]) == [0, 1, sum(steps) - 2, sum(steps) - 1]
    assert absent == pytest.approx(1 - count / sum(steps))


@pytest.mark.parametrize("steps", [(5, 20, 0), (1, 30, 1), (0, 9, 0), (12, 0, 0)])
def test_where_there_is_little_silence_more_is_made(steps: tuple[int, int, int]) -> None:
    kept, _ = worth_decoding(energy(*steps))
    assert set(range(steps[0], steps[0] + steps[1])) <= set(kept.tolist())
    assert len(kept) % 8 == 0
    assert kept.min() >= 0
    assert kept.max() < sum(steps)


def _bands(sound: Samples) -> Samples:
    """The power in 24 bands, dB: [windows, bands]."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::256] * np.hanning(1024)
    power = np.abs(np.fft.rfft(windows)) ** 2 + 1e-8
    rows = [part.sum(1) for part in np.array_split(power, 24, axis=1)]
    return np.asarray(10 * np.log10(rows).T, np.float32)


@needs_weights
@pytest.mark.parametrize("phonemes", ["ˌIm ˈɛmᵻli wˈɪlsᵊn.", "ðə kˈæpəTᵊl ʌv fɹˈæns ɪz pˈɛɹəs."])
def test_the_sound_is_the_same_without_the_silence(
    phonemes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = Kokoro(weights.locate("kokoro"), 2)
    style = read_voice(Path(kokoro.__file__).with_name("af_heart.bin"))
    kept = []

    def all_of_it(energy: Samples) -> tuple[NDArray[np.intp], float]:
        kept.append(worth_decoding(energy)[0])
        return np.arange(len(energy)), 0.0

    without = voice.speak(phonemes, style, 1.0)
    monkeypatch.setattr(network, "worth_decoding", all_of_it)
    whole = voice.speak(phonemes, style, 1.0)
    step = network.RATE // 40
    first, last = kept[0][8], kept[0][-8]
    without = without[8 * step : (8 + last - first) * step]
    whole = whole[first * step : last * step]
    assert abs(10 * np.log10((without**2).sum() / (whole**2).sum())) < 0.5
    there, here = _bands(whole), _bands(without)
    loud = there.max(1) > there.max() - 40
    assert np.sqrt(((there - here)[loud] ** 2).mean()) < 4
