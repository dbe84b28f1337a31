"""Utterances to words: pocketsphinx, in processes of its own."""

import asyncio
import logging
import re
from collections.abc import Coroutine
from dataclasses import dataclass

from duologue.child import Child, Kept
from duologue.errors import ModelFailed

_log = logging.getLogger(__name__)

_CHILD = "duologue.models.cascade.pocketsphinx_child"

# Seconds that an utterance may take, and those that each second of it adds. It takes 0.13 of its own
# length on a machine with nothing else to do.
_LIMIT, _LIMIT_EACH = 3.0, 0.5

# Seconds that an abandoned utterance may still take. Most need less than the 0.5 s of a new process.
_PATIENCE = 0.5

_BYTES = 2 * 16_000  # of a second of PCM16

_QUESTION = re.compile(
    r"(what|who|whom|whose|which|when|where|why|how|is|are|am|was|were|do|does|did|can|could"
    r"|will|would|shall|should|has)\b"
)


@dataclass(slots=True, eq=False)
class _Place:
    """A process that recognises one utterance at a time.

    Attributes:
        kept: the process.
        asked: the one that has been sent an utterance and has not answered yet.
    """

    kept: Kept
    asked: Child | None = None


class Recogniser:
    """Recognises a few utterances at once; more wait in a queue, first come, first served."""

    def __init__(self, count: int) -> None:
        self._places = [_Place(Kept("recogniser", _start_child)) for _ in range(count)]
        self._free: asyncio.Queue[_Place] = asyncio.Queue()
        self._repairs: set[asyncio.Task[None]] = set()

    @property
    def trouble(self) -> str:
        """What is wrong with one of the processes at this moment; empty: nothing."""
        return next((place.kept.trouble for place in self._places if place.kept.trouble), "")

    async def start(self) -> None:
        """Start the processes.

        Raises:
            ModelUnavailable: one of them cannot be started; says why.
        """
        started = await asyncio.gather(
            *(place.kept.start() for place in self._places), return_exceptions=True
        )
        for failure in started:
            if failure is not None:
                raise failure
        for place in self._places:
            self._free.put_nowait(place)

    async def recognise(self, pcm: bytes) -> str:
        """What was said, written as a sentence; empty when there are no words in it.

        Args:
            pcm: PCM16 at 16 kHz.

        Raises:
            ModelFailed: the recogniser broke down or hung, and the one after it, too.
        """
        place = await self._free.get()
        answered = False
        try:
            words = await _ask(place, pcm)
            answered = True
        finally:
            if answered:
                self._free.put_nowait(place)
            else:
                self._in_background(self._repair(place))
        return written(words)

    async def close(self) -> None:
        """End the processes."""
        for task in self._repairs:
            task.cancel()
        await asyncio.gather(*self._repairs, return_exceptions=True)
        await asyncio.gather(*(place.kept.close() for place in self._places))

    async def _repair(self, place: _Place) -> None:
        """Make a place free again whose utterance was abandoned, or whose process broke down."""
        if place.asked and not await _finishes(place.asked):
            await place.asked.close()  # and another takes its place
        place.asked = None
        self._free.put_nowait(place)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)


def written(words: str) -> str:
    """Spoken words as people write them: the language model understands them better."""
    text = re.sub(r"\bi\b", "I", words.strip())
    if not text:
        return ""
    mark = "?" if _QUESTION.match(text) else "."
    return text[0].upper() + text[1:] + mark


async def _start_child() -> Child:
    return await Child.start("recogniser", _CHILD)


async def _ask(place: _Place, pcm: bytes) -> str:
    """The words of an utterance. Where a process broke down, the next one is asked once again."""
    for last in (False, True):
        child = place.asked = await place.kept.ready()
        child.send(len(pcm).to_bytes(4, "little") + pcm)
        try:
            words = await child.answer(_LIMIT + _LIMIT_EACH * len(pcm) / _BYTES)
        except ModelFailed as error:
            place.asked = None
            if last:
                raise
            _log.warning("%s; the utterance is recognised once again", error)
        else:
            place.asked = None
            return str(words)
    raise AssertionError("one of the two has returned or raised")


async def _finishes(child: Child) -> bool:
    """Whether a process comes to the end of an utterance that nobody wants any more."""
    try:
        await child.answer(_PATIENCE)
    except ModelFailed:
        return False
    return True
