"""What one listener has understood of an utterance that goes on. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from duologue.audio import INPUT_RATE, Samples
from duologue.models.cascade.transcript import Segment, joined

LONGEST = 28 * INPUT_RATE
"""Samples that are listened to at once, at most; Whisper hears 30 s."""

_LONG = (
    8 * INPUT_RATE
)  # samples: from here on, whole sentences are settled, so that the rest is short
_NEAR = INPUT_RATE // 2  # samples
_FADE = 0.25  # of the loudness of speech; what is below is silence, if it follows speech
_BLOCK = 512  # samples that a loudness is of


@dataclass(slots=True)
class Overheard:
    """An utterance as far as it was understood.

    Attributes:
        settled: words that are not worked out again.
        begin: sample from which the rest is.
        heard: samples that the newest look has seen.
        found: what the newest look made of the rest.
        language: of it; empty: not known yet.
        fixed: language that it is taken for in any case; empty: it is found out.
        likely: words that are likely in it, as a text; empty: none are.
    """

    settled: str = ""
    begin: int = 0
    heard: int = 0
    found: list[Segment] = field(default_factory=list)
    language: str = ""
    fixed: str = ""
    likely: str = ""
    _start: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    _before: str = ""  # the words of the look before

    def is_of(self, samples: Samples) -> bool:
        """Whether these samples, float32 [T], are this utterance, with more of it or not."""
        start = self._start
        return len(samples) >= self.heard and np.array_equal(samples[: len(start)], start)

    def note(self, samples: Samples, found: Sequence[Segment]) -> None:
        """A look at the samples from `begin` on has found this."""
        self._start = samples[: INPUT_RATE // 2].copy()
        self._before = joined(self.found)
        self.heard, self.found = len(samples), list(found)
        if self.heard - self.begin > _LONG:
            self._settle(samples)

    @property
    def words(self) -> str:
        """All that was understood."""
        return f"{self.settled} {joined(self.found)}".strip()

    @property
    def stable(self) -> str:
        """What two looks have understood alike: it will hardly change any more."""
        agreed = []
        for one, other in zip(self._before.split(), joined(self.found).split(), strict=False):
            if one != other:
                break
            agreed.append(one)
        return f"{self.settled} {' '.join(agreed)}".strip()

    def covers(self, samples: Samples) -> bool:
        """Whether nothing is said in these samples after what was heard: at most silence follows."""
        rest = samples[self.heard :]
        if not self.found and not self.settled:
            return False
        if not len(rest):
            return True
        speech = _loudness(samples[self.begin : self.heard])
        return bool(_loudness(rest).max() < _FADE * np.percentile(speech, 90))

    def _settle(self, samples: Samples) -> None:
        """Keep the sentences that are over, but for the last one."""
        whole = [segment for segment in self.found if segment.end is not None]
        if len(self.found) < 2 or not whole:
            return
        kept = self.found[: len(whole) - (len(whole) == len(self.found))]
        if not kept or not joined(self.found).startswith(joined(kept)):
            return
        agreed = self._before.startswith(joined(kept))
        end = kept[-1].end
        if not agreed or end is None:
            return
        self.settled = f"{self.settled} {joined(kept)}".strip()
        self._before = self._before[len(joined(kept)) :].strip()
        self.found = [
            Segment(segment.start - end, segment.end and segment.end - end, segment.words)
            for segment in self.found[len(kept) :]
        ]
        self.begin = quietest(samples, self.begin + round(end * INPUT_RATE))


def quietest(samples: Samples, about: int) -> int:
    """Where nothing is said, near this sample: the timestamps of Whisper are good to half a second."""
    first = max(0, about - _NEAR)
    loud = _loudness(samples[first : about + _NEAR])
    return first + int(loud.argmin()) * _BLOCK + _BLOCK // 2


def _loudness(samples: Samples) -> Samples:
    """Root mean square of each block; of less than one, of what there is."""
    whole = len(samples) // _BLOCK * _BLOCK
    blocks = samples[:whole].reshape(-1, _BLOCK) if whole else samples[None, :]
    loud: Samples = np.sqrt((blocks**2).mean(axis=1))
    return loud
