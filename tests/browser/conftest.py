"""One browser for all tests here, and a real server with the real voice-activity detector for each."""

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from rigs.browser import LIMIT, Page, chromium, find_chromium, open_page

from conftest import serving
from duologue.ears.end_of_turn import SmartTurn
from duologue.ears.vad import Silero
from duologue.models import SpeechModel
from duologue.server.app import Uvicorn
from duologue.server.config import load_config

ServePage = Callable[..., Uvicorn]
Open = Callable[..., Coroutine[Any, Any, Page]]

expect.set_options(timeout=LIMIT * 1000)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if not find_chromium():
        missing = "there is no Chromium; install it with: apt install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    # A microphone that nobody has allowed; most tests bring their own.
    async with chromium("--use-fake-device-for-media-stream") as browser:
        yield browser


@pytest.fixture(scope="session")
def silero() -> Silero:
    return Silero()


@pytest.fixture(scope="session")
def smart_turn() -> Iterator[SmartTurn]:
    smart_turn = SmartTurn()
    yield smart_turn
    smart_turn.close()


@pytest.fixture
def serve_page(silero: Silero, smart_turn: SmartTurn) -> Iterator[ServePage]:
    """Call it to start a server with its page: `serve_page(model, sessions=1)`."""
    with ExitStack() as servers:

        def start(model: SpeechModel | None = None, **flags: object) -> Uvicorn:
            config = load_config({"model": "echo", "port": 0, **flags}, environ={})
            return servers.enter_context(serving(config, model, silero.stream, smart_turn))

        yield start


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(browser: Browser) -> AsyncIterator[Open]:
    """Call it with a server to open its page as a new user.

    At the end, no page may have complained or asked anybody but this machine for anything.
    """
    pages = []

    async def open_(server: Uvicorn | str, **how: Any) -> Page:
        url = server if isinstance(server, str) else server.url
        pages.append(await open_page(browser, url, **how))
        return pages[-1]

    yield open_
    for page in pages:
        await page.tab.context.close()
        # The browser's own line about a server that a test has ended.
        assert [line for line in page.complaints if "ERR_CONNECTION_REFUSED" not in line] == []
        assert {url.split("/")[2].split(":")[0] for url in page.requests} == {"127.0.0.1"}
