"""A language model on a server, and all that can go wrong with that."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from duologue.errors import InvalidSetting, ModelFailed, ModelUnavailable
from duologue.models.cascade.chat import ChatServer, Thoughts
from duologue.models.cascade.parts import AnswerCut
from models.cascade.openai_server import KEY, Behaviour
from models.cascade.rig import left_open, turn


@pytest_asyncio.fixture
async def mind(address: str) -> AsyncIterator[ChatServer]:
    mind = ChatServer(address, key=KEY)
    await mind.start()
    yield mind
    await mind.close()


async def answer(mind: ChatServer, question: str = "Where?") -> str:
    return "".join([str(piece) async for piece in mind.answer(question)])


async def test_an_answer_comes_in_pieces(mind: ChatServer, behaviour: Behaviour) -> None:
    pieces = [piece async for piece in mind.answer("What is the capital of France?")]
    assert pieces == ["Paris ", "is the ", "capital."]
    assert mind.name.startswith("small (at 127.0.0.1:")
    assert behaviour.keys == [f"Bearer {KEY}"]
    assert mind.trouble == ""


async def test_it_is_told_to_speak_and_what_was_said(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    before = turn("I am Anna.", "Hello Anna!")
    async for _ in mind.answer("Who am I?", before, "Be kind.", "de"):
        pass
    (asked,) = behaviour.asked
    system, *rest = asked["messages"]  # type: ignore[index]
    assert "by voice" in system["content"]
    assert "answer in German" in system["content"]
    assert system["content"].endswith("Be kind.")
    assert [message["content"] for message in rest] == ["I am Anna.", "Hello Anna!", "Who am I?"]


async def test_what_it_thinks_is_not_said(mind: ChatServer, behaviour: Behaviour) -> None:
    behaviour.pieces = ["<thi", "nk>Hmm, ", "what?</th", "ink>", "It is ", "a < b."]
    assert await answer(mind) == "It is a < b."


def test_thoughts_are_taken_out_however_they_are_cut() -> None:
    text = "One <think>two</think>three <b>four</b> <think>five"
    for size in range(1, len(text)):
        thoughts = Thoughts()
        pieces = [thoughts.push(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join(pieces) + thoughts.flush() == "One three <b>four</b> "


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("html", r"answers, but not as OpenAI's API does; see whether --llm ends in /v1"),
        ("refuse", r"refuses the key; set DUOLOGUE_LLM_KEY to a right one"),
        ("other", r"answers, but not as OpenAI's API does"),
        ("no such", r"does not know what it is asked for; see whether --llm ends in /v1"),
    ],
)
async def test_a_server_that_will_not_do_is_told_at_the_start(
    address: str, behaviour: Behaviour, how: str, sentence: str
) -> None:
    behaviour.how = how
    mind = ChatServer(address, key=KEY)
    with pytest.raises(
        ModelUnavailable, match=rf"^the language model at 127\.0\.0\.1:\d+ {sentence}"
    ):
        await mind.start()
    await mind.close()


async def test_a_server_that_wants_a_key_and_got_none_is_told(
    address: str, behaviour: Behaviour
) -> None:
    behaviour.how = "refuse"
    mind = ChatServer(address)
    with pytest.raises(ModelUnavailable, match="wants a key; set DUOLOGUE_LLM_KEY"):
        await mind.start()
    await mind.close()


async def test_a_server_that_is_not_there_is_told_at_the_start() -> None:
    mind = ChatServer("http://127.0.0.1:9/v1")
    with pytest.raises(ModelUnavailable, match="is not reached; see whether it runs"):
        await mind.start()
    await mind.close()


async def test_a_model_that_it_does_not_have_is_told_with_those_that_it_has(
    address: str, behaviour: Behaviour
) -> None:
    behaviour.models = ["llama3.2:latest", "qwen3"]
    mind = ChatServer(address, "gpt")
    with pytest.raises(ModelUnavailable, match=r"no model 'gpt'; it has llama3\.2:latest, qwen3"):
        await mind.start()
    await mind.close()
    mind = ChatServer(address)
    with pytest.raises(
        ModelUnavailable, match=r"needs --llm-model NAME; it has llama3\.2:latest, qwen3"
    ):
        await mind.start()
    await mind.close()
    mind = ChatServer(address, "llama3.2")
    await mind.start()
    await mind.close()


async def test_a_server_that_cannot_list_its_models_is_taken_at_its_word(
    address: str, behaviour: Behaviour
) -> None:
    behaviour.how = "no such"
    mind = ChatServer(address, "small")
    await mind.start()
    behaviour.how = "well"
    assert await answer(mind) == "Paris is the capital."
    await mind.close()


@pytest.mark.parametrize(
    "address", ["localhost", "ftp://x/v1", "http://", "http://x:99999/v1", "://"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(
        InvalidSetting, match=r"llm is an address such as http://127\.0\.0\.1:11434/v1"
    ):
        ChatServer(address)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("html", "answers, but not as OpenAI's API does"),
        ("other", "answers, but not as OpenAI's API does"),
        ("refuse", "refuses the key; set DUOLOGUE_LLM_KEY"),
        ("limit", "is asked too often; it wants to be left alone for 20 s"),
        ("fail", r"failed \(500\); see what it logs"),
        ("cut", "broke off"),
        ("stop", "broke off in the middle of an answer"),
        ("tool", "called a tool that nobody offered; take another --llm-model"),
        ("echoes the key", r"refused the request \(422\): .*bad request with …"),
    ],
)
async def test_a_failure_is_one_sentence_and_the_next_turn_tries_again(
    mind: ChatServer,
    behaviour: Behaviour,
    how: str,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    behaviour.how = how
    with (
        caplog.at_level(logging.DEBUG, "duologue"),
        pytest.raises(
            ModelFailed, match=rf"^the language model at 127\.0\.0\.1:\d+ {sentence}"
        ) as failed,
    ):
        await answer(mind)
    assert mind.trouble == str(failed.value)
    assert KEY not in caplog.text + str(failed.value)
    behaviour.how = "well"
    assert await answer(mind) == "Paris is the capital."
    assert mind.trouble == ""


@pytest.mark.parametrize("how", ["fail", "limit a little"])
async def test_what_passes_is_tried_again_before_the_first_word(
    mind: ChatServer, behaviour: Behaviour, how: str
) -> None:
    behaviour.how, behaviour.times = how, 2
    assert await answer(mind) == "Paris is the capital."
    assert len(behaviour.asked) == 3


async def test_after_the_first_word_nothing_is_said_twice(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    behaviour.how = "cut"
    given: list[str] = []

    async def listen() -> None:
        async for piece in mind.answer("Where?"):
            given.append(str(piece))  # noqa: PERF401  (it breaks off)

    with pytest.raises(ModelFailed):
        await listen()
    assert given == ["Paris ", "is the ", "capital."]
    assert len(behaviour.asked) == 1


async def test_an_answer_without_an_end_is_cut(mind: ChatServer, behaviour: Behaviour) -> None:
    behaviour.how = "endless"
    with pytest.raises(AnswerCut, match="more than 1500 characters"):
        await answer(mind)


async def test_a_server_that_hangs_is_told(
    address: str, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatServer, "_silent", 0.3)
    mind = ChatServer(address)
    await mind.start()
    behaviour.how = "hang"
    with pytest.raises(ModelFailed, match="gave nothing in time"):
        await answer(mind)
    await mind.close()


async def test_an_abandoned_answer_is_left(mind: ChatServer, behaviour: Behaviour) -> None:
    behaviour.how = "endless"
    task = asyncio.ensure_future(answer(mind))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    behaviour.how = "well"
    assert await answer(mind) == "Paris is the capital."


async def test_an_answer_that_is_given_up_is_closed_to_its_last_part(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    behaviour.how = "endless"
    with left_open() as streams:
        writing = mind.answer("Where?")
        await anext(writing)
        await writing.aclose()
    assert streams == []
