"""When a user begins, pauses, goes on and ends. Pure: the audio is its only clock."""

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from itertools import islice
from typing import Protocol

import numpy as np

from duologue.audio import INPUT_RATE, AudioChunk, Samples
from duologue.errors import AudioTooLong, NothingToCommit
from duologue.settings import Settings
from duologue.timings import Pause
from duologue.turns.events import (
    DetectorEvent,
    LimitNear,
    Nodded,
    ReplyDue,
    SpeechDenied,
    SpeechHeld,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechSuspected,
    TurnEnded,
    WordsWanted,
)
from duologue.turns.level import DIP, SpeechLevel
from duologue.turns.patience import Patience
from duologue.turns.words import Said

WINDOW = 512
"""Samples that the voice-activity detector sees at once: 32 ms at `INPUT_RATE`."""

_SECONDS = WINDOW / INPUT_RATE
_HYSTERESIS = 0.15  # silence begins this far below the threshold (Silero's own default)

# Windows, and the study of recorded conversations that gave their numbers is behind `bench.turns`.
_ONSET, _OF = 3, 4  # speech that begins an utterance: known 136 ms (p50) after the onset
_AGAIN, _OF_AGAIN = 2, 3  # speech that ends a pause, or may be an interruption: 104 ms
_PAUSE = 3  # silence that is a pause: 96 ms
_SURE = 7  # speech that is an interruption: 264 ms; of 40 coughs made for it, 32 are shorter
_NOTHING = 8  # silence after which what may have been one was none
_DOUBT = 1.0  # seconds after which it was none in any case
_BREAK = 2  # silence in it after which its words are asked for
_NODDED = 6  # silence after a nod with which it is one
_TOO_LATE = 20  # silence in which its words must be known, else it is an interruption
_LONG = 28  # speech that is an interruption, whatever it says: 0.9 s
_WEIGHED = 3.0  # seconds after which it is an interruption in any case, for no more of it is kept
_ANSWER = 1.0  # seconds of speech that answer a question, at most
_UNFINISHED = 0.2  # probability below which they don't: "well"
_REOPEN = 1.0  # seconds of a reply during which going on means: I had not finished
_LINGER = 10.0  # seconds that an ended turn stays open when no reply comes
_WARNING = 5.0  # seconds before the time limit at which it is told of
_CONTEXT = 8.0  # seconds that Smart Turn hears


class Vad(Protocol):
    """Voice activity in one stream: takes its windows in order, keeps what it needs of the past."""

    def __call__(self, window: Samples) -> float:
        """The probability, 0..1, that this window (float32 [WINDOW]) is speech."""
        ...


class _Phase(Enum):
    IDLE = auto()  # no utterance
    SPEECH = auto()
    PAUSE = auto()
    ENDED = auto()  # the wait is over, and the utterance may still go on


