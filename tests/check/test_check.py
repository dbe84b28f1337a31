"""The checks, against ourselves, and against ourselves with faults put in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from conftest import Serve
from duologue import cli
from duologue.audio import REPLY_RATE, concatenate, silence
from duologue.check import CHECKS, Card, Finding, Trial, examine, line_of, lines
from duologue.check.clients import CLIENTS
from duologue.conversation.items import FunctionCall, ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.errors import InvalidApiKey, InvalidSetting, Unreachable
from duologue.testing import ScriptedModel, say, tone

Fault = Callable[[dict[str, Any]], dict[str, Any] | None]

QUESTION = concatenate([silence(0.2, REPLY_RATE), tone(1.2, REPLY_RATE)], REPLY_RATE)


class Obliging(ScriptedModel):
    """Calls the function where it must, else speaks."""

    def __init__(self) -> None:
        super().__init__([say("Hello. ", 3.0)], reads=True, calls=True, transcript="what is that")

    async def reply(self, prompt: Prompt) -> Any:
        call = ReplyChunk(call=FunctionCall("get_weather", '{"town": "Oslo"}'))
        self._chunks = [call] if prompt.tools.choice == "required" else [say("Hello. ", 3.0)]
        async with aclosing(super().reply(prompt)) as chunks:
            async for chunk in chunks:
                yield chunk


async def run(url: str, *only: str, key: str = "") -> tuple[Card, list[Finding]]:
    card = Card(line_of(url))
    trial = Trial(card.url, key, QUESTION, patience=60.0)
    async with aclosing(examine(card, trial, only)) as findings:
        return card, [finding async for finding in findings]


@asynccontextmanager
async def faulty(url: str, fault: Fault) -> AsyncIterator[str]:
    """A server that changes what ours says; None: it keeps that to itself."""

    async def relay(socket: ServerConnection) -> None:
        async with connect(line_of(url), proxy=None, max_size=None) as behind:

            async def back() -> None:
                async for message in behind:
                    if event := fault(json.loads(message)):
                        await socket.send(json.dumps(event))

            telling = asyncio.create_task(back())
            async for message in socket:
                await behind.send(message)
            telling.cancel()

    async with serve_websocket(relay, "127.0.0.1", 0, max_size=None) as server:
        [listening] = server.sockets
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"


async def test_we_pass_all_of_them_ourselves(serve: Serve) -> None:
    card, findings = await run(serve(Obliging()).url)
    assert [(found.name, found.state, found.why) for found in findings] == [
        (name, "ok", "") for name in CHECKS
    ]
    assert card.violations == []
    assert card.is_good
    told = list(lines(card))
    assert [line.split("  ")[0] for line in told[-len(CLIENTS) :]] == list(CLIENTS)
    assert all(line.endswith("  works") for line in told[-len(CLIENTS) :])
    assert "last word -> first sound" in card.figures


async def test_what_a_model_cannot_is_told_apart_from_what_is_wrong(serve: Serve) -> None:
    card, findings = await run(serve(ScriptedModel([say("Hi.")])).url, "written turns", "functions")
    assert [found.state for found in findings] == ["refused", "refused"]
    assert "answers what is said, not what is written" in findings[0].why
    assert card.is_good


def drop(kind: str) -> Fault:
    return lambda event: None if event["type"] == kind else event


def change(kind: str, **fields: Any) -> Fault:
    return lambda event: {**event, **fields} if event["type"] == kind else event


def recode(event: dict[str, Any]) -> dict[str, Any]:
    if event["type"] == "error":
        event["error"]["code"] = "invalid_event"
    return event


@pytest.mark.parametrize(
    ("check", "fault", "why"),
    [
        ("items", drop("conversation.item.added"), "conversation.item.added did not come in"),
        (
            "items",
            change("conversation.item.added", item={"id": "x"}),
            "does not have the client's id",
        ),
        ("errors", recode, "the code is invalid_event, not item_retrieve_invalid_item_id"),
        ("push to talk", change("response.created", event_id=None), "violations"),
        ("written turns", drop("response.output_audio.delta"), "no sound comes"),
        ("out of band", change("response.output_text.delta", delta="x"), "violations"),
        (
            "text replies",
            change("session.updated", session={}),
            "output_modalities is not told back",
        ),
        ("session", change("session.created", session={}), "the session has no id"),
        (
            "functions",
            change("response.done", response={"status": "failed"}),
            "is failed, not completed",
        ),
    ],
)
async def test_a_fault_is_found(serve: Serve, check: str, fault: Fault, why: str) -> None:
    card = Card("")
    async with faulty(serve(Obliging()).url, fault) as url:
        card = Card(line_of(url))
        trial = Trial(card.url, "", QUESTION, patience=3.0)
        async with aclosing(examine(card, trial, [check])) as findings:
            [found] = [finding async for finding in findings]
    assert not card.is_good
    if why == "violations":
        assert (found.state, bool(card.violations)) == ("ok", True)
    else:
        assert found.state == "wrong"
        assert why in found.why


async def test_who_needs_a_key_is_told_so(serve: Serve) -> None:
    server = serve(ScriptedModel(), api_key="the-key")
    with pytest.raises(InvalidApiKey, match="wants a key, or another one"):
        await run(server.url, "items", key="other")
    _, [found] = await run(server.url, "items", key="the-key")
    assert found.state == "ok"


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(Unreachable, match=r"no Realtime server answers at 127\.0\.0\.1:9"):
        await run("http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["", "localhost:7860", "ftp://host", "http://"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(InvalidSetting, match="a server is named as http://host:port or wss://"):
        line_of(url)


@pytest.mark.parametrize(("model", "code"), [("echo", 0)])
def test_the_command_starts_a_server_and_prints_the_card(
    model: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("espeakng_loader")
    arguments = ["check", "--model", model, "--only", "session", "--only", "items"]
    assert cli.main(arguments) == code
    told = capsys.readouterr().out
    assert "ok      session" in told
    assert "schema and order: no violations" in told
