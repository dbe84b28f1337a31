"""Turn taking in simulated time: a detector, the table, and a model that takes as long as it is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, Samples, silence
from duologue.conversation.dialogue import Dialogue
from duologue.conversation.effects import Ask, Drop, Effect, Send, Start
from duologue.conversation.events import (
    AudioReceived,
    ChunkGenerated,
    ClientEvent,
    EndOfTurnAnswered,
    ReplyDelta,
    Report,
)
from duologue.conversation.items import Conversation, Item, ReplyChunk
from duologue.conversation.prompt import Capabilities
from duologue.settings import Settings
from duologue.turns.detector import WINDOW, TurnDetector, Vad
from duologue.turns.patience import Patience

SECONDS = WINDOW / INPUT_RATE

LEVEL = 0.8
"""Decibels of a step in which tracks keep levels. No whole number of steps is the 18 dB at which the
detector's gate decides: windows that lie on it would go by the rounding of one machine."""

_REPLY = ReplyChunk(silence(60.0, REPLY_RATE))

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
    """A dialogue without its session: the model is a time, Smart Turn a table, the line a list.

    Attributes:
        outcome: what happened so far.
    """

    def __init__(
        self,
        settings: Settings,
        patience: Patience,
        vad: Vad,
        model_time: float,
        before: str = "",
    ) -> None:
        """Nobody has spoken, or the model has said something `before`."""
        self.outcome = Outcome()
        conversation = Conversation()
        if before:
            conversation.add(Item("item_a", "assistant", text=before, status="completed"))
        self._detector = TurnDetector(vad, settings, patience)
        nothing = Capabilities(history=False, instructions=False, transcribes=False, note="")
        self._dialogue = Dialogue("call", self._detector, nothing, conversation)
        self._model_time = model_time
        self._made: float | None = None  # when the model has made the reply that it makes
        self._reply = 0  # its number
        self._sounds = False  # the client has got it

    def hear(self, window: Samples, now: float, *, echo: bool = False) -> Sequence[Effect]:
        """The user's microphone goes on by a window; what the dialogue does about that."""
        return self.receive(AudioReceived(AudioChunk(window, INPUT_RATE), echo), now)

    def receive(self, event: ClientEvent | Report, now: float) -> Sequence[Effect]:
        """Take an event into account, and do what follows."""
        effects = self._dialogue.receive(event, now)
        for effect in effects:
            self._perform(effect, now)
        return effects

    def sound(self, now: float) -> None:
        """Let the model make its reply, if it is time."""
        made = self._made
        if made is not None and made <= now:
            self._made = None
            self.receive(ChunkGenerated(self._reply, _REPLY), made)

    def _perform(self, effect: Effect, now: float) -> None:
        log = self.outcome.log
        match effect:
            case Start(reply):
                self.outcome.starts += 1
                self._made, self._reply, self._sounds = now + self._model_time, reply, False
                log.append(f"{now:.3f} Start")
            case Drop():
                self.outcome.drops += not self._sounds
                self._made = None
                log.append(f"{now:.3f} Drop")
            case Send(event):
                if isinstance(event, ReplyDelta):
                    self._sounds = True
                    self.outcome.sounds.append(now)
                log.append(f"{now:.3f} {type(event).__name__}")


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
    call = Call(settings, patience, lambda _: next(speech) / 100, model_time)
    known = track["finished"] if settings.patience != "fixed" else {}  # else nobody asks
    answers: list[tuple[float, int, float]] = []
    for number, level in enumerate(track["level"], 1):
        now = number * SECONDS
        while answers and answers[0][0] <= now:
            _, pause, probability = answers.pop(0)
            call.receive(EndOfTurnAnswered(pause, probability), now)
        window = np.full(WINDOW, 10 ** (LEVEL * level / 20), np.float32)
        for effect in call.hear(window, now):
            finished = known.get(str(number))
            if isinstance(effect, Ask) and finished is not None:
                answers.append((now + ANSWER, effect.pause, finished))
        call.sound(now)
    return call.outcome.log
