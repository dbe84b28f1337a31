"""Items and responses as a client wants them: written, asked for, taken out, out of band."""

import asyncio

import pytest

from calls import HELLO, call, replies
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    CommitRequested,
    ErrorOccurred,
    ItemAdded,
    ItemCreated,
    ItemDeleted,
    ItemRemoved,
    ItemRequested,
    ItemSent,
    PlaybackTruncated,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyDucked,
    ReplyItemAdded,
    ReplyRequested,
    ReplyStarted,
    ReplyTruncated,
    SettingsApplied,
    SettingsChanged,
    UserTranscribed,
)
from duologue.conversation.items import Item
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone
from duologue.tools import Tools, ToolServer


def reader(*chunks: str, **more: object) -> ScriptedModel:
    """A model that answers what is written, too."""
    return ScriptedModel([say(chunk) for chunk in chunks], reads=True, **more)  # type: ignore[arg-type]


def text(name: str, words: str) -> Item:
    return Item(name, "user", text=words, status="completed")


async def test_a_text_is_put_into_the_conversation_and_answered() -> None:
    async with call(reader("Hello Anna!")) as c:
        c.line.push(ItemCreated(text("mine", "I am Anna.")), ReplyRequested())
        await settle()
        (added,) = c.line.told(ItemAdded)
        assert (added.item.id, added.previous_id) == ("mine", None)
        (prompt,) = c.model.prompts
        assert prompt.utterance.duration == 0
        assert [item.said for item in prompt.items] == ["I am Anna."]
        assert c.kinds()[2:] == [ReplyStarted, ReplyItemAdded, ReplyDelta, ReplyDone]
        assert c.line.told(ReplyItemAdded)[0].previous_id == "mine"
        assert [item.said for item in c.record.conversation] == ["I am Anna.", "Hello Anna!"]


async def test_a_model_is_asked_to_greet_before_anybody_has_said_a_word() -> None:
    async with call(reader("Welcome!"), Settings(instructions="Be kind.")) as c:
        c.line.push(ReplyRequested(instructions="Greet the user."))
        await settle()
        assert c.model.prompts[0].instructions == "Greet the user."
        await c.clock.advance(2)
        await c.speak()
        assert c.model.prompts[1].instructions == "Be kind."
        assert replies(c.model.prompts[1]) == ["Welcome!"]


async def test_the_next_response_may_be_asked_for_as_soon_as_the_last_is_done() -> None:
    async with call(reader("One moment.", " I am looking.")) as c:
        await c.speak()
        (first,) = c.line.told(ReplyDone)
        c.line.push(ItemCreated(text("result", "It rains.")), ReplyRequested())
        await settle()
        first, second = c.line.told(ReplyDone)
        assert first.response_id != second.response_id
        assert c.line.told(ErrorOccurred) == []
        # Both sound one after the other; who interrupts the second has heard the first.
        await c.live(silence(2.5, INPUT_RATE), tone(0.4))
        kept = [item.seconds for item in c.record.conversation if item.role == "assistant"]
        assert kept == pytest.approx([2.0, 0.5 + 0.25], abs=0.1)


async def test_a_response_may_be_asked_for_while_somebody_may_be_interrupting() -> None:
    async with call(reader("One moment. ", "Wait.")) as c:
        await c.live(tone(1), silence(2.4, INPUT_RATE), tone(0.15))
        assert c.kinds()[-1] is ReplyDucked
        c.line.push(ReplyRequested())
        await settle()
        assert len(c.line.told(ReplyDone)) == 2
        assert c.line.told(ErrorOccurred) == []


async def test_a_client_that_writes_beside_a_reply_loses_nothing_of_what_the_user_says() -> None:
    settings = Settings(patience="fixed", interrupt_response=False)
    async with call(reader("La. " * 9, gate=None), settings) as c:
        await c.live(tone(1), silence(0.8, INPUT_RATE), tone(0.5))
        c.line.push(ItemCreated(text("a", "By the way.")))
        await c.live(tone(0.5), silence(0.6, INPUT_RATE))
        assert c.record.saved[-1].utterance.duration == pytest.approx(1 + 0.3 + 0.5, abs=0.1)


async def test_what_the_client_has_deleted_does_not_come_back() -> None:
    gate = asyncio.Semaphore(1)
    model = ScriptedModel([say("One. "), HELLO, say("Two.")], gate=gate)
    async with call(model, Settings(patience="fixed")) as c:
        await c.speak()
        user, answer = c.record.conversation
        c.line.push(ItemRemoved(user.id), ItemRemoved(answer.id))
        await settle()
        gate.release()
        gate.release()
        await settle()
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"]
        assert list(c.record.conversation) == []
        assert c.line.told(UserTranscribed) == []


