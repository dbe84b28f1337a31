"""`POST /chat` when many ask at once, when they leave, and when the model or the server ends."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import httpx
import numpy as np
import pytest

from conftest import Serve
from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16, to_wav
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import ModelFailed
from duologue.models.engine import Engine
from duologue.server.app import Uvicorn
from duologue.testing import ScriptedModel, say, tone
from transports.chats import (
    FRAME,
    LIMIT,
    QUESTION,
    Gate,
    anext_piece,
    ask,
    asking,
    encode,
    error,
    file,
    under_way,
    wait_for,
)

# Many at once, and those who leave.


async def test_one_more_than_there_are_places_is_told_to_come_back(serve: Serve) -> None:
    gate = Gate(0)
    server = serve(ScriptedModel([say("Yes.")], gate=gate), chats=1)
    first = asyncio.create_task(asyncio.to_thread(ask, server))
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 1)
    second = await asyncio.to_thread(ask, server)
    assert second.status_code == 503
    assert int(second.headers["retry-after"]) > 0
    assert error(second)["code"] == "too_many_replies"
    gate.open()
    assert (await first).status_code == 200
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 0)


class SlowNetwork:
    """Says three frames of the level it heard, to at most two at once.

    Args:
        company: how many must be there before it says the first.
    """

    capabilities = Capabilities(history=False, instructions=False, transcribes=False, note="Slow.")
    slots = 2

    def __init__(self, company: int = 1) -> None:
        self.company = company
        self.left: dict[int, int] = {}
        self.levels: dict[int, float] = {}
        self.largest_batch = 0

    def start(self) -> None: ...

    def close(self) -> None: ...

    def admit(self, slot: int, prompt: Prompt) -> None:
        self.left[slot] = 3
        self.levels[slot] = float(np.abs(prompt.utterance.samples).max())

    def step(self, slots: Sequence[int]) -> Sequence[ReplyChunk | None]:
        time.sleep(0.01)
        self.largest_batch = max(self.largest_batch, len(slots))
        if self.largest_batch < self.company:
            return [ReplyChunk() for _ in slots]
        return [self._frame(slot) for slot in slots]

    def evict(self, slot: int) -> None:
        del self.left[slot]

    def _frame(self, slot: int) -> ReplyChunk | None:
        self.left[slot] -= 1
        if self.left[slot] < 0:
            return None
        samples = np.full(FRAME, self.levels[slot], np.float32)
        return ReplyChunk(AudioChunk(samples, REPLY_RATE))


@pytest.mark.parametrize("places", [20, 5])
async def test_ten_requests_to_two_slots_are_answered_in_batches_or_refused(
    serve: Serve, places: int
) -> None:
    network = SlowNetwork(company=2)
    engine = Engine(network)
    server = serve(engine, chats=places)

    async def one(level: float) -> int:
        question = encode(to_wav(tone(0.5, 16_000, level)))
        response = await asyncio.to_thread(ask, server, audio=question)
        if response.status_code == 200:
            samples = from_pcm16(response.content, REPLY_RATE).samples
            assert len(samples) == 3 * FRAME
            assert np.abs(samples - level).max() < 0.01, "everybody gets their own reply"
        else:
            assert error(response)["code"] == "too_many_replies"
        return response.status_code

    statuses = await asyncio.gather(*(one(level / 20) for level in range(1, 11)))
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= min(places, 10)
    assert network.largest_batch == 2
    await asyncio.to_thread(wait_for, lambda: engine.free_slots == 2 and not network.left)
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 0)


@pytest.mark.parametrize("accept", ["*/*", "audio/mpeg"])
async def test_a_client_that_leaves_after_one_chunk_frees_its_place(
    serve: Serve, accept: str
) -> None:
    gate = Gate(1)
    model = ScriptedModel([say("One."), say("Two.")], gate=gate)
    server = serve(model)
    async with asking(server, accept) as response:
        await anext(response.aiter_raw())
    await asyncio.to_thread(wait_for, lambda: model.abandoned == 1)
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 0)


async def test_a_client_that_leaves_while_the_model_thinks_frees_its_place(serve: Serve) -> None:
    model = ScriptedModel([say("One.")], gate=Gate(0))
    server = serve(model)
    asked = asyncio.create_task(anext_piece(server, "*/*", Gate(0)))
    await asyncio.to_thread(wait_for, lambda: len(model.prompts) == 1)
    asked.cancel()
    await asyncio.wait([asked])
    await asyncio.to_thread(wait_for, lambda: model.abandoned == 1)
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 0)


async def test_a_client_that_leaves_a_batch_frees_its_slot(serve: Serve) -> None:
    network = SlowNetwork()
    engine = Engine(network)
    server = serve(engine)
    async with asking(server) as response:
        await anext(response.aiter_raw())
    await asyncio.to_thread(wait_for, lambda: engine.free_slots == 2 and not network.left)
    assert (await asyncio.to_thread(ask, server)).status_code == 200


async def test_a_client_that_leaves_an_echo_frees_its_place(serve: Serve) -> None:
    server = serve()
    async with asking(server, audio=encode(file(tone(30, 8_000), "WAV"))) as response:
        await anext(response.aiter_raw())
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 0)


def begun(server: Uvicorn) -> socket.socket:
    """A client that sends one byte of its question, and nothing more."""
    address = httpx.URL(server.url)
    line = socket.create_connection((address.host, address.port or 80))
    line.sendall(
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{"
    )
    return line


def arriving(server: Uvicorn) -> int:
    return len(server._server._questions._bodies)


def lying(server: Uvicorn) -> int:
    return sum(len(body.data) for body in server._server._questions._bodies)


def test_questions_that_do_not_come_hold_no_place(serve: Serve) -> None:
    server = serve(chats=2)
    with ExitStack() as lines:
        for _ in range(20):
            lines.enter_context(begun(server))
        wait_for(lambda: arriving(server) == 20)
        assert under_way(server) == 0
        assert ask(server).status_code == 200


def test_one_address_cannot_send_all_the_questions_that_may_arrive(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.transports.question._BODIES_EACH", 2)
    server = serve()
    with begun(server), begun(server):
        wait_for(lambda: arriving(server) == 2)
        response = ask(server)
        assert response.status_code == 503
        assert error(response)["code"] == "too_many_replies"
    wait_for(lambda: arriving(server) == 0)
    assert ask(server).status_code == 200


def test_a_question_that_drips_is_let_go(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duologue.transports.question._BEGIN", 0.5)
    server = serve()
    with begun(server) as line:
        line.settimeout(0.1)
        answer = b""
        while not answer:  # a byte each tenth of a second never stands still
            line.sendall(b" ")
            with suppress(TimeoutError):
                answer = line.recv(100)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_what_arrives_takes_only_so_much_memory(serve: Serve) -> None:
    server = serve(message_bytes=100_000)
    body = b'{"audio": "' + b"A" * 90_000
    address = httpx.URL(server.url)
    with ExitStack() as lines:
        for others in range(4):
            wait_for(lambda: lying(server) == others * len(body))  # noqa: B023
            line = lines.enter_context(
                socket.create_connection((address.host, address.port or 80), 30)
            )
            line.sendall(
                b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 99000\r\n\r\n" + body
            )
        assert line.recv(100).startswith(b"HTTP/1.1 503 ")
        assert arriving(server) == 3


def test_a_client_that_leaves_in_the_middle_of_its_question_frees_its_place(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with begun(server):
        wait_for(lambda: arriving(server) == 1)
    wait_for(lambda: arriving(server) == 0)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    "slow", ["the question", "the reply"], ids=["sends no more", "reads no more"]
)
def test_a_client_that_is_too_slow_is_let_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr("duologue.transports.answering._PATIENCE", 1.0)
    monkeypatch.setattr("duologue.transports.question._BEGIN", 1.0)
    model = ScriptedModel([say("La.", 10.0)] * 17)
    server = serve(model)
    body = json.dumps({"audio": QUESTION}).encode()
    address = httpx.URL(server.url)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((address.host, address.port))
        line.sendall(
            b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + (body if slow == "the reply" else body[:9])
        )
        if slow == "the question":
            line.settimeout(LIMIT)
            assert line.recv(100).startswith(b"HTTP/1.1 408 ")
        else:
            wait_for(lambda: model.abandoned == 1)
        wait_for(lambda: under_way(server) == 0)


# What breaks down, and the end.


@pytest.mark.parametrize("failure", [ModelFailed("it is tired"), ValueError("it is tired")])
def test_a_failure_before_the_first_sound_is_told(
    serve: Serve, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    response = ask(serve(ScriptedModel([failure])))
    assert response.status_code == 500
    reason = error(response)
    assert (reason["code"], reason["type"]) == ("model_failed", "server_error")
    assert "it is tired" in reason["message"]
    assert sum(record.levelno >= logging.ERROR for record in caplog.records) == 1


@pytest.mark.parametrize("failure", [ModelFailed("it is tired"), ValueError("it is tired")])
def test_a_failure_after_the_first_sound_cuts_the_connection(
    serve: Serve, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(ScriptedModel([say("One."), failure]))
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server)
    wait_for(lambda: under_way(server) == 0)
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 1
    assert "it is tired" in str(logged[0].exc_info)


async def test_a_server_that_is_stopped_ends_its_replies_and_takes_no_new_ones(
    serve: Serve,
) -> None:
    gate = Gate(0)
    server = serve(ScriptedModel([say("One."), say("Two.")], gate=gate), grace=20)
    asked = asyncio.create_task(anext_piece(server, "*/*", gate))
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 1)
    server.should_exit = True
    await asyncio.to_thread(
        wait_for,
        lambda: httpx.get(server.url + "/health", timeout=LIMIT).json()["status"] == "draining",
    )
    refused = await asyncio.to_thread(ask, server)
    assert refused.status_code == 503
    assert error(refused)["code"] == "server_shutting_down"
    gate.open()
    first, rest = await asked
    assert len(first) + rest == 2 * 2 * REPLY_RATE


async def test_a_long_question_holds_nobody_up(serve: Serve) -> None:
    server = serve()
    loud = AudioChunk(np.random.default_rng(0).uniform(-1, 1, 30 * 44_100).astype("f4"), 44_100)
    question = encode(file(loud, "FLAC", channels=2))
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        asked = asyncio.create_task(asyncio.to_thread(ask, server, "audio/mpeg", audio=question))
        others = 0
        while not asked.done():
            await client.get(server.url + "/health")
            others += 1
    assert (await asked).status_code == 200
    assert others > 10, (
        "they get their turn while it is decoded, and between the pieces of the reply"
    )
