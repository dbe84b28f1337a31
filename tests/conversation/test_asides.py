"""Replies out of band, and replies that are asked for while the user speaks."""

import asyncio

import pytest

from calls import call
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    ClearRequested,
    CommitRequested,
    ErrorOccurred,
    IdleTimedOut,
    ItemCreated,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyItemAdded,
    ReplyRequested,
    ReplyStarted,
    TurnCommitted,
)
from duologue.conversation.items import Item
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone

ASIDE = ReplyRequested(in_band=False, aloud=False, metadata={"topic": "aside"})
ASKED = ReplyRequested(instructions="Be brief.", metadata={"topic": "asked"})


def gated(*chunks: str, seconds: float = 1.0) -> tuple[ScriptedModel, asyncio.Semaphore]:
    gate = asyncio.Semaphore(0)
    script = [say(chunk, seconds) for chunk in chunks]
    return ScriptedModel(script, reads=True, gate=gate), gate


async def open_gate(gate: asyncio.Semaphore, times: int) -> None:
    for _ in range(times):
        gate.release()
    await settle()


async def test_a_reply_out_of_band_is_made_beside_a_turn_and_its_reply() -> None:
    model, gate = gated("One. ", "Two.")
    async with call(model) as c:
        c.line.push(ASIDE)
        await settle()
        (aside,) = c.line.told(ReplyStarted)
        await c.live(tone(1), silence(1.5, INPUT_RATE))
        assert len(model.prompts) == 2
        await open_gate(gate, 4)
        assert len(c.line.told(TurnCommitted)) == 1
        done = c.line.told(ReplyDone)
        assert [one.reason for one in done] == ["completed", "completed"]
        assert {one.text for one in done} == {"One. Two."}
        assert aside.response_id in [one.response_id for one in done]
        assert c.line.told(ErrorOccurred) == []
        (turn,) = c.record.saved
        assert turn.reply_text == "One. Two."


async def test_who_speaks_does_not_stop_a_reply_out_of_band() -> None:
    model, gate = gated("One. ", "Two. ", seconds=5.0)
    async with call(model) as c:
        c.line.push(ReplyRequested(in_band=False))
        await open_gate(gate, 1)
        assert len(c.line.told(ReplyDelta)) == 1
        await c.live(tone(2))
        assert c.line.told(ReplyDone) == []
        await open_gate(gate, 1)
        (done,) = c.line.told(ReplyDone)
        assert (done.reason, done.text) == ("completed", "One. Two.")


async def test_a_reply_out_of_band_is_cancelled_by_its_name() -> None:
    model, gate = gated("One. ", "Two.")
    async with call(model) as c:
        c.line.push(ReplyRequested(), ASIDE)
        await open_gate(gate, 1)
        usual, aside = c.line.told(ReplyStarted)
        c.line.push(ReplyCancelled(aside.response_id))
        await settle()
        (done,) = c.line.told(ReplyDone)
        assert (done.response_id, done.reason) == (aside.response_id, "client_cancelled")
        c.line.push(ReplyCancelled("resp_of_nobody", event_id="1"))
        await settle()
        (error,) = c.line.told(ErrorOccurred)
        assert (error.error.code, error.event_id) == ("response_cancel_not_active", "1")
        c.line.push(ReplyCancelled(usual.response_id))
        await settle()
        assert c.line.told(ReplyDone)[-1].response_id == usual.response_id
        assert model.abandoned == 2


async def test_so_many_replies_out_of_band_are_made_at_once() -> None:
    model, gate = gated("One.")
    async with call(model) as c:
        c.line.push(*[ASIDE] * 5)
        await settle()
        (error,) = c.line.told(ErrorOccurred)
        assert error.error.code == "conversation_already_has_active_response"
        await open_gate(gate, 4)
        assert len(c.line.told(ReplyDone)) == 4
        c.line.push(ASIDE)
        await open_gate(gate, 1)
        assert len(c.line.told(ReplyDone)) == 5


async def test_a_client_that_leaves_ends_its_replies_out_of_band() -> None:
    model, _ = gated("One.")
    async with call(model) as c:
        c.line.push(ASIDE)
        await settle()
    assert model.abandoned == 1


async def test_what_is_asked_for_while_the_user_speaks_answers_that_too() -> None:
    model = ScriptedModel([say("Hi.")], reads=True)
    async with call(model) as c:
        await c.live(tone(0.5))
        written = Item("typed", text="And in Oslo?", status="completed")
        c.line.push(ItemCreated(written), ASKED)
        await c.live(tone(0.5), silence(1.5, INPUT_RATE))
        assert c.line.told(ErrorOccurred) == []
        (started,) = c.line.told(ReplyStarted)
        assert started.asked.metadata == {"topic": "asked"}
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
    prompt = model.prompts[-1]
    assert prompt.instructions == "Be brief."
    assert [item.text for item in prompt.items] == ["And in Oslo?"]
    assert prompt.utterance.duration > 1


