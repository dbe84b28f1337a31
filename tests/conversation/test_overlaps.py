"""Where the user may not interrupt: what is said beside a reply is heard, committed and written down."""

import asyncio

import pytest

from calls import HELLO, call
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    ClearRequested,
    CommitRequested,
    ErrorOccurred,
    ReplyCancelled,
    ReplyDone,
    ReplyDucked,
    ReplyRequested,
    ReplyStarted,
    SettingsChanged,
    SpeechStopped,
    TurnCommitted,
    TurnStarted,
    UserTranscribed,
)
from duologue.errors import ShuttingDown
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone

BESIDE = Settings(patience="fixed", interrupt_response=False)


def talker(**more: object) -> ScriptedModel:
    return ScriptedModel([HELLO, say("La. ", 10.0)], transcript="wait", **more)  # type: ignore[arg-type]


async def test_what_is_said_beside_a_reply_is_an_item_and_the_reply_goes_on() -> None:
    async with call(talker(), BESIDE) as c:
        await c.live(tone(1), silence(1.5, INPUT_RATE), tone(1), silence(1, INPUT_RATE))
        assert [type(event) for event in c.line.sent[-4:]] == [
            *(TurnStarted, SpeechStopped, TurnCommitted, UserTranscribed)
        ]
        assert c.line.told(UserTranscribed)[-1].text == "wait"
        assert c.line.told(ReplyDucked) == []
        first, second = c.record.saved
        assert second.utterance.duration == pytest.approx(1 + 0.3 + 0.5, abs=0.1)
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
        await c.clock.advance(10)
        assert first.timings.heard == 10
        assert len(c.model.prompts) == 1  # nobody has asked for an answer


async def test_the_client_that_pauses_a_reply_itself_has_it_stopped_and_the_next_made() -> None:
    settings = Settings(create_response=False, interrupt_response=False)
    async with call(talker(), settings) as c:
        await c.live(tone(1), silence(1.5, INPUT_RATE))
        c.line.push(ReplyRequested())
        await c.live(silence(0.5, INPUT_RATE), tone(1))
        c.line.push(ReplyCancelled())
        await c.live(silence(1.5, INPUT_RATE))
        assert len(c.line.told(TurnStarted)) == len(c.line.told(TurnCommitted)) == 2
        c.line.push(ReplyRequested())
        await settle()
        assert len(c.line.told(ReplyStarted)) == 2
        assert c.line.told(ErrorOccurred) == []
        assert c.model.prompts[1].utterance.duration == pytest.approx(1 + 0.3 + 1, abs=0.1)


async def test_a_turn_whose_reply_sounds_is_committed_once_also_while_the_session_drains() -> None:
    gate = asyncio.Semaphore(0)
    async with call(talker(gate=gate)) as c:
        await c.live(tone(1), silence(1.2, INPUT_RATE))
        draining = asyncio.create_task(c.session.drain(ShuttingDown("bye")))
        await settle()
        c.line.push(SettingsChanged(Settings(interrupt_response=False)))
        await settle()
        gate.release()
        gate.release()
        await settle()
        c.line.push(CommitRequested())
        await settle()
        assert len(c.line.told(TurnCommitted)) == 1
        assert [str(event.error) for event in c.line.told(ErrorOccurred)] == [
            "there is no audio to commit; append some first"
        ]
        await c.clock.advance(12)
        await draining


async def test_who_speaks_when_the_reply_is_over_has_the_floor() -> None:
    async with call(ScriptedModel([HELLO, say("La. ", 1.0)]), BESIDE) as c:
        await c.live(tone(1), silence(1.2, INPUT_RATE), tone(1.5))  # over in the middle of that
        await c.live(silence(0.6, INPUT_RATE))
        assert len(c.line.told(TurnCommitted)) == 2
        assert len(c.model.prompts) == 2  # and so it is answered
        assert c.model.prompts[1].utterance.duration == pytest.approx(1.5 + 0.3 + 0.5, abs=0.1)


async def test_a_reply_may_be_asked_for_while_the_user_speaks() -> None:
    model = talker(reads=True)
    async with call(model, Settings(create_response=False, interrupt_response=False)) as c:
        await c.live(tone(0.5))
        c.line.push(ReplyRequested(instructions="Say: one moment."))
        await c.live(tone(0.5), silence(1.5, INPUT_RATE))
        assert len(c.line.told(ReplyDone)) == 1
        (turn,) = c.record.saved
        assert turn.utterance.duration == pytest.approx(1 + 1, abs=0.1)
        assert c.line.told(ErrorOccurred) == []


async def test_a_commit_beside_a_reply_takes_what_was_said() -> None:
    async with call(talker(), BESIDE) as c:
        await c.live(tone(1), silence(1.5, INPUT_RATE), tone(0.5))
        c.line.push(CommitRequested())
        await settle()
        assert len(c.record.saved) == 2
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
        c.line.push(CommitRequested())
        await settle()
        (refused,) = c.line.told(ErrorOccurred)
        assert refused.error.code == "input_audio_buffer_commit_empty"


async def test_clearing_beside_a_reply_forgets_what_was_said() -> None:
    async with call(talker(), BESIDE) as c:
        await c.live(tone(1), silence(1.5, INPUT_RATE), tone(0.5))
        c.line.push(ClearRequested())
        await c.live(silence(1, INPUT_RATE))
        assert len(c.record.saved) == 1


async def test_who_may_interrupt_after_all_has_interrupted() -> None:
    async with call(talker(), BESIDE) as c:
        await c.live(tone(1), silence(1.5, INPUT_RATE), tone(0.5))
        c.line.push(SettingsChanged(Settings(patience="fixed")))
        await c.live(tone(0.5), silence(0.6, INPUT_RATE))
        first, second = c.record.saved
        assert first.timings.heard == pytest.approx(1.5 - 0.5 + 0.5, abs=0.1)
        assert second.utterance.duration == pytest.approx(1 + 0.3 + 0.5, abs=0.1)
        assert len(c.model.prompts) == 2


async def test_who_vanishes_beside_a_reply_leaves_what_was_said() -> None:
    gate = asyncio.Semaphore(1)
    async with call(ScriptedModel([say("La. ", 3.0), say("La.")], gate=gate), BESIDE) as c:
        await c.live(tone(1), silence(1.5, INPUT_RATE), tone(0.5))
    first, second = c.record.saved
    assert first.status == "interrupted"
    assert second.utterance.duration == pytest.approx(0.5 + 0.3, abs=0.1)
