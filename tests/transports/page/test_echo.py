"""The page's echo gate, run by Node: with levels alone, and in a room with the real detector."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rigs.gate import Gate, find_node, open_gate

from duologue.audio import REPLY_RATE, AudioChunk, Downsampler, Samples
from duologue.audio.files import read_audio
from duologue.ears.vad import Silero
from duologue.settings import Settings
from duologue.turns.detector import TurnDetector
from duologue.turns.events import (
    DetectorEvent,
    SpeechDenied,
    SpeechResumed,
    SpeechStarted,
    SpeechSuspected,
)

pytestmark = pytest.mark.skipif(not find_node(), reason="there is no Node")


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    with open_gate() as gate:
        yield gate


# Levels alone.


class Levels:
    """A call in which what is played and what is heard is steady: decibels, and seconds of it."""

    def __init__(self, gate: Gate, *, cancelled: bool = False) -> None:
        self.gate = gate
        self.time = 0.0
        gate.call("new", cancelled)

    def begin(self) -> None:
        self.gate.call("begin", self.time)

    def pass_(self, seconds: float, played: float | None, heard: float) -> list[bool]:
        """Let `seconds` pass in chunks of 40 ms; which of them are echo?"""
        answers = []
        for _ in range(round(seconds / 0.04)):
            self.time += 0.04
            if played is not None:
                for ago in (0.02, 0.0):
                    self.gate.call("play", 10 ** (played / 20), self.time - ago)
            answers.append(self.gate.is_echo(10 ** (heard / 20), 0.04, self.time))
        return answers

    def learn(self, ratio: float) -> None:
        """Play for three seconds, of which this much comes back."""
        self.begin()
        self.pass_(3, -20, -20 + ratio)


def test_what_is_as_loud_as_the_echo_was_is_echo_and_what_is_louder_is_none(gate: Gate) -> None:
    call = Levels(gate)
    call.learn(-30)
    assert all(call.pass_(0.4, -20, -50))
    assert not any(call.pass_(0.4, -20, -40))


def test_while_nothing_is_played_nothing_is_echo(gate: Gate) -> None:
    call = Levels(gate)
    assert not any(call.pass_(1, None, -60))
    call.learn(-30)
    call.gate.call("end")
    call.pass_(0.5, None, -60)
    assert not any(call.pass_(1, None, -60))


def test_the_room_may_answer_late_also_after_the_reply(gate: Gate) -> None:
    call = Levels(gate)
    call.learn(-30)
    call.gate.call("end")
    assert all(call.pass_(0.4, None, -50))


def test_the_echo_of_a_quieter_part_is_known_too(gate: Gate) -> None:
    call = Levels(gate)
    call.learn(-20)
    call.pass_(0.5, -40, -60)
    assert all(call.pass_(0.4, -40, -58))
    assert not any(call.pass_(0.4, -40, -50))


def test_as_long_as_nothing_is_known_what_ducks_a_reply_does_not_stop_it(gate: Gate) -> None:
    call = Levels(gate)
    call.begin()
    assert not any(call.pass_(0.1, -20, -25))  # may duck
    gate.call("duck")
    assert all(call.pass_(0.3, -35, -25))


def test_as_long_as_nothing_is_known_what_is_louder_than_any_echo_stops_a_reply(gate: Gate) -> None:
    call = Levels(gate)
    call.begin()
    call.pass_(0.1, -20, -14)
    gate.call("duck")
    assert not any(call.pass_(0.3, -35, -14))


def test_behind_the_browsers_echo_cancellation_anybody_stops_a_reply_from_its_start(
    gate: Gate,
) -> None:
    call = Levels(gate, cancelled=True)
    call.begin()
    call.pass_(0.1, -20, -26)
    gate.call("duck")
    assert not any(call.pass_(0.3, -35, -26))


def test_with_headphones_a_second_is_enough_to_be_heard_at_any_level(gate: Gate) -> None:
    call = Levels(gate)
    call.begin()
    call.pass_(1.2, -20, -70)
    call.pass_(0.1, -20, -40)
    gate.call("duck")
    assert not any(call.pass_(0.3, -35, -40))


def test_echo_that_ducks_a_reply_again_and_again_is_learned_at_once(gate: Gate) -> None:
    call = Levels(gate)
    call.begin()
    call.pass_(0.2, -20, -30)
    gate.call("duck")
    call.pass_(0.26, -35, -45)
    gate.call("restore")
    assert all(call.pass_(0.4, -20, -30))


def test_the_quiet_beginning_of_the_first_reply_teaches_nothing(gate: Gate) -> None:
    call = Levels(gate, cancelled=True)
    call.begin()
    call.pass_(0.2, -55, -45)
    call.pass_(0.8, -20, -70)
    assert not any(call.pass_(0.2, -20, -30))


def test_a_cough_teaches_nothing(gate: Gate) -> None:
    call = Levels(gate)
    call.learn(-40)
    call.pass_(0.12, -20, -20)
    gate.call("duck")
    call.pass_(0.26, -35, -75)
    gate.call("restore")
    call.pass_(1, -20, -60)
    assert not any(call.pass_(0.2, -20, -25))


def test_who_interrupts_teaches_nothing(gate: Gate) -> None:
    call = Levels(gate)
    call.learn(-40)
    call.pass_(0.12, -20, -20)
    gate.call("duck")
    call.pass_(0.2, -35, -20)
    gate.call("end")
    call.pass_(2, None, -20)
    call.begin()
    assert not any(call.pass_(0.2, -20, -25))


def test_a_volume_turned_up_is_learned_when_it_has_ducked_a_reply_three_times(gate: Gate) -> None:
    call = Levels(gate)
    call.learn(-40)
    for _ in range(3):
        assert not any(call.pass_(0.12, -20, -50))
        gate.call("duck")
        assert any(call.pass_(0.26, -35, -65))
        gate.call("restore")
        call.pass_(0.4, -35, -65)
    assert all(call.pass_(0.4, -20, -50))


def test_a_volume_turned_down_is_learned_in_ten_seconds(gate: Gate) -> None:
    call = Levels(gate)
    call.learn(-10)
    assert all(call.pass_(1, -20, -32))
    call.pass_(11, -20, -60)
    assert not any(call.pass_(0.2, -20, -32))


# In a loop: what is played comes back through the room, ducks the reply, and so on.


def _decibels(samples: NDArray[np.floating[Any]]) -> float:
    return 10 * math.log10(float(np.mean(np.square(samples))) + 1e-12)


class Room:
    """A user, a loudspeaker and a microphone, with the real gate and the real detector between them."""

    chunk = 0.02  # seconds, as during replies

    def __init__(self, gate: Gate, vad: Silero, echo: float, delay: float, seed: int) -> None:
        """A room in which the echo is `echo` decibels louder than what is played, `delay` seconds late."""
        self._random = np.random.default_rng(seed)
        length = round(0.1 * REPLY_RATE)
        walls = self._random.normal(0, 1, length) * 10 ** (-3 * np.arange(length) / length)
        walls *= 10 ** (echo / 20) / math.sqrt(float(np.sum(walls**2)))
        self._walls = np.concatenate((np.zeros(round(delay * REPLY_RATE)), walls))
        self._tail = np.zeros(len(self._walls) - 1)
        self._detector = TurnDetector(vad.stream(), Settings())
        self._downsampler = Downsampler()
        self._gate = gate
        self._size = round(self.chunk * REPLY_RATE)
        self._time = 0.0
        gate.call("new", False)

    def ask(self, question: Samples) -> None:
        """The user says something, and is silent until that is known to be a turn."""
        for chunk in self._chunks(np.concatenate((question, np.zeros(2 * REPLY_RATE)))):
            self._listen(np.zeros(self._size), chunk)
        assert not self._detector.playing

    def answer(
        self, reply: Samples, user: Samples | None = None, at: float = 0.0
    ) -> dict[type[DetectorEvent], list[float]]:
        """Play a reply, in which `user` may speak from `at` on; when was what heard?"""
        heard: dict[type[DetectorEvent], list[float]] = {}
        begun = self._time
        over = np.zeros(len(reply))
        if user is not None:
            over[round(at * REPLY_RATE) :][: len(user)] = user[: len(over) - round(at * REPLY_RATE)]
        self._gate.call("begin", begun)
        self._detector.playing = True
        gain = target = 1.0
        for sound, voice in zip(self._chunks(reply), self._chunks(over), strict=True):
            step = (target - 1.0) / 2.5 if target < 1 else 0.164  # 50 and 100 ms
            slope = np.clip(gain + step * np.linspace(0, 1, self._size), 10 ** (-15 / 20), 1.0)
            gain = float(slope[-1])
            played = sound * slope
            self._gate.call("play", 10 ** (_decibels(played) / 20), self._time + self.chunk)
            for event in self._listen(played, voice):
                heard.setdefault(type(event), []).append(self._time - begun)
                match event:
                    case SpeechSuspected():
                        self._gate.call("duck")
                        target = 10 ** (-15 / 20)
                    case SpeechDenied():
                        self._gate.call("restore")
                        target = 1.0
                    case SpeechStarted() | SpeechResumed():
                        return heard
        self._gate.call("end")
        self._detector.playing = False
        for _ in range(25):
            for event in self._listen(np.zeros(self._size), np.zeros(self._size)):
                heard.setdefault(type(event), []).append(self._time - begun)
        return heard

    def _chunks(self, samples: NDArray[np.floating[Any]]) -> Iterator[NDArray[np.floating[Any]]]:
        for start in range(0, len(samples) - self._size + 1, self._size):
            yield samples[start : start + self._size]

    def _listen(
        self, played: NDArray[np.floating[Any]], voice: NDArray[np.floating[Any]]
    ) -> list[DetectorEvent]:
        echo = np.convolve(played, self._walls)
        echo[: len(self._tail)] += self._tail
        self._tail = echo[self._size :].copy()
        noise = self._random.normal(0, 3e-4, self._size)  # -70 dB
        mic = np.clip(echo[: self._size] + voice + noise, -1, 1).astype(np.float32)
        self._time += self.chunk
        flag = self._gate.is_echo(10 ** (_decibels(mic) / 20), self.chunk, self._time)
        chunk = self._downsampler.push(AudioChunk(mic, REPLY_RATE))
        return list(self._detector.push(chunk, echo=flag))


@pytest.fixture(scope="module")
def speech(shared: Path) -> Callable[[int], Samples]:
    """Call it with a number for a recorded question; loud parts of all are at -22 dB."""
    paths = sorted((shared / "audio").glob("question*.wav"))

    def load(number: int) -> Samples:
        samples = read_audio(paths[number % len(paths)]).at(REPLY_RATE).samples
        size = REPLY_RATE // 50
        levels = [_decibels(samples[i : i + size]) for i in range(0, len(samples) - size, size)]
        loud = float(np.percentile(levels, 80))
        start = next(i for i, level in enumerate(levels) if level > loud - 15) * size
        return samples[start:] * np.float32(10 ** ((-22 - loud) / 20))

    return load


@pytest.fixture(scope="module")
def silero() -> Silero:
    return Silero()


@pytest.mark.parametrize("echo", [-10, -20, -30])
def test_its_own_echo_never_stops_a_reply(
    gate: Gate, silero: Silero, speech: Callable[[int], Samples], echo: float
) -> None:
    for take in range(2):
        room = Room(gate, silero, echo, delay=(0.04, 0.25)[take], seed=take)
        room.ask(speech(take))
        for reply in ((1, 2, 3), (4, 3, 2)):
            heard = room.answer(np.concatenate([speech(take + n) for n in reply]))
            assert SpeechStarted not in heard
            assert SpeechResumed not in heard
            # Only until it is known.
            assert all(at < 1.5 for at in heard.get(SpeechSuspected, []))


@pytest.mark.parametrize("echo", [-90, -30, -20])
def test_over_its_echo_a_user_is_heard_as_soon_as_without(
    gate: Gate, silero: Silero, speech: Callable[[int], Samples], echo: float
) -> None:
    for take in range(3):
        room = Room(gate, silero, echo, delay=0.08, seed=take)
        room.ask(speech(take))
        reply = np.concatenate([speech(take + n) for n in (1, 2, 3, 4)])
        heard = room.answer(reply, user=speech(take + 2), at=3.0)
        stopped = [*heard.get(SpeechStarted, []), *heard.get(SpeechResumed, [])]
        assert 3.2 < stopped[0] < 3.4