async def test_a_second_response_while_one_is_made_is_refused_by_its_name() -> None:
    async with call(reader("One. ", gate=asyncio.Semaphore(0))) as c:
        c.line.push(ReplyRequested(), ReplyRequested(event_id="second"))
        await settle()
        (started,) = c.line.told(ReplyStarted)
        (refused,) = c.line.told(ErrorOccurred)
        assert refused.error.code == "conversation_already_has_active_response"
        assert started.response_id in str(refused.error)
        assert refused.event_id == "second"


async def test_a_model_that_hears_only_says_so_once() -> None:
    async with call(ScriptedModel([say("Hi.")])) as c:
        c.line.push(ItemCreated(text("mine", "Hello")), ReplyRequested(event_id="reply"))
        await settle()
        (refused,) = c.line.told(ErrorOccurred)
        assert "answers what is said, not what is written" in str(refused.error)
        assert refused.event_id == "reply"


async def test_what_was_said_and_not_answered_is_answered_with_what_was_written_since() -> None:
    async with call(ScriptedModel([say("Hi.")]), Settings(create_response=False)) as c:
        await c.speak()
        c.line.push(ItemCreated(Item("s", "system", text="Be brief.")), ReplyRequested())
        await settle()
        begun, prompt = c.model.prompts  # the one that was begun in secret knew nothing of that
        assert begun.items == []
        assert prompt.utterance.duration > 1
        assert [item.said for item in prompt.items] == ["Be brief."]
        assert c.record.saved[0].reply_text == "Hi."


async def test_what_changes_in_a_pause_is_known_to_the_reply_that_was_begun_in_it() -> None:
    async with call(ScriptedModel([say("Hi.")], gate=asyncio.Semaphore(9))) as c:
        await c.live(tone(1), silence(0.6, INPUT_RATE))
        c.line.push(ItemCreated(Item("s", "system", text="Be brief.")))
        c.line.push(SettingsChanged(Settings(instructions="Be kind.")))
        await settle()
        c.line.push(ItemRemoved("s"))
        await c.live(silence(0.6, INPUT_RATE))
        seen = [(prompt.instructions, [i.said for i in prompt.items]) for prompt in c.model.prompts]
        assert seen == [
            ("", []),
            ("", ["Be brief."]),
            ("Be kind.", ["Be brief."]),
            ("Be kind.", []),
        ]
        assert [done.text for done in c.line.told(ReplyDone)] == ["Hi."]


async def test_a_spoken_item_is_answered_as_speech_is() -> None:
    async with call(ScriptedModel([HELLO, say("Hi.")])) as c:
        c.line.push(ItemCreated(Item("voice", sound=tone(1.5))), ReplyRequested())
        await settle()
        assert c.model.prompts[0].utterance.duration == 1.5
        c.line.push(ItemRequested("voice"))
        await settle()
        assert c.line.told(ItemSent)[0].item.words == "hello there"
        assert c.record.saved[0].reply_text == "Hi."


@pytest.mark.parametrize(
    ("previous", "order"),
    [("root", ["c", "a", "b"]), ("a", ["a", "c", "b"]), (None, ["a", "b", "c"])],
)
async def test_an_item_stands_where_the_client_wants_it(
    previous: str | None, order: list[str]
) -> None:
    async with call(reader()) as c:
        c.line.push(*(ItemCreated(text(name, name)) for name in "ab"))
        c.line.push(ItemCreated(text("c", "c"), previous))
        await settle()
        assert [item.id for item in c.record.conversation] == order
        before = {"root": None, "a": "a", None: "b"}[previous]
        assert c.line.told(ItemAdded)[-1].previous_id == before


async def test_what_cannot_be_done_with_an_item_gets_the_apis_code() -> None:
    async with call(reader()) as c:
        c.line.push(
            ItemCreated(text("a", "a")),
            ItemCreated(text("a", "b"), event_id="1"),
            ItemCreated(text("b", "b"), "nowhere", event_id="2"),
            ItemRequested("nowhere", event_id="3"),
            ItemRemoved("nowhere", event_id="4"),
            PlaybackTruncated("nowhere", 1.0, event_id="5"),
            ReplyRequested(input=("nowhere",), event_id="6"),
        )
        await settle()
        errors = c.line.told(ErrorOccurred)
        assert [error.event_id for error in errors] == list("123456")
        assert [error.error.code for error in errors] == [
            "item_create_duplicate_item_id",
            "item_create_invalid_item_id",
            "item_retrieve_invalid_item_id",
            "item_delete_invalid_item_id",
            "item_truncate_invalid_item_id",
            "invalid_event",
        ]
        params = ["item.id", "previous_item_id", *["item_id"] * 3, None]
        assert [error.error.param for error in errors] == params
        assert str(errors[4].error) == (
            "Error truncating item: the item with id 'nowhere' does not exist."
        )


async def test_what_is_deleted_is_nobodys_any_more() -> None:
    async with call(reader("Fine.")) as c:
        c.line.push(
            ItemCreated(text("a", "My secret is 7.")), ItemCreated(text("b", "How are you?"))
        )
        c.line.push(ItemRemoved("a"), ReplyRequested())
        await settle()
        assert [event.item_id for event in c.line.told(ItemDeleted)] == ["a"]
        assert [item.said for item in c.model.prompts[0].items] == ["How are you?"]
        c.line.push(ItemRequested("a"))
        await settle()
        assert len(c.line.told(ErrorOccurred)) == 1


