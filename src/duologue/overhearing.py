"""Lets a model hear along while the user speaks, and tells the client the words that are settled."""

import asyncio
import logging
from collections.abc import Callable

from duologue.audio import AudioChunk
from duologue.errors import DuologueError
from duologue.events import UserOverheard
from duologue.model import Overhearer, Prompt, SpeechModel
from duologue.outbox import Outbox
from duologue.turn import TurnDetector

logger = logging.getLogger(__name__)

_STEP = 0.5  # seconds of speech between two looks: captions keep up, and a core stays free


class Overhearing:
    """One session's. The audio is its clock: it looks after each half second of speech, and at each pause.

    At a pause the utterance may be over: then the model has understood it before it is asked. For a model
    that overhears only pauses, a look is over, too, as soon as the user goes on.
    """

    def __init__(
        self,
        model: SpeechModel,
        detector: TurnDetector,
        outbox: Outbox,
        prompt: Callable[[AudioChunk], Prompt],
    ) -> None:
        """Listen for a session.

        Args:
            model: that hears along, if it can.
            detector: that knows when the user speaks.
            outbox: for what is settled.
            prompt: what the model would be asked, if this were the utterance.
        """
        self._prompt = prompt
        self._model = model
        self._detector = detector
        self._outbox = outbox
        self._turn_id: str | None = None
        self._told = ""  # of its words
        self._position = 0.0  # in the audio, of the last look
        self._pause = 0  # that it was in
        self._look: asyncio.Task[None] | None = None

    def follow(self, turn_id: str | None, tasks: asyncio.TaskGroup) -> None:
        """More sound has come. One look at a time; what comes meanwhile is seen by the next one.

        Args:
            turn_id: of the turn that the user speaks in; None: in none.
            tasks: for a look to run in.
        """
        if self._model.capabilities.overhears == "nothing":
            return
        if turn_id != self._turn_id:
            self.stop()
            self._turn_id, self._told = turn_id, ""
            self._position, self._pause = self._detector.began, 0
        if self._only_pauses and self._detector.hears_speech:
            self.stop()  # it was no end
        if turn_id is not None and not self._look and self._is_due():
            self._position, self._pause = self._detector.position, self._detector.pause
            self._look = tasks.create_task(
                self._overhear(turn_id, self._prompt(self._detector.so_far()))
            )

    @property
    def _only_pauses(self) -> bool:
        return self._model.capabilities.overhears == "pauses"

    def stop(self) -> None:
        """Let go of the utterance."""
        if self._look:
            self._look.cancel()
        self._look = None

    def _is_due(self) -> bool:
        if pause := self._detector.pause:
            return pause != self._pause
        if self._only_pauses:
            return False
        return self._detector.hears_speech and self._detector.position - self._position >= _STEP

    async def _overhear(self, turn_id: str, prompt: Prompt) -> None:
        look = asyncio.current_task()
        try:
            model: Overhearer = self._model  # type: ignore[assignment]  # its capabilities say so
            words = await model.overhear(prompt)
        except DuologueError as error:
            # The reply will tell; what is overheard only saves time.
            logger.debug("%s: not overheard: %s", prompt.listener, error)
        except Exception:
            logger.exception("%s: the model failed as it overheard", prompt.listener)
        else:
            if turn_id == self._turn_id:
                self._tell(turn_id, words)
        finally:
            if self._look is look:
                self._look = None

    def _tell(self, turn_id: str, words: str) -> None:
        if len(words) > len(self._told) and words.startswith(self._told):
            new, self._told = words[len(self._told) :], words
            self._outbox.tell(UserOverheard(turn_id, new))
