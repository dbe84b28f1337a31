"""A nod lets the reply go on; what is no nod stops it, where it was held."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from calls import HELLO, Call, call
from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation.events import (
    ErrorOccurred,
    ItemAdded,
    PlaybackTruncated,
    ReplyDone,
    ReplyDucked,
    ReplyHeld,
    ReplyRequested,
    ReplyRestored,
    ServerEvent,
    TurnStarted,
)
from duologue.conversation.floor import State
from duologue.conversation.items import Conversation, Item, ReplyChunk
from duologue.errors import ModelFailed, ShuttingDown
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone
from duologue.turns.words import likely

FIXED = Settings(patience="fixed")
MARKS = (ReplyDucked, ReplyHeld, ReplyRestored, TurnStarted)


class Listener(ScriptedModel):
    """Says something long, and writes down what is said into it, when it may."""

    def __init__(
        self,
        words: str | Exception,
        seconds: float = 8.0,
        script: Sequence[ReplyChunk] = (),
    ) -> None:
        super().__init__([HELLO, *(script or [say("La. ", seconds)])], transcript="")
        self.words, self.heard = words, list[AudioChunk]()
        self.asked: list[tuple[str, str]] = []  # in which language, and with which words in mind
        self.may = asyncio.Event()
        self.may.set()

    async def transcribe(
        self, utterance: AudioChunk, language: str = "", listener: str = "", likely: str = ""
    ) -> tuple[str, str]:
        self.heard.append(utterance)
        self.asked.append((language, likely))
        await self.may.wait()
        if isinstance(self.words, Exception):
            raise self.words
        return self.words, language or listener or "en"


def quiet(seconds: float) -> AudioChunk:
    return silence(seconds, INPUT_RATE)


def ended(c: Call) -> bool:
    """Whether the reply was played to its end."""
    return c.session._dialogue.state is State.LISTENING


async def talked_into(c: Call, *sounds: AudioChunk) -> list[type[ServerEvent]]:
    """What the client is told when these sounds come 2 s into the reply."""
    await c.live(tone(1), quiet(0.5))
    assert not ended(c)
    await c.live(quiet(2))
    before = len(c.line.sent)
    await c.live(*sounds)
    return [type(event) for event in c.line.sent[before:] if isinstance(event, MARKS)]


async def test_the_reply_is_held_for_a_nod_and_goes_on_to_its_end() -> None:
    model = Listener("Uh-huh.")
    async with call(model, FIXED) as c:
        seen = await talked_into(c, tone(0.4), quiet(1))
        assert seen == [ReplyDucked, ReplyHeld, ReplyRestored]
        await c.live(quiet(4.7))
        assert not ended(c)  # it ends as much later as it was held
        await c.live(quiet(0.5))
        assert ended(c)
        (turn,) = c.record.saved
        assert turn.timings.heard == 8.0
        assert turn.status == "completed"
        assert len(model.prompts) == 1  # nobody answers a nod
        (sound,) = model.heard[-1:]
        assert sound.duration == pytest.approx(0.4 + 0.3 + 0.1, abs=0.1)


async def test_a_nod_is_an_item_that_no_model_reads() -> None:
    model = Listener("Uh-huh.")
    async with call(model, FIXED) as c:
        await talked_into(c, tone(0.4), quiet(1))
        (restored,) = c.line.told(ReplyRestored)
        (added,) = c.line.told(ItemAdded)
        assert added.item.id == restored.nod_id
        assert (added.item.role, added.item.words, added.item.nod) == ("user", "Uh-huh.", True)
        assert added.item.seconds == pytest.approx(0.4 + 0.3 + 0.1, abs=0.1)
        assert added.previous_id == restored.item_id
        await c.live(quiet(6), tone(1), quiet(1))
        assert [item.words for item in model.prompts[-1].items if item.role == "user"] == [
            "hello there"
        ]
        first, second = c.record.conversation.turns()
        assert [nod.id for nod in first.nods] == [added.item.id]
        assert not second.nods


async def test_a_nod_is_nothing_to_answer() -> None:
    model = Listener("Uh-huh.")
    async with call(model, FIXED) as c:
        await talked_into(c, tone(0.4), quiet(1))
        await c.live(quiet(6))
        c.line.push(ReplyRequested())
        await settle()
        (refused,) = c.line.told(ErrorOccurred)
        assert "nothing to answer" in str(refused.error)
        assert len(model.prompts) == 1


async def test_assent_to_a_question_is_its_answer() -> None:
    model = Listener("Yes.", script=[say("Do you like it? ", 2.0), say("La. ", 8.0)])
    async with call(model, FIXED) as c:
        assert await talked_into(c, tone(0.4), quiet(1)) == [ReplyDucked, ReplyHeld, TurnStarted]
    model = Listener("Yes.", script=[say("You like it! ", 2.0), say("La. ", 8.0)])
    async with call(model, FIXED) as c:
        assert await talked_into(c, tone(0.4), quiet(1)) == [ReplyDucked, ReplyHeld, ReplyRestored]


async def test_the_ear_is_told_the_language_and_what_people_say_into_a_reply() -> None:
    model = Listener("Genau.", script=[replace(HELLO, language="de"), say("La. ", 8.0)])
    async with call(model, FIXED) as c:
        await talked_into(c, tone(0.4), quiet(1))
        assert c.line.told(ReplyRestored)
    assert model.asked == [("de", likely("de"))]
    model = Listener("Yeah.", script=[replace(HELLO, language="de"), say("La. ", 8.0)])
    async with call(model, replace(FIXED, language="en")) as c:
        await talked_into(c, tone(0.4), quiet(1))
        assert c.line.told(ReplyRestored)
    assert model.asked == [("en", likely("en"))]


async def test_a_word_that_is_none_stops_it_where_it_was_held() -> None:
    model = Listener("Wait.")
    async with call(model, FIXED) as c:
        seen = await talked_into(c, tone(0.4), quiet(1))
        assert seen == [ReplyDucked, ReplyHeld, TurnStarted]
        first, second = c.record.saved
        assert first.status == "interrupted"
        assert first.timings.heard == pytest.approx(2.25, abs=0.1)
        assert len(model.prompts) == 2
        assert second.utterance.duration == pytest.approx(0.4 + 0.3 + 0.5, abs=0.2)


async def test_without_words_it_was_nothing() -> None:
    async with call(Listener(""), FIXED) as c:
        assert await talked_into(c, tone(0.4), quiet(1)) == [ReplyDucked, ReplyHeld, ReplyRestored]
        assert len(c.record.saved) == 1


async def test_long_speech_stops_it_whatever_it_says() -> None:
    async with call(Listener("Yeah."), FIXED) as c:
        assert await talked_into(c, tone(1.5), quiet(1)) == [ReplyDucked, ReplyHeld, TurnStarted]


@pytest.mark.parametrize("words", [ModelFailed("broken"), RuntimeError("a fault")])
async def test_an_ear_that_fails_lets_nobody_be_ignored(words: Exception) -> None:
    async with call(Listener(words), FIXED) as c:
        assert await talked_into(c, tone(0.4), quiet(1)) == [ReplyDucked, ReplyHeld, TurnStarted]


async def test_an_ear_that_is_late_lets_nobody_be_ignored() -> None:
    model = Listener("Yeah.")
    async with call(model, FIXED) as c:
        await c.live(tone(1), quiet(2.5))
        model.may.clear()
        await c.live(tone(0.4), quiet(1))
        model.may.set()
        await c.live(quiet(0.2))
        assert len(c.line.told(TurnStarted)) == 2


async def test_assent_at_the_end_of_a_reply_may_be_its_answer() -> None:
    async with call(Listener("Yes.", 3.0), FIXED) as c:
        assert await talked_into(c, tone(0.4), quiet(1)) == [ReplyDucked, TurnStarted]


async def test_a_client_that_cannot_hold_has_it_stopped_at_once() -> None:
    async with call(Listener("Yeah."), FIXED, extensions=False) as c:
        assert await talked_into(c, tone(0.4), quiet(1)) == [ReplyDucked, TurnStarted]


async def test_a_client_that_truncates_what_is_held_is_believed() -> None:
    model = Listener("Stop.")
    async with call(model, FIXED) as c:
        await talked_into(c, tone(0.4), quiet(0.5))
        (done,) = c.line.told(ReplyDone)[:1]
        assert done.item_id
        c.line.push(PlaybackTruncated(done.item_id, 2.0))
        await c.live(quiet(0.1))
        assert c.record.saved[0].timings.heard == 2.0


async def test_a_reply_that_is_held_is_heard_to_its_end_before_the_server_stops() -> None:
    async with call(Listener("Wait."), FIXED) as c:
        assert await talked_into(c, tone(0.3)) == [ReplyDucked, ReplyHeld]
        draining = asyncio.create_task(c.session.drain(ShuttingDown("the server stops")))
        await c.live(quiet(0.1))
        assert c.line.told(ReplyRestored)
        await c.live(quiet(6))
        await draining
        assert c.record.saved[0].timings.heard == 8.0


async def test_who_hangs_up_while_it_is_held_has_heard_it_so_far() -> None:
    model = Listener("Yeah.")
    async with call(model, FIXED) as c:
        await talked_into(c, tone(0.3))
    (turn,) = c.record.saved
    assert turn.timings.heard == pytest.approx(2.25, abs=0.1)


@pytest.mark.parametrize(("reply", "seconds"), [("Two or three?", 0.6), ("Two or three.", 1.1)])
async def test_a_short_answer_to_a_question_is_waited_for_less(reply: str, seconds: float) -> None:
    async def unsure(sound: AudioChunk) -> float:
        return 0.43 if sound.duration else 0.0

    async with call(ScriptedModel([HELLO, say(reply, 0.5)]), end_of_turn=unsure) as c:
        await c.live(tone(1.5), quiet(3))
        await c.live(tone(0.5), quiet(3))
        waits = [turn.timings.pause.wait for turn in c.record.saved if turn.timings.pause]
        assert waits == [1.1, seconds]


@pytest.mark.parametrize(
    ("items", "asks"),
    [
        ([], False),
        ([Item("a", "assistant", text="What?")], True),
        ([Item("a", "assistant", text="何\uff1f ")], True),
        ([Item("a", "assistant", text="What? Well.")], False),
        ([Item("a", "assistant", text="What?"), Item("b", "user", words="Yes.", nod=True)], True),
        ([Item("a", "assistant", text="What?"), Item("b", "user", text="This.")], False),
        ([Item("a", "user", text="What?")], False),
        ([Item("a", "assistant", "function_call", text="{}?")], False),
    ],
)
def test_a_question_is_what_the_model_said_last(items: list[Item], asks: bool) -> None:
    conversation = Conversation()
    for item in items:
        conversation.add(item)
    assert conversation.asks is asks


async def test_who_nods_all_the_time_hears_the_reply_to_its_end() -> None:
    model = Listener("Yeah.")
    async with call(model, FIXED) as c:
        await c.live(tone(1), quiet(2.5))
        for _ in range(5):
            await c.live(tone(0.4), quiet(0.6))
        await c.live(quiet(6))
        assert ended(c)
        (turn,) = c.record.conversation.turns()
        assert (turn.status, turn.timings.heard) == ("completed", 8.0)
        assert [nod.words for nod in turn.nods] == ["Yeah."] * 5
        assert len(model.prompts) == 1


@pytest.mark.parametrize("words", ["I can't stop laughing.", "Right, but why?", "Hör auf."])
async def test_words_with_a_nod_in_them_or_in_another_language_stop_the_reply(words: str) -> None:
    async with call(Listener(words), FIXED) as c:
        assert await talked_into(c, tone(0.5), quiet(1)) == [ReplyDucked, ReplyHeld, TurnStarted]


async def test_a_nod_that_is_still_weighed_as_the_reply_would_end_keeps_it_from_ending() -> None:
    model = Listener("Yeah.", 4.4)
    async with call(model, FIXED) as c:
        await c.live(tone(1), quiet(0.5 + 3.0))
        model.may.clear()
        await c.live(tone(0.4), quiet(0.5))
        assert not ended(c)
        model.may.set()
        await c.live(quiet(0.3))
        assert c.line.told(ReplyRestored)
        await c.live(quiet(1.5))
        (turn,) = c.record.conversation.turns()
        assert turn.timings.heard == pytest.approx(4.4)
