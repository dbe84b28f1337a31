"""What becomes of turns: in the record, for the client, and in figures."""

import asyncio

import pytest

from calls import HELLO, call, replies
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    CutMarked,
    ErrorOccurred,
    ItemsWithdrawn,
    PlaybackStarted,
    PlaybackTruncated,
    ReplyItemAdded,
    ReplyRequested,
    ReplyTruncated,
    TurnCommitted,
)
from duologue.conversation.items import ReplyChunk
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone


async def test_a_word_about_a_withdrawn_turn_is_no_error() -> None:
    async with call(ScriptedModel([say("One. ", 3.0)])) as c:
        await c.live(tone(1), silence(1.3, INPUT_RATE), tone(0.5))
        c.line.push(PlaybackTruncated(c.line.told(ItemsWithdrawn)[0].item_ids[1], heard=0.4))
        await settle()
        assert c.line.told(ErrorOccurred) == []
        assert len(c.line.told(ReplyTruncated)) == 1


async def test_each_item_is_told_with_the_one_before() -> None:
    async with call(ScriptedModel([say("Hi.")]), Settings(create_response=False)) as c:
        await c.speak()
        await c.speak()
        c.line.push(ReplyRequested())
        await settle()
        await c.clock.advance(1)
        await c.speak()
        committed = c.line.told(TurnCommitted)
        (added,) = c.line.told(ReplyItemAdded)
        before = [event.previous_id for event in committed]
        assert before == [None, committed[0].item_id, added.item_id]
        assert added.previous_id == committed[1].item_id


async def test_of_a_reply_only_what_was_heard_is_kept_even_if_the_client_never_tells() -> None:
    reply = [say("One two three four. ", 2.0), say("Five six. ", 2.0)]
    async with call(ScriptedModel(reply)) as c:
        await c.live(tone(1), silence(2.5, INPUT_RATE), tone(0.5))
        (turn,) = c.record.saved
        assert turn.reply_audio.duration == pytest.approx(1.5 + 0.25, abs=0.1)
        assert turn.reply_text == "One two three"
        assert turn.timings.heard == turn.reply_audio.duration
        await c.live(silence(1.1, INPUT_RATE))
        assert replies(c.model.prompts[1]) == ["One two three"]


async def test_the_timings_tells_when_everything_happened_after_the_last_word() -> None:
    gate = asyncio.Semaphore(0)
    async with call(ScriptedModel([ReplyChunk(text="H"), say("i.", 2.0)], gate=gate)) as c:
        await c.live(tone(0.992), silence(0.512, INPUT_RATE))
        gate.release()
        await c.live(silence(0.192, INPUT_RATE))
        gate.release()
        await c.live(silence(0.4, INPUT_RATE))
        (turn,) = c.record.saved
        c.line.push(PlaybackStarted(f"item_a{turn.id}", ago=0.032))
        await c.clock.advance(3)
        timings = turn.timings
        assert timings.started == pytest.approx(0.384, abs=0.04)
        assert timings.first_token == pytest.approx(0.512, abs=0.04)
        assert timings.first_sound == pytest.approx(0.704, abs=0.04)
        assert timings.decided == pytest.approx(1.0, abs=0.04)
        assert timings.sent == pytest.approx(1.0, abs=0.04)
        assert timings.played == pytest.approx(1.1, abs=0.04)
        assert (timings.early, timings.drops, timings.heard, timings.cut) == (True, 0, 2.0, "")
        assert c.record.noted[-1] == turn


async def test_a_piece_without_words_and_sound_is_not_the_first_token() -> None:
    gate = asyncio.Semaphore(0)
    script = [ReplyChunk(), HELLO, say("Hi.", 2.0)]
    async with call(ScriptedModel(script, gate=gate)) as c:
        await c.live(tone(0.992), silence(0.512, INPUT_RATE))
        for _ in range(2):
            gate.release()
        await c.live(silence(0.992, INPUT_RATE))
        gate.release()
        await c.live(silence(0.032, INPUT_RATE))
        (turn,) = c.record.saved
        assert turn.timings.first_token == turn.timings.first_sound
        assert turn.timings.first_token == pytest.approx(1.5, abs=0.04)


async def test_nothing_was_played_before_it_was_sent_whatever_the_clients_clock_says() -> None:
    async with call(ScriptedModel([say("Hi.", 2.0)])) as c:
        await c.live(tone(1), silence(1.1, INPUT_RATE))
        (turn,) = c.record.saved
        c.line.push(
            PlaybackStarted(f"item_a{turn.id}", ago=3600.0), PlaybackStarted("another", ago=0.0)
        )
        await settle()
        assert turn.timings.played == turn.timings.sent
        assert c.line.told(ErrorOccurred) == []


async def test_the_users_word_marks_a_cut_once_and_makes_the_server_more_patient() -> None:
    async with call(ScriptedModel([say("Hi.", 2.0)])) as c:
        c.line.push(CutMarked())
        await settle()
        assert "no turn has ended" in str(c.line.told(ErrorOccurred)[0].error)
        await c.live(tone(1), silence(1.1, INPUT_RATE))
        c.line.push(CutMarked(), CutMarked())
        await settle()
        assert c.record.saved[0].timings.cut == "marked"
        assert c.record.patience == 1.25


async def test_patience_comes_back_with_turns_that_were_not_cut() -> None:
    async with call(ScriptedModel([say("Hi.", 0.5)])) as c:
        await c.live(tone(1), silence(1.1, INPUT_RATE))
        c.line.push(CutMarked())
        for _ in range(6):
            await c.live(silence(1.1, INPUT_RATE), tone(1), silence(1.3, INPUT_RATE))
        assert c.record.patience == 1.0
