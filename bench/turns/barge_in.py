"""Interruptions, and what is none, while a reply is played: the product's own detector and table."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bench.turns.recordings import Clip, Ears, level, windows
from duologue.audio import INPUT_RATE, AudioChunk, Samples
from duologue.conversation import Action, Conversation, State
from duologue.events import ReplyAudible, Settings
from duologue.turn import WINDOW, TurnDetector

_SECONDS = WINDOW / INPUT_RATE
_ONSET = 3.0  # seconds of the reply before the sound begins
_LISTEN = 2.5  # seconds after its onset that are watched
_USER = 0.05  # level of the user's speech
_LEARN = round(2.0 / _SECONDS)  # windows in which the gate learns
_DELAYS = 12  # windows of played sound that a window of the microphone may hold
_MARGIN = 10 ** (4 / 20)


@dataclass(frozen=True, slots=True)
class Reaction:
    """Seconds after the onset until the reply was made quieter, and until it was stopped; None: never."""

    ducked: float | None
    stopped: float | None


class EchoGate:
    """The page's rule (`echo.js`), in Python: what is no louder than the echo of the reply is echo."""

    def __init__(self) -> None:
        self._played: list[float] = []
        self._heard: list[float] = []
        self._ratio = 0.0

    def is_echo(self, microphone: float, played: float) -> bool:
        """Whether a window at this level is explained by what was played until now."""
        self._played.append(played)
        self._heard.append(microphone)
        loudest = max(self._played[-_DELAYS:])
        if len(self._played) <= _LEARN:
            self._ratio = max(self._ratio, microphone / (loudest + 1e-9) if loudest > 1e-4 else 0)
            return True
        return max(self._heard[-3:]) < loudest * self._ratio * _MARGIN


def react(
    sound: Samples, ears: Ears, own: Samples, reply: Samples | None = None, echo: float = -np.inf
) -> Reaction:
    """Play a sound into a reply.

    Args:
        sound: what the microphone hears from the onset on, at its own level.
        ears: Silero.
        own: something that this user has said before, and so how loud this user is.
        reply: what is played; None: through headphones.
        echo: its level in the microphone, in decibels against the user's speech.
    """
    before = own * (_USER / level(own))
    silence = np.zeros(round(1.5 * INPUT_RATE), np.float32)
    lead = np.concatenate([before, silence])
    start = len(lead) // WINDOW * WINDOW
    length = round((_ONSET + _LISTEN) * INPUT_RATE)
    played = np.zeros(length, np.float32) if reply is None else np.resize(reply, length)
    microphone = _echo(played, echo)
    onset = round(_ONSET * INPUT_RATE)
    heard = sound[: length - onset]
    microphone[onset : onset + len(heard)] += heard
    rng = np.random.default_rng(len(sound))
    room = rng.standard_normal(start + length).astype(np.float32) * 1e-4
    whole = np.concatenate([lead[:start], microphone]) + room
    return _watch(whole, played, start, ears, gate=reply is not None)


def _watch(whole: Samples, played: Samples, start: int, ears: Ears, *, gate: bool) -> Reaction:
    track = iter(ears.track(whole))
    detector = TurnDetector(lambda _: next(track), Settings(patience="fixed"))
    conversation, echo_gate = Conversation(), EchoGate()
    ducked = stopped = None
    for number, window in enumerate(windows(whole)):
        at = number * WINDOW - start
        echo = False
        if at >= 0:
            if not detector.playing and stopped is None:
                conversation.receive(ReplyAudible(conversation.number))
                detector.playing = True
            if gate:
                echo = echo_gate.is_echo(_rms(window), _rms(played[at : at + WINDOW]))
        for event in detector.push(AudioChunk(window, INPUT_RATE), echo=echo):
            if stopped is not None:
                continue
            actions = conversation.receive(event)
            now = (at + WINDOW) / INPUT_RATE - _ONSET
            if Action.DUCK in actions and ducked is None:
                ducked = now
            if at >= 0 and Action.STOP_REPLY in actions:
                stopped = now
        if conversation.state not in (State.SPEAKING, State.DUCKED):
            detector.playing = False
    return Reaction(ducked, stopped)


