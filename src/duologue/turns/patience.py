"""How long a user may pause before the turn is taken for ended. Pure."""

from collections import deque
from statistics import median

from duologue.settings import Settings

# From which probability of being finished a pause gets which wait. The numbers, and those of `_WAITS`,
# were measured on recorded conversations (`bench.turns`).
_FINISHED = (0.93, 0.80, 0.50, 0.20)

# Seconds, by how finished the pause sounds: from very much so, to not at all.
_WAITS = {
    "quick": (0.4, 0.6, 0.9, 1.1, 1.25),
    "normal": (0.6, 1.0, 1.0, 1.1, 1.25),
    "patient": (0.8, 1.2, 1.3, 1.6, 2.2),
}
_UNKNOWN = 2  # which of them, without an answer: 1.0 s in "normal"

# Seconds before which no reply is started, likewise, and without an answer. Earlier starts are more often
# in vain, and what is won by them is the less the longer the wait.
_EARLIEST = (0.224, 0.384, 0.416, 0.512, 0.512)
_EARLIEST_UNKNOWN = 0.384

# The factor: its limit; by what it grows after a cut, and shrinks after a turn without one.
_LONGEST, _CUT, _CLEAN = 1.6, 1.25, 0.95


class Patience:
    """The waits of one user, who is given more time after having been cut off.

    Attributes:
        factor: 1.0 and more: the waits are longer by this; not those of the setting "fixed".
    """

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = min(max(factor, 1.0), _LONGEST)
        self._model_times: deque[float] = deque(maxlen=9)

    def wait(self, settings: Settings, probability: float | None) -> float:
        """Seconds of silence that end the turn.

        Args:
            settings: of the session.
            probability: that the user has finished, by Smart Turn; None: not known, or not yet.
        """
        if settings.patience == "fixed":
            return settings.silence
        return _WAITS[settings.patience][_rank(probability)] * self.factor

    def start(self, settings: Settings, probability: float | None) -> float:
        """Seconds of silence after which the reply is started, so that it is ready at `wait`."""
        rank = _rank(probability)
        earliest = _EARLIEST_UNKNOWN if probability is None else _EARLIEST[rank]
        if rank == 0 or not self._model_times:
            return earliest
        return max(earliest, self.wait(settings, probability) - median(self._model_times))

    def learn(self, model_time: float) -> None:
        """The model took `model_time` seconds from its start to its first sound."""
        self._model_times.append(model_time)

    def cut(self) -> None:
        """This user was cut off."""
        self.factor = min(self.factor * _CUT, _LONGEST)

    def clean(self) -> None:
        """This user was answered and was not cut off."""
        self.factor = max(self.factor * _CLEAN, 1.0)


def _rank(probability: float | None) -> int:
    """Which of the five waits, 0 to 4."""
    if probability is None:
        return _UNKNOWN
    return sum(probability < finished for finished in _FINISHED)
