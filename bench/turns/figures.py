"""What outcomes mean to a user: delays, replies spoken into pauses, starts thrown away."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rigs.turn_tracks import Outcome

from bench.turns.recordings import Clip

BINS = ((0.2, 0.3), (0.3, 0.5), (0.5, 0.8), (0.8, 1.2), (1.2, np.inf))
"""Seconds of a pause."""

_EARLY = 0.3  # seconds before the annotated end from which a reply counts as an answer to it
_MISSED = 3.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One recording under one policy.

    Attributes:
        clip: the recording.
        drops: starts that were thrown away.
        delay: seconds from the end of the turn to the reply's sound; None: no end, or missed.
        missed: there was an end, and no reply within 3 s of it.
        heard: for each pause of 0.2 s and more, its length and whether a reply was heard in it.
    """

    clip: Clip
    drops: int
    delay: float | None
    missed: bool
    heard: tuple[tuple[float, bool], ...]


def judge(clip: Clip, outcome: Outcome) -> Judged:
    """Compare what a policy did with what was said."""
    delay = None
    if clip.end is not None:
        after = [at - clip.end for at in outcome.sounds if at > clip.end - _EARLY]
        delay = min(after, default=None)
        if delay is not None and delay > _MISSED:
            delay = None
    heard = tuple(
        (end - start, any(start < at < end for at in outcome.sounds))
        for start, end in clip.holds
        if end - start >= BINS[0][0]
    )
    return Judged(clip, outcome.drops, delay, clip.end is not None and delay is None, heard)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a policy on some recordings, with 95 % intervals; milliseconds and percent."""

    ends: int
    missed: int
    pauses: int
    p50: float
    p50_interval: tuple[float, float]
    p95: float
    mean: float
    heard: float
    heard_interval: tuple[float, float]
    by_pause: tuple[tuple[int, float], ...]
    drops: float

    @classmethod
    def of(cls, judged: Sequence[Judged], draws: int = 0) -> "Figures":
        """The figures; with intervals by so many draws of recordings, all their seeds together."""
        groups: dict[str, list[Judged]] = {}
        for one in judged:
            groups.setdefault(one.clip.name, []).append(one)
        clips = list(groups.values())
        heard = [pause for one in judged for pause in one.heard]
        delays = _delays(judged)
        return cls(
            ends=sum(one.clip.end is not None for one in judged),
            missed=sum(one.missed for one in judged),
            pauses=len(heard),
            p50=_percentile(delays, 50),
            p50_interval=_interval(clips, lambda drawn: _percentile(_delays(drawn), 50), draws),
            p95=_percentile(delays, 95),
            mean=float(np.mean(delays)) if delays else float("nan"),
            heard=_share(heard),
            heard_interval=_interval(clips, lambda drawn: _share(_pauses(drawn)), draws),
            by_pause=tuple(_bin(heard, low, high) for low, high in BINS),
            drops=float(np.mean([one.drops for one in judged])) if judged else float("nan"),
        )


def _delays(judged: Iterable[Judged]) -> list[float]:
    return [one.delay * 1000 for one in judged if one.delay is not None]


def _pauses(judged: Iterable[Judged]) -> list[tuple[float, bool]]:
    return [pause for one in judged for pause in one.heard]


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def _share(heard: Sequence[tuple[float, bool]]) -> float:
    return 100 * float(np.mean([was for _, was in heard])) if heard else float("nan")


def _bin(heard: Sequence[tuple[float, bool]], low: float, high: float) -> tuple[int, float]:
    some = [(seconds, was) for seconds, was in heard if low <= seconds < high]
    return len(some), _share(some)


def _interval(
    clips: Sequence[list[Judged]], figure: Callable[[list[Judged]], float], draws: int
) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(draws if clips else 0):
        picked = rng.integers(0, len(clips), len(clips))
        drawn.append(figure([one for index in picked for one in clips[index]]))
    known = [value for value in drawn if not np.isnan(value)]
    if not known:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
