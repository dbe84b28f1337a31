"""Microphones that are muted, clients that send no silence, files that end in a word."""

import asyncio

import pytest

from calls import Call, call
from conftest import Serve
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    AudioReceived,
    IdleTimedOut,
    ReplyDone,
    ReplyDucked,
    ReplyRestored,
    SettingsChanged,
    SpeechStopped,
    TurnReopened,
    TurnStarted,
)
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone
from transports.realtime.messages import append
from transports.realtime.test_endpoint import hear, line

PATIENCE = [Settings(), Settings(patience="patient"), Settings(patience="fixed")]


@pytest.mark.parametrize("settings", PATIENCE, ids=lambda settings: settings.patience)
async def test_a_turn_ends_though_no_sound_comes_after_its_last_word(settings: Settings) -> None:
    async with call(ScriptedModel([say("Hi.")]), settings) as c:
        await c.live(silence(0.5, INPUT_RATE), tone(1))
        await c.clock.advance(0.9)
        assert c.line.told(ReplyDone) == []
        await c.clock.advance(2.4)
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
        (turn,) = c.record.saved
        assert c.line.told(SpeechStopped)[0].at == pytest.approx(1.5, abs=0.04)
        assert turn.timings.decided is not None
        assert 1.4 < turn.timings.decided < 2.8  # of which sound was waited for for a second
        assert turn.timings.pause is not None


async def test_a_file_sent_at_once_that_ends_in_a_word_is_answered() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.hear(tone(20))
        assert len(c.line.told(TurnStarted)) == 1
        await c.clock.advance(5)
        assert len(c.line.told(ReplyDone)) == 1


@pytest.mark.parametrize("settings", PATIENCE, ids=lambda settings: settings.patience)
@pytest.mark.parametrize("piece", [0.04, 0.5, 1.2, 2.0])
async def test_speech_in_long_pieces_is_no_turn_a_piece(settings: Settings, piece: float) -> None:
    async with call(ScriptedModel([say("Hi.")]), settings) as c:
        for _ in range(round(6 / piece)):
            await c.clock.advance(piece)
            await c.hear(tone(piece))
        assert c.line.told(SpeechStopped) == []
        await c.clock.advance(6)
        assert len(c.record.saved) == 1


@pytest.mark.parametrize("settings", PATIENCE, ids=lambda settings: settings.patience)
async def test_a_network_that_halts_for_a_moment_in_mid_speech_cuts_nobody_off(
    settings: Settings,
) -> None:
    async with call(ScriptedModel([say("Hi.")]), settings) as c:
        await c.live(tone(1))
        await c.clock.advance(1.3)
        await c.hear(tone(1.3))
        await c.live(tone(1))
        assert c.line.told(SpeechStopped) == []


async def test_a_pause_in_which_no_sound_comes_may_be_gone_on_after() -> None:
    async with call(ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(0))) as c:
        await c.live(tone(1))
        await c.clock.advance(2.2)
        await c.live(tone(1))
        assert c.line.told(TurnReopened)
        assert len(c.line.told(TurnStarted)) == 1


async def test_sound_that_is_late_by_less_than_a_second_is_waited_for() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        for _ in range(5):
            await c.live(tone(0.5))
            await c.clock.advance(0.95)
        assert c.line.told(SpeechStopped) == []
        await c.live(silence(1.1, INPUT_RATE))
        assert c.record.saved[0].utterance.duration == pytest.approx(2.5 + 0.4, abs=0.1)


async def test_a_server_that_stood_still_hears_first_what_was_sent_meanwhile() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.live(tone(1))
        c.clock._now += 45  # nobody could know of it
        c.line.push(*[AudioReceived(tone(1))] * 10)
        await c.clock.advance(0.5)
        assert c.line.told(SpeechStopped) == []
        await c.live(silence(1.2, INPUT_RATE))
        assert c.record.saved[0].utterance.duration == pytest.approx(11 + 0.4, abs=0.1)


async def ducked(c: Call) -> None:
    await c.live(tone(1), silence(2.2, INPUT_RATE), tone(0.15))
    assert c.kinds()[-1] is ReplyDucked


async def test_a_reply_that_was_made_quiet_is_restored_though_no_sound_comes() -> None:
    async with call(ScriptedModel([say("La. ", 8.0)])) as c:
        await ducked(c)
        await c.clock.advance(1.2)
        assert c.kinds()[-1] is ReplyRestored


@pytest.mark.parametrize("sound", [True, False])
async def test_nobody_who_is_muted_is_kept_waiting_without_a_word(sound: bool) -> None:
    async with call(ScriptedModel(), Settings(idle_timeout=10)) as c:
        if sound:
            await c.live(silence(1, INPUT_RATE))
        await c.clock.advance(8.9)
        assert c.line.told(IdleTimedOut) == []
        await c.clock.advance(3)
        (idle,) = c.line.told(IdleTimedOut)
        assert idle.start == 0
        assert idle.end == pytest.approx(1 if sound else 0, abs=0.04)


async def test_idle_time_without_sound_begins_when_the_reply_was_heard() -> None:
    async with call(ScriptedModel([say("Hi.", 5.0)]), Settings(idle_timeout=3)) as c:
        await c.live(tone(1))
        await c.clock.advance(7.5)
        assert len(c.line.told(ReplyDone)) == 1
        assert c.line.told(IdleTimedOut) == []
        await c.clock.advance(3)
        assert len(c.line.told(IdleTimedOut)) == 1


async def test_with_push_to_talk_no_sound_is_no_silence() -> None:
    settings = Settings(turn_detection=False, idle_timeout=5)
    async with call(ScriptedModel([say("Hi.")]), settings) as c:
        await c.hear(tone(1))
        await c.clock.advance(60)
        assert len(c.line.sent) == 1
        c.line.push(SettingsChanged(Settings(idle_timeout=5)))
        await c.clock.advance(7)
        assert len(c.line.told(IdleTimedOut)) == 1


async def test_positions_count_the_sound_that_was_sent_and_no_other() -> None:
    async with call(ScriptedModel([say("Hi.", 0.5)])) as c:
        for _ in range(3):
            await c.live(tone(1.024))
            await c.clock.advance(4)
        starts = [event.at for event in c.line.told(TurnStarted)]
        assert starts == pytest.approx([0, 1.024, 2.048], abs=0.04)


async def test_where_the_user_may_not_interrupt_no_sound_during_the_reply_changes_nothing() -> None:
    settings = Settings(interrupt_response=False, half_duplex=True)
    async with call(ScriptedModel([say("Hi.", 3.0)]), settings) as c:
        await c.live(tone(1))
        await c.clock.advance(10)
        await settle()
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
        assert c.record.saved[0].timings.heard == 3.0


async def test_a_client_that_sends_its_words_and_nothing_more_is_answered(serve: Serve) -> None:
    async with line(serve()) as socket:
        await socket.send(append(tone(1, 24_000)))
        stopped = await hear(socket, "input_audio_buffer.speech_stopped")
        assert stopped["audio_end_ms"] == pytest.approx(1000, abs=40)
        assert (await hear(socket, "response.done"))["response"]["status"] == "completed"
