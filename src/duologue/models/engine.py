"""Many replies at once from one network: a thread that steps all of them together."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import ModelFailed
from duologue.models import BatchedModel, BatchedOverhearer

logger = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds that a step, or the loading, may take when all is to end

_Outcome = ReplyChunk | ModelFailed | None  # None: the reply has ended


@dataclass(slots=True, eq=False)
class _Request:
    """A reply, or work ahead of one, that somebody waits for.

    `abandoned` is set by the waiter, read by the thread.
    """

    prompt: Prompt
    loop: asyncio.AbstractEventLoop
    outcomes: asyncio.Queue[_Outcome] = field(default_factory=asyncio.Queue)
    abandoned: bool = False

    def deliver(self, outcome: _Outcome) -> None:
        """From the engine's thread to the waiter's loop."""
        try:
            self.loop.call_soon_threadsafe(self.outcomes.put_nowait, outcome)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self.abandoned = True


class Engine:
    """A `SpeechModel` made of a `BatchedModel`, with continuous batching.

    Replies join and leave between steps; who finds no free slot waits in order of arrival. Work ahead of
    replies has as many slots of its own, so no reply waits for one of those. The network is called from
    one thread only, and never under the lock, so that a long prefill cannot freeze an event loop. What it
    raises ends the replies concerned, never the thread.
    """

    def __init__(self, model: BatchedModel) -> None:
        self._model = model
        self._waiting: deque[_Request] = deque()
        self._overheard: deque[_Request] = deque()
        self._active: dict[int, _Request] = {}  # by slot; the thread's own
        self._wake = threading.Condition()
        self._closing = False
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def capabilities(self) -> Capabilities:
        """The network's."""
        return self._model.capabilities

    @property
    def free_slots(self) -> int:
        """Slots without a reply at this moment."""
        return self._model.slots - sum(slot < self._model.slots for slot in self._active)

    async def start(self) -> None:
        """Start the thread, and let the network load there.

        Raises:
            DuologueError: it cannot be loaded.
        """
        self._thread.start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._started))
        except asyncio.CancelledError:
            await self.close()
            raise

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """Wait for a slot, then give the pieces as they are made.

        Raises:
            ModelFailed: the network raised, or the engine was closed.
        """
        async with aclosing(self._ask(prompt, self._waiting)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def overhear(self, prompt: Prompt) -> str:
        """Let the network, a `BatchedOverhearer`, work ahead; it settles no words.

        Raises:
            ModelFailed: the network raised, or the engine was closed.
        """
        async with aclosing(self._ask(prompt, self._overheard)) as chunks:
            async for _ in chunks:
                pass
        return ""

    async def _ask(
        self, prompt: Prompt, queue: deque[_Request]
    ) -> AsyncGenerator[ReplyChunk, None]:
        request = _Request(prompt, asyncio.get_running_loop())
        with self._wake:
            if self._closing:
                raise ModelFailed("the model is closed")
            queue.append(request)
            self._wake.notify()
        try:
            while (outcome := await request.outcomes.get()) is not None:
                if isinstance(outcome, ModelFailed):
                    raise outcome
                yield outcome
        finally:
            request.abandoned = True

    async def close(self) -> None:
        """End the thread after the step it is in; one that hangs is left behind."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _PATIENCE)
            if self._thread.is_alive():
                logger.error(
                    "the model did not end within %g s: it hangs in its network", _PATIENCE
                )
                for request in self._requests():
                    request.deliver(ModelFailed("the model was closed, and hangs"))

    def _run(self) -> None:
        try:
            self._model.start()
        except BaseException as error:  # noqa: BLE001  whoever waits for the start raises it
            self._started.set_exception(error)
        else:
            self._started.set_result(None)
            self._serve()
        self._model.close()

    def _serve(self) -> None:
        while self._wait_for_work():
            self._evict_abandoned()
            slots = self._model.slots
            if self._overheard:  # before the replies, which take up what comes of it
                overhearer = cast(BatchedOverhearer, self._model)
                self._admit(self._overheard, range(slots, 2 * slots), overhearer.overhear)
            self._admit(self._waiting, range(slots), self._model.admit)
            self._step()
        for request in self._requests():
            request.deliver(ModelFailed("the model was closed in the middle of a reply"))

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._requests() or self._closing):
                self._wake.wait()
            return not self._closing

    def _requests(self) -> list[_Request]:
        return [*self._active.values(), *self._waiting, *self._overheard]

    def _evict_abandoned(self) -> None:
        for slot in [slot for slot, request in self._active.items() if request.abandoned]:
            self._free(slot, None)

    def _admit(
        self, queue: deque[_Request], slots: range, begin: Callable[[int, Prompt], None]
    ) -> None:
        free = [slot for slot in slots if slot not in self._active]
        while free:
            with self._wake:
                if not queue:
                    return
                request = queue.popleft()
            if request.abandoned:
                continue
            slot = free.pop(0)
            self._active[slot] = request
            try:
                begin(slot, request.prompt)
            except Exception as error:
                logger.exception("the model failed to begin a reply")
                self._free(slot, _failure(error))

    def _step(self) -> None:
        slots = sorted(self._active)
        if not slots:
            return
        try:
            chunks = list(self._model.step(slots))
            if len(chunks) != len(slots):
                raise ValueError(f"{len(chunks)} chunks for {len(slots)} replies")  # noqa: TRY301
        except Exception as error:
            logger.exception("the model failed in the middle of %d replies", len(slots))
            for slot in slots:
                self._free(slot, _failure(error))
            return
        for slot, chunk in zip(slots, chunks, strict=True):
            if chunk is None:
                self._free(slot, None)
            else:
                self._active[slot].deliver(chunk)

    def _free(self, slot: int, outcome: _Outcome) -> None:
        request = self._active.pop(slot)
        try:
            self._model.evict(slot)
        except Exception:
            logger.exception("the model failed to free slot %d", slot)
        request.deliver(outcome)


def _failure(error: Exception) -> ModelFailed:
    failure = ModelFailed(f"the model failed: {error or type(error).__name__}")
    failure.__cause__ = error
    return failure
