"""What a client wants in the middle of a turn, or of a reply: it costs no word of either voice."""

import asyncio

import pytest

from calls import call, replies
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    CommitRequested,
    ErrorOccurred,
    PlaybackTruncated,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyRequested,
    ReplyStarted,
    SettingsChanged,
    TurnCommitted,
    TurnStarted,
)
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone


async def test_a_client_that_cancels_in_a_pause_inside_a_sentence_cuts_nobody_off() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        assert len(c.model.prompts) == 1  # begun in secret
        c.line.push(ReplyCancelled())
        await c.live(tone(1), silence(1.5, INPUT_RATE))
        (turn,) = c.record.saved
        assert turn.utterance.duration == pytest.approx(1 + 0.5 + 1 + 1.05, abs=0.1)
        assert turn.reply_text == "Hi."
        assert len(c.line.told(TurnStarted)) == len(c.line.told(TurnCommitted)) == 1
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]


async def test_who_wants_no_replies_any_more_in_a_pause_gets_the_turn_and_no_reply() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        assert len(c.model.prompts) == 1
        c.line.push(SettingsChanged(Settings(create_response=False)))
        await c.live(silence(1.0, INPUT_RATE))
        (turn,) = c.record.saved
        assert turn.utterance.duration > 1.5
        assert len(c.line.told(TurnStarted)) == len(c.line.told(TurnCommitted)) == 1
        assert c.line.told(ReplyStarted) == []
        assert c.line.told(ReplyDone) == []


async def test_a_truncation_of_a_reply_that_is_still_made_leaves_no_hole_in_it() -> None:
    gate = asyncio.Semaphore(1)
    script = [say("One two. ", 2.0), say("Three four. ", 2.0), say("Five six.", 2.0)]
    async with call(ScriptedModel(script, gate=gate), Settings(patience="fixed")) as c:
        await c.speak()
        c.line.push(PlaybackTruncated(f"item_a{c.record.saved[0].id}", heard=1.0))
        await settle()
        gate.release()
        gate.release()
        await settle()
        (turn,) = c.record.saved
        assert (turn.reply_text, turn.status) == ("One", "interrupted")
        assert turn.reply_seconds == pytest.approx(1.0)
        (done,) = c.line.told(ReplyDone)  # all that was sent
        assert done.text == "".join(delta.text for delta in c.line.told(ReplyDelta)).strip()
        await c.clock.advance(7)
        assert turn.timings.heard == pytest.approx(1.0)
        await c.speak()
        assert replies(c.model.prompts[1]) == ["One"]


@pytest.mark.parametrize("into", [0.3, 2.0])
async def test_a_commit_while_the_reply_is_ducked_keeps_all_that_was_said(into: float) -> None:
    async with call(ScriptedModel([say("La. ", 6.0)])) as c:
        await c.live(tone(1), silence(1.05 + into, INPUT_RATE), tone(0.2))
        c.line.push(CommitRequested())
        await settle()
        assert c.line.told(ErrorOccurred) == []
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]  # long before
        utterance = c.record.saved[-1].utterance
        reopened = into < 1
        assert len(c.record.saved) == (1 if reopened else 2)
        said = 1 + 1.05 + into + 0.2 if reopened else 0.2 + 0.3
        assert utterance.duration == pytest.approx(said, abs=0.1)
        assert c.record.saved[-1].reply == []
        c.line.push(ReplyRequested())
        await settle()
        assert c.model.prompts[-1].utterance is utterance


async def test_a_commit_of_nothing_while_a_reply_sounds_changes_nothing() -> None:
    async with call(ScriptedModel([say("La. ", 6.0)])) as c:
        await c.live(tone(1), silence(1.4, INPUT_RATE))
        c.line.push(CommitRequested())
        await c.live(tone(0.5), silence(1.5, INPUT_RATE))
        assert len(c.line.told(ErrorOccurred)) == 1
        (turn,) = c.record.saved  # the user could still go on with it
        assert turn.utterance.duration == pytest.approx(1 + 1.4 + 0.5 + 1.25, abs=0.1)


async def test_a_client_that_takes_the_sound_faster_than_life_is_remembered_whole() -> None:
    reply = [say("One two. ", 4.0), say("Three four.", 4.0)]
    async with call(ScriptedModel(reply), Settings(turn_detection=False)) as c:
        for _ in range(2):
            await c.hear(tone(2))
            c.line.push(CommitRequested(), ReplyRequested())
            await c.clock.advance(0.1)
        first = c.record.saved[0]
        assert replies(c.model.prompts[1]) == ["One two. Three four."]
        assert first.reply_seconds == 8.0
        assert first.status == "completed"


async def test_so_is_one_whose_turns_the_server_ends() -> None:
    async with call(ScriptedModel([say("One two. ", 4.0), say("Three four.", 4.0)])) as c:
        for _ in range(2):
            await c.hear(tone(2), silence(2.5, INPUT_RATE))
            await c.clock.advance(0.1)
        assert replies(c.model.prompts[-1]) == ["One two. Three four."]
