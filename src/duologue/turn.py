"""When a user begins and ends a turn. Pure: the audio is its only clock."""

from bisect import insort
from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from duologue.audio import INPUT_RATE, AudioChunk, Samples
from duologue.errors import InvalidAudio, InvalidEvent
from duologue.events import DetectorEvent, Settings, SpeechStarted, TurnEnded

WINDOW = 512
"""Samples that the voice-activity detector sees at once: 32 ms at `INPUT_RATE`."""

_SECONDS = WINDOW / INPUT_RATE
_ONSET, _OF = 3, 4  # windows that are speech: known 136 ms (p50) after the onset
_HYSTERESIS = 0.15  # silence begins this far below the threshold (Silero's own default)
# What is this much quieter than the speaker's own speech is silence, whatever the network says: it lags
# 60 ms behind the end of a word, and takes talk in the background for speech (decibels).
_QUIETER = 18.0
_DIP = 3  # windows; one that is shorter is inside a word, and not quiet


class Vad(Protocol):
    """Voice activity in one stream: takes its windows in order, keeps what it needs of the past."""

    def __call__(self, window: Samples) -> float:
        """The probability, 0..1, that this window (float32 [WINDOW]) is speech."""
        ...


class TurnDetector:
    """Finds the turns in one user's audio.

    An utterance begins when 3 of 4 windows are speech and ends after `settings.silence` without
    any. Silence in front of the first word never counts. What goes on for `settings.time_limit`
    is ended there; the next utterance then waits for a pause, so that the answer can be heard.

    Attributes:
        settings: may be replaced at any time.
        position: seconds of audio taken in so far.
    """

    def __init__(self, vad: Vad, settings: Settings) -> None:
        self.settings = settings
        self._vad = vad
        self._rest = np.zeros(0, np.float32)
        self._windows_in = 0
        self._before: deque[Samples] = deque()  # the newest windows before an utterance
        self._recent: deque[bool] = deque(maxlen=_OF)
        self._utterance: list[Samples] = []
        self._hearing = False
        self._silent = 0  # windows since speech was last there, 0 while it is
        self._level = _SpeechLevel()
        self._overlong = False  # an utterance was cut by the limit, and the speech goes on

    @property
    def position(self) -> float:
        """Seconds of audio taken in so far."""
        return self._windows_in * _SECONDS

    def push(self, chunk: AudioChunk) -> Iterator[DetectorEvent]:
        """Listen on. The events come as the audio is worked through, so exhaust the iterator.

        Raises:
            InvalidAudio: without turn detection, more than the time limit came without a commit.
        """
        samples = np.concatenate((self._rest, chunk.samples))
        whole = len(samples) - len(samples) % WINDOW
        self._rest = samples[whole:]
        for start in range(0, whole, WINDOW):
            yield from self._push_window(samples[start : start + WINDOW])

    def commit(self) -> TurnEnded:
        """End the utterance here.

        Raises:
            InvalidEvent: there is none.
        """
        manual = not self.settings.turn_detection
        if not self._utterance and not (manual and len(self._rest)):
            raise InvalidEvent("there is no audio to commit; append some first")
        self._utterance.append(self._rest)
        self._rest = np.zeros(0, np.float32)
        return self._end()

    def clear(self) -> None:
        """Forget what was heard since the last turn."""
        self._rest = np.zeros(0, np.float32)
        self._before.clear()
        self._recent.clear()
        self._forget_utterance()

    def _push_window(self, window: Samples) -> Iterator[DetectorEvent]:
        self._windows_in += 1
        if not self.settings.turn_detection:
            self._collect(window)
            return
        probability = self._vad(window)
        if self._hearing:
            yield from self._hear(window, probability)
        else:
            yield from self._listen(window, probability)

    def _collect(self, window: Samples) -> None:
        if len(self._utterance) * _SECONDS >= self.settings.time_limit:
            self._forget_utterance()
            raise InvalidAudio(
                f"an utterance may last {self.settings.time_limit:g} s; "
                "what was not committed is dropped"
            )
        self._utterance.append(window)

    def _listen(self, window: Samples, probability: float) -> Iterator[DetectorEvent]:
        self._before.append(window)
        while len(self._before) > _OF + round(self.settings.prefix_padding / _SECONDS):
            self._before.popleft()
        self._count_silence(probability, loud=True)
        if self._overlong and self._silent * _SECONDS < self.settings.silence:
            return
        self._overlong = False
        self._recent.append(probability >= self.settings.threshold)
        if sum(self._recent) >= _ONSET:
            self._hearing, self._silent = True, 0
            self._utterance = list(self._before)
            self._before.clear()
            self._level = _SpeechLevel()
            yield SpeechStarted(at=(self._windows_in - len(self._utterance)) * _SECONDS)

    def _hear(self, window: Samples, probability: float) -> Iterator[DetectorEvent]:
        self._utterance.append(window)
        loud = self._level.is_loud(window, speech=probability >= self.settings.threshold)
        self._count_silence(probability, loud)
        if not loud:  # the newest windows were all quiet; in the first the last word faded away
            self._silent = max(self._silent, _DIP - 1)
        if self._silent * _SECONDS >= self.settings.silence:
            yield self._end()
        elif len(self._utterance) * _SECONDS >= self.settings.time_limit:
            self._overlong = True
            yield self._end()

    def _count_silence(self, probability: float, loud: bool) -> None:
        if loud and probability >= self.settings.threshold:
            self._silent = 0
        elif self._silent or not loud or probability < self.settings.threshold - _HYSTERESIS:
            self._silent += 1

    def _end(self) -> TurnEnded:
        utterance = AudioChunk(np.concatenate(self._utterance), INPUT_RATE)
        self._forget_utterance()
        return TurnEnded(utterance, self.position)

    def _forget_utterance(self) -> None:
        self._utterance = []
        self._hearing, self._silent = False, 0
        self._recent.clear()


class _SpeechLevel:
    """How loud this speaker speaks, in this utterance."""

    def __init__(self) -> None:
        self._speech: list[float] = []  # the levels of the windows of speech, sorted
        self._newest: deque[float] = deque(maxlen=_DIP)

    def is_loud(self, window: Samples, *, speech: bool) -> bool:
        """Whether the newest windows come near the level that 80 % of the speech stay below."""
        level = float(np.sqrt(np.mean(np.square(window))))
        self._newest.append(level)
        if speech:
            insort(self._speech, level)
        if not self._speech:
            return True
        own = self._speech[len(self._speech) * 4 // 5]
        return max(self._newest) >= own * 10 ** (-_QUIETER / 20)
