"""What the user says beside a reply that may not be interrupted: it is answered if somebody asks. Pure."""

from duologue.audio import AudioChunk
from duologue.conversation.floor import Floor, State
from duologue.conversation.replies import Replies
from duologue.conversation.speech import Speech
from duologue.turns.detector import TurnDetector
from duologue.turns.events import DetectorEvent, SpeechPaused, SpeechStarted, TurnEnded

_REPLYING = (State.THINKING, State.SPEAKING, State.DUCKED)


class Beside:
    """The user's speech while such a reply is made or sounds."""

    def __init__(
        self, floor: Floor, detector: TurnDetector, speech: Speech, replies: Replies
    ) -> None:
        self._floor = floor
        self._detector = detector
        self._speech = speech
        self._replies = replies

    @property
    def is_on(self) -> bool:
        """Whether a reply is made or sounds that goes on whatever the user says."""
        settings = self._detector.settings
        listens = settings.turn_detection and not settings.half_duplex
        return listens and not settings.interrupt_response and self._floor.state in _REPLYING

    @property
    def is_open(self) -> bool:
        """Whether the user says something beside it."""
        return self.is_on and self._speech.is_open

    def follow(self, event: DetectorEvent) -> None:
        """The detector has heard this."""
        match event:
            case SpeechStarted(at):
                self._speech.begin(at)
            case SpeechPaused():
                self._speech.note_pause(event)
            case TurnEnded(utterance):
                self.commit(utterance)

    def commit(self, utterance: AudioChunk) -> None:
        """What the user has said becomes part of the conversation."""
        self._speech.utterance = utterance
        self._speech.commit()
        self._replies.ask_for_words(self._speech.item)
