"""What a real browser makes of hosts, origins, cookies and headers: ours, other apps', other names."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, expect
from rigs.browser import Page, chromium, open_page

from browser.conftest import Open, ServePage
from duologue.server.app import Uvicorn, bind
from duologue.testing import ScriptedModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

_APP = """
import sys

import gradio as gr
from duologue import Voice

with gr.Blocks(analytics_enabled=False) as demo:
    Voice(url=sys.argv[1])

demo.launch(server_port=int(sys.argv[2]), quiet=True, prevent_thread_lock=True)
print("ready", flush=True)
demo.block_thread()
"""


def free_port() -> int:
    with bind("127.0.0.1", 0) as free:
        return int(free.getsockname()[1])


@asynccontextmanager
async def app(server: Uvicorn, port: int) -> AsyncIterator[None]:
    """Somebody's own Gradio app with our component, in a process of its own."""
    command = [sys.executable, "-c", _APP, f"{server.url}/v1/realtime", str(port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.terminate()
        await process.wait()


def watch_owners(server: Uvicorn, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose conversations the server opens, in order."""
    owners: list[str] = []
    history = server._server.history
    open_: Callable[..., object] = history.conversation

    def conversation(owner: str, name: str, *, is_local: bool = False) -> object:
        owners.append(owner)
        return open_(owner, name, is_local=is_local)

    monkeypatch.setattr(history, "conversation", conversation)
    return owners


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_the_component_talks_under_both_names_and_its_visitor_stays_the_same(
    serve_page: ServePage, browser: Browser, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    port = free_port()
    server = serve_page(ScriptedModel([]), allow_origin=f"http://127.0.0.1:{port}")
    owners = watch_owners(server, monkeypatch)
    async with app(server, port):
        page = await open_page(browser, f"http://{name}:{port}")
        for _ in range(2):
            await page.start()
            await page.stop()
            await page.reach("idle")
        await page.tab.context.close()
    assert len(owners) == 2
    assert owners[0] == owners[1]


async def test_the_component_in_an_app_that_is_not_allowed_hears_of_it(
    serve_page: ServePage, browser: Browser
) -> None:
    port = free_port()
    server = serve_page(ScriptedModel([]))
    async with app(server, port):
        page = await open_page(browser, f"http://127.0.0.1:{port}")
        told = await page.tab.evaluate(
            """url => new Promise((resolve) => {
                const socket = new WebSocket(url, "realtime");
                const heard = [];
                socket.onmessage = ({ data }) => heard.push(JSON.parse(data).error.code);
                socket.onclose = ({ code, reason }) => resolve([...heard, code, reason]);
            })""",
            server.url.replace("http", "ws") + "/v1/realtime",
        )
        await page.tab.context.close()
    code, closed, reason = told
    assert (code, closed) == ("origin_not_allowed", 1008)
    assert f"http://127.0.0.1:{port}" in reason


async def test_a_page_whose_name_was_pointed_here_gets_nothing(serve_page: ServePage) -> None:
    server = serve_page()
    evil = server.url.replace("127.0.0.1", "evil.example")
    async with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        tab = await browser.new_page()
        response = await tab.goto(f"{evil}/health")
        assert response
        assert response.status == 421
        # It is same-origin, and may send any header but Host.
        told = await tab.evaluate(
            """async () => {
                const headers = { "X-Forwarded-Host": "localhost" };
                const get = await fetch("/metrics", { headers });
                const path = "/gradio_api/run/predict";
                const post = await fetch(path, { method: "POST", body: "{}", headers });
                return [get.status, post.status];
            }"""
        )
        assert told == [421, 421]


@pytest.mark.parametrize("allowed", [True, False])
async def test_only_an_allowed_page_shows_ours_in_a_frame(
    serve_page: ServePage, browser: Browser, allowed: bool
) -> None:
    port = free_port()
    other = serve_page(port=port)
    flags = {"allow_frame": f"http://localhost:{port}"} if allowed else {}
    server = serve_page(**flags)
    tab = await browser.new_page()
    # A page of another origin; which one, does not matter.
    await tab.goto(f"http://localhost:{port}/health")
    assert other.url.endswith(str(port))
    await tab.evaluate(
        """url => { document.body.innerHTML = `<iframe src="${url}"></iframe>`; }""", server.url
    )
    button = tab.frame_locator("iframe").get_by_role("button", name="Start conversation")
    if allowed:
        await expect(button).to_be_attached(timeout=20_000)
    else:
        await expect(tab.frame_locator("iframe").locator("body")).to_contain_text(
            "refused to connect"
        )
    await tab.context.close()


async def test_in_another_sites_frame_the_page_and_its_line_have_one_visitor(
    serve_page: ServePage, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    serve_page(port=port)
    server = serve_page(ScriptedModel([]), allow_frame=f"http://localhost:{port}")
    owners = watch_owners(server, monkeypatch)
    tab = await browser.new_page()
    await tab.goto(f"http://localhost:{port}/health")
    await tab.evaluate(
        """url => new Promise((resolve) => {
            document.body.innerHTML = `<iframe src="${url}"></iframe>`;
            document.querySelector("iframe").onload = resolve;
        })""",
        server.url,
    )
    frame = tab.frames[1]
    assert frame.url.startswith(server.url)
    await frame.evaluate(
        """async () => {
            const socket = new WebSocket(`ws://${location.host}/v1/realtime`);
            await new Promise((resolve, reject) => {
                socket.onmessage = resolve;
                socket.onerror = reject;
            });
            socket.close();
            await fetch("/v1/turns?conversation=c");
        }"""
    )
    await tab.context.close()
    assert len(owners) >= 2
    assert len(set(owners)) == 1


async def test_the_policy_of_the_page_is_in_force(serve_page: ServePage, open_tab: Open) -> None:
    # That the page keeps it is what every other test here shows: a violation is a complaint.
    page: Page = await open_tab(serve_page())
    await page.tab.evaluate("fetch('http://127.0.0.1:59999/').catch(() => {})")
    for _ in range(100):
        if page.complaints:
            break
        await page.tab.wait_for_timeout(50)
    assert "Content Security Policy" in page.complaints.pop(0)
    page.complaints.clear()
    page.requests[:] = [url for url in page.requests if ":59999/" not in url]
