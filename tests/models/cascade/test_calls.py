"""Functions that a language model calls: how they are offered, put together, and told afterwards."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai.types.chat.chat_completion_chunk import Choice

from duologue.conversation.items import FunctionCall, Item
from duologue.models.cascade import calls as module
from duologue.models.cascade.calls import Bare, Calls, offer
from duologue.models.cascade.chat import ChatServer
from duologue.models.cascade.prompt import messages
from duologue.tools import Function, Tools
from models.cascade.openai_server import Behaviour
from models.cascade.rig import turn

WEATHER = Function("weather", "In a town.", {"type": "object", "properties": {"town": {}}})
TOOLS = Tools((WEATHER, Function("time")))


def item(kind: Any, text: str, call_id: str = "call_1", name: str = "") -> Item:
    return Item(f"{kind}{call_id}", "assistant", kind, text, name=name, call_id=call_id)


def told(*items: Item, question: str | None = None, calls: bool = True) -> list[dict[str, Any]]:
    return [dict(message) for message in messages(question, items, "", calls=calls)]


def asked(behaviour: Behaviour) -> Any:
    (body,) = behaviour.asked
    return body


@pytest_asyncio.fixture
async def mind(address: str) -> AsyncIterator[ChatServer]:
    mind = ChatServer(address)
    await mind.start()
    yield mind
    await mind.close()


async def test_calls_come_in_pieces_after_the_words(mind: ChatServer, behaviour: Behaviour) -> None:
    behaviour.pieces = ["One ", "moment."]
    behaviour.calls = [
        [
            {"name": "weather", "arguments": ""},
            {"arguments": '{"town": '},
            {"arguments": '"Oslo"}'},
        ],
        [{"name": "time"}],
        [{"name": "launch", "arguments": "{}"}],
    ]
    given = [piece async for piece in mind.answer("How is it?", tools=TOOLS)]
    assert given == [
        "One ",
        "moment.",
        FunctionCall("weather", '{"town": "Oslo"}'),
        FunctionCall("time", "{}"),
    ]
    body = asked(behaviour)
    assert body["tools"][0]["function"] == {
        "name": "weather",
        "description": "In a town.",
        "parameters": {"type": "object", "properties": {"town": {}}},
    }
    assert body["tool_choice"] == "auto"
    assert "what your functions do" in body["messages"][0]["content"]


async def test_a_call_alone_is_an_answer(mind: ChatServer, behaviour: Behaviour) -> None:
    behaviour.pieces, behaviour.calls = [], [[{"name": "time", "arguments": "{}"}]]
    assert [piece async for piece in mind.answer("When?", tools=TOOLS)] == [
        FunctionCall("time", "{}")
    ]


async def test_what_the_function_gave_is_read_as_such(
    mind: ChatServer, behaviour: Behaviour
) -> None:
    before = [
        *turn("How is it?", "One moment."),
        item("function_call", '{"town": "Oslo"}', name="weather"),
        item("function_call_output", "rain"),
    ]
    _ = [piece async for piece in mind.answer(None, before, tools=TOOLS)]
    function = {"name": "weather", "arguments": '{"town": "Oslo"}'}
    assert asked(behaviour)["messages"][1:] == [
        {"role": "user", "content": "How is it?"},
        {"role": "assistant", "content": "One moment."},
        {
            "role": "assistant",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]


def test_where_nobody_asks_anything_the_instructions_do() -> None:
    before = turn("Hello.", "Hi.")
    assert messages(None, before, "Say goodbye.")[-1] == {"role": "user", "content": "Say goodbye."}
    assert messages(None, [], "")[-1] == {"role": "user", "content": "Go on."}


def test_what_has_no_other_half_is_no_call() -> None:
    call, output = item("function_call", "{}", "a", "f"), item("function_call_output", "sun", "b")
    messages = told(call, output, question="And now?")
    assert [message["role"] for message in messages] == ["system", "assistant", "user"]


def test_arguments_that_are_no_json_are_none() -> None:
    pair = [item("function_call", "{", name="weather"), item("function_call_output", "")]
    _, call, output = told(*pair)
    assert call["tool_calls"][0]["function"]["arguments"] == "{}"
    assert output["content"] == ""


def test_a_model_without_functions_reads_what_they_gave_as_words() -> None:
    output = Item("o", "user", "function_call_output", "rain", call_id="call_1")
    messages = told(
        item("function_call", "{}", name="weather"), output, question="So?", calls=False
    )
    assert [message["content"] for message in messages[1:]] == ["rain\nSo?"]


def test_a_long_conversation_is_cut_between_turns_and_never_between_a_call_and_its_output() -> None:
    before = []
    for number in range(60):
        before += turn(f"question {number} " * 10, "yes " * 10)
        before += [
            item("function_call", "{}", f"call_{number}", "weather"),
            item("function_call_output", "rain " * 10, f"call_{number}"),
        ]
    messages = told(*before, question="And now?")
    assert 4 < len(messages) < 60
    calls = [message["tool_calls"][0]["id"] for message in messages if "tool_calls" in message]
    outputs = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert calls == outputs
    assert messages[1]["role"] == "user"


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        (Tools(), None),
        (Tools((WEATHER,), "none"), None),
        (Tools((WEATHER,), "required"), "required"),
        (
            Tools((WEATHER,), "required", "weather"),
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_what_may_not_be_called_is_not_offered(tools: Tools, choice: object) -> None:
    assert offer(tools).get("tool_choice") == choice


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "weather", "arguments": {"town": "Oslo"}}. It is sunny.',
        ' \n{"arguments": {"town": "Oslo"}, "name": "weather"}',
        '{"name": "weather", "parameters": {"town": "Oslo"}}',
    ],
)
def test_a_call_in_bare_json_is_one_however_it_is_cut(text: str) -> None:
    for size in range(1, len(text) + 1):
        bare, said = Bare(TOOLS), list[str | FunctionCall]()
        for start in range(0, len(text), size):
            said.append(bare.push(text[start : start + size]))
            if isinstance(said[-1], FunctionCall):
                break
        assert [piece for piece in said if piece] == [FunctionCall("weather", '{"town": "Oslo"}')]


@pytest.mark.parametrize(
    "text",
    [
        "Hello {you}.",
        '{"name": "launch"} now',
        "{",
        "{1: 2}",
        '{"name": "time", "arguments": 3}',
        " ",
    ],
)
def test_what_is_no_call_is_said(text: str) -> None:
    bare = Bare(TOOLS)
    said = [bare.push(letter) for letter in text]
    assert "".join([*map(str, said), bare.flush()]) == text
    assert Bare(Tools()).push('{"name": "time"}') == '{"name": "time"}'


def test_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    monkeypatch.setattr(module, "_LONGEST", 8)
    calls = Calls(TOOLS)
    for index in range(5):
        piece = {"index": index, "function": {"name": "time", "arguments": "x" * 100}}
        calls.push(Choice.model_validate({"index": 0, "delta": {"tool_calls": [piece]}}))
    assert calls.whole == [FunctionCall("time", "x" * 8)] * 2
    assert not calls.unknown
