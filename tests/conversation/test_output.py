"""How replies sound, how long they may be, and what they use."""

import asyncio

import pytest

from calls import HELLO, call, replies
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    ErrorOccurred,
    ItemCreated,
    ReplyCancelled,
    ReplyDone,
    ReplyRequested,
    ReplyStarted,
    SessionStarted,
    SettingsApplied,
    SettingsChanged,
)
from duologue.conversation.items import Item, ReplyChunk, Usage
from duologue.conversation.prompt import Capabilities, usable
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone
from duologue.tools import Function, Tools


def speaker(
    *chunks: ReplyChunk | Exception, gate: asyncio.Semaphore | None = None
) -> ScriptedModel:
    """A model that has voices and speeds, and counts."""
    script = chunks or (say("Hi."),)
    return ScriptedModel(
        script, gate=gate, reads=True, voices=("eve", "adam"), speeds=(0.5, 1.2), counts=True
    )


OTHER = Settings(voice="adam", speed=1.1, max_output_tokens=7)


def manner(of: object) -> tuple[object, ...]:
    names = ("voice", "speed", "max_output_tokens")
    return tuple(getattr(of, name) for name in names)


NOTHING = Capabilities(False, False, False, "Nothing.")
ALL = Capabilities(
    False, False, False, "All.", calls=True, counts=True, voices=("eve", "adam"), speeds=(0.5, 1.2)
)
TOOLS = Tools((Function("look"),))


@pytest.mark.parametrize(
    ("wanted", "can", "left"),
    [
        (Settings(), NOTHING, Settings()),
        (OTHER, NOTHING, Settings()),
        (Settings(tools=TOOLS), NOTHING, Settings()),
        (Settings(tools=Tools((), "none")), NOTHING, Settings(tools=Tools((), "none"))),
        (Settings(), ALL, Settings(voice="eve")),
        (OTHER, ALL, OTHER),
        (Settings(voice="alloy", speed=1.5), ALL, Settings(voice="eve", speed=1.2)),
        (Settings(voice="adam", speed=0.25), ALL, Settings(voice="adam", speed=0.5)),
        (Settings(voice="eve", tools=TOOLS), ALL, Settings(voice="eve", tools=TOOLS)),
    ],
)
def test_of_settings_what_a_model_can_do_is_left(
    wanted: Settings, can: Capabilities, left: Settings
) -> None:
    assert usable(wanted, can) == left


async def test_a_session_begins_with_the_usual_voice_by_its_name() -> None:
    async with call(speaker()) as c:
        await c.speak()
        assert manner(c.line.told(SessionStarted)[0].settings) == ("eve", 1.0, 0)
        assert c.line.told(SettingsApplied) == []
        assert manner(c.model.prompts[0]) == ("eve", 1.0, 0)


async def test_replies_are_as_the_session_has_them() -> None:
    async with call(speaker()) as c:
        c.line.push(SettingsChanged(OTHER))
        await c.speak()
        assert manner(c.line.told(SettingsApplied)[0].settings) == ("adam", 1.1, 7)
        assert manner(c.model.prompts[0]) == ("adam", 1.1, 7)
        assert manner(c.line.told(ReplyStarted)[0].asked) == ("adam", 1.1, 7)
        await c.clock.advance(2)
        c.line.push(SettingsChanged(Settings()))  # after the first sound, too
        await c.speak()
        assert manner(c.model.prompts[1]) == ("eve", 1.0, 0)


async def test_a_voice_that_nobody_has_is_no_error() -> None:
    async with call(speaker()) as c:
        c.line.push(SettingsChanged(Settings(voice="alloy")))
        await c.speak()
        assert c.line.told(SettingsApplied)[0].settings.voice == "eve"
        assert c.line.told(ErrorOccurred) == []
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]