class TurnDetector:
    """Finds the turns in one user's audio.

    An utterance begins when 3 of 4 windows are speech, pauses after 3 windows of silence, goes on with
    2 of 3 windows of speech, and ends when the pause has lasted as long as `patience` says. Silence
    in front of the first word never counts. What goes on for `settings.time_limit` is ended there;
    `LimitNear` comes 5 s before. Speech that goes on begins nothing until the reply is played; then it
    is an interruption like any other, and all of it since the limit begins the next utterance.

    An utterance that has ended can still be gone on with until the reply has been played for a second,
    unless `settings` are for fixed silences or forbid to interrupt.

    Speech while a reply is played is first suspected (the reply is ducked), and lasts after 7 windows. Then
    it is an interruption; or, where its words are weighed, the reply is held: words of assent and a silence
    make it a nod, no words make it nothing, and all else, or more than 0.9 s, an interruption.

    Attributes:
        settings: may be replaced at any time.
        patience: how long a pause may be.
        behind: seconds by which what is worked through is behind the clock, in `miss`.
        asked: what was said before this utterance ended in a question: a few words are an answer, and end
            the turn soon, unless they sound unfinished.
        weighs: speech that lasts while a reply is played may be a nod, and somebody can tell its words.
        slides: without turn detection, the newest sound is kept at the time limit; False: the oldest, and
            it is said that the rest is not.
    """

    def __init__(self, vad: Vad, settings: Settings, patience: Patience | None = None) -> None:
        self.settings = settings
        self.patience = patience or Patience()
        self.behind = 0.0
        self.slides = self.weighs = self.asked = False
        self._vad = vad
        self._rest = np.zeros(0, np.float32)
        self._windows_in = 0
        self._filled = 0  # samples of silence among them that stand for sound that did not come
        self._gap = 0.0  # position at which the newest of them stand
        self._began = 0.0
        self._before: deque[Samples] = deque()  # the newest windows
        self._recent: deque[bool] = deque(maxlen=_OF)  # whether they were speech
        self._phase = _Phase.IDLE
        self._utterance: list[Samples] = []
        self._level = SpeechLevel()
        self._silent = 0  # windows since speech was last there, 0 while it is
        self._pause = 0  # number of the newest
        self._probability: float | None = None  # that it is the end of the turn
        self._due = False  # its reply was called for
        self._played: int | None = None  # windows of the reply that is played; None: none is
        self._doubt: _Doubt | None = None
        self._questions = 0  # for words, so far
        self._cut = False  # the limit has cut an utterance, and the speech goes on
        self._hold = False  # it begins nothing yet
        self._warned = False  # of the limit
        self._full = False  # without turn detection: the limit is reached

    @property
    def position(self) -> float:
        """Seconds of audio taken in so far. Silence that stood for sound that did not come is none."""
        return self._position(self._windows_in)

    @property
    def playing(self) -> bool:
        """Whether a reply is played: speech is then first suspected, and must last to be believed."""
        return self._played is not None

    @playing.setter
    def playing(self, playing: bool) -> None:
        if playing != self.playing:
            self._played = 0 if playing else None
            self._doubt = None

    @property
    def is_open(self) -> bool:
        """Whether there is an utterance that can go on."""
        return self._phase is not _Phase.IDLE

    @property
    def hears_speech(self) -> bool:
        """Whether the user speaks at this moment, without a pause."""
        return self._phase is _Phase.SPEECH

    @property
    def pause(self) -> int:
        """Number of the pause that the utterance is in; 0: it is in none."""
        return self._pause if self._phase is _Phase.PAUSE else 0

    @property
    def began(self) -> float:
        """Where the utterance that is open began, in seconds of audio, prefix padding included."""
        return self._began

    def push(self, chunk: AudioChunk, *, echo: bool = False) -> Iterator[DetectorEvent]:
        """Listen on. The events come as the audio is worked through, so exhaust the iterator.

        Args:
            chunk: at `INPUT_RATE`.
            echo: it holds no more than what the client plays.

        Raises:
            InvalidAudio: without turn detection, the time limit is reached. What came until then is kept
                for a commit; of all that comes before it, nothing is, and this is said once.
        """
        was_full, self.behind = self._full, 0.0
        samples = np.concatenate((self._rest, chunk.samples))
        whole = len(samples) - len(samples) % WINDOW
        self._rest = samples[whole:]
        for start in range(0, whole, WINDOW):
            yield from self._push_window(samples[start : start + WINDOW], echo)
        if self._full and not was_full:
            raise AudioTooLong(
                f"an utterance may last {self.settings.time_limit:g} s; what came later is not kept: "
                "commit what there is, or clear it"
            )

    def miss(self, seconds: float, late: float = 0.0) -> Iterator[DetectorEvent]:
        """No sound came for so long: go on as if silence had. Exhaust the iterator.

        Args:
            seconds: of silence.
            late: seconds without sound before them, in which sound was still waited for.
        """
        windows = max(1, round(seconds / _SECONDS))
        for left in reversed(range(windows)):
            window = np.zeros(WINDOW, np.float32)
            window[: len(self._rest)] = self._rest
            self._filled += WINDOW - len(self._rest)
            self._rest = np.zeros(0, np.float32)
            self.behind = late + left * _SECONDS
            yield from self._push_window(window, echo=False)
            self._gap = self.position

    def answer(self, pause: int, probability: float) -> None:
        """Smart Turn has answered: the turn is over with this probability, if it is still that pause."""
        if pause == self._pause and self._phase is _Phase.PAUSE:
            self._probability = probability

    def judge(self, number: int, said: Said) -> None:
        """The words that were asked for with this number are known.

        What was no nod when it was asked is none any more; a nod counts if nothing was said since.
        """
        doubt = self._doubt
        if doubt and (number == doubt.asked or (said is Said.SPEECH and number >= doubt.first > 0)):
            doubt.said = said

    def commit(self) -> TurnEnded:
        """End the utterance here.

        Raises:
            NothingToCommit: there is none.
        """
        manual = not self.settings.turn_detection
        if not self._utterance and not (manual and len(self._rest)):
            raise NothingToCommit("there is no audio to commit; append some first")
        if not self._full:
            self._utterance.append(self._rest)
        self._rest = np.zeros(0, np.float32)
        ended = TurnEnded(self.so_far(), self.position)
        self._before.clear()  # no sound is in two turns
        self._recent.clear()
        self._forget_utterance()
        return ended

    def believe(self) -> SpeechStarted | SpeechResumed | None:
        """Take what may be an interruption for one, if there is something that may be."""
        doubt, self._doubt = self._doubt, None
        if not doubt:
            return None
        self.playing = False  # whoever plays the reply stops
        return self._resume() if doubt.reopens else self._begin(doubt.windows)

    def close(self) -> None:
        """The turn is over: what is said from now on is another one."""
        self._hold = False
        if self._doubt:
            self._doubt.reopens = False
        if self._phase is not _Phase.IDLE:
            self._forget_utterance()

    def clear(self) -> None:
        """Forget what was heard since the last turn."""
        self._rest = np.zeros(0, np.float32)
        self._before.clear()
        self._recent.clear()
        self._doubt = None
        self._cut = self._hold = False
        self._forget_utterance()

    def _position(self, windows: int) -> float:
        """Seconds of audio in so many windows."""
        return (windows * WINDOW - self._filled) / INPUT_RATE

    def _push_window(self, window: Samples, echo: bool) -> Iterator[DetectorEvent]:
        self._windows_in += 1
        if not self.settings.turn_detection:
            yield from self._collect(window)
            return
        probability = self._vad(window)
        self._keep(window)
        if self._played is not None:
            self._played += 1
            self._judge(window, 0.0 if echo else probability, learn=False)
            if self._phase is _Phase.IDLE:
                self._count_silence(0.0 if echo else probability)
                self._look_for_the_end_of_the_cut()
            yield from self._doubt_speech()
        elif self._phase is _Phase.IDLE:
            self._recent.append(probability >= self.settings.threshold and not echo)
            self._count_silence(probability)
            self._look_for_the_end_of_the_cut()
            yield from self._listen()
        else:
            learn = self._phase is not _Phase.ENDED
            loud = self._judge(window, 0.0 if echo else probability, learn=learn)
            yield from self._follow(probability if loud else 0.0, loud)

    def _collect(self, window: Samples) -> Iterator[DetectorEvent]:
        full = len(self._utterance) * _SECONDS >= self.settings.time_limit
        if full and self.slides:
            self._utterance.pop(0)
            full = False
        self._full = full
        if not full:
            self._utterance.append(window)
            yield from self._warn()

    def _warn(self) -> Iterator[DetectorEvent]:
        """Tell of the limit in time; of one that is short to begin with, nothing is told."""
        left = self.settings.time_limit - len(self._utterance) * _SECONDS
        if left <= _WARNING < self.settings.time_limit / 2 and not self._warned:
            self._warned = True
            yield LimitNear(self.position, left)

    def _keep(self, window: Samples) -> None:
        """Remember the newest windows: an utterance begins before it is known to."""
        self._before.append(window)
        doubt = _WEIGHED if self.weighs else _DOUBT
        kept = _OF + round((doubt + self.settings.prefix_padding) / _SECONDS)
        if self._cut:
            kept = round(self.settings.time_limit / _SECONDS)
        while len(self._before) > kept:
            self._before.popleft()
        if self._phase is not _Phase.IDLE:
            self._utterance.append(window)

    def _judge(self, window: Samples, probability: float, *, learn: bool) -> bool:
        """Decide whether it is speech, and loud enough to be this speaker's."""
        voiced = probability >= self.settings.threshold
        loud = self._level.is_loud(window, learn=learn and voiced)
        self._recent.append(voiced and loud)
        return loud

    def _look_for_the_end_of_the_cut(self) -> None:
        """See whether the speech has ended that went on after the limit."""
        if self._silent * _SECONDS >= self.settings.silence:
            self._cut = self._hold = False

    # Nothing is played.

    def _listen(self) -> Iterator[DetectorEvent]:
        if self._hold:
            self._recent.clear()
        if sum(self._recent) >= _ONSET:
            yield self._begin(len(self._recent))

    def _begin(self, windows: int) -> SpeechStarted:
        """Begin an utterance whose speech began `windows` ago."""
        windows += round(self.settings.prefix_padding / _SECONDS)
        if self._cut:
            windows = len(self._before)
        self._cut = self._hold = self._warned = False
        self._utterance = list(islice(self._before, max(0, len(self._before) - windows), None))
        self._phase, self._silent = _Phase.SPEECH, 0
        self._level = SpeechLevel()
        # Not from before a gap: there, what was said would seem to have been said later than it was.
        self._began = max(self._gap, self._position(self._windows_in - len(self._utterance)))
        return SpeechStarted(self.began)

    def _follow(self, probability: float, loud: bool) -> Iterator[DetectorEvent]:
        if self._phase is _Phase.SPEECH:
            yield from self._hear(probability, loud)
        elif sum(islice(self._recent, _OF - _OF_AGAIN, None)) >= _AGAIN:
            yield self._resume()
        elif self._phase is _Phase.PAUSE:
            self._silent += 1
            yield from self._wait()
        else:
            self._silent += 1
            if self._silent * _SECONDS >= _LINGER:
                self.close()

    def _hear(self, probability: float, loud: bool) -> Iterator[DetectorEvent]:
        self._count_silence(probability)
        if not loud:  # the newest windows were all quiet; in the first the last word faded away
            self._silent = max(self._silent, DIP - 1)
        if self._silent >= _PAUSE:
            self._phase, self._probability, self._due = _Phase.PAUSE, None, False
            self._pause += 1
            self._recent.extend([False] * _OF)
            newest = self._utterance[-round(_CONTEXT / _SECONDS) :]
            sound = AudioChunk(np.concatenate(newest), INPUT_RATE)
            yield SpeechPaused(self._pause, sound, self.position - self._silent * _SECONDS)
            yield from self._wait()
        elif len(self._utterance) * _SECONDS >= self.settings.time_limit:
            self._cut = self._hold = True
            yield self._end(None)
        else:
            yield from self._warn()

    def _count_silence(self, probability: float) -> None:
        if probability >= self.settings.threshold:
            self._silent = 0
        elif self._silent or probability < self.settings.threshold - _HYSTERESIS:
            self._silent += 1

    def _wait(self) -> Iterator[DetectorEvent]:
        silence = self._silent * _SECONDS
        start = self.patience.start(self.settings, self._finished)
        wait = self.patience.wait(self.settings, self._finished)
        if not (self._due or self.settings.only_words) and start <= silence:
            self._due = True
            yield ReplyDue(self.so_far())
        if silence >= wait:
            yield self._end(self._describe(wait))

    @property
    def _finished(self) -> float | None:
        """The probability that the turn is over, as it counts: "two" is not much of a sentence."""
        said, sounds = self._level.windows * _SECONDS, self._probability
        answers = self.asked and said <= _ANSWER and sounds is not None and sounds >= _UNFINISHED
        return 1.0 if answers else sounds

    def _resume(self) -> SpeechResumed:
        self._phase, self._silent = _Phase.SPEECH, 0
        return SpeechResumed(self.position)

    def _end(self, pause: Pause | None) -> TurnEnded:
        ended = TurnEnded(self.so_far(), self.position, pause)
        self._before.clear()
        settings = self.settings
        stays_open = (
            settings.patience != "fixed"
            and settings.create_response
            and settings.interrupt_response
            and not self._cut
        )
        if stays_open:
            self._phase = _Phase.ENDED
        else:
            self._forget_utterance()
        return ended

    # A reply is played.

    def _doubt_speech(self) -> Iterator[DetectorEvent]:
        speech = self._recent[-1]
        if not self._doubt:
            newest = list(islice(self._recent, max(0, len(self._recent) - _OF_AGAIN), None))
            if sum(newest) >= _AGAIN:
                reopens = self._phase is _Phase.ENDED
                self._doubt = _Doubt(len(newest), sum(newest), reopens)
                yield SpeechSuspected(self.position)
            elif (self._played or 0) * _SECONDS >= _REOPEN:
                self.close()
            return
        self._doubt.push(speech=speech)
        if self._doubt.held:
            yield from self._weigh(self._doubt)
        elif self._doubt.speech >= _SURE and self.weighs:
            self._doubt.held = True
            yield SpeechHeld(self.position)
        elif self._doubt.speech >= _SURE and (begun := self.believe()):
            yield begun
        elif self._doubt.silent >= _NOTHING or self._doubt.windows * _SECONDS >= _DOUBT:
            self._doubt = None
            self._recent.clear()
            yield SpeechDenied(self.position)

    def _weigh(self, doubt: "_Doubt") -> Iterator[DetectorEvent]:
        """Find out whether it is a nod; what nobody can tell of in time is an interruption."""
        late = doubt.silent >= _TOO_LATE and not doubt.said
        late = late or doubt.windows * _SECONDS >= _WEIGHED
        if doubt.said is Said.SPEECH or doubt.speech >= _LONG or late:
            if begun := self.believe():
                yield begun
        elif sum(islice(self._recent, _OF - _OF_AGAIN, None)) >= _AGAIN:
            doubt.asked, doubt.said = 0, None  # there is more of it than was asked about
        elif doubt.said is Said.NOTHING or (doubt.said and doubt.silent >= _NODDED):
            self._doubt = None
            self._recent.clear()
            if doubt.said is Said.NOTHING:
                yield SpeechDenied(self.position)
            else:
                self._before.clear()  # no sound is in two items
                yield Nodded(self.position)
        elif doubt.silent >= _BREAK and not doubt.asked:
            self._questions += 1
            doubt.asked = self._questions
            doubt.first = doubt.first or self._questions
            windows = doubt.windows + round(self.settings.prefix_padding / _SECONDS)
            newest = islice(self._before, max(0, len(self._before) - windows), None)
            yield WordsWanted(doubt.asked, AudioChunk(np.concatenate(list(newest)), INPUT_RATE))

    def so_far(self) -> AudioChunk:
        """The utterance as far as it has come; there is one while `is_open`."""
        return AudioChunk(np.concatenate(self._utterance), INPUT_RATE)

    def _describe(self, wait: float) -> Pause:
        level, background = self._level.decibels(self._utterance)
        return Pause(
            self._probability,
            self.settings.patience,
            self.patience.factor,
            wait,
            self._level.windows * _SECONDS,
            level,
            background,
        )

    def _forget_utterance(self) -> None:
        self._utterance = []
        self._phase, self._silent = _Phase.IDLE, 0
        self._warned = self._full = False


class _Doubt:
    """What may be an interruption: windows since its first, and what they were."""

    def __init__(self, windows: int, speech: int, reopens: bool) -> None:
        self.windows, self.speech, self.silent = windows, speech, 0
        self.reopens = reopens
        self.held = False  # the reply is
        self.asked = self.first = 0  # number of the newest question for its words, and of the first
        self.said: Said | None = None

    def push(self, *, speech: bool) -> None:
        self.windows += 1
        self.speech += speech
        self.silent = 0 if speech else self.silent + 1
