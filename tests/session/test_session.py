"""A session from connect to hang-up, with a scripted model and a clock that tests drive."""

import asyncio

import pytest

from calls import HELLO, call, replies
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    AudioReceived,
    ClearRequested,
    ClientErred,
    CommitRequested,
    ErrorOccurred,
    IdleTimedOut,
    LimitApproached,
    Pinged,
    PlaybackTruncated,
    Ponged,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyDucked,
    ReplyItemAdded,
    ReplyRequested,
    ReplyStarted,
    ReplyTruncated,
    SessionStarted,
    SettingsApplied,
    SettingsChanged,
    SpeechStopped,
    TurnCommitted,
    TurnStarted,
    UserTranscribed,
)
from duologue.errors import (
    ClientTooSlow,
    DuologueError,
    InvalidEvent,
    ModelFailed,
    SessionExpired,
    ShuttingDown,
)
from duologue.session.session import Limits
from duologue.settings import Settings
from duologue.testing import (
    ScriptedModel,
    say,
    settle,
    tone,
)


async def test_a_turn_is_told_in_the_documented_order() -> None:
    async with call(ScriptedModel([HELLO, say("Hi.", 1.0)])) as c:
        await c.speak()
        assert c.kinds() == [
            SessionStarted,
            TurnStarted,
            SpeechStopped,
            TurnCommitted,
            ReplyStarted,
            UserTranscribed,
            ReplyItemAdded,
            ReplyDelta,
            ReplyDone,
        ]
        (turn,) = c.record.saved
        assert (turn.user_text, turn.reply_text, turn.status) == ("hello there", "Hi.", "completed")
        assert turn.utterance.duration == pytest.approx(1.4, abs=0.1)


async def test_the_next_prompt_knows_the_turns_before() -> None:
    async with call(ScriptedModel([HELLO, say("Hi.")])) as c:
        await c.speak()
        await c.clock.advance(2)
        await c.speak()
        assert replies(c.model.prompts[1]) == ["Hi."]


async def test_barge_in_stops_the_reply_and_begins_a_turn() -> None:
    gate = asyncio.Semaphore(1)
    async with call(ScriptedModel([say("One. "), say("Two.")], gate=gate)) as c:
        await c.speak()
        await c.hear(silence(1.3, INPUT_RATE))
        await c.clock.advance(0.5)
        await c.hear(tone(0.3))
        assert c.model.abandoned == 1
        assert c.kinds()[-3:] == [ReplyDucked, ReplyDone, TurnStarted]
        (done,) = c.line.told(ReplyDone)
        assert (done.reason, done.text) == ("turn_detected", "One.")
        assert c.record.saved[0].status == "interrupted"


async def test_with_fixed_silences_barge_in_while_thinking_stops_the_reply() -> None:
    gate = asyncio.Semaphore(0)
    async with call(ScriptedModel([say("Hi.")], gate=gate), Settings(patience="fixed")) as c:
        await c.speak()
        await c.hear(tone(0.3))
        assert c.model.abandoned == 1
        assert c.line.told(ReplyDelta) == []
        assert len(c.line.told(TurnStarted)) == 2


async def test_the_user_may_speak_again_once_the_reply_was_heard() -> None:
    async with call(ScriptedModel([say("Hi.", 3.0)])) as c:
        await c.speak()
        await c.clock.advance(3.1)
        await c.speak()
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed", "completed"]


async def test_the_client_says_how_much_was_heard_and_the_rest_is_forgotten() -> None:
    async with call(ScriptedModel([say("One two three four. ", 2.0), say("Five.", 1.0)])) as c:
        await c.speak()
        c.line.push(PlaybackTruncated(f"item_a{c.record.saved[0].id}", heard=1.0))
        await settle()
        (turn,) = c.record.saved
        assert (turn.reply_text, turn.status) == ("One two", "interrupted")
        assert turn.reply_audio.duration == pytest.approx(1.0)
        assert c.line.told(ReplyTruncated)[0].heard == 1.0


async def test_truncating_what_is_not_there_is_an_error() -> None:
    async with call(ScriptedModel()) as c:
        c.line.push(PlaybackTruncated("nothing", heard=1.0))
        await settle()
        assert isinstance(c.line.told(ErrorOccurred)[0].error, InvalidEvent)


async def test_a_line_in_half_duplex_is_deaf_until_the_reply_was_heard() -> None:
    settings = Settings(interrupt_response=False, half_duplex=True)
    async with call(ScriptedModel([say("Hi.", 3.0)]), settings) as c:
        await c.speak()
        await c.clock.advance(1)
        await c.speak()
        assert len(c.line.told(TurnStarted)) == 1
        await c.clock.advance(2.1)
        await c.speak()
        assert len(c.line.told(TurnStarted)) == 2


