"""A model under watch: whoever wrote it, its replies are sound, and none is waited for without an end."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import numpy as np

from duologue.audio import REPLY_RATE, AudioChunk
from duologue.clock import Clock, WallClock
from duologue.conversation.items import FunctionCall, ReplyChunk, Usage
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import ModelFailed, NotOffered, quoted
from duologue.models import Overhearer, Speaker, SpeechModel, Transcriber

logger = logging.getLogger(__name__)

_QUEUE = 3  # times the patience: as long may a reply wait while the model serves others
_END = ReplyChunk()


class Watched:
    """A `SpeechModel` that passes on what another says, if that is sound and comes in time.

    A model that gives nothing to anybody for `patience` seconds hangs, and the replies that wait for
    it fail. While it serves others, a reply may wait for its turn: three times as long, not for ever.

    Attributes:
        patience: seconds.
        clock: by which they pass.
    """

    def __init__(
        self, model: SpeechModel, patience: float = 60.0, clock: Clock | None = None
    ) -> None:
        self.patience = patience
        self.clock = clock or WallClock()
        self._model = model
        self._alive = self.clock.now()  # when it last gave anybody anything
        self._hangs = False

    @property
    def capabilities(self) -> Capabilities:
        """The model's."""
        return self._model.capabilities

    @property
    def trouble(self) -> str:
        """What is wrong with the model at this moment, in a sentence; empty: nothing is known."""
        if self._hangs:
            return f"the model hangs: it gave nothing for {self.patience:g} s"
        return str(getattr(self._model, "trouble", ""))

    async def start(self) -> None:
        """Start the model."""
        await self._model.start()

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """What the model answers.

        Raises:
            ModelFailed: it broke down, it hangs, or what it gave is no piece of a reply.
        """
        async with aclosing(self._sound(self._model.reply(prompt))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _sound(
        self, given: AsyncGenerator[ReplyChunk, None]
    ) -> AsyncGenerator[ReplyChunk, None]:
        watch = _Watch(self)
        try:
            async with aclosing(given) as chunks:
                while (chunk := await watch.wait_for(chunks)) is not _END:
                    yield _checked(chunk)
        finally:
            await watch.end()

    async def overhear(self, prompt: Prompt) -> str:
        """What the model, an `Overhearer`, has understood so far."""
        words = await cast(Overhearer, self._model).overhear(prompt)
        if not isinstance(words, str):
            raise ModelFailed("the model overheard words that are no str")
        return words

    async def transcribe(
        self, utterance: AudioChunk, language: str = "", listener: str = "", likely: str = ""
    ) -> tuple[str, str]:
        """The words that the model, a `Transcriber`, hears, and their language.

        Raises:
            NotOffered: it is none.
            ModelFailed: it broke down or hangs.
        """
        if not hasattr(self._model, "transcribe"):
            raise _not_offered("transcribes nothing")
        try:
            async with asyncio.timeout(_QUEUE * self.patience):
                return await cast(Transcriber, self._model).transcribe(
                    utterance, language, listener, likely
                )
        except TimeoutError as error:
            raise ModelFailed(
                f"the model transcribed nothing for {_QUEUE * self.patience:.0f} s"
            ) from error

    async def speak(
        self, text: str, voice: str = "", speed: float = 1.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """The sound of a text that the model, a `Speaker`, reads out.

        Raises:
            NotOffered: it is none.
            InvalidSetting: there is no such voice.
            ModelFailed: it broke down or hangs, or what it gave is no sound.
        """
        if not hasattr(self._model, "speak"):
            raise _not_offered("reads nothing out")
        sounds = cast(Speaker, self._model).speak(text, voice, speed)
        async with aclosing(self._sound(_as_reply(sounds))) as chunks:
            async for chunk in chunks:
                if chunk.audio:
                    yield chunk.audio

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()

    def note_life(self) -> None:
        """The model gave somebody something."""
        self._alive, self._hangs = self.clock.now(), False

    def due(self, asked: float) -> float:
        """When the wait for a piece that was asked for at that time is over, as far as known by now."""
        return min(max(asked, self._alive) + self.patience, asked + _QUEUE * self.patience)

    def give_up(self, asked: float) -> ModelFailed:
        """Why a wait is over."""
        waited = self.clock.now() - asked
        if self.clock.now() < max(asked, self._alive) + self.patience:
            return ModelFailed(
                f"the model was busy with other replies for {waited:.0f} s; try again later"
            )
        self._hangs = True
        logger.error("the model hangs: it gave nothing for %.0f s", waited)
        return ModelFailed(f"the model gave nothing for {waited:.0f} s, so the reply was ended")


class _Watch:
    """Waits for one reply's pieces, and ends a wait that lasts too long, as `asyncio.timeout` would.

    From its first piece to its last, the model runs in the task of whoever asked: what it is made of
    may depend on that.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._asked = 0.0  # when, for the piece that is waited for
        self._waiting: asyncio.Task[object] | None = None
        self._failure: ModelFailed | None = None
        self._task = asyncio.create_task(self._run())

    async def wait_for(self, chunks: AsyncGenerator[ReplyChunk, None]) -> ReplyChunk:
        """The next piece; `_END` after the last."""
        watched, task = self._watched, asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._asked, self._waiting = watched.clock.now(), task
        try:
            chunk = await anext(chunks, _END)
        except asyncio.CancelledError as cancelled:
            # If more than this watch has cancelled it, it stays cancelled.
            if self._failure and task.uncancel() <= cancelling:
                raise self._failure from cancelled
            raise
        finally:
            self._waiting = None
        watched.note_life()
        return chunk

    async def end(self) -> None:
        """Watch no longer."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        watched = self._watched
        while True:
            left = watched.patience
            if self._waiting:
                left = watched.due(self._asked) - watched.clock.now()
            if left > 0:
                await watched.clock.sleep(left)
            elif self._waiting:
                self._failure = watched.give_up(self._asked)
                self._waiting.cancel()
                return


async def _as_reply(sounds: AsyncGenerator[AudioChunk, None]) -> AsyncGenerator[ReplyChunk, None]:
    async with aclosing(sounds):
        async for sound in sounds:
            yield ReplyChunk(sound)


def _not_offered(what: str) -> NotOffered:
    return NotOffered(
        f"the model that is served here {what}; start the server with --model cascade"
    )


def _checked(chunk: ReplyChunk) -> ReplyChunk:
    """A piece that is one; where its sound has no samples, without sound."""
    if not isinstance(chunk, ReplyChunk):
        raise ModelFailed(f"the model gave {_kind(chunk)} and not a ReplyChunk")
    if not isinstance(chunk.text, str) or not isinstance(chunk.user_text, str | None):
        raise ModelFailed("the model gave words that are no str")
    if not isinstance(chunk.call, FunctionCall | None):
        raise ModelFailed(f"the model gave {_kind(chunk.call)} for a call and not a FunctionCall")
    if not _is_usage(chunk.usage):
        raise ModelFailed("the model gave usage that is no count of tokens")
    if chunk.audio is None:
        return chunk
    if not isinstance(chunk.audio, AudioChunk):
        raise ModelFailed(f"the model gave {_kind(chunk.audio)} for sound and not an AudioChunk")
    samples, rate = chunk.audio.samples, chunk.audio.rate
    if rate != REPLY_RATE:
        raise ModelFailed(f"the model gave sound at {quoted(rate)} Hz; it is {REPLY_RATE} Hz")
    if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 1:
        raise ModelFailed(f"the model gave {_kind(samples)} for samples; they are float32 [T]")
    if not np.isfinite(samples).all():
        raise ModelFailed("the model gave sound that holds no numbers (NaN or infinity)")
    return chunk if len(samples) else dataclasses.replace(chunk, audio=None)


def _is_usage(usage: object) -> bool:
    if not isinstance(usage, Usage):
        return usage is None
    counts = (usage.input_text, usage.output_text)
    return all(type(count) is int and count >= 0 for count in counts)


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"