def _echo(played: Samples, decibels: float) -> Samples:
    """What the microphone hears of it: through a room that dies away in 100 ms."""
    if not np.isfinite(decibels) or not played.any():
        return np.zeros(len(played), np.float32)
    rng = np.random.default_rng(1)
    time = np.arange(round(0.1 * INPUT_RATE)) / INPUT_RATE
    room = rng.standard_normal(len(time)) * np.exp(-time / 0.03)
    size = len(played) + len(room)
    heard = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(room, size), size)
    echo: Samples = heard[: len(played)].astype(np.float32)
    return as_loud_as_speech(echo, decibels)


def _rms(window: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(window))))


# Sounds that are no interruption, made here because no recordings of them may be kept.


def as_loud_as_speech(samples: Samples, decibels: float = 0.0) -> Samples:
    """At the user's level, or this much off it."""
    return samples * np.float32(_USER * 10 ** (decibels / 20) / level(samples))


def cough(voice: Samples, rng: np.random.Generator) -> Samples:
    """A burst of breath with a fifth of a second of a hoarse voice in it, and a weaker one after it."""
    parts = []
    for strength, seconds in ((1.0, rng.uniform(0.12, 0.22)), (0.4, rng.uniform(0.08, 0.15))):
        time = np.arange(round(seconds * INPUT_RATE)) / INPUT_RATE
        breath = rng.standard_normal(len(time)) * 0.3
        hoarse = voice[: len(time)] / level(voice) * (1 + 0.5 * rng.standard_normal(len(time)))
        shape = np.minimum(time / 0.01, 1) * np.exp(-time / seconds)
        parts += [strength * (breath + hoarse) * shape, np.zeros(round(0.1 * INPUT_RATE))]
    return np.concatenate(parts).astype(np.float32)


def keyboard(rng: np.random.Generator) -> Samples:
    """Two seconds of typing: clicks of 5 to 15 ms, seven a second."""
    sound = np.zeros(2 * INPUT_RATE)
    for at in np.cumsum(rng.uniform(0.08, 0.2, 14)):
        time = np.arange(round(rng.uniform(0.005, 0.015) * INPUT_RATE)) / INPUT_RATE
        click = rng.standard_normal(len(time)) * np.exp(-time / 0.003)
        start = round(at * INPUT_RATE)
        if start + len(click) <= len(sound):
            sound[start : start + len(click)] += click
    return sound.astype(np.float32)


def knock(rng: np.random.Generator) -> Samples:
    """Three knocks on wood."""
    parts = []
    for _ in range(3):
        time = np.arange(round(0.15 * INPUT_RATE)) / INPUT_RATE
        wood = np.sin(2 * np.pi * rng.uniform(120, 250) * time) * np.exp(-time / 0.02)
        parts += [wood + 0.3 * rng.standard_normal(len(time)) * np.exp(-time / 0.005)]
        parts += [np.zeros(round(rng.uniform(0.1, 0.2) * INPUT_RATE))]
    return np.concatenate(parts).astype(np.float32)


def music(rng: np.random.Generator) -> Samples:
    """Two seconds of chords, a note every quarter of a second."""
    parts = []
    for _ in range(8):
        time = np.arange(round(0.25 * INPUT_RATE)) / INPUT_RATE
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        chord = sum(
            np.sin(2 * np.pi * root * ratio * overtone * time) / overtone
            for ratio in (1, 1.25, 1.5)
            for overtone in (1, 2, 3)
        )
        parts.append(chord * np.exp(-time / 0.2))
    return np.concatenate(parts).astype(np.float32)


def speech_of(clips: Iterable[Clip]) -> list[Samples]:
    """The recordings from their first loud window on."""
    return [trimmed(clip.samples) for clip in clips]


def trimmed(samples: Samples) -> Samples:
    """Without the silence in front."""
    levels = np.array([_rms(window) for window in windows(samples)])
    return samples[int(np.argmax(levels > 0.1 * level(samples))) * WINDOW :]
