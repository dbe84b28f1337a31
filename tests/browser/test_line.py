"""What becomes of a call when its line dies, is slow, or is not opened at all."""

import asyncio
import base64
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import expect
from rigs.browser import Page
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from browser.conftest import Open, ServePage
from browser.relay import Relay, relaying
from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16
from duologue.server.app import bind
from duologue.testing import ScriptedModel, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

Samples64 = NDArray[np.float64]

_LONG = [say(word) for word in ("One", " two", " three", " four", " five", " six", " seven")] * 3
_SOON = 30_000  # milliseconds: far more than it takes, as the machine may be busy


@pytest.fixture
def free_port() -> int:
    with bind("127.0.0.1", 0) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def a_server_process(port: int) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server that is a process of its own, and its URL."""
    command = [sys.executable, "-m", "duologue", "serve", "--model", "echo", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url
        yield process, url[0]
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.communicate(timeout=60)


async def _is_told(page: Page, sentence: str) -> None:
    """This was said, and the microphone is free."""
    await expect(page.failure).to_contain_text(sentence, timeout=_SOON)
    await page.reach("idle")
    assert await page.live_tracks() == 0


async def _unanswered(page: Page) -> int:
    """Questions to the server after its last message."""
    log = await page.log()
    last = max(index for index, entry in enumerate(log) if "in" in entry)
    return sum(entry.get("out", {}).get("type") == "duologue.ping" for entry in log[last:])


@pytest.mark.parametrize("state", ["hearing", "speaking"])
async def test_a_line_that_dies_without_a_word_is_told_and_the_conversation_goes_on(
    serve_page: ServePage, open_tab: Open, questions: Questions, state: str
) -> None:
    server = serve_page(ScriptedModel(_LONG))
    async with relaying(server.url) as relay:
        page = await open_tab(relay.url)
        await page.start()
        saying = asyncio.create_task(page.say(questions[0]))
        await page.reach(state)
        relay.freeze()
        await _is_told(page, "The connection to the server was lost")
        assert await _unanswered(page) in (2, 3)
        await saying
        await page.start()
        await expect(page.failure).to_be_empty()
        await page.say(questions[1])
        await page.reach("speaking")
        name = "rig.lines.map(url => new URL(url).searchParams.get('conversation'))"
        first, second = await page.tab.evaluate(name)
        assert first == second
        await page.tab.context.close()


async def test_a_line_over_which_nothing_is_said_stays_open(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    for _ in range(4):
        before = len(await page.times("in", "duologue.pong"))
        counted = "n => rig.log.filter(entry => entry.in?.type === 'duologue.pong').length > n"
        await page.tab.wait_for_function(counted, arg=before, timeout=_SOON)
    assert await page.root.get_attribute("data-state") == "listening"
    await expect(page.failure).to_be_empty()
    await page.stop()
    await page.reach("idle")
    asked = len(await page.times("out", "duologue.ping"))
    await page.tab.wait_for_timeout(2500)
    assert len(await page.times("out", "duologue.ping")) == asked


async def test_a_server_that_hangs_is_told_and_start_works_once_it_goes_on(
    open_tab: Open, questions: Questions, free_port: int
) -> None:
    with a_server_process(free_port) as (process, url):
        page = await open_tab(url)
        await page.start()
        process.send_signal(signal.SIGSTOP)
        await _is_told(page, "The connection to the server was lost")
        await page.start(until="connecting")
        await _is_told(page, "The server does not answer")
        process.send_signal(signal.SIGCONT)
        await page.start()
        await expect(page.failure).to_be_empty()
        await page.talk(questions[0])
        await page.stop()


async def test_start_works_from_the_same_page_when_the_server_was_restarted(
    open_tab: Open, questions: Questions, free_port: int
) -> None:
    with a_server_process(free_port) as (process, url):
        page = await open_tab(url)
        await page.start()
        process.kill()
        await _is_told(page, "The connection to the server was lost")
        await page.start(until="idle")
        await _is_told(page, "The server does not answer")
    with a_server_process(free_port):
        await page.start()
        await expect(page.failure).to_be_empty()
        await page.talk(questions[0])
        await page.tab.context.close()
    page.complaints.clear()  # the browser's own lines about a server that is gone


@pytest.mark.parametrize("rate", [30_000, 15_000])
async def test_a_connection_that_is_too_slow_is_told(
    serve_page: ServePage, open_tab: Open, rate: int
) -> None:
    async with relaying(serve_page().url) as relay:
        page = await open_tab(relay.url)
        relay.rate = rate  # of 70,000 that it takes
        await page.start()
        await _is_told(page, "The connection is too slow")
        await page.tab.context.close()


async def test_a_short_gap_in_the_connection_is_no_reason_to_hang_up(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    server = serve_page()
    async with relaying(server.url) as relay:
        page = await open_tab(relay.url)
        await page.start()
        await page.tab.wait_for_function(
            "rig.log.some(entry => entry.in?.type === 'duologue.pong')", timeout=_SOON
        )
        relay.freeze()
        asked = len(await page.times("out", "duologue.ping"))
        counted = "n => rig.log.filter(entry => entry.out?.type === 'duologue.ping').length > n"
        await page.tab.wait_for_function(counted, arg=asked, timeout=_SOON)
        relay.thaw()
        await page.talk(questions[0])
        await expect(page.failure).to_be_empty()
        await page.tab.context.close()


@asynccontextmanager
async def _other_lines(
    server: str,
    take: Callable[[ServerConnection], Awaitable[None]],
    deny: Callable[[ServerConnection, Request], Response | None] | None = None,
) -> AsyncIterator[Relay]:
    """A server that serves its page, but whose lines are taken by `take`."""
    async with (
        serve(take, "127.0.0.1", 0, subprotocols=["realtime"], process_request=deny) as lines,  # type: ignore[list-item]
        relaying(server) as relay,
    ):
        host, port = next(iter(lines.sockets)).getsockname()[:2]
        relay.line = (host, port)
        yield relay


# What is said while the line is being opened.


def _share(said: AudioChunk, heard: AudioChunk) -> float:
    """How much of what was said was heard, in order: 1.0, all of it.

    In pieces of 0.1 s, as the browser's sound has gaps on a busy machine.
    """
    whole, part = heard.samples.astype(float), said.at(heard.rate).samples.astype(float)
    size = heard.rate // 10
    energy = np.convolve(whole**2, np.ones(size), "valid") + 1e-9
    loud = [piece for piece in _pieces(part, size) if np.mean(piece**2) > 0.05 * np.mean(part**2)]
    at, found = -1, 0
    for piece in loud:
        likeness = np.correlate(whole, piece, "valid") / np.sqrt(energy * np.sum(piece**2))
        best = int(np.argmax(likeness))
        if likeness[best] > 0.9 and best > at:
            at, found = best, found + 1
    return found / len(loud)


def _pieces(samples: Samples64, size: int) -> list[Samples64]:
    return [samples[start : start + size] for start in range(0, len(samples) - size, size)]


async def test_what_is_said_before_the_line_is_open_arrives_whole(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    came: list[dict[str, str]] = []
    hello, hung_up = asyncio.Event(), asyncio.Event()

    async def take(socket: ServerConnection) -> None:
        await hello.wait()
        await socket.send(json.dumps({"type": "session.created"}))
        came.extend([json.loads(message) async for message in socket])
        hung_up.set()

    async with _other_lines(serve_page().url, take) as relay:
        page = await open_tab(relay.url)
        await page.start(until="connecting")
        await page.tab.wait_for_function("rig.contexts.length > 0")
        await page.say(questions[0])
        assert await page.root.get_attribute("data-state") == "connecting"
        hello.set()
        await page.reach("listening")
        await page.say(questions[1])
        await page.stop()
        await hung_up.wait()
        await page.tab.context.close()
    assert came[0]["type"] == "session.update"
    sound = b"".join(base64.b64decode(event["audio"]) for event in came if "audio" in event)
    heard = from_pcm16(sound, REPLY_RATE)
    assert _share(questions[0], heard) > 0.5
    assert _share(questions[1], heard) > 0.5


async def test_a_server_that_never_says_hello_is_told(
    serve_page: ServePage, open_tab: Open
) -> None:
    async with relaying(serve_page().url) as relay:
        page = await open_tab(relay.url)
        relay.opened.clear()
        await page.start(until="connecting")
        await _is_told(page, "The server does not answer")
        relay.opened.set()
        await page.start()
        await expect(page.failure).to_be_empty()
        await page.tab.context.close()
        page.complaints.clear()  # the browser's own line about the first handshake


# Who is not let in learns why.


def _error(code: str, message: str) -> str:
    return json.dumps({"type": "error", "error": {"code": code, "message": message}})


_SENTENCE = "this server lets no pages from http://pc.lan in; start it with --allow-origin"

_REFUSALS = [
    (_error("origin_not_allowed", _SENTENCE), 1008, "origin_not_allowed", f"T{_SENTENCE[1:]}."),
    (_error("invalid_api_key", "It asks for a key."), 1008, "", "It asks for a key."),
    (_error("too_many_sessions", "all are in use"), 1013, "", "The server is busy"),
    ("", 1013, "too_many_sessions", "The server is busy with other conversations"),
    ("", 1008, "host_not_allowed", "The server does not take this call (host_not_allowed)."),
    ("", 1008, "not on Sundays", "The server does not take this call: not on Sundays."),
    ("", 1000, "", "The server answers but opens no line: a proxy"),
]


@pytest.mark.parametrize(
    ("error", "code", "reason", "sentence"), _REFUSALS, ids=range(len(_REFUSALS))
)
async def test_a_page_that_is_refused_says_why(
    serve_page: ServePage, open_tab: Open, error: str, code: int, reason: str, sentence: str
) -> None:
    async def refuse(socket: ServerConnection) -> None:
        if error:
            await socket.send(error)
        await socket.close(code, reason)

    async with _other_lines(serve_page().url, refuse) as relay:
        page = await open_tab(relay.url)
        await page.start(until="idle")
        await _is_told(page, sentence)
        await page.tab.context.close()
        page.complaints.clear()  # the browser's own line about what it got instead


async def test_a_handshake_that_is_denied_is_told(serve_page: ServePage, open_tab: Open) -> None:
    def deny(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(403, "not here\n")

    async def refuse(socket: ServerConnection) -> None:
        raise AssertionError("nobody comes so far")

    async with _other_lines(serve_page().url, refuse, deny) as relay:
        page = await open_tab(relay.url)
        await page.start(until="idle")
        await _is_told(page, "The server answers but opens no line: a proxy")
        await page.tab.context.close()
        page.complaints.clear()  # the browser's own line about the denied handshake
