"""How loud somebody speaks. Pure."""

import math
from bisect import insort
from collections import deque
from collections.abc import Sequence

import numpy as np

from duologue.audio import Samples

# What is this much quieter than the speaker's own speech is silence, whatever the network says: it lags
# 60 ms behind the end of a word, and takes talk in the background for speech (decibels).
_QUIETER = 18.0

DIP = 3
"""Windows; a dip that is shorter is inside a word, and not quiet."""


class SpeechLevel:
    """How loud this speaker speaks, in this utterance."""

    def __init__(self) -> None:
        self._speech: list[float] = []  # the levels of the windows of speech, sorted
        self._newest: deque[float] = deque(maxlen=DIP)

    def is_loud(self, window: Samples, *, learn: bool) -> bool:
        """Whether the newest windows come near the level that 80 % of the speech stay below."""
        level = _rms(window)
        self._newest.append(level)
        if learn:
            insort(self._speech, level)
        if not self._speech:
            return True
        return max(self._newest) >= self._own * 10 ** (-_QUIETER / 20)

    @property
    def windows(self) -> int:
        """How many windows of speech it knows."""
        return len(self._speech)

    def decibels(self, utterance: Sequence[Samples]) -> tuple[float, float]:
        """The level of the speech, and that which a tenth of the utterance stays below: the room's."""
        levels = sorted(map(_rms, utterance))
        return _decibels(self._own), _decibels(levels[len(levels) // 10])

    @property
    def _own(self) -> float:
        return self._speech[len(self._speech) * 4 // 5] if self._speech else 0.0


def _rms(window: Samples) -> float:
    return math.sqrt(float(window @ window) / len(window))  # a third of the time of numpy's mean


def _decibels(level: float) -> float:
    return float(20 * np.log10(max(level, 1e-5)))
