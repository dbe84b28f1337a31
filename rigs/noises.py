"""Sounds in which nobody speaks: what a recogniser must write no words for."""

from collections.abc import Callable, Mapping

import numpy as np

from duologue.audio import INPUT_RATE, AudioChunk, Samples

_STEP = INPUT_RATE // 4  # samples of a quarter note: 240 a minute
_SCALE = (0, 2, 4, 7, 9, 12)  # semitones: any of them in any order sounds like a tune


def silence(seconds: float) -> AudioChunk:
    """A microphone of today in a quiet room: its own noise, 70 dB below full scale."""
    return AudioChunk(_hiss(seconds, 3e-4, 0), INPUT_RATE)


def fan(seconds: float) -> AudioChunk:
    """Rushing air, and the blades at 90 Hz."""
    rush = _hiss(seconds, 1.0, 1)
    # A moving average of 16 takes the height out of it.
    rush = np.convolve(rush, np.full(16, 1 / 16), "same").astype(np.float32)
    time = np.arange(len(rush)) / INPUT_RATE
    hum = sum(np.sin(2 * np.pi * 90 * n * time) / n for n in (1, 2, 3))
    return AudioChunk((0.08 * rush + 0.01 * hum).astype(np.float32), INPUT_RATE)


def keyboard(seconds: float) -> AudioChunk:
    """Keys struck about six times a second, each a click and a softer one."""
    rng = np.random.default_rng(2)
    sound = _hiss(seconds, 1e-3, 2)
    decay = np.exp(-np.arange(480) / 80)
    at = 0
    while (at := at + int(rng.gamma(4.0, INPUT_RATE / 24))) + 2000 < len(sound):
        loud = rng.uniform(0.05, 0.3)
        for start, part in ((at, loud), (at + int(rng.integers(700, 1400)), 0.4 * loud)):
            sound[start : start + 480] += part * decay * rng.normal(0, 1, 480)
    return AudioChunk(np.clip(sound, -1, 1).astype(np.float32), INPUT_RATE)


def music(seconds: float) -> AudioChunk:
    """A tune over a bass, both of harmonics that fade, and a drum on each beat."""
    rng = np.random.default_rng(3)
    count = int(seconds * INPUT_RATE)
    sound = np.zeros(count + 4 * _STEP, np.float32)
    beat = np.exp(-np.arange(_STEP) / 600) * rng.normal(0, 0.05, _STEP)
    for number, at in enumerate(range(0, count, _STEP)):
        if number % 8 == 0:
            sound[at : at + 4 * _STEP] += _note(55 * 2 ** (rng.choice(_SCALE) / 12), 4 * _STEP)
        if rng.random() < 0.8:
            length = _STEP * int(rng.integers(1, 4))
            sound[at : at + length] += _note(330 * 2 ** (rng.choice(_SCALE) / 12), length)
        sound[at : at + _STEP] += beat
    return AudioChunk(np.clip(0.5 * sound[:count], -1, 1), INPUT_RATE)


NOISES: Mapping[str, Callable[[float], AudioChunk]] = {
    "silence": silence,
    "a fan": fan,
    "a keyboard": keyboard,
    "music": music,
}


def _hiss(seconds: float, level: float, seed: int) -> Samples:
    noise = np.random.default_rng(seed).normal(0, level, int(seconds * INPUT_RATE))
    return np.asarray(noise, np.float32)


def _note(hertz: float, length: int) -> Samples:
    time = np.arange(length) / INPUT_RATE
    # A tremolo, as of a voice or a violin.
    swell = (1 + 0.3 * np.sin(2 * np.pi * 5 * time)) * np.exp(-time / 0.8)
    waves = sum(np.sin(2 * np.pi * hertz * n * time) / n**1.5 for n in range(1, 8))
    return np.asarray(0.25 * swell * waves, np.float32)
