"""The voice panel where it cannot work yet, in other people's apps, and under odd hands."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Route, expect
from rigs.browser import Page

from browser.conftest import Open, ServePage
from duologue.audio import AudioChunk
from duologue.server.app import bind
from duologue.testing import ScriptedModel, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

_COLOUR = "button => getComputedStyle(button).backgroundColor"

_BLOCKED = """for (const name of ["sessionStorage", "localStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
}"""
_FULL = """Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };"""


def _free_port() -> int:
    with bind("127.0.0.1", 0) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("script", [_BLOCKED, _FULL], ids=["blocked", "full"])
async def test_where_the_browser_keeps_nothing_the_page_works_from_memory(
    serve_page: ServePage, open_tab: Open, questions: Questions, script: str
) -> None:
    page = await open_tab(serve_page(ScriptedModel([say("Fine", 0.5)])), script=script)
    await page.start()
    await page.talk(questions[0])
    await page.root.get_by_label("Wait for me").select_option("patient")
    await page.stop()
    await expect(page.bubbles).to_have_count(2)
    await page.start()
    await expect(page.bubbles).to_have_count(2)
    await expect(page.root.get_by_label("Wait for me")).to_have_value("patient")
    await page.stop()
    await page.root.get_by_role("button", name="New conversation").click()
    await expect(page.bubbles).to_have_count(0)


async def test_a_button_that_does_nothing_yet_looks_so_and_says_why(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page())
    alive = await page.root.locator(".talk").evaluate(_COLOUR)
    page.requests.clear()

    async def refuse(route: Route) -> None:
        await route.fulfill(status=404)

    await page.tab.route("**/voice/voice.js*", refuse)
    await page.tab.reload()
    await expect(page.failure).to_contain_text("There is no voice panel at 127.0.0.1:")
    button = page.root.get_by_role("button", name="Start conversation")
    await expect(button).to_be_disabled()
    assert await button.evaluate(_COLOUR) != alive
    await page.tab.unroute("**/voice/voice.js*")
    await expect(button).to_be_enabled(timeout=20_000)
    await expect(page.failure).to_be_empty()
    page.complaints.clear()


_APP = """
import sys

import gradio as gr
from duologue import Voice

with gr.Blocks(analytics_enabled=False) as demo:
    with gr.Row():
        voice = Voice(url=sys.argv[1], elem_id="panel")
        gr.Chatbot()
    gr.Button("Hide").click(lambda: gr.update(visible=False), None, voice)
    gr.Button("Unhide").click(lambda: gr.update(visible=True), None, voice)
    gr.Button("Rename").click(lambda: gr.update(label="Ask me"), None, voice)
    gr.Button("Quick").click(lambda: Voice(patience="quick", barge_in=False), None, voice)

demo.launch(server_port=int(sys.argv[2]), quiet=True, prevent_thread_lock=True)
print("ready", flush=True)
demo.block_thread()
"""


@asynccontextmanager
async def _app(line: str, port: int) -> AsyncIterator[str]:
    """Somebody's app with a panel."""
    command = [sys.executable, "-c", _APP, line, str(port)]
    app = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert app.stdout
        assert await app.stdout.readline() == b"ready\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        app.terminate()
        await app.wait()


async def _press(page: Page, name: str) -> None:
    await page.tab.get_by_role("button", name=name, exact=True).click()


async def test_a_panel_whose_server_comes_later_says_so_and_then_works(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    port, line = _free_port(), _free_port()
    theirs = f"http://127.0.0.1:{port}"
    async with _app(f"http://127.0.0.1:{line}/v1/realtime", port):
        page = await open_tab(theirs, ready=False)
        await expect(page.failure).to_contain_text(
            f"The server at 127.0.0.1:{line} does not answer"
        )
        await expect(page.root.locator(".talk")).to_be_disabled()
        serve_page(ScriptedModel([say("Fine", 0.5)]), port=line, allow_origin=(theirs,))
        await expect(page.root.locator(".talk")).to_be_enabled(timeout=30_000)
        await expect(page.failure).to_be_empty()
        await page.start()
        await page.talk(questions[0])
        page.complaints.clear()
        await page.tab.context.close()


async def test_an_app_changes_its_panel_and_hides_it_with_the_microphone_off(
    serve_page: ServePage, open_tab: Open
) -> None:
    port = _free_port()
    theirs = f"http://127.0.0.1:{port}"
    server = serve_page(allow_origin=(theirs,))
    async with _app(f"{server.url}/v1/realtime", port):
        page = await open_tab(theirs)
        assert await page.tab.locator("#panel section.voice").count() == 1
        await page.start()
        await _press(page, "Rename")
        await expect(page.root).to_have_attribute("aria-label", "Ask me")
        await _press(page, "Quick")
        await expect(page.root.get_by_label("Wait for me")).to_have_value("quick")
        await expect(page.root.get_by_role("switch")).not_to_be_checked()
        await page.tab.wait_for_function(
            "rig.log.some(({ out }) => out?.session?.audio.input.turn_detection.eagerness === 'high')"
        )
        assert await page.live_tracks() == 1
        await _press(page, "Hide")
        await page.tab.wait_for_function("rig.live.every(track => track.readyState === 'ended')")
        await page.tab.wait_for_function("rig.socket.readyState === WebSocket.CLOSED")
        await expect(page.root).to_have_count(0)
        await _press(page, "Unhide")
        await expect(page.root.locator(".talk")).to_be_enabled()
        await expect(page.root).to_have_attribute("aria-label", "Ask me")
        await expect(page.root.get_by_label("Wait for me")).to_have_value("quick")
        await page.start()
        await page.tab.context.close()


async def test_a_key_that_is_held_starts_one_call(serve_page: ServePage, open_tab: Open) -> None:
    page = await open_tab(serve_page())
    await page.root.get_by_role("button", name="Start conversation").focus()
    for _ in range(20):  # all but the first are repeats
        await page.tab.keyboard.down("Enter")
    await page.tab.keyboard.up("Enter")
    await page.reach("listening")
    assert len([entry for entry in await page.log() if "asked" in entry]) == 1
    await page.tab.keyboard.press("Enter")
    await page.reach("idle")


async def test_you_cut_me_off_by_keyboard_keeps_the_focus(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel([say("Fine")] * 5)))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    button = page.root.get_by_role("button", name="You cut me off")
    await button.focus()
    await page.tab.keyboard.press("Enter")
    await page.reach("listening")
    await expect(button).to_be_disabled()
    await expect(button).to_be_focused()
    await page.tab.keyboard.press("Enter")
    assert len(await page.times("out", "duologue.cut.marked")) == 1


async def test_under_a_failure_nothing_says_the_contrary(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page(), fake=False)
    await page.start(until="idle")
    await expect(page.failure).to_contain_text("microphone is blocked")
    await expect(page.root.get_by_role("status")).to_be_empty()
