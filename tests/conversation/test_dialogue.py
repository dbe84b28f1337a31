"""Turns as they happen: replies begun early, held back, taken back, interrupted."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import HELLO, call
from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.conversation.events import (
    AudioCleared,
    AudioReceived,
    ClearRequested,
    CommitRequested,
    ErrorOccurred,
    ItemsWithdrawn,
    LimitApproached,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyDucked,
    ReplyItemAdded,
    ReplyRequested,
    ReplyRestored,
    ReplyStarted,
    ServerEvent,
    SessionStarted,
    SettingsChanged,
    SpeechStopped,
    TurnCommitted,
    TurnReopened,
    TurnStarted,
    UserTranscribed,
)
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.errors import ShuttingDown
from duologue.settings import Settings
from duologue.testing import (
    ScriptedModel,
    say,
    settle,
    tone,
)
from duologue.tools import NO_TOOLS
from duologue.turns.detector import WINDOW

# Replies begun before the turn has ended.


async def test_a_reply_begun_in_a_pause_is_held_back_until_the_turn_has_ended() -> None:
    async with call(ScriptedModel([HELLO, say("Hi.")])) as c:
        await c.live(tone(1), silence(0.6, INPUT_RATE))
        assert len(c.model.prompts) == 1
        assert c.kinds() == [SessionStarted, TurnStarted]
        assert c.record.saved == []
        await c.live(silence(0.5, INPUT_RATE))
        assert c.kinds()[2:] == [
            *(
                SpeechStopped,
                TurnCommitted,
                ReplyStarted,
                UserTranscribed,
                ReplyItemAdded,
                ReplyDelta,
                ReplyDone,
            )
        ]


async def test_who_goes_on_before_it_is_heard_takes_it_back_without_a_trace() -> None:
    async with call(ScriptedModel([HELLO, say("Hi.")])) as c:
        await c.live(tone(1), silence(0.6, INPUT_RATE), tone(1), silence(1.1, INPUT_RATE))
        assert c.kinds().count(TurnStarted) == c.kinds().count(TurnCommitted) == 1
        assert c.kinds().count(ReplyDelta) == c.kinds().count(ReplyDone) == 1
        first, second = c.model.prompts
        assert second.utterance.duration > first.utterance.duration + 1.3
        assert second.items == []
        (turn,) = c.record.saved
        assert turn.utterance is second.utterance
        assert turn.timings.drops == 1


async def test_a_turn_that_was_told_as_ended_is_reopened_while_the_model_thinks() -> None:
    gate = asyncio.Semaphore(0)
    async with call(ScriptedModel([say("Hi.")], gate=gate)) as c:
        await c.live(tone(1), silence(2, INPUT_RATE), tone(0.5))
        assert c.kinds()[1:] == [TurnStarted, SpeechStopped, TurnReopened]
        assert c.line.told(TurnReopened)[0].item_id == c.line.told(TurnStarted)[0].item_id
        gate.release()
        await c.live(silence(1.1, INPUT_RATE))
        assert c.kinds()[4:] == [
            SpeechStopped,
            TurnCommitted,
            ReplyStarted,
            ReplyItemAdded,
            ReplyDelta,
            ReplyDone,
        ]
        assert len(c.record.saved) == 1


async def test_who_goes_on_as_the_reply_begins_gets_one_turn_of_both_halves() -> None:
    async with call(ScriptedModel([say("One. ", 3.0)])) as c:
        await c.live(tone(1), silence(1.3, INPUT_RATE))
        assert c.kinds()[-1] is ReplyDone
        (cut,) = c.record.saved
        await c.live(tone(1), silence(1.4, INPUT_RATE))
        kinds = c.kinds()
        assert kinds[kinds.index(ReplyDucked) :][1:3] == [ItemsWithdrawn, TurnStarted]
        (turn,) = c.record.saved
        assert turn.id != cut.id
        assert turn.utterance.duration == pytest.approx(1 + 1.3 + 1 + 1.25, abs=0.1)
        assert c.model.prompts[1].items == []
        assert cut.timings.cut == "resumed"
        assert cut.timings.heard == pytest.approx(0.3 + 0.25, abs=0.1)
        assert cut in c.record.noted
        assert c.record.patience == 1.25


async def test_to_a_client_that_takes_nothing_back_both_halves_are_items_and_one_to_the_model() -> (
    None
):
    model = ScriptedModel([say("One. ", 3.0)], transcript="half")
    async with call(model, extensions=False) as c:
        await c.live(tone(1), silence(1.3, INPUT_RATE), tone(1), silence(1.4, INPUT_RATE))
        assert c.line.told(ItemsWithdrawn) == []
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"] * 2
        first, second = c.record.saved
        assert first.utterance.duration == pytest.approx(1 + 0.4, abs=0.1)
        assert second.utterance.duration > 0.9 + 1
        prompt = model.prompts[1]
        assert prompt.items == []
        assert np.array_equal(
            prompt.utterance.samples,
            np.concatenate([first.utterance.samples, second.utterance.samples]),
        )
        assert first.timings.cut == "resumed"
        assert c.record.patience == 1.25
        told = [event.item_id for event in c.line.told(UserTranscribed)]
        assert told == [turn.item.id for turn in (first, second)]
        await c.live(silence(3, INPUT_RATE), tone(1), silence(1.4, INPUT_RATE))
        # Of the reply that came too early, no model hears.
        assert [item.said for item in model.prompts[2].items] == ["half", "half", "One."]


async def test_a_model_that_fails_before_the_turn_has_ended_fails_after_it() -> None:
    async with call(ScriptedModel([ValueError("no")])) as c:
        await c.live(tone(1), silence(0.6, INPUT_RATE))
        assert c.line.told(ErrorOccurred) == []
        await c.live(silence(0.5, INPUT_RATE))
        assert c.kinds()[2:] == [
            *(SpeechStopped, TurnCommitted, ReplyStarted, ErrorOccurred, ReplyDone)
        ]


async def test_a_failure_that_nobody_waits_for_any_more_is_never_told() -> None:
    async with call(ScriptedModel([ValueError("no")])) as c:
        await c.live(tone(1), silence(0.6, INPUT_RATE), tone(1))
        assert c.line.told(ErrorOccurred) == []


async def test_without_a_sound_for_ten_seconds_the_turn_is_part_of_the_conversation() -> None:
    async with call(ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(0))) as c:
        await c.hear(tone(1), silence(10.5, INPUT_RATE))
        assert c.kinds()[-2:] == [TurnCommitted, ReplyStarted]
        await c.hear(tone(0.5))
        assert c.kinds()[-2:] == [ReplyDone, TurnStarted]


async def test_with_fixed_silences_the_turn_is_committed_at_their_end() -> None:
    settings = Settings(patience="fixed", silence=0.5)
    async with call(ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(0)), settings) as c:
        await c.hear(tone(1), silence(0.6, INPUT_RATE))
        assert c.kinds()[2:] == [SpeechStopped, TurnCommitted, ReplyStarted]


async def test_a_client_that_asks_for_its_replies_gets_the_one_that_was_begun_in_secret() -> None:
    async with call(ScriptedModel([say("Hi.")]), Settings(create_response=False)) as c:
        await c.speak()
        assert c.kinds()[1:] == [TurnStarted, SpeechStopped, TurnCommitted]
        assert len(c.model.prompts) == 1
        c.line.push(ReplyRequested(metadata={"topic": "x"}))
        await settle()
        assert c.kinds()[4:] == [ReplyStarted, ReplyItemAdded, ReplyDelta, ReplyDone]
        assert c.line.told(ReplyStarted)[0].asked.metadata == {"topic": "x"}
        assert len(c.model.prompts) == 1


async def test_a_client_that_asks_for_something_else_gets_that() -> None:
    for asked in (
        ReplyRequested(instructions="Be brief."),
        ReplyRequested(aloud=False),
        ReplyRequested(tools=NO_TOOLS),
        ReplyRequested(voice="adam"),
        ReplyRequested(speed=1.5),
        ReplyRequested(max_output_tokens=7),
    ):
        gate = asyncio.Semaphore(0)
        model = ScriptedModel(
            [say("Hi.")], gate=gate, voices=("eve", "adam"), speeds=(0.5, 1.5), counts=True
        )
        async with call(model, Settings(create_response=False)) as c:
            await c.speak()
            c.line.push(asked)
            await settle()
            assert (len(model.prompts), model.abandoned) == (2, 1)
            gate.release()
            await settle()
            assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]


async def test_who_speaks_again_before_a_reply_is_asked_for_has_what_was_begun_taken_back() -> None:
    model = ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(0))
    async with call(model, Settings(create_response=False)) as c:
        await c.speak()
        await c.speak()
        assert (len(model.prompts), model.abandoned) == (2, 1)
        assert len(c.line.told(TurnCommitted)) == 2
        assert c.line.told(ReplyStarted) == []


async def test_a_session_that_answers_nothing_begins_no_reply() -> None:
    settings = Settings(create_response=False, only_words=True)
    async with call(ScriptedModel([say("Hi.")]), settings) as c:
        await c.speak()
        c.line.push(ReplyRequested())
        await settle()
        assert c.model.prompts == []
        [refused] = c.line.told(ErrorOccurred)
        assert "answers nothing" in str(refused.error)


async def test_a_reply_begun_in_a_pause_is_the_one_that_is_asked_for_after_a_commit() -> None:
    async with call(ScriptedModel([HELLO, say("Hi.")])) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        c.line.push(CommitRequested())
        await settle()
        assert c.kinds()[1:] == [TurnStarted, SpeechStopped, TurnCommitted]
        c.line.push(ReplyRequested())
        await settle()
        assert len(c.model.prompts) == 1
        assert c.kinds()[4:] == [
            ReplyStarted,
            UserTranscribed,
            ReplyItemAdded,
            ReplyDelta,
            ReplyDone,
        ]


async def test_a_reply_begun_in_a_pause_that_nobody_asks_for_leaves_no_trace() -> None:
    gate = asyncio.Semaphore(0)
    async with call(ScriptedModel([say("Hi.")], gate=gate)) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        c.line.push(CommitRequested())
        await c.live(tone(1))
        assert c.model.abandoned == 1
        assert c.kinds()[1:] == [TurnStarted, SpeechStopped, TurnCommitted, TurnStarted]
        assert c.line.told(ErrorOccurred) == []


async def test_the_time_limit_of_a_model_that_waits_harms_no_second_turn() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        c.line.push(CommitRequested())
        await c.live(silence(0.5, INPUT_RATE), tone(1), silence(1.5, INPUT_RATE))
        assert [turn.reply_text for turn in c.record.saved] == ["", "Hi."]
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]


async def test_what_is_said_twice_is_not_committed_twice() -> None:
    async with call(ScriptedModel([say("Hi.", 3.0)])) as c:
        await c.live(tone(1), silence(1.3, INPUT_RATE))
        c.line.push(CommitRequested())
        await settle()
        assert "no audio to commit" in str(c.line.told(ErrorOccurred)[0].error)
        assert len(c.record.saved) == 1


async def test_clearing_takes_back_a_reply_that_was_begun() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        c.line.push(ClearRequested())
        await c.live(silence(2, INPUT_RATE))
        assert len(c.model.prompts) == 1
        assert c.kinds()[1:] == [TurnStarted, AudioCleared]
        await c.speak()
        assert len(c.record.saved) == 1


async def test_a_client_that_cancels_before_the_first_sound_keeps_its_words() -> None:
    async with call(ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(0))) as c:
        await c.live(tone(1), silence(1.1, INPUT_RATE))
        c.line.push(ReplyCancelled())
        await settle()
        assert c.kinds()[-3:] == [TurnCommitted, ReplyStarted, ReplyDone]
        assert c.record.saved[0].utterance.duration > 1


async def test_draining_in_a_pause_lets_the_reply_out_that_was_begun() -> None:
    async with call(ScriptedModel([say("Hi.", 1.0)])) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        draining = asyncio.create_task(c.session.drain(ShuttingDown("good bye")))
        await c.clock.advance(1.1)
        await draining
        assert len(c.line.told(ReplyDelta)) == 1
        assert isinstance(c.line.closed, ShuttingDown)


async def test_who_vanishes_in_a_pause_leaves_what_was_said_and_no_reply() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
    (turn,) = c.record.saved
    assert (turn.status, turn.reply) == ("interrupted", [])
    assert turn.utterance.duration == pytest.approx(1.5, abs=0.1)


# Smart Turn.


async def test_smart_turn_is_asked_once_in_a_pause_and_shortens_it() -> None:
    asked: list[float] = []

    async def end_of_turn(sound: AudioChunk) -> float:
        asked.append(sound.duration)
        return 0.99

    async with call(ScriptedModel([say("Hi.")]), end_of_turn=end_of_turn) as c:
        await c.live(tone(1), silence(0.7, INPUT_RATE))
        assert len(asked) == 1
        assert c.record.saved[0].timings.decided == pytest.approx(0.6, abs=0.05)
        pause = c.record.saved[0].timings.pause
        assert pause is not None
        assert pause.probability == 0.99


async def test_an_answer_that_comes_in_the_next_pause_is_not_believed() -> None:
    answers = [asyncio.Event(), asyncio.Event()]
    asked = iter(answers)

    async def end_of_turn(sound: AudioChunk) -> float:
        await next(asked).wait()
        return 0.99

    async with call(ScriptedModel([say("Hi.")]), end_of_turn=end_of_turn) as c:
        await c.live(tone(1), silence(0.3, INPUT_RATE), tone(0.5), silence(0.2, INPUT_RATE))
        answers[0].set()
        await c.live(silence(0.5, INPUT_RATE))
        assert c.record.saved == []
        answers[1].set()
        await c.live(silence(0.1, INPUT_RATE))
        assert len(c.record.saved) == 1


async def test_fixed_silences_ask_nobody() -> None:
    async def end_of_turn(sound: AudioChunk) -> float:
        raise AssertionError

    settings = Settings(patience="fixed")
    async with call(ScriptedModel([say("Hi.")]), settings, end_of_turn=end_of_turn) as c:
        await c.speak()
        assert len(c.record.saved) == 1


# Interruptions.


async def test_a_cough_makes_the_reply_quieter_and_costs_nothing() -> None:
    async with call(ScriptedModel([say("La. ", 5.0)])) as c:
        await c.live(tone(1), silence(2.2, INPUT_RATE), tone(0.15), silence(0.5, INPUT_RATE))
        assert c.kinds()[-2:] == [ReplyDucked, ReplyRestored]
        assert c.record.saved[0].status == "completed"
        await c.clock.advance(5)
        assert c.record.saved[0].timings.heard == 5


async def test_who_forbids_interruptions_while_it_is_ducked_hears_it_at_full_level() -> None:
    async with call(ScriptedModel([say("La. ", 5.0)])) as c:
        await c.live(tone(1), silence(2.2, INPUT_RATE), tone(0.15))
        assert c.kinds()[-1] is ReplyDucked
        c.line.push(SettingsChanged(Settings(interrupt_response=False)))
        await c.live(tone(1))
        assert [kind for kind in c.kinds() if kind in (ReplyRestored, ReplyDone)] == [
            *(ReplyDone, ReplyRestored)
        ]


async def test_what_the_client_flags_as_echo_of_the_reply_is_not_heard() -> None:
    async with call(ScriptedModel([say("La. ", 5.0)])) as c:
        await c.live(tone(1), silence(2.2, INPUT_RATE))
        c.line.push(AudioReceived(tone(2), echo=True))
        await settle()
        assert c.line.told(ReplyDucked) == []


# What microphones and networks do.


async def test_a_packet_that_comes_twice_costs_nothing_but_its_time() -> None:
    async with call(ScriptedModel([say("Hi.", 2.0)])) as c:
        for sound in (tone(0.8), silence(1.1, INPUT_RATE)):
            for start in np.arange(0, sound.duration, 0.04):
                await c.hear(*[sound.between(float(start), float(start) + 0.04)] * 2)
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
        assert len(c.record.saved) == 1


async def test_packets_that_come_late_and_all_at_once_change_no_turn() -> None:
    async with call(ScriptedModel([say("Hi.", 2.0)])) as c:
        samples = concatenate([tone(1), silence(1.1, INPUT_RATE)], INPUT_RATE)
        for start in np.arange(0, samples.duration, 0.3):
            await c.clock.advance(0.3)
            await c.hear(samples.between(float(start), float(start) + 0.3))
        (turn,) = c.record.saved
        assert turn.timings.decided == pytest.approx(1.0, abs=0.35)


async def test_a_clock_that_jumps_harms_no_turn() -> None:
    async with call(ScriptedModel([say("Hi.", 2.0)])) as c:
        for _ in range(2):
            await c.hear(tone(1), silence(0.5, INPUT_RATE))
            await c.clock.advance(600)
            await c.hear(silence(0.7, INPUT_RATE))
            await c.clock.advance(600)
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"] * 2


@pytest.mark.parametrize("windows", range(306, 316))
async def test_who_speaks_just_as_the_turn_can_be_gone_on_with_no_more_loses_no_word(
    windows: int,
) -> None:
    # After 10 s of silence, 312.5 windows, the turn is closed, perhaps by the first window of speech.
    model = ScriptedModel([say("Yes.")], gate=asyncio.Semaphore(0))
    async with call(model) as c:
        await c.hear(tone(1.024), silence(windows * 0.032, INPUT_RATE), tone(0.512))
        await c.hear(silence(1.5, INPUT_RATE))
        spoken = model.prompts[-1].utterance.samples
        loud = np.count_nonzero(np.abs(spoken) > 0.01) / INPUT_RATE
        assert loud == pytest.approx(0.5, abs=0.1) or loud == pytest.approx(1.5, abs=0.1)


async def test_who_talks_on_over_the_time_limit_is_not_talked_over_and_loses_no_word() -> None:
    gate = asyncio.Semaphore(0)
    model = ScriptedModel([say("One. ", 4.0), say("Two.", 4.0)], gate=gate)
    async with call(model, Settings(time_limit=5)) as c:
        await c.live(tone(7))  # the model thinks for 2 s
        assert c.kinds()[1:] == [TurnStarted, SpeechStopped, TurnCommitted, ReplyStarted]
        gate.release()
        await c.live(tone(1))
        assert c.kinds()[5:] == [ReplyItemAdded, ReplyDelta, ReplyDucked, ReplyDone, TurnStarted]
        assert c.line.told(ReplyDone)[0].reason == "turn_detected"
        assert c.line.told(TurnStarted)[1].at == c.line.told(SpeechStopped)[0].at
        gate.release()
        await c.live(silence(1.5, INPUT_RATE))
        first, second = c.record.saved
        assert first.timings.heard == pytest.approx(0.25, abs=0.1)
        assert second.utterance.duration == pytest.approx(3 + 0.4, abs=0.1)
        assert second.reply


async def test_who_stops_at_the_time_limit_is_answered() -> None:
    async with call(ScriptedModel([say("Hi.", 2.0)]), Settings(time_limit=5)) as c:
        await c.live(tone(5.05), silence(3, INPUT_RATE))
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
        assert c.record.saved[0].timings.heard == 2.0


async def test_a_client_that_asks_for_its_replies_gets_one_turn_after_the_other() -> None:
    settings = Settings(time_limit=5, create_response=False)
    async with call(ScriptedModel([say("Hi.")]), settings) as c:
        await c.live(tone(12), silence(1.2, INPUT_RATE))
        lengths = [turn.utterance.duration for turn in c.record.saved]
        assert lengths == pytest.approx([5, 5, 3], abs=0.1)
        assert c.line.told(ErrorOccurred) == []


async def test_who_talks_for_long_is_told_five_seconds_before_the_limit() -> None:
    async with call(ScriptedModel([say("Hi.")]), Settings(time_limit=12)) as c:
        await c.live(tone(8))
        (near,) = c.line.told(LimitApproached)
        assert near.item_id == c.line.told(TurnStarted)[0].item_id
        assert near.left == pytest.approx(5, abs=0.04)


async def test_a_model_of_five_seconds_may_be_gone_on_with_until_it_sounds() -> None:
    gate = asyncio.Semaphore(0)
    async with call(ScriptedModel([say("Hi.", 2.0)], gate=gate)) as c:
        await c.live(tone(1), silence(4, INPUT_RATE), tone(1), silence(4.8, INPUT_RATE))
        assert c.line.told(TurnCommitted) == []
        gate.release()
        await c.live(silence(0.1, INPUT_RATE))
        (turn,) = c.record.saved
        assert turn.timings.drops == 1
        assert turn.utterance.duration > 6


async def test_no_sound_is_joined_to_learn_how_long_a_reply_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("duologue.conversation.items.concatenate")
    async with call(ScriptedModel([say("One. "), say("Two. ", 8.0)])) as c:
        await c.live(tone(1), silence(2.5, INPUT_RATE), tone(0.5), silence(1.2, INPUT_RATE))
        first, second = c.record.saved
        assert first.timings.heard == pytest.approx(1.75, abs=0.1)
        await c.clock.advance(10)
        assert second.timings.heard == 9


# Whatever comes.


class Counting(ScriptedModel):
    """Counts the replies that are under way at once."""

    now = most = 0

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async with aclosing(super().reply(prompt)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.now -= 1


PIECES = st.lists(
    st.tuples(st.sampled_from([0.05, 0.15, 0.3, 0.8]), st.sampled_from([0.1, 0.3, 0.8, 1.6])),
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(PIECES, st.lists(st.integers(0, 30), min_size=12, max_size=12), st.booleans())
async def test_whatever_is_said_and_however_slow_the_model_is(
    pieces: list[tuple[float, float]], delays: list[int], fixed: bool
) -> None:
    sounds = [sound for s, q in pieces for sound in (tone(s), silence(q, INPUT_RATE))]
    samples = concatenate(sounds, INPUT_RATE).samples.copy()
    windows = len(samples) // WINDOW
    for window in range(windows):  # each sample knows when it was heard
        samples[window * WINDOW : (window + 1) * WINDOW] += window * 1e-6
    gate = asyncio.Semaphore(0)
    model = Counting([say("One. "), say("Two. ")], gate=gate)
    due = set(np.cumsum(delays).tolist())
    async with call(model, Settings(patience="fixed" if fixed else "quick")) as c:
        for window in range(windows):
            if window in due:
                gate.release()
            await c.live(AudioChunk(samples[window * WINDOW : (window + 1) * WINDOW], INPUT_RATE))
    assert model.most <= 1
    check_told(c.line.sent)
    heard = np.concatenate(
        [turn.utterance.samples for turn in c.record.saved] or [np.zeros(0, np.float32)]
    )
    assert len(np.unique(heard[::WINDOW])) == len(heard[::WINDOW])  # no window is in two turns


def check_told(sent: list[ServerEvent]) -> None:
    """What holds of every session: who is told of a reply is told of its end, and nothing after it."""
    playing: str | None = None
    finished: set[str] = set()
    for event in sent:
        match event:
            case ReplyStarted(response_id):
                assert playing is None
                assert response_id not in finished
                playing = response_id
            case ReplyDelta(response_id):
                assert response_id == playing
            case ReplyDone(response_id):
                assert response_id == playing
                finished.add(response_id)
                playing = None
