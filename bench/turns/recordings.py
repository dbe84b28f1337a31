"""Recordings with their turns, prepared for the simulation."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from duologue.audio import INPUT_RATE, Samples
from duologue.audio.files import read_audio
from duologue.ears.end_of_turn import SmartTurn
from duologue.ears.vad import Silero, SileroStream
from duologue.errors import DuologueError
from duologue.turns.detector import WINDOW
from duologue.weights import cache_folder

CONVERSATIONAL = ("cmd", "cmd2", "cmd_short", "question", "short", "mono", "ami")
"""Classes that are talk; "read" and "foreign" are books and other languages."""
COMMANDS = ("cmd", "cmd2", "cmd_short")

_BEFORE, _AFTER = 0.5, 4.5  # seconds of room tone around a recording
_QUIET = 0.05  # the share of a recording's windows that its room tone is taken from


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording of one turn.

    Attributes:
        name: in the list.
        kind: its class there.
        samples: float32 [T] at `INPUT_RATE`.
        end: where the turn ends, in seconds; None: the recording serves for its pauses only.
        holds: pauses (start, end) after which the same speaker goes on.
    """

    name: str
    kind: str
    samples: Samples
    end: float | None
    holds: tuple[tuple[float, float], ...]


def load(folder: Path) -> list[Clip]:
    """The recordings that `turns.jsonl` in the folder lists.

    Raises:
        SystemExit: it is not there, or a line of it is not as it should be; says which and why.
    """
    index = folder / "turns.jsonl"
    if not index.is_file():
        raise SystemExit(f"{folder} has no turns.jsonl")
    clips = []
    for number, line in enumerate(index.read_text().splitlines(), 1):
        try:
            fields = json.loads(line)
            holds = tuple((_time(a), _time(b)) for a, b in fields["holds"] if b > a)
            samples = read_audio(folder / fields["audio"]).at(INPUT_RATE).samples
            end = None if fields["end"] is None else _time(fields["end"])
            clips.append(Clip(fields["id"], fields["cls"], samples, end, holds))
        except (DuologueError, KeyError, TypeError, ValueError) as error:
            raise SystemExit(f"{index}, line {number}: {type(error).__name__}: {error}") from error
    return clips


def _time(value: object) -> float:
    seconds = float(str(value))
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is no time")
    return seconds


def padded(clip: Clip, rng: np.random.Generator) -> Clip:
    """With room tone around it, and a start that falls anywhere in a window."""
    before = round(_BEFORE * INPUT_RATE) + int(rng.integers(0, WINDOW))
    parts = (
        room_tone(clip.samples, before, rng),
        clip.samples,
        room_tone(clip.samples, round(_AFTER * INPUT_RATE), rng),
    )
    shift = before / INPUT_RATE
    return replace(
        clip,
        samples=np.concatenate(parts),
        end=None if clip.end is None else clip.end + shift,
        holds=tuple((a + shift, b + shift) for a, b in clip.holds),
    )


def room_tone(samples: Samples, length: int, rng: np.random.Generator) -> Samples:
    """Noise with the spectrum and the level of a recording's quietest windows: float32 [length]."""
    whole = len(samples) // WINDOW * WINDOW
    windows = samples[:whole].reshape(-1, WINDOW)
    if not len(windows):
        return np.zeros(length, np.float32)
    levels = np.square(windows).mean(axis=1)
    quiet = windows[np.argsort(levels)[: max(1, round(_QUIET * len(windows)))]]
    shape = np.sqrt(np.square(np.abs(np.fft.rfft(quiet, axis=1))).mean(axis=0))
    noise = np.fft.rfft(rng.standard_normal((length // WINDOW + 1, WINDOW)), axis=1)
    tone = np.fft.irfft(noise / np.sqrt(WINDOW) * shape, WINDOW, axis=1).ravel()
    return tone[:length].astype(np.float32)


def lengthened(clip: Clip, seconds: float, rng: np.random.Generator) -> Clip:
    """With every shorter pause made this long, by room tone in its middle."""
    parts, holds, at, shift = list[Samples](), [], 0, 0.0
    for start, stop in clip.holds:
        more = max(0.0, seconds - (stop - start))
        middle = round((start + stop) / 2 * INPUT_RATE)
        parts += [clip.samples[at:middle], room_tone(clip.samples, round(more * INPUT_RATE), rng)]
        holds.append((start + shift, stop + shift + more))
        at, shift = middle, shift + more
    samples = np.concatenate([*parts, clip.samples[at:]])
    end = None if clip.end is None else clip.end + shift
    return replace(clip, samples=samples, end=end, holds=tuple(holds))


def with_babble(clip: Clip, others: list[Clip], decibels: float, rng: np.random.Generator) -> Clip:
    """With others talking, `decibels` against its own level (negative: softer)."""
    babble = np.zeros(len(clip.samples), np.float32)
    for other in rng.choice(len(others), 4, replace=False):
        sound = others[other].samples
        babble += np.resize(np.roll(sound, int(rng.integers(len(sound)))), len(babble))
    gain = 10 ** (decibels / 20) * level(clip.samples) / level(babble)
    return replace(clip, samples=(clip.samples + gain * babble).astype(np.float32))


def level(samples: Samples) -> float:
    """The level that four fifths of the windows stay below: roughly, that of the speech."""
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return float(np.quantile(np.sqrt(np.square(windows).mean(axis=1)), 0.8)) + 1e-6


class Ears:
    """Silero and Smart Turn, with a memory: the same sound is judged once on this machine."""

    def __init__(self) -> None:
        self._silero, self._smart_turn = Silero(), SmartTurn()
        self._file = cache_folder() / "bench-turns.json"
        self._answers: dict[str, float] = {}
        self._tracks: dict[bytes, list[float]] = {}
        if self._file.is_file():
            self._answers = json.loads(self._file.read_text())

    def stream(self) -> SileroStream:
        """Silero, for a sound that is not known beforehand."""
        return self._silero.stream()

    def track(self, samples: Samples) -> list[float]:
        """Speech probability, window by window."""
        name = hashlib.sha256(samples.tobytes()).digest()
        if name not in self._tracks:
            stream = self.stream()
            self._tracks[name] = [stream(window) for window in windows(samples)]
        return self._tracks[name]

    def finished(self, samples: Samples) -> float:
        """Smart Turn's answer."""
        name = hashlib.sha256(samples.tobytes()).hexdigest()
        if name not in self._answers:
            self._answers[name] = self._smart_turn.probability(samples)
        return self._answers[name]

    def close(self) -> None:
        """Remember the answers for the next run; they take 45 ms each."""
        self._file.write_text(json.dumps(self._answers))
        self._smart_turn.close()


def windows(samples: Samples) -> Iterator[Samples]:
    """The whole windows of a sound."""
    for start in range(0, len(samples) - WINDOW + 1, WINDOW):
        yield samples[start : start + WINDOW]
