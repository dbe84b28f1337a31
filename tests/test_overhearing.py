"""A model that hears along while the user speaks."""

import numpy as np

from calls import HELLO, call
from duologue.audio import INPUT_RATE, silence
from duologue.errors import ModelFailed
from duologue.events import Settings, SpeechStopped, TurnCommitted, UserOverheard, UserTranscribed
from duologue.testing import ScriptedModel, say, tone


def script(*words: str | Exception) -> ScriptedModel:
    return ScriptedModel([HELLO, say("Hi.", 1.0)], overhears=words)


async def test_the_model_hears_along_and_the_client_reads_what_is_settled() -> None:
    async with call(script("", "hello", "hello", "hello the")) as c:
        await c.live(tone(2.2), silence(1.1, INPUT_RATE))
        assert [event.text for event in c.line.told(UserOverheard)] == ["hello", " the"]
        (turn,) = c.record.saved
        assert {event.turn_id for event in c.line.told(UserOverheard)} == {turn.id}
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
        assert not first.turns
        assert [turn.reply_text for turn in last.turns] == ["Hi."]
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
        assert {event.turn_id for event in told} == {turn.id}


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