async def test_a_client_sees_of_an_item_what_was_heard_of_it() -> None:
    async with call(ScriptedModel([say("One two three four.", 2.0)])) as c:
        await c.speak()
        item_id = c.line.told(ReplyItemAdded)[0].item_id
        c.line.push(PlaybackTruncated(item_id, 1.0), ItemRequested(item_id))
        c.line.push(PlaybackTruncated(item_id, 3000.0))
        await settle()
        assert c.line.told(ItemSent)[0].item.said == "One two"
        assert [event.heard for event in c.line.told(ReplyTruncated)] == [1.0, 1.0]


async def test_out_of_band_nothing_enters_the_conversation() -> None:
    async with call(reader("Weather.")) as c:
        c.line.push(ItemCreated(text("a", "Will it rain?")), ItemCreated(text("b", "Or snow?")))
        await settle()
        asked = ReplyRequested(
            instructions="Name the topic.",
            metadata={"topic": "x"},
            aloud=False,
            in_band=False,
            input=("a",),
        )
        c.line.push(asked)
        await settle()
        (prompt,) = c.model.prompts
        assert (prompt.instructions, prompt.aloud) == ("Name the topic.", False)
        assert [item.id for item in prompt.items] == ["a"]
        assert [item.id for item in c.record.conversation] == ["a", "b"]
        (done,) = c.line.told(ReplyDone)
        assert done.asked.metadata == {"topic": "x"}
        assert all(delta.audio is None for delta in c.line.told(ReplyDelta))
        assert done.text == "Weather."


async def test_a_turn_may_be_answered_out_of_band_and_then_in_the_conversation() -> None:
    async with call(reader("Hi. "), Settings(create_response=False)) as c:
        await c.speak()
        c.line.push(ReplyRequested(in_band=False))
        await settle()
        c.line.push(ReplyRequested())
        await settle()
        first, second = c.line.told(ReplyDone)
        assert first.response_id != second.response_id
        assert [item.role for item in c.record.conversation] == ["user", "assistant"]
        assert c.record.saved[0].reply_text == "Hi."


async def test_of_a_second_answer_to_a_turn_what_was_heard_is_kept() -> None:
    gate = asyncio.Semaphore(1)
    async with call(
        ScriptedModel([say("One two. ", 4.0)], gate=gate), Settings(turn_detection=False)
    ) as c:
        await c.hear(tone(1))
        c.line.push(CommitRequested(), ReplyRequested())
        await settle()
        c.line.push(ItemRemoved(c.line.told(ReplyItemAdded)[0].item_id), ReplyRequested())
        await settle()
        gate.release()
        await c.clock.advance(6)
        c.line.push(ReplyCancelled())
        await settle()
        (turn,) = c.record.saved
        assert turn.reply_seconds == pytest.approx(2.0)
        assert turn.timings.heard == pytest.approx(2.0)


async def test_a_session_may_be_in_words_alone() -> None:
    async with call(reader("Hi. ", "There."), Settings(aloud=False)) as c:
        await c.speak()
        assert c.model.prompts[0].aloud is False
        assert [delta.audio for delta in c.line.told(ReplyDelta)] == [None, None]
        assert c.line.told(ReplyDone)[0].text == "Hi. There."
        await c.speak()  # there is nothing to interrupt
        assert [done.reason for done in c.line.told(ReplyDone)] == ["completed"] * 2
        c.line.push(SettingsChanged(Settings(aloud=True)))
        await c.speak()
        assert c.line.told(ReplyDelta)[-1].audio


async def test_what_nothing_here_can_do_is_said_once_and_the_rest_holds() -> None:
    async with call(reader()) as c:
        servers = Tools(servers=(ToolServer("files", "http://127.0.0.1/mcp"),))
        wanted = Settings(instructions="Be kind.", tools=servers)
        c.line.push(SettingsChanged(wanted, event_id="1"), SettingsChanged(wanted))
        await settle()
        applied, _ = c.line.told(SettingsApplied)
        assert applied.settings == Settings(instructions="Be kind.")
        (refused,) = c.line.told(ErrorOccurred)
        assert (refused.error.param, refused.event_id) == ("session.tools", "1")


async def test_a_reply_that_was_begun_in_secret_is_not_the_one_with_other_instructions() -> None:
    async with call(reader("Hi.")) as c:
        await c.live(tone(1), silence(0.5, INPUT_RATE))
        c.line.push(CommitRequested(), ReplyRequested(instructions="Be brief."))
        await settle()
        assert [prompt.instructions for prompt in c.model.prompts] == ["", "Be brief."]
        assert len(c.line.told(ReplyDone)) == 1
        assert c.record.saved[0].timings.drops == 1
