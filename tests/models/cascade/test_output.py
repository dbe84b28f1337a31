"""How the cascade's replies sound, how long they may be, and how many tokens they have."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk

from duologue.audio import silence
from duologue.conversation.items import FunctionCall, ReplyChunk, Usage
from duologue.conversation.prompt import Prompt
from duologue.models.cascade.calls import usage_of
from duologue.models.cascade.chat import ChatServer
from duologue.models.cascade.parts import LimitReached
from duologue.models.cascade.pipeline import Cascade
from duologue.models.cascade.remote import RemoteRecogniser, RemoteSynthesiser
from duologue.tools import Function, Tools
from models.cascade.openai_server import Behaviour
from models.cascade.rig import collect, said

QUESTION = Prompt(silence(1, 16_000))


@pytest_asyncio.fixture
async def mind(address: str) -> AsyncIterator[ChatServer]:
    mind = ChatServer(address)
    await mind.start()
    yield mind
    await mind.close()


@pytest_asyncio.fixture
async def cascade(address: str, behaviour: Behaviour) -> AsyncIterator[Cascade]:
    behaviour.voices = ["nova", {"id": "onyx"}, 7, "alloy"]
    cascade = Cascade(
        RemoteRecogniser(address), ChatServer(address), RemoteSynthesiser(address, speed=1.25)
    )
    await cascade.start()
    yield cascade
    await cascade.close()


def asked(behaviour: Behaviour, field: str) -> list[dict[str, Any]]:
    """The requests that have this field."""
    return [body for body in cast(list[dict[str, Any]], behaviour.asked) if field in body]


async def answer(mind: ChatServer, limit: int = 0, tools: Tools = Tools()) -> list[object]:
    """What it gives; at the end the name of what it raises."""
    given: list[object] = []
    try:
        async for piece in mind.answer("Where?", tools=tools, limit=limit):
            given.append(piece)  # noqa: PERF401  (it breaks off)
    except LimitReached:
        given.append("LimitReached")
    return given


async def test_an_answer_ends_with_the_tokens_that_it_may_have(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    behaviour.counts = True
    assert await answer(mind, 2) == ["Paris ", "is the ", Usage(2, 2), "LimitReached"]
    assert await answer(mind, 3) == ["Paris ", "is the ", "capital.", Usage(2, 3)]
    assert [body["max_tokens"] for body in asked(behaviour, "messages")] == [2, 3]
    assert mind.trouble == ""


async def test_half_a_thought_and_half_a_call_are_nothing(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    behaviour.pieces = ["<think>Hmm. ", "What?</think>", "Paris."]
    behaviour.calls = [[{"name": "look", "arguments": '{"at": '}]]
    tools = Tools((Function("look"),))
    assert await answer(mind, 1, tools) == ["LimitReached"]
    assert await answer(mind, 3, tools) == ["Paris.", FunctionCall("look", '{"at": ')]


async def test_without_a_limit_none_is_told_and_tokens_are_counted(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    behaviour.counts = True
    assert (await answer(mind))[-1] == Usage(2, 3)
    (body,) = asked(behaviour, "messages")
    assert body["stream_options"] == {"include_usage": True}
    assert not body.keys() & {"max_tokens", "max_completion_tokens"}


@pytest.mark.parametrize("refused", ["stream_options", "max_tokens"])
async def test_a_server_that_refuses_to_count_is_asked_otherwise(
    mind: ChatServer, behaviour: Behaviour, refused: str
) -> None:
    behaviour.refuses, behaviour.counts = (refused,), True
    for _ in range(2):
        given = await answer(mind, 2)
        assert given[:2] == ["Paris ", "is the "]
        assert given[-1] == "LimitReached"
        assert (Usage(2, 2) in given) is (refused == "max_tokens")
    assert len(behaviour.asked) == 3
    assert mind.trouble == ""


async def test_a_server_that_refuses_both_is_asked_without(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    behaviour.refuses = ("stream_options", "max_tokens")
    assert await answer(mind, 1) == ["Paris ", "LimitReached"]
    assert asked(behaviour, "messages")[-1]["max_completion_tokens"] == 1


async def test_its_voices_are_those_that_its_server_lists(cascade: Cascade) -> None:
    can = cascade.capabilities
    assert can.voices == ("alloy", "nova", "onyx")
    assert can.speeds == (0.4, 1.6)
    assert can.counts


@pytest.mark.parametrize("listed", [[], [7, {}, "x" * 65, None]])
async def test_a_server_that_lists_no_voices_has_one(
    address: str, behaviour: Behaviour, listed: list[object]
) -> None:
    behaviour.voices = listed
    voice = RemoteSynthesiser(address, voice="bella")
    await voice.start()
    assert voice.voices == ("bella",)
    assert voice.trouble == ""
    await voice.close()


async def test_the_voices_of_openai_are_known(address: str) -> None:
    voice = RemoteSynthesiser("https://api.openai.com/v1", voice="nova")
    assert voice.voices[:2] == ("nova", "alloy")
    assert len(voice.voices) == len(set(voice.voices)) == 9
    await voice.close()


@pytest.mark.parametrize(
    ("voice", "speed", "heard"),
    [
        ("nova", 1.2, ("nova", 1.5)),
        ("", 1.0, ("alloy", 1.25)),
        ("alloy", 1.0, ("alloy", 1.25)),
        ("nobody", 0.8, ("alloy", None)),
    ],
)
async def test_a_reply_is_spoken_as_it_was_asked_for(
    cascade: Cascade, behaviour: Behaviour, voice: str, speed: float, heard: tuple[str, object]
) -> None:
    prompt = Prompt(QUESTION.utterance, voice=voice, speed=speed)
    assert said(await collect(cascade, prompt)) == "Paris is the capital."
    spoken = asked(behaviour, "input")
    assert spoken
    assert {(body["voice"], body.get("speed")) for body in spoken} == {heard}


async def test_a_reply_with_a_limit_is_said_to_its_last_word(
    cascade: Cascade, behaviour: Behaviour
) -> None:
    behaviour.counts = True
    chunks = await collect(cascade, Prompt(QUESTION.utterance, max_output_tokens=2))
    assert said(chunks) == "Paris is the"
    assert chunks[-1] == ReplyChunk(incomplete=True)
    assert [chunk.usage for chunk in chunks if chunk.usage] == [Usage(2, 2)]
    assert [chunk.incomplete for chunk in chunks].count(True) == 1


async def test_a_reply_of_thoughts_alone_says_nothing(
    cascade: Cascade, behaviour: Behaviour
) -> None:
    behaviour.pieces = ["<think>Hmm. ", "What?</think>", "Paris."]
    chunks = await collect(cascade, Prompt(QUESTION.utterance, max_output_tokens=1))
    assert said(chunks) == ""
    assert chunks[-1] == ReplyChunk(incomplete=True)


@pytest.mark.parametrize("told", [None, 7, {}, {"prompt_tokens": "7", "completion_tokens": 1}])
def test_a_count_that_is_none_is_passed_over(told: Any) -> None:
    assert usage_of(ChatCompletionChunk.construct(usage=told)) is None