async def test_a_second_one_is_refused_while_the_first_one_waits() -> None:
    async with call(ScriptedModel([say("Hi.")], reads=True)) as c:
        await c.live(tone(1))
        c.line.push(ASKED, ReplyRequested(event_id="second"))
        await settle()
        (error,) = c.line.told(ErrorOccurred)
        assert error.event_id == "second"
        assert "when the user has finished" in str(error.error)


@pytest.mark.parametrize("create_response", [True, False])
@pytest.mark.parametrize("how", ["silence", "commit", "clear"])
async def test_it_is_made_however_the_turn_ends(create_response: bool, how: str) -> None:
    model = ScriptedModel([say("Hi.")], reads=True)
    async with call(model, Settings(create_response=create_response)) as c:
        await c.live(tone(1))
        c.line.push(ASKED)
        await settle()
        assert c.line.told(ReplyStarted) == []
        if how == "silence":
            await c.live(silence(1.5, INPUT_RATE))
        else:
            c.line.push(CommitRequested() if how == "commit" else ClearRequested())
            await settle()
        (started,) = c.line.told(ReplyStarted)
        assert started.asked.metadata == {"topic": "asked"}
        assert len(c.line.told(ReplyDone)) == 1
    assert model.prompts[-1].spoken == (how != "clear")
    assert model.prompts[-1].instructions == "Be brief."


async def test_it_survives_a_pause_after_which_the_user_goes_on() -> None:
    model = ScriptedModel([say("Hi.")], reads=True)
    async with call(model) as c:
        await c.live(tone(1))
        c.line.push(ASKED)
        await c.live(silence(0.5, INPUT_RATE), tone(1), silence(1.5, INPUT_RATE))
        (started,) = c.line.told(ReplyStarted)
        assert started.asked.metadata == {"topic": "asked"}
    assert {prompt.instructions for prompt in model.prompts} == {"Be brief."}


async def test_who_cancels_while_speaking_gets_the_usual_reply() -> None:
    model = ScriptedModel([say("Hi.")], reads=True)
    async with call(model) as c:
        await c.live(tone(1))
        c.line.push(ASKED, ReplyCancelled())
        await c.live(silence(1.5, INPUT_RATE))
        (started,) = c.line.told(ReplyStarted)
        assert started.asked.metadata == {}
    assert model.prompts[-1].instructions == ""


async def test_what_is_written_while_a_reply_is_made_stands_behind_it() -> None:
    model, gate = gated("One. ", "Two.")
    async with call(model, Settings(aloud=False)) as c:
        c.line.push(ItemCreated(Item("first", text="Good morning", status="completed")))
        c.line.push(ReplyRequested())
        await settle()
        c.line.push(ItemCreated(Item("second", text="Good night", status="completed")))
        await open_gate(gate, 2)
        (added,) = c.line.told(ReplyItemAdded)
        assert added.previous_id == "first"
        c.line.push(ReplyRequested())
        await settle()
    assert [item.said for item in model.prompts[-1].items] == [
        *("Good morning", "One. Two.", "Good night"),
    ]


async def test_a_greeting_stands_before_what_is_written_meanwhile() -> None:
    model, gate = gated("Hello.")
    async with call(model, Settings(aloud=False)) as c:
        c.line.push(ReplyRequested(instructions="Greet."))
        c.line.push(ItemCreated(Item("first", text="Good morning", status="completed")))
        await open_gate(gate, 1)
        (added,) = c.line.told(ReplyItemAdded)
        assert added.previous_id is None
        c.line.push(ReplyRequested())
        await settle()
    assert [item.said for item in model.prompts[-1].items] == ["Hello.", "Good morning"]


@pytest.mark.parametrize("extensions", [True, False])
async def test_a_model_says_something_when_nobody_does(extensions: bool) -> None:
    model = ScriptedModel([say("Are you there?", 0.5)], reads=True)
    settings = Settings(idle_timeout=2.0, aloud=False)
    async with call(model, settings, extensions=extensions) as c:
        await c.live(silence(2.2, INPUT_RATE))
        assert len(c.line.told(IdleTimedOut)) == 1
        assert len(c.line.told(ReplyDone)) == (0 if extensions else 1)
        await c.live(silence(2.2, INPUT_RATE))
        assert len(c.line.told(ReplyDone)) == (0 if extensions else 2)


async def test_a_model_that_does_not_read_says_nothing_unasked() -> None:
    model = ScriptedModel([say("Are you there?")])
    async with call(model, Settings(idle_timeout=2.0), extensions=False) as c:
        await c.live(silence(2.2, INPUT_RATE))
        assert len(c.line.told(IdleTimedOut)) == 1
        assert model.prompts == []
