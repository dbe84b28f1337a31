"""The two ends of Kokoro's decoder: the vocal cords as a spectrum, and a spectrum as sound.

Source: the harmonic source of the neural source-filter model (arXiv:1904.12088) as Kokoro has it, and the
inverse short-time Fourier transform of iSTFTNet. Both with a window of 20 samples, 5 apart.
"""

import numpy as np
from numpy.typing import NDArray

from duologue.audio import Samples

Floats = NDArray[np.float32]

STEP = 300
"""Samples of a value of the pitch: 12.5 ms."""

_RATE = 24_000
_WINDOW, _HOP = 20, 5
_BINS = _WINDOW // 2 + 1
_HARMONICS = 9
_VOICED = 10.0  # hertz: a lower pitch stands for none
_LOUDNESS = 0.1  # of a harmonic

_HANN = np.sin(np.pi * np.arange(_WINDOW) / _WINDOW) ** 2
_ANGLES = 2 * np.pi / _WINDOW * np.outer(np.arange(_WINDOW), np.arange(_BINS))
_FORWARD = np.asarray(
    np.hstack((np.cos(_ANGLES), -np.sin(_ANGLES))) * _HANN[:, None], np.float32
)  # [20, 22]
# Of a real signal all bins but the first and the last count twice. Windows overlap four times, so the
# squares of a Hann window add up to 1.5.
_TWICE = np.where(np.arange(_BINS) % (_BINS - 1), 2, 1) / _WINDOW / 1.5
_BACKWARD = np.asarray(
    np.vstack((np.cos(_ANGLES).T * _TWICE[:, None], -np.sin(_ANGLES).T * _TWICE[:, None])) * _HANN,
    np.float32,
)  # [22, 20]


def source(pitch: Floats, weights: Floats, bias: float) -> Floats:
    """The spectrum of vocal cords that swing at this pitch.

    Args:
        pitch: [P], hertz; 0: they do not swing.
        weights: [9], of the harmonics.
        bias: that is added.

    Returns:
        [22, 60 P + 1], amplitudes and phases.
    """
    harmonics = np.arange(1, _HARMONICS + 1)
    # In turns, at the middle of each step of the pitch; between them it grows evenly.
    turns = np.cumsum(np.outer(pitch.astype(np.float64), harmonics) / _RATE % 1, 0) * STEP
    places = np.clip((np.arange(len(pitch) * STEP) + 0.5) / STEP - 0.5, 0, len(pitch) - 1)
    before = np.minimum(places.astype(np.int64), max(0, len(pitch) - 2))
    after = np.minimum(before + 1, len(pitch) - 1)
    share = (places - before)[:, None]
    phases = turns[before] + (turns[after] - turns[before]) * share
    # Whole turns make no difference, and small numbers are exact enough in 32 bits.
    waves = np.sin((phases % 1 * (2 * np.pi)).astype(np.float32)) * np.float32(_LOUDNESS)
    waves *= np.repeat(pitch > _VOICED, STEP)[:, None]
    swing = np.tanh(waves @ weights + np.float32(bias))
    return _spectrum(np.pad(swing, _WINDOW // 2, "reflect"))


def waveform(spectrum: Floats) -> Samples:
    """The sound of a spectrum: [22, F] to [5 (F - 1)].

    Args:
        spectrum: logarithms of amplitudes, then what the sine makes a phase of.
    """
    amplitudes, phases = np.exp(spectrum[:_BINS]), np.sin(spectrum[_BINS:])
    parts = np.concatenate((amplitudes * np.cos(phases), amplitudes * np.sin(phases)))
    windows = parts.T @ _BACKWARD  # [F, 20]
    steps, overlap = len(windows), _WINDOW // _HOP
    sound = np.zeros((steps + overlap - 1, _HOP), np.float32)
    for part in range(overlap):
        sound[part : part + steps] += windows[:, _HOP * part : _HOP * (part + 1)]
    return sound.reshape(-1)[_WINDOW // 2 : -_WINDOW // 2]


def _spectrum(samples: Samples) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    parts = windows @ _FORWARD
    real, imaginary = parts[:, :_BINS], parts[:, _BINS:]
    spectrum = np.concatenate((np.hypot(real, imaginary), np.arctan2(imaginary, real)), 1)
    return np.ascontiguousarray(spectrum.T, np.float32)
