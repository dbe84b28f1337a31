"""What the detector hears. Times are seconds of the session's incoming audio. Pure."""

from dataclasses import dataclass

from duologue.audio import AudioChunk
from duologue.timings import Pause


@dataclass(frozen=True, slots=True)
class SpeechSuspected:
    """While a reply is played, something began that may be speech."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechDenied:
    """It was none, or too little of it to mean anything."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechHeld:
    """It lasts: an interruption, or no more than a nod. Nothing is played until that is known."""

    at: float


@dataclass(frozen=True, slots=True)
class WordsWanted:
    """The words of it would tell; `sound` at `INPUT_RATE`, for `TurnDetector.judge` with this number."""

    number: int
    sound: AudioChunk


@dataclass(frozen=True, slots=True)
class Nodded:
    """It was a nod: the user listens on."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The user began to speak; `at` is where the utterance begins, prefix padding included."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The user has paused, inside the turn or at its end.

    Attributes:
        pause: number of this pause, for `TurnDetector.answer`.
        sound: the newest 8 seconds of the utterance, at `INPUT_RATE`.
        last_word: where the speech before the pause ended.
    """

    pause: int
    sound: AudioChunk
    last_word: float


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The user goes on with the utterance; `at` is where that was known."""

    at: float


@dataclass(frozen=True, slots=True)
class ReplyDue:
    """Time to start the reply, so that it is there when the turn ends, if it does.

    Attributes:
        utterance: so far, from the prefix padding on, at `INPUT_RATE`.
    """

    utterance: AudioChunk


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The user has finished.

    Attributes:
        utterance: from the prefix padding to the end of the silence, at `INPUT_RATE`.
        at: where it was decided.
        pause: what the decision went by; None: the time limit, or the client.
    """

    utterance: AudioChunk
    at: float
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class LimitNear:
    """The user speaks, and the time limit will end the utterance in `left` seconds of speech."""

    at: float
    left: float


DetectorEvent = (
    SpeechSuspected
    | SpeechDenied
    | SpeechHeld
    | WordsWanted
    | Nodded
    | SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | ReplyDue
    | TurnEnded
    | LimitNear
)
