"""What was said becomes words, whatever becomes of the reply: told once, or that there are none."""

import asyncio

from calls import HELLO, call
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    CommitRequested,
    ItemCreated,
    ReplyCancelled,
    ReplyDone,
    ReplyRequested,
    UserNotTranscribed,
    UserTranscribed,
)
from duologue.conversation.items import Item
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone

SAID = ScriptedModel([HELLO, say("Hi.")], transcript="hello")


async def test_a_turn_that_nobody_answers_has_words() -> None:
    async with call(SAID, Settings(create_response=False)) as c:
        await c.speak()
        (told,) = c.line.told(UserTranscribed)
        assert (told.text, told.item_id) == ("hello", c.record.saved[0].item.id)
        c.line.push(ReplyRequested())
        await settle()
        assert len(c.line.told(ReplyDone)) == 1
        assert len(c.line.told(UserTranscribed)) == 1


async def test_where_the_model_writes_nothing_down_the_ear_does_if_that_is_wanted() -> None:
    ear = ScriptedModel(transcript="hello")
    for wanted in (True, False):
        settings = Settings(turn_detection=False, wants_words=wanted)
        async with call(ScriptedModel([say("Hi.")]), settings, ear=ear) as c:
            await c.hear(tone(1))
            c.line.push(CommitRequested())
            await settle()
            assert [told.text for told in c.line.told(UserTranscribed)] == ["hello"] * wanted
            assert len(c.line.told(UserNotTranscribed)) == (not wanted)


async def test_the_ear_is_not_asked_where_the_model_knows() -> None:
    ear = ScriptedModel(transcript="from the ear")
    settings = Settings(turn_detection=False, wants_words=True)
    async with call(SAID, settings, ear=ear) as c:
        await c.hear(tone(1))
        c.line.push(CommitRequested())
        await settle()
        assert [told.text for told in c.line.told(UserTranscribed)] == ["hello"]


async def test_a_bare_commit_has_words() -> None:
    async with call(SAID, Settings(turn_detection=False)) as c:
        await c.hear(tone(1))
        c.line.push(CommitRequested())
        await settle()
        assert [told.text for told in c.line.told(UserTranscribed)] == ["hello"]


async def test_a_spoken_item_has_words() -> None:
    async with call(SAID) as c:
        c.line.push(ItemCreated(Item("voice", sound=tone(1))))
        await settle()
        assert [told.item_id for told in c.line.told(UserTranscribed)] == ["voice"]


async def test_a_reply_that_is_cancelled_before_it_knows_leaves_words() -> None:
    model = ScriptedModel([HELLO, say("Hi.")], gate=asyncio.Semaphore(0), transcript="hello")
    async with call(model, Settings(turn_detection=False)) as c:
        await c.hear(tone(1))
        c.line.push(CommitRequested(), ReplyRequested(), ReplyCancelled())
        await settle()
        assert [done.reason for done in c.line.told(ReplyDone)] == ["client_cancelled"]
        assert [told.text for told in c.line.told(UserTranscribed)] == ["hello"]


async def test_who_speaks_on_before_the_reply_knows_has_words_for_both() -> None:
    model = ScriptedModel([HELLO, say("Hi.")], gate=asyncio.Semaphore(0), transcript="hello")
    async with call(model, Settings(patience="fixed")) as c:
        await c.live(tone(1), silence(0.6, INPUT_RATE), tone(1), silence(0.6, INPUT_RATE))
        c.line.push(ReplyCancelled())
        await settle()
        told = [told.item_id for told in c.line.told(UserTranscribed)]
        assert told == [turn.item.id for turn in c.record.saved]
        assert len(told) == 2


async def test_a_model_that_fails_leaves_words() -> None:
    async with call(ScriptedModel([ValueError("no")], transcript="hello")) as c:
        await c.speak()
        assert [done.reason for done in c.line.told(ReplyDone)] == ["failed"]
        assert [told.text for told in c.line.told(UserTranscribed)] == ["hello"]


async def test_a_model_that_writes_nothing_down_says_so_once_for_each_turn() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        for _ in range(2):
            await c.live(tone(1), silence(4, INPUT_RATE))
        told = c.line.told(UserNotTranscribed)
        assert [event.item_id for event in told] == [turn.item.id for turn in c.record.saved]
        assert "no words for what was said" in str(told[0].error)


async def test_a_reply_begun_in_secret_that_is_taken_back_leaves_no_turn_without_a_word() -> None:
    gate = asyncio.Semaphore(0)
    async with call(ScriptedModel([HELLO, say("Hi.")], gate=gate)) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        c.line.push(CommitRequested())
        await c.live(tone(1))
        assert c.model.abandoned == 1
        assert len(c.line.told(UserNotTranscribed)) == 1


async def test_nobody_writes_on_for_a_client_that_has_left() -> None:
    class Slow(ScriptedModel):
        left = False

        async def transcribe(self, *_: object) -> tuple[str, str]:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.left = True
            raise AssertionError

    model = Slow()
    async with call(model, Settings(create_response=False)) as c:
        await c.speak()
        assert not model.left
    assert model.left
