"""What Whisper's encoder sees of a sound: its spectrum in mel bands. numpy only."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

BINS = 80
"""Mel bands."""

HOP = 160
"""Samples from one mel frame to the next, at 16 kHz: 10 ms."""

_RATE = 16_000  # hertz of what Whisper hears
_WINDOW = 400  # samples that a mel frame looks at, half before its time and half after
_BLOCK = 64  # mel frames whose spectra are in memory at once; large arrays are slow to get
_FLOOR = -10.0  # log10 of the power that silence is given


def log_mel(samples: NDArray[np.float32], frames: int = 3000) -> NDArray[np.float32]:
    """The log-mel spectrogram of a sound, padded with silence or cut.

    Args:
        samples: [T], float32, at 16 kHz.
        frames: mel frames of `HOP` samples, at least 3.

    Returns:
        [bins, frames], about -1 to 1; what is 80 dB below the loudest is raised to that.

    Source: Whisper, arXiv:2212.04356, section 2.2.
    """
    length, half = frames * HOP, _WINDOW // 2
    samples = samples[:length]
    # Frames behind these see nothing but silence, which needs no spectrum.
    heard = min(frames, -(-(len(samples) + half) // HOP))
    end = (heard - 1) * HOP + half
    signal = np.zeros(min(end, length), np.float32)
    signal[: len(samples)] = samples[: len(signal)]
    padded = np.pad(signal, (half, end - len(signal)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP]
    power = np.empty((_WINDOW // 2 + 1, heard), np.float32)
    for first in range(0, heard, _BLOCK):
        spectrum = np.fft.rfft(windows[first : first + _BLOCK] * _hann())
        power[:, first : first + _BLOCK] = (spectrum.real**2 + spectrum.imag**2).T
    logs = np.log10(np.maximum(_in_bands(power), np.float32(1e-10)))
    loudest = max(float(logs.max()), _FLOOR)
    mel = np.full((BINS, frames), _FLOOR, np.float32)
    mel[:, :heard] = logs
    return (np.maximum(mel, np.float32(loudest - 8)) + np.float32(4)) / np.float32(4)


def frames_of(samples: NDArray[np.float32]) -> int:
    """How many of the encoder's frames belong to a sound [T] at 16 kHz; those behind are silence.

    At most 1500: what is behind 30 s is not heard.
    """
    # In the original's order: at 9 lengths below 30 s, 64,320 samples the first, its rounding makes it
    # one less than the true quotient. (9 more up to 37.5 s are lost in what is not heard anyway.)
    milliseconds = len(samples) / _RATE * 1000
    return min(int(milliseconds / 20) + 1, 1500)


def _in_bands(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """[window / 2 + 1, T] -> [bins, T].

    A band has few frequencies. And a matrix product would wake the threads of numpy's BLAS, which then
    spin for 50 ms on the cores that the encoder wants.
    """
    bands = np.empty((BINS, power.shape[1]), np.float32)
    for band, weights in enumerate(_filters()):
        inside = np.flatnonzero(weights)
        first, end = inside[0], inside[-1] + 1
        bands[band] = (weights[first:end, None] * power[first:end]).sum(0)
    return bands


@cache
def _hann() -> NDArray[np.float32]:
    return np.hanning(_WINDOW + 1)[:-1].astype(np.float32)


@cache
def _filters() -> NDArray[np.float32]:
    """The weight of each frequency in each mel band: [bins, window / 2 + 1], triangles of equal area.

    Source: Slaney, Auditory Toolbox, 1998.
    """
    edges = _hertz(np.linspace(0, _mel(_RATE / 2), BINS + 2))
    frequencies = np.linspace(0, _RATE / 2, _WINDOW // 2 + 1)
    widths = np.diff(edges)
    rising = (frequencies - edges[:-2, None]) / widths[:-1, None]
    falling = (edges[2:, None] - frequencies) / widths[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


# Slaney's mel: a band each 66.7 Hz up to 1 kHz, above it 27 bands for a factor of 6.4.
_LINEAR = 200 / 3
_KNEE = 1000 / _LINEAR
_STEP = np.log(6.4) / 27


def _mel(hertz: float) -> float:
    """For frequencies above 1 kHz."""
    return float(_KNEE + np.log(hertz / 1000) / _STEP)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _KNEE, mel * _LINEAR, 1000 * np.exp(_STEP * (mel - _KNEE)))