async def test_a_model_that_raises_ends_its_reply_only() -> None:
    async with call(ScriptedModel([say("One. "), ValueError("no more")])) as c:
        await c.speak()
        (error,) = c.line.told(ErrorOccurred)
        assert isinstance(error.error, ModelFailed)
        assert "no more" in str(error.error)
        assert c.line.told(ReplyDone)[0].reason == "failed"
        assert (c.record.saved[0].reply_text, c.record.saved[0].status) == ("One.", "failed")
        await c.clock.advance(2)
        await c.speak()
        assert len(c.line.told(TurnStarted)) == 2


async def test_a_client_that_vanishes_leaves_the_turn_marked_and_no_task() -> None:
    async with call(ScriptedModel([say("One. "), say("Two.")], gate=asyncio.Semaphore(1))) as c:
        await c.speak()
        await c.clock.advance(1.5)
    assert c.model.abandoned == 1
    assert (c.record.saved[0].reply_text, c.record.saved[0].status) == ("One.", "interrupted")


async def test_a_client_that_vanishes_in_mid_sentence_leaves_what_it_said() -> None:
    async with call(ScriptedModel()) as c:
        await c.hear(tone(2))
    (turn,) = c.record.saved
    assert turn.utterance.duration == pytest.approx(2, abs=0.05)
    assert turn.status == "interrupted"


async def test_a_client_that_does_not_read_is_let_go() -> None:
    limits = Limits(unsent=10, drain=0.05)
    async with call(ScriptedModel([say("La. ", 4.0)] * 10), limits=limits) as c:
        c.line.stop_reading()
        await c.speak()
        assert c.record.saved[0].status == "failed"
        await asyncio.wait([c.session._listener])
    assert c.line.closed is None  # it did not even read that
    assert c.model.prompts


async def test_the_error_reaches_a_client_that_was_too_slow() -> None:
    async with call(ScriptedModel([say("La. ", 4.0)] * 10), limits=Limits(unsent=10)) as c:
        c.line.stop_reading()
        await c.speak()
        c.line.read_on()
        await settle()
        assert isinstance(c.line.closed, ClientTooSlow)


async def test_a_slow_client_gets_none_of_the_sound_of_a_stopped_reply() -> None:
    async with call(ScriptedModel([say("One. "), say("Two. "), say("Three.")])) as c:
        c.line.stop_reading()
        await c.speak()
        await c.hear(silence(1.3, INPUT_RATE), tone(0.3))
        c.line.read_on()
        await settle()
        assert len(c.line.told(ReplyDelta)) <= 1  # the one that was being sent
        assert len(c.line.told(TurnStarted)) == 2


async def test_nobody_who_says_nothing_is_kept_waiting_without_a_word() -> None:
    async with call(ScriptedModel(), Settings(idle_timeout=10)) as c:
        await c.hear(silence(9.9, INPUT_RATE))
        assert c.line.told(IdleTimedOut) == []
        await c.hear(silence(0.3, INPUT_RATE))
        assert c.line.told(IdleTimedOut)[0].end == pytest.approx(10, abs=0.3)


async def test_idle_time_begins_when_the_reply_was_heard() -> None:
    async with call(ScriptedModel([say("Hi.", 5.0)]), Settings(idle_timeout=3)) as c:
        await c.speak()
        await c.hear(silence(4, INPUT_RATE))
        assert c.line.told(IdleTimedOut) == []
        await c.clock.advance(5.1)
        await c.hear(silence(3.1, INPUT_RATE))
        assert len(c.line.told(IdleTimedOut)) == 1


async def test_a_client_that_goes_as_it_is_hung_up_on_is_no_fault() -> None:
    async with call(ScriptedModel(), limits=Limits(length=60)) as c:

        async def close(error: DuologueError) -> None:
            raise ConnectionResetError

        c.line.close = close  # type: ignore[method-assign]
        await c.clock.advance(61)
        assert c.session._listener.done()


async def test_a_session_expires() -> None:
    async with call(ScriptedModel(), limits=Limits(length=60)) as c:
        await c.clock.advance(61)
        assert isinstance(c.line.closed, SessionExpired)
        assert "1 minutes" in str(c.line.told(ErrorOccurred)[0].error)


async def test_push_to_talk_takes_a_commit_and_a_request() -> None:
    async with call(ScriptedModel([say("Hi.")]), Settings(turn_detection=False)) as c:
        await c.hear(tone(1), silence(2, INPUT_RATE))
        assert c.kinds() == [SessionStarted]
        c.line.push(CommitRequested())
        await settle()
        assert c.kinds()[1:] == [TurnCommitted]
        c.line.push(ReplyRequested())
        await settle()
        assert c.kinds()[2:] == [ReplyStarted, ReplyItemAdded, ReplyDelta, ReplyDone]


