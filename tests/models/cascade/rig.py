"""What tests of the cascade ask of it, and how they watch its processes."""

import asyncio
import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import AsyncGeneratorType
from typing import Any

import numpy as np
import pytest
from rigs.processes import computed

from duologue import weights
from duologue.audio import INPUT_RATE, AudioChunk, Samples, concatenate, silence
from duologue.conversation.items import Item, ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.models import SpeechModel
from duologue.testing import turn_items

_NEEDED = ("smollm2-135m", "whisper-base", "kokoro", "misaki-en")
_MISSING = [name for name in _NEEDED if not weights.is_there(name)]
needs_weights = pytest.mark.skipif(
    bool(_MISSING), reason=f"needs the weights; run: duologue pull {' '.join(_MISSING)}"
)
together = pytest.mark.asyncio(loop_scope="module")  # the model takes seconds to start

_CLIENTS = {"openai", "httpx2", "httpcore2"}

LIMIT = 120  # seconds that something may take to come about, on however busy a machine

# Of the event loop, within which an abandoned reply is gone: so it has waited for no process.
_ROUNDS = 10


async def collect(model: SpeechModel, prompt: Prompt) -> list[ReplyChunk]:
    return [chunk async for chunk in model.reply(prompt)]


def said(chunks: list[ReplyChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def turn(user: str, reply: str) -> list[Item]:
    """The items of a turn with these words."""
    return turn_items("turn", silence(0, INPUT_RATE), user, [ReplyChunk(text=reply)])


async def come_to_rest(part: str) -> float:
    """Wait until the processes of a part compute no more; gives the seconds that they still computed.

    They may have a piece of work to end.
    """
    begun = computed(part)
    async with asyncio.timeout(LIMIT):
        while True:
            before = computed(part)
            await asyncio.sleep(0.3)
            if computed(part) == before:
                return before - begun


@contextlib.contextmanager
def left_open() -> Iterator[list[str]]:
    """The names of a client's streams that were opened inside and are left to the garbage collector.

    It would do so in whichever thread it happens to run, beside the loop that reads them.
    """
    gc.collect()
    before, names = {id(made) for made in _streams()}, list[str]()
    gc.disable()
    try:
        yield names
        names += [made.__qualname__ for made in _streams() if id(made) not in before]
    finally:
        gc.enable()


def _streams() -> list[AsyncGeneratorType[object, object]]:
    made = (thing for thing in gc.get_objects() if type(thing) is AsyncGeneratorType)
    return [thing for thing in made if _CLIENTS & {*Path(thing.ag_code.co_filename).parts}]


async def until(true: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.01)


async def abandon(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, however long that takes."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def abandon_at_once(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, which must wait for nothing."""
    task.cancel()
    await ends_at_once(task)
    assert task.cancelled()


async def ends_at_once(task: "asyncio.Task[Any]") -> None:
    """See to it that a task ends without waiting for anything."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
    assert task.done()


async def spoken(words: str, voice: str = "en-us", around: float = 0.3) -> AudioChunk:
    """Somebody says this, at `INPUT_RATE`, with so many seconds of silence around it."""
    edge, sound = silence(around, INPUT_RATE), AudioChunk(_spoken(words, voice), INPUT_RATE)
    return concatenate([edge, sound, edge], INPUT_RATE)


@cache
def _spoken(words: str, voice: str) -> Samples:
    """By a process that has said nothing before: espeak-ng speaks differently after other words."""
    command = [sys.executable, "-c", _SPEAK, words, voice]
    sound = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(sound, np.float32)


_SPEAK = """
import asyncio, sys
from duologue.models.cascade.espeak import Espeak

async def speak(words, voice):
    async for sound in Espeak(voice).speak(words):
        sys.stdout.buffer.write(sound.at(16_000).samples.tobytes())

asyncio.run(speak(*sys.argv[1:]))
"""
