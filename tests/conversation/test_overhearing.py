"""A model that hears along while the user speaks."""

import asyncio

import numpy as np

from calls import HELLO, call, replies
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    CommitRequested,
    ReplyRequested,
    SpeechStopped,
    TurnCommitted,
    UserOverheard,
    UserTranscribed,
)
from duologue.conversation.prompt import Prompt
from duologue.errors import ModelFailed
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, tone


def script(*words: str | Exception) -> ScriptedModel:
    return ScriptedModel([HELLO, say("Hi.", 1.0)], overhears=words)


async def test_the_model_hears_along_and_the_client_reads_what_is_settled() -> None:
    async with call(script("", "hello", "hello", "hello the")) as c:
        await c.live(tone(2.2), silence(1.1, INPUT_RATE))
        assert [event.text for event in c.line.told(UserOverheard)] == ["hello", " the"]
        (turn,) = c.record.saved
        assert {event.item_id for event in c.line.told(UserOverheard)} == {turn.item.id}
        kinds = c.kinds()
        assert kinds.index(UserOverheard) < kinds.index(SpeechStopped)
        assert kinds.index(UserTranscribed) > kinds.index(TurnCommitted)


async def test_each_look_sees_what_the_one_before_saw_and_more_and_the_prompt_all_of_it() -> None:
    async with call(script("a")) as c:
        await c.live(tone(2.2), silence(1.1, INPUT_RATE))
        looks = [look.utterance.samples for look in c.model.overheard]
        assert len(looks) >= 4
        whole = c.model.prompts[-1].utterance.samples
        for shorter, longer in zip(looks, [*looks[1:], whole], strict=True):
            assert len(shorter) < len(longer)
            assert np.array_equal(shorter, longer[: len(shorter)])
        assert c.model.prompts[-1].listener == c.session.id
        assert {look.listener for look in c.model.overheard} == {c.session.id}


async def test_a_look_knows_what_was_said_before() -> None:
    async with call(script("a"), Settings(instructions="Be kind.")) as c:
        for _ in range(2):
            await c.live(tone(1.2), silence(4.0, INPUT_RATE))
        first, last = c.model.overheard[0], c.model.overheard[-1]
        assert not first.items
        assert replies(last) == ["Hi."]
        assert first.instructions == last.instructions == "Be kind."


async def test_a_pause_is_looked_at_as_soon_as_it_is_one_and_only_then() -> None:
    async with call(script("a")) as c:
        await c.live(tone(2.0), silence(1.1, INPUT_RATE))
        last = c.model.overheard[-1].utterance.duration
        # 2.0 s of speech, and 96 ms of silence: then it is a pause.
        assert 2.05 < last < 2.2
        assert c.model.prompts[-1].utterance.duration > last


async def test_who_goes_on_after_a_pause_is_heard_on_under_the_same_turn() -> None:
    async with call(script("one", "one", "one two", "one two three")) as c:
        await c.live(tone(0.7), silence(0.2, INPUT_RATE), tone(1.5), silence(1.1, INPUT_RATE))
        (turn,) = c.record.saved
        told = c.line.told(UserOverheard)
        assert "".join(event.text for event in told) == "one two three"
        assert {event.item_id for event in told} == {turn.item.id}


async def test_words_that_change_after_all_are_not_told_twice() -> None:
    async with call(script("a cat", "a cap and", "a cat on")) as c:
        await c.live(tone(2.2), silence(1.1, INPUT_RATE))
        assert [event.text for event in c.line.told(UserOverheard)] == ["a cat", " on"]


async def test_a_failure_to_overhear_costs_no_turn() -> None:
    failures = ModelFailed("the recogniser broke down"), ValueError("a fault")
    async with call(script(*failures, "hello")) as c:
        await c.live(tone(2.2), silence(1.1, INPUT_RATE))
        assert [event.text for event in c.line.told(UserOverheard)] == ["hello"]
        assert [turn.reply_text for turn in c.record.saved] == ["Hi."]


async def test_who_hangs_up_in_mid_speech_is_heard_no_longer() -> None:
    async with call(script("a")) as c:
        await c.live(tone(1.2))
        seen = len(c.model.overheard)
        c.line.hang_up()
        await c.clock.advance(2)
        assert len(c.model.overheard) == seen > 0


async def test_a_model_that_cannot_overhear_is_not_asked_to() -> None:
    async with call(ScriptedModel([HELLO, say("Hi.", 1.0)])) as c:
        await c.live(tone(2.2), silence(1.1, INPUT_RATE))
        assert c.model.overheard == []
        assert c.line.told(UserOverheard) == []


class Encoder(ScriptedModel):
    """Works ahead in pauses, and never comes to an end."""

    def __init__(self) -> None:
        super().__init__([HELLO, say("Hi.", 1.0)], overhears=[""], only_pauses=True)
        self.given_up: list[float] = []

    async def overhear(self, prompt: Prompt) -> str:
        self.overheard.append(prompt)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.given_up.append(prompt.utterance.duration)
        raise AssertionError("it goes on and on")


async def test_a_model_that_overhears_pauses_is_let_go_when_the_user_goes_on() -> None:
    async with call(model := Encoder()) as c:
        await c.live(tone(1.7))
        assert not model.overheard
        await c.live(silence(0.3, INPUT_RATE))
        assert len(model.overheard) == 1
        assert not model.given_up
        await c.live(tone(0.2))
        assert len(model.given_up) == 1
        await c.live(tone(1.5), silence(1.1, INPUT_RATE))
        first, second = model.overheard
        assert first.pause != second.pause
        assert first.utterance.duration + 1.5 < second.utterance.duration


async def test_a_reply_knows_in_which_pause_its_question_was_overheard() -> None:
    async with call(model := Encoder()) as c:
        await c.live(tone(1.7), silence(0.3, INPUT_RATE), tone(1.7), silence(4.0, INPUT_RATE))
        await c.live(tone(1.7), silence(2.0, INPUT_RATE))
        _, *looks = model.overheard
        assert len(looks) == len(model.prompts) == 2
        for look, prompt in zip(looks, model.prompts, strict=True):
            assert prompt.pause == look.pause > 0
            assert prompt.listener == look.listener
            length = len(look.utterance.samples)
            assert np.array_equal(prompt.utterance.samples[:length], look.utterance.samples)
            assert not prompt.utterance.samples[length:].any()


async def test_what_the_client_commits_ends_in_no_pause() -> None:
    async with call(model := Encoder()) as c:
        await c.live(tone(1.7))
        c.line.push(CommitRequested(), ReplyRequested())
        await c.live(silence(0.5, INPUT_RATE))
        assert [prompt.pause for prompt in model.prompts] == [0]