async def test_of_too_long_a_push_to_talk_the_beginning_is_answered_and_the_rest_refused() -> None:
    settings = Settings(turn_detection=False, time_limit=12)
    async with call(ScriptedModel([say("Hi.")]), settings) as c:
        await c.hear(tone(10))
        await c.hear(*[tone(1)] * 20)
        (near,) = c.line.told(LimitApproached)
        assert near.item_id is None
        (refused,) = c.line.told(ErrorOccurred)
        assert "an utterance may last 12 s; what came later is not kept" in str(refused.error)
        c.line.push(CommitRequested(), ReplyRequested())
        await settle()
        assert c.model.prompts[0].utterance.duration == pytest.approx(12, abs=0.04)
        assert c.kinds()[-4:] == [ReplyStarted, ReplyItemAdded, ReplyDelta, ReplyDone]
        await c.hear(tone(5))
        c.line.push(CommitRequested())
        await settle()
        assert c.record.saved[1].utterance.duration == pytest.approx(5)
        assert len(c.line.told(ErrorOccurred)) == 1


async def test_of_a_microphone_that_a_program_leaves_open_the_newest_sound_is_kept() -> None:
    settings = Settings(turn_detection=False, time_limit=12)
    async with call(ScriptedModel([say("Yes.")]), settings, extensions=False) as c:
        await c.hear(silence(35, INPUT_RATE))
        await c.hear(tone(2))
        c.line.push(CommitRequested(), ReplyRequested())
        await settle()
        assert c.line.told(ErrorOccurred) == []
    (prompt,) = c.model.prompts
    assert prompt.utterance.duration == pytest.approx(12, abs=0.1)
    assert prompt.utterance.between(10.1, 12).samples.max() > 0.1


async def test_a_reply_to_nothing_is_refused() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        c.line.push(ReplyRequested())
        await settle()
        assert "nothing to answer" in str(c.line.told(ErrorOccurred)[0].error)
        assert c.model.prompts == []


async def test_a_second_reply_at_once_is_refused() -> None:
    gate = asyncio.Semaphore(0)
    async with call(ScriptedModel([say("Hi.")], gate=gate), Settings(patience="fixed")) as c:
        await c.speak()
        c.line.push(ReplyRequested())
        await settle()
        assert len(c.line.told(ErrorOccurred)) == 1
        assert len(c.model.prompts) == 1


async def test_a_reply_is_cancelled_by_the_client() -> None:
    async with call(ScriptedModel([say("One. "), say("Two.")], gate=asyncio.Semaphore(1))) as c:
        await c.speak()
        c.line.push(ReplyCancelled())
        await settle()
        assert c.line.told(ReplyDone)[0].reason == "client_cancelled"
        c.line.push(ReplyCancelled(event_id="again"))
        await settle()
        (refused,) = c.line.told(ErrorOccurred)
        assert refused.error.code == "response_cancel_not_active"
        assert refused.event_id == "again"


async def test_cleared_speech_is_no_turn() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.hear(tone(1))
        c.line.push(ClearRequested())
        await c.hear(silence(1.1, INPUT_RATE))
        assert c.record.saved == []
        await c.speak()
        assert len(c.record.saved) == 1


async def test_settings_change_in_mid_session() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        c.line.push(SettingsChanged(Settings(patience="fixed", silence=2.0)))
        await c.speak()
        assert c.line.told(SettingsApplied)[0].settings.silence == 2.0
        assert c.line.told(TurnCommitted) == []


async def test_a_client_that_errs_is_told_and_served_on() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        c.line.push(ClientErred(InvalidEvent("what?"), "evt_1"))
        await settle()
        assert c.line.told(ErrorOccurred)[0].event_id == "evt_1"
        await c.speak()
        assert len(c.record.saved) == 1


async def test_a_ping_is_answered_in_its_turn() -> None:
    async with call(ScriptedModel()) as c:
        c.line.stop_reading()
        c.line.push(Pinged(), SettingsChanged(Settings(patience="quick")), Pinged())
        await settle()
        assert c.line.told(Ponged) == []
        c.line.read_on()
        await settle()
        assert c.kinds() == [SessionStarted, Ponged, SettingsApplied, Ponged]


async def test_draining_lets_the_reply_be_heard_and_takes_no_new_turn() -> None:
    async with call(ScriptedModel([say("Hi.", 3.0)])) as c:
        await c.speak()
        draining = asyncio.create_task(c.session.drain(ShuttingDown("good bye")))
        await c.clock.advance(1)
        assert c.line.closed is None
        await c.speak()
        await c.clock.advance(2.1)
        await draining
        assert isinstance(c.line.closed, ShuttingDown)
        assert len(c.record.saved) == 1


async def test_a_long_message_does_not_hold_the_event_loop() -> None:
    async with call(ScriptedModel([])) as c:
        c.line.push(AudioReceived(silence(60, INPUT_RATE)))
        turns_of_the_loop = 0
        while c.session._detector.position < 59 and turns_of_the_loop < 10_000:
            await asyncio.sleep(0)
            turns_of_the_loop += 1
        assert turns_of_the_loop > 100
