"""Interruptions, and what is none, while a reply is played: the product's own detector and table."""

from collections.abc import Iterable, Sequence
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
_DUCKED, _DUCK, _RESTORE = 10 ** (-15 / 20), 0.05, 0.1  # as the page does it (`sound.js`)
_OBEYS = 0.1  # seconds until the loudspeaker does what the server has decided


@dataclass(frozen=True, slots=True)
class Reaction:
    """Seconds after the onset until the reply was made quieter, and until it was stopped; None: never."""

    ducked: float | None
    stopped: float | None


class EchoGate:
    """The page's rule (`echo.js`), in Python: what is no louder than the echo of the reply is echo."""

    def __init__(self) -> None:
        self._played: list[float] = []
        self._ratio = 0.0

    def is_echo(self, microphone: float, played: float) -> bool:
        """Whether a window at this level is explained by what was played until now."""
        self._played.append(played)
        loudest = max(self._played[-_DELAYS:])
        if len(self._played) <= _LEARN:
            self._ratio = max(self._ratio, microphone / (loudest + 1e-9) if loudest > 1e-4 else 0)
            return True
        return microphone < loudest * self._ratio * _MARGIN


class Loudspeaker:
    """A reply, and its echo in the microphone, through a room that dies away in 100 ms.

    Attributes:
        played: float32 [T], by the samples of the microphone.
        echo: the same.
    """

    def __init__(self, reply: Samples, decibels: float) -> None:
        time = np.arange(round(0.1 * INPUT_RATE)) / INPUT_RATE
        rng = np.random.default_rng(1)
        self._room = rng.standard_normal(len(time)) * np.exp(-time / 0.03)
        self._reply = reply
        self._gain = np.ones(len(reply), np.float32)
        self._scale = 1.0
        self._play()
        if reply.any():
            self._scale = float(level(as_loud_as_speech(self.echo, decibels)) / level(self.echo))
            self._play()

    def turn(self, gain: float, at: int, within: float) -> None:
        """Change the gain `_OBEYS` after the sample `at`, in a ramp."""
        at = max(0, at + round(_OBEYS * INPUT_RATE))
        ramp = np.linspace(1, 0, round(within * INPUT_RATE), dtype=np.float32)[
            : len(self._gain) - at
        ]
        self._gain[at:] = gain
        self._gain[at : at + len(ramp)] += (self._gain[at - 1] - gain) * ramp
        self._play()

    def _play(self) -> None:
        self.played = self._reply * self._gain
        size = len(self.played) + len(self._room)
        echo = np.fft.irfft(np.fft.rfft(self.played, size) * np.fft.rfft(self._room, size), size)
        self.echo = (self._scale * echo[: len(self.played)]).astype(np.float32)


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
    lead = lead[: len(lead) // WINDOW * WINDOW]
    length = round((_ONSET + _LISTEN) * INPUT_RATE)
    said = np.zeros(length, np.float32)
    onset = round(_ONSET * INPUT_RATE)
    heard = sound[: length - onset]
    said[onset : onset + len(heard)] = heard
    rng = np.random.default_rng(len(sound))
    room = rng.standard_normal(len(lead) + length).astype(np.float32) * 1e-4
    played = np.zeros(length, np.float32) if reply is None else np.resize(reply, length)
    call = _Call(ears, Loudspeaker(played, echo), gate=reply is not None)
    for number, window in enumerate(windows(np.concatenate([lead, said]) + room)):
        call.push(window, number * WINDOW - len(lead))
    return call.reaction


class _Call:
    """The product's detector and table, and the page's gate and ducking, window by window."""

    def __init__(self, ears: Ears, loudspeaker: Loudspeaker, *, gate: bool) -> None:
        self.reaction = Reaction(None, None)
        self._loudspeaker = loudspeaker
        self._gate = EchoGate() if gate else None
        self._detector = TurnDetector(ears.stream(), Settings(patience="fixed"))
        self._conversation = Conversation()

    def push(self, window: Samples, at: int) -> None:
        """Hear a window, and the echo, from the sample `at` of the reply on."""
        echo = False
        if at >= 0:
            self._speak()
            window = window + self._loudspeaker.echo[at : at + WINDOW]
            if self._gate:
                played = self._loudspeaker.played[at : at + WINDOW]
                echo = self._gate.is_echo(_rms(window), _rms(played))
        for event in self._detector.push(AudioChunk(window, INPUT_RATE), echo=echo):
            if self.reaction.stopped is None:
                self._do(self._conversation.receive(event), at + WINDOW)
        self._detector.playing = self._conversation.state in (State.SPEAKING, State.DUCKED)

    def _speak(self) -> None:
        if not self._detector.playing and self.reaction.stopped is None:
            self._conversation.receive(ReplyAudible(self._conversation.number))
            self._detector.playing = True

    def _do(self, actions: Sequence[Action], at: int) -> None:
        seconds = at / INPUT_RATE - _ONSET
        if Action.DUCK in actions:
            self._loudspeaker.turn(_DUCKED, at, _DUCK)
            if self.reaction.ducked is None:
                self.reaction = Reaction(seconds, None)
        if Action.RESTORE in actions:
            self._loudspeaker.turn(1, at, _RESTORE)
        if at >= 0 and Action.STOP_REPLY in actions:
            self.reaction = Reaction(self.reaction.ducked, seconds)


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
