"""What the page's chat is told of a conversation, without a browser."""

from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from duologue.audio import INPUT_RATE, silence
from duologue.conversation.items import Item
from duologue.store.memory import History
from duologue.testing import say, tone, turn_items
from duologue.transports.page.turns import routes


def _conversation(count: int) -> History:
    history = History()
    record = history.conversation("anna", "talk")
    for number in range(count):
        reply = [say("A new", 0.5), say("\n answer.", 0.5)]
        for item in turn_items(f"turn{number:03}", silence(1, INPUT_RATE), "Go  on.", reply):
            record.save(item)
    return history


def _as(user: str, app: ASGIApp) -> ASGIApp:
    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"user": user}}, receive, send)

    return known


async def _get(history: History, user: str = "anna", **asked: str) -> httpx.Response:
    app = _as(user, Starlette(routes=routes(history)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.get("/v1/turns", params={"conversation": "talk", **asked})


def _ids(answer: dict[str, Any]) -> list[str]:
    return [turn["id"] for turn in answer["turns"]]


async def test_a_turn_is_told_in_words_and_lengths() -> None:
    answer = (await _get(_conversation(1))).json()
    (turn,) = answer["turns"]
    assert (turn["user"], turn["reply"], turn["status"]) == ("Go on.", "A new answer.", "completed")
    assert (turn["heard"], turn["replied"], answer["earlier"]) == (1.0, 1.0, 0)


async def test_a_nod_stands_with_the_reply_that_it_was_said_into() -> None:
    history = _conversation(1)
    record = history.conversation("anna", "talk")
    record.save(Item("item_ub2", sound=tone(0.5), words="Uh-huh.", status="completed", nod=True))
    (turn,) = (await _get(history)).json()["turns"]
    assert turn["nods"] == [{"id": "b2", "user": "Uh-huh.", "heard": 0.5}]


async def test_the_newest_of_three_hundred_turns_take_no_more_bytes_than_those_of_three() -> None:
    few, many = [await _get(_conversation(count), newest="2") for count in (3, 300)]
    assert _ids(many.json()) == ["turn298", "turn299"]
    assert many.json()["earlier"] == 298
    assert abs(len(many.content) - len(few.content)) < 10


async def test_no_answer_has_more_than_fifty_turns() -> None:
    history = _conversation(300)
    assert len((await _get(history, newest="9999999")).json()["turns"]) == 50
    assert len((await _get(history, newest="-1")).json()["turns"]) == 1


async def test_earlier_turns_are_those_right_before_one() -> None:
    answer = (await _get(_conversation(10), newest="3", before="turn005")).json()
    assert _ids(answer) == ["turn002", "turn003", "turn004"]
    assert answer["earlier"] == 2
    assert _ids((await _get(_conversation(3), before="turn777")).json()) == []


async def test_a_stranger_and_a_wrong_name_get_no_turns() -> None:
    history = _conversation(3)
    assert _ids((await _get(history, user="eve")).json()) == []
    assert _ids((await _get(history, conversation="other")).json()) == []


async def test_what_is_no_number_is_refused_in_a_sentence() -> None:
    for odd in ("x", "", "1e9"):
        answer = await _get(_conversation(1), newest=odd)
        assert (answer.status_code, answer.text) == (
            400,
            "newest is a number of turns, as in newest=20",
        )


async def test_a_server_that_was_started_anew_is_told_apart() -> None:
    first = (await _get(_conversation(1))).json()["server"]
    assert first != (await _get(_conversation(1))).json()["server"]
