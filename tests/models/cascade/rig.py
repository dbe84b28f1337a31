"""What tests of the cascade ask of it, and how they watch its processes."""

import asyncio
import contextlib
import time

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


async def comes_to_rest(part: str, within: float) -> bool:
    """Whether the processes of a part stop computing; they may have a piece of work to end."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        before = computed(part)
        await asyncio.sleep(0.1)
        if abs(computed(part) - before) < 0.02:
            return True
    return False


async def abandon(task: "asyncio.Task[object]") -> float:
    """Cancel a task; how long that took, in seconds."""
    began = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.perf_counter() - began
