"""When a model looks at an utterance that goes on, and which of its words are new. Pure."""

from collections.abc import Callable, Iterator
from typing import Literal

from duologue.audio import AudioChunk
from duologue.conversation.effects import Effect, Overhear, Send, StopOverhearing
from duologue.conversation.events import Overheard, UserOverheard
from duologue.conversation.prompt import Prompt
from duologue.turns.detector import TurnDetector

_STEP = 0.5  # seconds of speech between two looks: captions keep up, and a core stays free


class Overhearing:
    """One session's. The model looks after each half second of speech, and at each pause.

    The audio is its clock. At a pause the utterance may be over: then the model has understood it before
    it is asked. For a model that overhears only pauses, a look is over, too, as soon as the user goes on.
    """

    def __init__(
        self,
        overhears: Literal["nothing", "speech", "pauses"],
        detector: TurnDetector,
        prompt: Callable[[AudioChunk], Prompt],
    ) -> None:
        """Overhear for a session.

        Args:
            overhears: what the model overhears.
            detector: that knows when the user speaks.
            prompt: what the model would be asked, if this were the utterance.
        """
        self._overhears = overhears
        self._detector = detector
        self._prompt = prompt
        self._item_id: str | None = None
        self._told = ""  # of its words
        self._position = 0.0  # in the audio, of the last look
        self._pause = 0  # that it was in
        self._look = 0  # number of the newest
        self._looking = False

    def follow(self, item_id: str | None) -> Iterator[Effect]:
        """More sound has come. One look at a time; what comes meanwhile is seen by the next one.

        Args:
            item_id: of what the user says; None: the user says nothing.
        """
        if self._overhears == "nothing":
            return
        if item_id != self._item_id:
            yield from self.stop()
            self._item_id, self._told = item_id, ""
            self._position, self._pause = self._detector.began, 0
        if self._overhears == "pauses" and self._detector.hears_speech:
            yield from self.stop()  # the pause was no end
        if item_id is not None and not self._looking and self._is_due():
            self._position, self._pause = self._detector.position, self._detector.pause
            self._look += 1
            self._looking = True
            yield Overhear(self._look, self._prompt(self._detector.so_far()))

    def hear(self, event: Overheard) -> Iterator[Effect]:
        """The model has looked: send the words that are new and settled."""
        if not self._looking or event.look != self._look:
            return
        self._looking = False
        words = event.words
        if self._item_id and len(words) > len(self._told) and words.startswith(self._told):
            new, self._told = words[len(self._told) :], words
            yield Send(UserOverheard(self._item_id, new))

    def stop(self) -> Iterator[Effect]:
        """Let go of the utterance."""
        if self._looking:
            self._looking = False
            yield StopOverhearing()

    def _is_due(self) -> bool:
        if pause := self._detector.pause:
            return pause != self._pause
        if self._overhears == "pauses":
            return False
        return self._detector.hears_speech and self._detector.position - self._position >= _STEP
