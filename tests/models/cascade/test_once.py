"""An utterance whose words and whose answer are asked for is recognised once."""

import asyncio
from typing import cast

import pytest

from duologue.audio import AudioChunk
from duologue.errors import ModelFailed
from duologue.models.cascade.parts import Heard, LanguageModel, Recogniser, Synthesiser
from duologue.models.cascade.pipeline import Cascade
from duologue.testing import settle, tone


class Ear:
    """Hears when it is let, and counts."""

    def __init__(self) -> None:
        self.asked = self.given_up = 0
        self.let = asyncio.Event()
        self.fails = False

    async def recognise(
        self, utterance: AudioChunk, listener: str = "", language: str = "", likely: str = ""
    ) -> Heard:
        self.asked += 1
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.fails:
            raise ModelFailed("no")
        return Heard("hello", "en")


def cascade(ear: Ear) -> Cascade:
    return Cascade(cast(Recogniser, ear), cast(LanguageModel, None), cast(Synthesiser, None))


async def test_who_asks_meanwhile_and_who_asks_afterwards_gets_the_same() -> None:
    ear, said = Ear(), tone(1)
    model = cascade(ear)
    words, reply = (asyncio.create_task(model._hear(said)) for _ in range(2))
    await settle()
    ear.let.set()
    assert (await words).words == (await reply).words == "hello"
    assert await model.transcribe(said) == ("hello", "en")
    assert ear.asked == 1
    await model.transcribe(tone(1))
    assert ear.asked == 2


async def test_one_that_goes_leaves_it_to_the_other_and_the_last_one_ends_it() -> None:
    ear, said = Ear(), tone(1)
    model = cascade(ear)
    words, reply = (asyncio.create_task(model._hear(said)) for _ in range(2))
    await settle()
    reply.cancel()
    await settle()
    assert ear.given_up == 0
    words.cancel()
    await settle()
    assert ear.given_up == 1
    ear.let.set()
    assert (await model._hear(said)).words == "hello"
    assert ear.asked == 2


async def test_a_failure_is_tried_again() -> None:
    ear, said = Ear(), tone(1)
    model, ear.fails = cascade(ear), True
    ear.let.set()
    with pytest.raises(ModelFailed):
        await model.transcribe(said)
    ear.fails = False
    assert await model.transcribe(said) == ("hello", "en")


async def test_of_many_utterances_the_oldest_are_forgotten() -> None:
    ear = Ear()
    model = cascade(ear)
    ear.let.set()
    for _ in range(100):
        await model.transcribe(tone(0.1))
    assert len(model._heard) == 16
