"""Utterances to words: pocketsphinx, in processes of its own."""

import asyncio
import logging
import re
from collections.abc import Coroutine

from duologue.child import Child
from duologue.errors import DuologueError, ModelFailed

_log = logging.getLogger(__name__)

# Seconds that an abandoned utterance may still take. Most need less than the 0.5 s of a new process.
_PATIENCE = 0.5

_QUESTION = re.compile(
    r"(what|who|whom|whose|which|when|where|why|how|is|are|am|was|were|do|does|did|can|could"
    r"|will|would|shall|should|has)\b"
)


class Recogniser:
    """Recognises a few utterances at once; more wait in a queue, first come, first served."""

    def __init__(self, count: int) -> None:
        self._count = count
        # None: a place whose process could not be started again; who takes it tries once more.
        self._free: asyncio.Queue[Child | None] = asyncio.Queue()
        self._children: set[Child] = set()
        self._repairs: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the processes.

        Raises:
            ModelUnavailable: one of them cannot be started; says why.
        """
        started = await asyncio.gather(
            *(self._start_child() for _ in range(self._count)), return_exceptions=True
        )
        for child in started:
            if isinstance(child, BaseException):
                raise child
            self._free.put_nowait(child)

    async def recognise(self, pcm: bytes) -> str:
        """What was said, written as a sentence; empty when there are no words in it.

        Args:
            pcm: PCM16 at 16 kHz.

        Raises:
            ModelFailed: the recogniser broke down; a new one starts.
        """
        child = await self._free.get()
        answered = False
        try:
            if child is None:
                child = await self._start_child()
            child.send(len(pcm).to_bytes(4, "little") + pcm)
            words = await child.answer()
            answered = True
        finally:
            if answered:
                self._free.put_nowait(child)
            else:
                self._in_background(self._repair(child))
        return written(str(words))

    async def close(self) -> None:
        """End the processes."""
        for task in self._repairs:
            task.cancel()
        await asyncio.gather(*self._repairs, return_exceptions=True)
        await asyncio.gather(*(child.close() for child in self._children))
        self._children.clear()

    async def _start_child(self) -> Child:
        child = await Child.start("recogniser", "duologue.models.cascade.pocketsphinx_child")
        self._children.add(child)
        return child

    async def _repair(self, child: Child | None) -> None:
        """Make a place free again whose utterance was abandoned, or whose process broke down."""
        if child and not await _finishes(child):
            await child.close()
            self._children.discard(child)
            child = None
        if child is None:
            try:
                child = await self._start_child()
            except DuologueError as error:
                _log.warning("%s", error)
        self._free.put_nowait(child)

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


async def _finishes(child: Child) -> bool:
    """Whether a process comes to the end of an utterance that nobody wants any more."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await child.answer()
    except (TimeoutError, ModelFailed):
        return False
    return True