async def test_a_model_that_can_do_nothing_of_it_is_asked_for_nothing_and_that_is_told() -> None:
    async with call(ScriptedModel([say("Hi.")], reads=True)) as c:
        c.line.push(SettingsChanged(OTHER))
        await settle()
        c.line.push(ReplyRequested(voice="adam", speed=0.5, max_output_tokens=9))
        await settle()
        assert manner(c.line.told(SettingsApplied)[0].settings) == ("", 1.0, 0)
        assert manner(c.line.told(ReplyStarted)[0].asked) == ("", 1.0, 0)
        assert manner(c.model.prompts[0]) == ("", 1.0, 0)
        assert c.line.told(ErrorOccurred) == []


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (ReplyRequested(), ("adam", 1.1, 7)),
        (ReplyRequested(voice="eve", speed=0.25, max_output_tokens=0), ("eve", 0.5, 0)),
        (ReplyRequested(voice="alloy", speed=1.0, max_output_tokens=9), ("adam", 1.0, 9)),
    ],
)
async def test_a_response_may_have_its_own(asked: ReplyRequested, used: tuple[object, ...]) -> None:
    async with call(speaker(), OTHER) as c:
        c.line.push(asked)
        await settle()
        assert manner(c.model.prompts[0]) == used
        assert manner(c.line.told(ReplyStarted)[0].asked) == used
        assert manner(c.line.told(ReplyDone)[0].asked) == used
        await c.clock.advance(2)
        await c.speak()
        assert manner(c.model.prompts[1]) == ("adam", 1.1, 7)


async def test_a_voice_that_changes_in_a_pause_begins_the_reply_anew() -> None:
    model = speaker()
    async with call(model) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        assert [prompt.voice for prompt in model.prompts] == ["eve"]
        c.line.push(SettingsChanged(Settings(voice="adam")))
        await c.live(silence(1.0, INPUT_RATE))
        assert [prompt.voice for prompt in model.prompts] == ["eve", "adam"]
        assert c.line.told(ReplyStarted)[0].asked.voice == "adam"


async def test_a_reply_with_all_its_tokens_is_incomplete_and_part_of_the_conversation() -> None:
    end = ReplyChunk(usage=Usage(30, 7), incomplete=True)
    async with call(speaker(HELLO, say("One two"), end), OTHER) as c:
        await c.speak()
        (done,) = c.line.told(ReplyDone)
        assert (done.reason, done.text) == ("max_output_tokens", "One two")
        assert c.line.told(ErrorOccurred) == []
        (turn,) = c.record.saved
        assert turn.status == "interrupted"
        await c.clock.advance(2)
        await c.speak()
        assert replies(c.model.prompts[1]) == ["One two"]


async def test_a_reply_uses_the_text_that_the_model_tells_and_the_sound_that_there_is() -> None:
    chunks = [HELLO, say("One ", 1.0), ReplyChunk(usage=Usage(30, 7)), say("two.", 0.52)]
    async with call(ScriptedModel(chunks), Settings(patience="fixed")) as c:
        await c.speak(1.0)
        (done,) = c.line.told(ReplyDone)
        heard = round(c.model.prompts[0].utterance.duration * 10)
        assert 12 <= heard <= 20  # a second of speech, and silence around it
        assert done.usage == Usage(30, 7, heard, 30)


async def test_what_is_written_and_answered_in_words_uses_no_sound() -> None:
    async with call(speaker(say("Hi."), ReplyChunk(usage=Usage(9, 2)))) as c:
        c.line.push(ItemCreated(Item("q", text="Hello.", status="completed")))
        c.line.push(ReplyRequested(aloud=False))
        await settle()
        assert c.line.told(ReplyDone)[0].usage == Usage(9, 2)


async def test_a_reply_that_is_stopped_has_used_what_it_has_until_then() -> None:
    gate = asyncio.Semaphore(0)
    async with call(speaker(say("One ", 1.0), say("two."), gate=gate)) as c:
        await c.speak()
        c.line.push(ReplyCancelled())
        await settle()
        (nothing,) = c.line.told(ReplyDone)
        assert nothing.item_id is None
        assert nothing.usage == Usage(0, 0, round(c.model.prompts[0].utterance.duration * 10))
        gate.release()
        await c.speak()
        c.line.push(ReplyCancelled())
        await settle()
        assert c.line.told(ReplyDone)[1].usage.output_audio == 20


async def test_a_model_that_fails_has_used_what_it_has_until_then() -> None:
    async with call(speaker(say("One ", 1.0), RuntimeError("no more"))) as c:
        await c.speak()
        (done,) = c.line.told(ReplyDone)
        assert (done.reason, done.usage.output_audio) == ("failed", 20)
