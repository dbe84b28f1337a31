"""Turn taking in simulated time: a detector, the table, and a model that takes as long as it is told."""

from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from duologue.audio import INPUT_RATE, AudioChunk
from duologue.conversation import Action, Conversation, Event, State
from duologue.events import ReplyAudible, Settings, SpeechPaused
from duologue.patience import Patience
from duologue.turn import WINDOW, TurnDetector

SECONDS = WINDOW / INPUT_RATE

LEVEL = 0.8
"""Decibels of a step in which tracks keep levels. No whole number of steps is the 18 dB at which the
detector's gate decides: windows that lie on it would go by the rounding of one machine."""

ANSWER = 0.064
"""Seconds that Smart Turn takes here; up to 0.16 changes nothing, says the study."""


@dataclass(slots=True)
class Outcome:
    """What happened.

    Attributes:
        sounds: when a reply began to be heard, in seconds.
        starts: replies that the model was asked for.
        drops: those of them that were taken back unheard.
        log: events and what was done about them, with their times.
    """

    sounds: list[float] = field(default_factory=list)
    starts: int = 0
    drops: int = 0
    log: list[str] = field(default_factory=list)


class Call:
    """What `Exchange` does about a conversation's decisions, without the sound."""

    def __init__(self, detector: TurnDetector, model_time: float) -> None:
        self.outcome = Outcome()
        self._detector, self._model_time = detector, model_time
        self._conversation = Conversation()
        self._ready: float | None = None
        self._let_out: float | None = None

    def receive(self, event: Event, now: float) -> None:
        """Take an event into account, and do what follows."""
        actions = self._conversation.receive(event)
        done = "".join(f" {action.name}" for action in actions)
        self.outcome.log.append(f"{now:.3f} {type(event).__name__}{done}")
        for action in actions:
            if action is Action.START_REPLY:
                self.outcome.starts += 1
                self._ready, self._let_out = now + self._model_time, None
            elif action is Action.LET_OUT:
                self._let_out = now
            elif action in (Action.DROP_REPLY, Action.STOP_REPLY):
                self.outcome.drops += self._ready is not None
                self._ready = None
        state = self._conversation.state
        self._detector.playing = state in (State.SPEAKING, State.DUCKED)
        if state is State.LISTENING:
            self._detector.close()

    def sound(self, now: float) -> None:
        """Let the reply be heard, if it is there and may."""
        if self._ready is None or self._let_out is None or self._ready > now:
            return
        self.outcome.sounds.append(max(self._ready, self._let_out))
        self._ready = None
        self.receive(ReplyAudible(self._conversation.number), now)


class Track(TypedDict):
    """A recording without its sound.

    Attributes:
        name: of the recording.
        speech: what Silero said of each window, in hundredths.
        level: of each window, in steps of `LEVEL` below full scale.
        finished: what Smart Turn said of the pause that was known at a window.
        events: what the product did, by its patience.
    """

    name: str
    speech: list[int]
    level: list[int]
    finished: dict[str, float]
    events: dict[str, list[str]]


def replay(track: Track, settings: Settings, model_time: float = 0.6) -> list[str]:
    """What the product does with a track."""
    patience = Patience()
    patience.learn(model_time)
    speech = iter(track["speech"])
    call = Call(TurnDetector(lambda _: next(speech) / 100, settings, patience), model_time)
    known = track["finished"] if settings.patience != "fixed" else {}  # else nobody asks
    answers: list[tuple[float, int, float]] = []
    for number, level in enumerate(track["level"], 1):
        now = number * SECONDS
        while answers and answers[0][0] <= now:
            call._detector.answer(*answers.pop(0)[1:])
        window = np.full(WINDOW, 10 ** (LEVEL * level / 20), np.float32)
        for event in call._detector.push(AudioChunk(window, INPUT_RATE)):
            finished = known.get(str(number))
            if isinstance(event, SpeechPaused) and finished is not None:
                answers.append((now + ANSWER, event.pause, finished))
            call.receive(event, now)
        call.sound(now)
    return call.outcome.log
