"""Interruptions, and what is none, in a reply: the product's own detector, the page's gate."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from rigs.gate import Gate

from bench.turns.recordings import Clip, Ears, level, windows
from duologue.audio import INPUT_RATE, AudioChunk, Samples
from duologue.settings import Settings
from duologue.turns.detector import WINDOW, TurnDetector
from duologue.turns.events import (
    DetectorEvent,
    Nodded,
    SpeechDenied,
    SpeechHeld,
    SpeechStarted,
    SpeechSuspected,
    WordsWanted,
)
from duologue.turns.words import Said

_ONSET = 3.0  # seconds of the reply before the sound begins
_LISTEN = 2.5  # seconds after its onset that are watched
_USER = 0.05  # level of the user's speech
_DUCKED, _DUCK, _RESTORE = 10 ** (-15 / 20), 0.05, 0.1  # as the page does it (`sound.js`)
_HUSH = 0.005  # the same (`worklets.js`)
_HEARS = 0.2  # seconds that an ear takes for a word or two, beside a reply that is made
_OBEYS = 0.02  # seconds until what the server has decided is done to the sound that is rendered
_LATE = 0.08  # seconds from there through the loudspeaker and the room to the microphone
_PIECES = 3  # of a window: what the page sends at once, 11 ms
_METER = round(0.021 * INPUT_RATE)  # samples of what is played whose level the page takes


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a sound did to a reply; None: nothing.

    Attributes:
        ducked: seconds after the onset until it was made quieter.
        held: the same until it was paused, because its words are weighed.
        stopped: the same until it was stopped.
        ducked_before: seconds of the reply after which its own echo, which the page does not know
            then, made it quieter the last time before the onset.
    """

    ducked: float | None = None
    held: float | None = None
    stopped: float | None = None
    ducked_before: float | None = None


class Loudspeaker:
    """A reply, and its echo in the microphone, through a room that dies away in 100 ms.

    Attributes:
        played: float32 [T], by the samples of the microphone.
        echo: the same.
    """

    def __init__(self, reply: Samples, decibels: float) -> None:
        time = np.arange(round(0.1 * INPUT_RATE)) / INPUT_RATE
        rng = np.random.default_rng(1)
        walls = rng.standard_normal(len(time)) * np.exp(-time / 0.03)
        self._room = np.concatenate([np.zeros(round(_LATE * INPUT_RATE)), walls])
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
    sound: Samples,
    ears: Ears,
    gate: Gate,
    own: Samples,
    reply: Samples,
    echo: float,
    said: Said | None = None,
) -> Reaction:
    """Play a sound into a reply.

    Args:
        sound: what the microphone hears from the onset on, at its own level.
        ears: Silero.
        gate: the page's, to be made anew.
        own: something that this user has said before, and so how loud this user is.
        reply: what is played.
        echo: its level in the microphone, in decibels against the user's speech; -inf: headphones.
        said: what its words mean, which an ear tells `_HEARS` after it was asked; None: there is no ear.
    """
    before = own * (_USER / level(own))
    silence = np.zeros(round(1.5 * INPUT_RATE), np.float32)
    lead = np.concatenate([before, silence])
    lead = lead[: len(lead) // WINDOW * WINDOW]
    length = round((_ONSET + _LISTEN) * INPUT_RATE)
    spoken = np.zeros(length, np.float32)
    onset = round(_ONSET * INPUT_RATE)
    heard = sound[: length - onset]
    spoken[onset : onset + len(heard)] = heard
    rng = np.random.default_rng(len(sound))
    room = rng.standard_normal(len(lead) + length).astype(np.float32) * 1e-4
    call = _Call(ears, Loudspeaker(np.resize(reply, length), echo), gate, said)
    for number, window in enumerate(windows(np.concatenate([lead, spoken]) + room)):
        call.push(window, number * WINDOW - len(lead))
        if call.reaction.stopped is not None:
            break
    return call.reaction


class _Call:
    """The product's detector, and the page's gate and ducking, window by window."""

    def __init__(self, ears: Ears, loudspeaker: Loudspeaker, gate: Gate, said: Said | None) -> None:
        self.reaction = Reaction()
        self._loudspeaker = loudspeaker
        self._gate = gate
        # Browsers cancel echo: what is heard here is what they leave of it.
        self._gate.call("new", True)
        self._detector = TurnDetector(ears.stream(), Settings(patience="fixed"))
        self._detector.weighs = said is not None
        self._said = said
        self._answers: tuple[int, int] | None = None  # at this sample, to this question

    def push(self, window: Samples, at: int) -> None:
        """Hear a window, and the echo, from the sample `at` of the reply on."""
        if at == 0:
            self._detector.playing = True
            self._gate.call("begin", 0.0)
        if at >= 0:
            window = window + self._loudspeaker.echo[at : at + WINDOW]
        if self._answers and self._said and at >= self._answers[0]:
            self._detector.judge(self._answers[1], self._said)
            self._answers = None
        echo = at >= 0 and self._is_echo(window, at)
        for event in self._detector.push(AudioChunk(window, INPUT_RATE), echo=echo):
            if at >= 0:
                self._obey(event, at + WINDOW)

    def _is_echo(self, window: Samples, at: int) -> bool:
        """What the page says of the last piece: with it, the server has the window."""
        pieces = np.array_split(window, _PIECES)
        for piece in pieces:
            at += len(piece)
            now = at / INPUT_RATE
            self._gate.call("play", _rms(self._loudspeaker.played[max(0, at - _METER) : at]), now)
            self._gate.hear(_rms(piece), len(piece) / INPUT_RATE, now)
        return [self._gate.answer() for _ in pieces][-1]

    def _obey(self, event: DetectorEvent, at: int) -> None:
        """Do to the reply what the table says of the event while a reply sounds."""
        seconds = at / INPUT_RATE - _ONSET
        if isinstance(event, SpeechSuspected):
            self._gate.call("duck")
            self._loudspeaker.turn(_DUCKED, at, _DUCK)
            if seconds < 0:
                self.reaction = replace(self.reaction, ducked_before=at / INPUT_RATE)
            elif self.reaction.ducked is None:
                self.reaction = replace(self.reaction, ducked=seconds)
        if isinstance(event, SpeechHeld):
            self._loudspeaker.turn(0, at, _HUSH)
            self.reaction = replace(self.reaction, held=seconds)
        if isinstance(event, WordsWanted):
            self._answers = at + round(_HEARS * INPUT_RATE), event.number
        if isinstance(event, SpeechDenied | Nodded):
            self._gate.call("restore")
            self._loudspeaker.turn(1, at, _RESTORE)
        if isinstance(event, SpeechStarted):
            self.reaction = replace(self.reaction, stopped=seconds)


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
