"""A reply that was stopped is taken up again where it was."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest

from calls import Call, call
from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation.events import (
    ClearRequested,
    ErrorOccurred,
    ItemRemoved,
    PlaybackTruncated,
    ReplyCancelled,
    ReplyDone,
    ReplyRequested,
    ReplyResumed,
    SettingsChanged,
    UserTranscribed,
)
from duologue.conversation.floor import State
from duologue.conversation.items import Item, ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.conversation.stopped import Stopped
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone

FIXED = Settings(patience="fixed")
STORY = [
    say("Once there was a fox. ", 2.0),
    say("It had ", 1.0),
    say("a red tail. ", 1.0),
    say("It lived here.", 4.0),
]


class Teller(ScriptedModel):
    """Tells a story; then it hears the words that it is given, whatever is said, and says "Yes."."""

    def __init__(
        self, *said: str, story: Sequence[ReplyChunk] = STORY, answer: str = "Yes."
    ) -> None:
        super().__init__(reads=True)
        self.said, self.story, self.answer = [*said], story, answer
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        self.prompts.append(prompt)
        if len(self.prompts) == 1:
            yield ReplyChunk(user_text="tell me a story")
            for chunk in self.story:
                yield chunk
            await self.may_end.wait()
        elif not prompt.spoken:
            yield ReplyChunk(user_text="Go on.")
            yield say("Beside.", 1.0)
        else:
            yield ReplyChunk(user_text=self.said[min(len(self.prompts) - 2, len(self.said) - 1)])
            yield say(self.answer, 1.0)


def quiet(seconds: float) -> AudioChunk:
    return silence(seconds, INPUT_RATE)


async def stopped(c: Call, after: float = 2.6) -> None:
    """The user stops the story that long after it has begun, and is silent then."""
    await c.live(tone(1), quiet(0.6))
    await c.live(quiet(after - 0.4))
    await c.live(tone(0.5), quiet(0.6))


def floor(c: Call) -> State:
    """Who has it."""
    return c.session._dialogue.state


def told(c: Call) -> list[str]:
    """The words of the replies, as the client was told."""
    return [event.text for event in c.line.told(ReplyDone)]


@pytest.mark.parametrize("words", ["Go on.", "Sorry, please continue."])
async def test_the_rest_is_said_from_the_start_of_the_sentence(words: str) -> None:
    model = Teller(words)
    async with call(model, FIXED) as c:
        await stopped(c)
        assert told(c)[-1] == "It had a red tail. It lived here."
        first, second = c.record.conversation.turns()
        assert first.reply_text == "Once there was a fox."
        assert second.user_text == words
        assert second.reply_seconds == 6.0
        await c.live(quiet(6.1))
        assert floor(c) is State.LISTENING
        assert second.timings.heard == 6.0


async def test_words_that_ask_for_something_else_are_answered() -> None:
    async with call(Teller("Go on with another one."), FIXED) as c:
        await stopped(c)
        assert told(c)[-1] == "Yes."


async def test_a_later_turn_may_ask_for_it_and_only_once() -> None:
    async with call(Teller("What colour?", "Go on."), FIXED) as c:
        await stopped(c)
        assert told(c)[-1] == "Yes."
        await c.live(quiet(1.2), tone(0.5), quiet(0.6))
        assert told(c)[-1] == "It had a red tail. It lived here."
        await c.live(quiet(6.5), tone(0.5), quiet(0.6))
        assert told(c)[-1] == "Yes."


async def test_nobody_remembers_a_reply_that_was_stopped_a_minute_ago() -> None:
    async with call(Teller("What colour?", "Go on."), FIXED) as c:
        await stopped(c)
        await c.live(quiet(60))
        await c.live(tone(0.5), quiet(0.6))
        assert told(c)[-1] == "Yes."


@pytest.mark.parametrize("words", ["", "Uh-huh."])
async def test_what_stopped_it_and_proves_to_be_a_nod_or_nothing_takes_it_up(words: str) -> None:
    async with call(Teller(words), FIXED, extensions=False) as c:
        await stopped(c)
        assert told(c)[-1] == "It had a red tail. It lived here."


async def test_assent_to_a_question_is_answered() -> None:
    story = [say("Do you like foxes? ", 2.5), say("I do.", 4.0)]
    async with call(Teller("Yes.", story=story), FIXED) as c:
        await stopped(c)
        assert told(c)[-1] == "Yes."


async def test_assent_to_another_reply_is_answered() -> None:
    async with call(Teller("What colour?", "Okay."), FIXED) as c:
        await stopped(c)
        await c.live(quiet(1.2), tone(0.5), quiet(0.6))
        assert told(c) == [
            "Once there was a fox. It had a red tail. It lived here.",
            "Yes.",
            "Yes.",
        ]


async def test_who_nods_again_and_again_hears_it_to_its_end() -> None:
    long = [say("Once", 1.0), *[say(f" {number}", 1.0) for number in range(8)], say(" end.", 1.0)]
    async with call(Teller("Yeah.", story=long), FIXED, extensions=False) as c:
        await stopped(c)
        for _ in range(5):
            await c.live(quiet(1.5), tone(0.5), quiet(0.6))
        rests = [words.split()[0] for words in told(c)[1:]]
        assert rests[0] == "Once"
        assert rests[-1] not in ("Once", "0", "1", "2", "3")


async def test_the_client_wants_it_in_place_of_the_answer() -> None:
    model = Teller("What?")
    async with call(model, FIXED) as c:
        await stopped(c)
        assert floor(c) is State.SPEAKING  # it answers
        c.line.push(ReplyResumed())
        await settle()
        assert told(c)[1:] == ["Yes.", "It had a red tail. It lived here."]
        await c.live(quiet(6.1))
        assert floor(c) is State.LISTENING
        c.line.push(ReplyResumed())
        await settle()
        (refused,) = c.line.told(ErrorOccurred)
        assert "no reply that the model had finished" in str(refused.error)


async def test_the_client_wants_it_while_the_user_speaks() -> None:
    async with call(Teller("What?"), FIXED) as c:
        await c.live(tone(1), quiet(0.6))
        await c.live(quiet(2.2))
        await c.live(tone(0.5))
        assert floor(c) is State.HEARING
        c.line.push(ReplyResumed())
        await settle()
        assert told(c)[-1] == "It had a red tail. It lived here."
        assert floor(c) is State.SPEAKING
        assert len(c.record.conversation.turns()) == 1


async def test_what_the_client_has_played_counts() -> None:
    async with call(Teller("Go on."), FIXED) as c:
        await c.live(tone(1), quiet(0.6))
        await c.live(quiet(2.2))
        await c.live(tone(0.5))
        (done,) = c.line.told(ReplyDone)
        c.line.push(PlaybackTruncated(done.item_id or "", 1.5))
        await c.live(quiet(0.6))
        assert told(c)[-1] == done.text


async def test_a_reply_that_the_client_has_stopped_may_go_on() -> None:
    async with call(Teller("Go on."), FIXED) as c:
        await c.live(tone(1), quiet(0.6))
        await c.live(quiet(2.2))
        c.line.push(ReplyCancelled(), ClearRequested())
        await c.live(tone(0.5), quiet(0.6))
        assert told(c)[-1] == "It had a red tail. It lived here."
        assert [event.text for event in c.line.told(UserTranscribed)][-1] == "Go on."


async def test_a_reply_that_was_not_made_to_its_end_is_not_taken_up() -> None:
    model = Teller("Go on.")
    model.may_end.clear()
    async with call(model, FIXED) as c:
        await stopped(c)
        assert told(c)[-1] == "Yes."
        c.line.push(ReplyResumed())
        await settle()
        assert len(c.line.told(ErrorOccurred)) == 1


async def test_what_the_client_had_truncated_before_it_stopped_it_goes_on() -> None:
    async with call(Teller("Go on."), FIXED) as c:
        await c.live(tone(1), quiet(0.6))
        await c.live(quiet(2.2))
        (done,) = c.line.told(ReplyDone)
        c.line.push(PlaybackTruncated(done.item_id or "", 2.3), ReplyCancelled(), ClearRequested())
        await c.live(tone(0.5), quiet(0.6))
        assert told(c)[-1] == "It had a red tail. It lived here."


async def test_who_was_asked_a_question_answers_it() -> None:
    async with call(Teller("Delete it.", "Yes, go ahead.", answer="Shall I?"), FIXED) as c:
        await stopped(c)
        await c.live(quiet(2), tone(0.5), quiet(0.6))
        assert told(c)[1:] == ["Shall I?", "Shall I?"]


async def test_a_reply_out_of_band_takes_nothing_up() -> None:
    async with call(Teller("What colour?"), FIXED) as c:
        await c.live(tone(1), quiet(2.8))
        await c.live(tone(0.5))
        c.line.push(ReplyRequested(in_band=False))
        await c.live(quiet(0.6))
        assert sorted(told(c)[1:]) == ["Beside.", "Yes."]


async def test_a_request_with_a_purpose_of_its_own_is_carried_out() -> None:
    async with call(Teller("Go on."), replace(FIXED, create_response=False)) as c:
        c.line.push(ReplyRequested())
        await c.live(tone(1), quiet(0.6))
        c.line.push(ReplyRequested())
        await c.live(quiet(2.2))
        await c.live(tone(0.5), quiet(0.6))
        c.line.push(ReplyRequested(instructions="Say goodbye."))
        await settle()
        assert told(c)[-1] == "Yes."


async def test_another_voice_does_not_say_the_rest() -> None:
    async with call(Teller("Go on."), FIXED) as c:
        await c.live(tone(1), quiet(2.8))
        await c.live(tone(0.5))
        c.line.push(SettingsChanged(replace(FIXED, instructions="Be rude.")))
        await c.live(quiet(0.6))
        assert told(c)[-1] == "Yes."


async def test_the_figures_of_a_reply_that_is_taken_up_are_whole() -> None:
    async with call(Teller("Go on."), FIXED) as c:
        await stopped(c)
        timings = c.record.conversation.turns()[-1].timings
        assert timings.first_sound is not None
        assert timings.first_token is not None


async def test_a_transcription_session_says_no_rest() -> None:
    async with call(Teller("Go on."), FIXED) as c:
        await c.live(tone(1), quiet(2.8))
        await c.live(tone(0.5))
        c.line.push(SettingsChanged(replace(FIXED, only_words=True)), ReplyResumed())
        await settle()
        (refused,) = c.line.told(ErrorOccurred)
        assert "a transcription session" in str(refused.error)


async def test_what_was_deleted_does_not_go_on() -> None:
    async with call(Teller("Go on."), FIXED) as c:
        await c.live(tone(1), quiet(0.6))
        await c.live(quiet(2.2))
        await c.live(tone(0.5))
        (done,) = c.line.told(ReplyDone)
        c.line.push(ItemRemoved(done.item_id or ""))
        await c.live(quiet(0.6))
        assert told(c)[-1] == "Yes."


async def test_who_had_not_finished_takes_nothing_up() -> None:
    async with call(Teller("Go on."), Settings()) as c:
        await c.live(tone(1), quiet(1.2))
        await c.live(tone(0.5), quiet(2.0))  # within a second of the first sound
        assert told(c)[-1] == "Yes."


@pytest.mark.parametrize(
    ("heard", "rest"),
    [
        (0.0, "Once there was a fox. It had a red tail. It lived here."),
        (1.5, "Once there was a fox. It had a red tail. It lived here."),
        (2.0, "It had a red tail. It lived here."),
        (3.5, "It had a red tail. It lived here."),
        (4.0, "It lived here."),
        (8.0, ""),
    ],
)
def test_the_rest_begins_with_a_sentence(heard: float, rest: str) -> None:
    item = Item("item_a", "assistant", spoken=[*STORY])
    item.truncate(heard)
    left = Stopped(item, STORY, 0.0, asked=False, again=False).rest()
    assert "".join(chunk.text for chunk in left) == rest


def rest_of(made: list[ReplyChunk], heard: float, *, again: bool = False) -> list[ReplyChunk]:
    """What is left of such a reply when so many seconds of it were heard."""
    item = Item("item_a", "assistant", spoken=[*made])
    item.truncate(heard)
    return Stopped(item, made, 0.0, asked=False, again=again).rest()


def test_words_that_came_before_their_sound_come_with_the_rest() -> None:
    made = [say("One. Two.", 0.2), *[say("", 0.2)] * 20]
    assert rest_of(made, 3.0)[0].text == "One. Two."


def test_a_sentence_ends_with_its_quotation_mark() -> None:
    made = [say('He said: "Once." ', 2.0), say("It had a tail.", 2.0)]
    assert [chunk.text for chunk in rest_of(made, 2.5)] == ["It had a tail."]


def test_a_piece_that_is_stopped_again_goes_on_within() -> None:
    made = [say("one two three four five six", 6.0)]
    (rest,) = rest_of(made, 3.0, again=True)
    assert rest.text == "four five six"
    assert rest.audio is not None
    assert rest.audio.duration == pytest.approx(3.0)
