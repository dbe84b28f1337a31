"""What tests of the cascade ask of it, and how they watch its processes."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import psutil
import pytest

from duologue import weights
from duologue.audio import INPUT_RATE, silence
from duologue.model import Prompt, ReplyChunk, SpeechModel, Turn

needs_weights = pytest.mark.skipif(
    not (weights.cache_folder() / weights.WEIGHTS["smollm2-135m"].file_name).is_file(),
    reason="needs the weights; run: duologue pull smollm2-135m",
)
together = pytest.mark.asyncio(loop_scope="module")  # the model takes seconds to start

SOON = 0.05  # seconds: an abandoned reply is gone


async def collect(model: SpeechModel, prompt: Prompt) -> list[ReplyChunk]:
    return [chunk async for chunk in model.reply(prompt)]


def said(chunks: list[ReplyChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def turn(user: str, reply: str) -> Turn:
    return Turn("turn", silence(0, INPUT_RATE), user, [ReplyChunk(text=reply)], status="completed")


def children(part: str) -> list[psutil.Process]:
    """The processes of a part of the model that run."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended in the meantime
            if any(part in argument for argument in child.cmdline()):
                found.append(child)
    return found


def computed(part: str) -> float:
    """Seconds that the processes of a part have computed."""
    seconds = 0.0
    for child in children(part):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += child.cpu_times().user
    return seconds


async def computes_on(part: str) -> float:
    """Seconds that the processes of a part compute until they come to rest.

    Not by the clock: on a loaded machine they get less of it. They may have a piece of work to end.
    """
    seconds, before = 0.0, computed(part)
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0.1)
            now = computed(part)
            if abs(now - before) < 0.02:
                return seconds
            seconds += max(0.0, now - before)  # below 0 where a process was ended
            before = now


async def wait_for(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not what():
            await asyncio.sleep(0.02)


async def duration(work: Awaitable[object]) -> float:
    """Seconds that something takes, without those in which a loaded machine let nobody go on."""
    began = before = time.perf_counter()
    task, seconds = asyncio.ensure_future(work), 0.0
    while not task.done():
        await asyncio.wait([task], timeout=0.001)
        now = time.perf_counter()
        seconds += min(now - before, 0.002)
        before = now
    assert before - began < 2, "something blocked the loop"
    return seconds


async def abandon(task: "asyncio.Task[object]") -> float:
    """Cancel a task; how long that took, in seconds as `duration` counts them."""
    task.cancel()
    seconds = await duration(task)
    with pytest.raises(asyncio.CancelledError):
        await task
    return seconds
