"""A session under way, with a client, a scripted model and a clock that tests drive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation.events import AudioReceived, UserNotTranscribed
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.models import Transcriber
from duologue.session.session import EndOfTurn, Limits, Session
from duologue.settings import Settings
from duologue.testing import (
    FakeClock,
    LoudnessVad,
    MemoryRecord,
    MemoryTransport,
    ScriptedModel,
    settle,
    tone,
)

HELLO = ReplyChunk(user_text="hello there")


def replies(prompt: Prompt) -> list[str]:
    """What was answered before."""
    return [item.said for item in prompt.items if item.role == "assistant"]


class Call:
    """A session under way, and all that surrounds it."""

    def __init__(
        self,
        model: ScriptedModel,
        settings: Settings = Settings(),
        limits: Limits = Limits(),
        end_of_turn: EndOfTurn | None = None,
        *,
        extensions: bool = True,
        ear: Transcriber | None = None,
    ) -> None:
        self.line = MemoryTransport(extensions=extensions)
        self.record, self.clock = MemoryRecord(), FakeClock()
        self.model = model
        self.session = Session(
            self.line,
            LoudnessVad(),
            model,
            self.record,
            settings,
            end_of_turn=end_of_turn,
            limits=limits,
            clock=self.clock,
            ear=ear,
        )

    async def hear(self, *chunks: AudioChunk) -> None:
        self.line.push(*(AudioReceived(chunk) for chunk in chunks))
        await settle()

    async def speak(self, seconds: float = 1.0) -> None:
        """The user says something and is silent until the turn has ended."""
        await self.hear(tone(seconds), silence(1.1, INPUT_RATE))

    async def live(self, *sounds: AudioChunk) -> None:
        """The user's microphone in real time: the clock goes on with the sound."""
        for sound in sounds:
            for start in np.arange(0, sound.duration, 0.032):
                self.line.push(AudioReceived(sound.between(float(start), float(start) + 0.032)))
                await self.clock.advance(0.032)
        await settle()

    def kinds(self) -> list[type]:
        """All that was told, but for that the script has no words for what was said."""
        kinds = [type(event) for event in self.line.sent]
        return [kind for kind in kinds if kind is not UserNotTranscribed]


@asynccontextmanager
async def call(
    model: ScriptedModel,
    settings: Settings = Settings(),
    limits: Limits = Limits(),
    end_of_turn: EndOfTurn | None = None,
    *,
    extensions: bool = True,
    ear: Transcriber | None = None,
) -> AsyncIterator[Call]:
    call = Call(model, settings, limits, end_of_turn, extensions=extensions, ear=ear)
    running = asyncio.create_task(call.session.run())
    await settle()
    try:
        yield call
    finally:
        call.line.hang_up()
        call.line.read_on()
        await asyncio.wait_for(running, 60)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left over"
