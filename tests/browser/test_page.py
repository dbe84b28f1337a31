"""A conversation in a real browser, with real speech."""

import asyncio
import math
import re
import socket
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect
from rigs.browser import Page, chromium, open_page

from browser.conftest import Open, ServePage
from duologue.audio import INPUT_RATE, AudioChunk, concatenate
from duologue.server.app import Uvicorn, bind
from duologue.testing import ScriptedModel, say
from transports.chats import Gate, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

# Half a minute, of which a test hears the first few seconds.
_LONG = [say(word) for word in ("One", " two", " three", " four", " five", " six", " seven")]
_LONG += [say(" and more")] * 23


async def _next_after(page: Page, event: dict[str, Any]) -> dict[str, Any]:
    """What the player was told, or the server, next after the last such entry of the log."""
    log = await page.log()
    last = max(number for number, entry in enumerate(log) if event.items() <= entry.items())
    return next(entry for entry in log[last + 1 :] if {"player", "out"} & entry.keys())


async def test_three_turns_end_by_themselves_are_heard_and_stand_in_the_chat(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    server = serve_page()
    page = await open_tab(server)
    await page.start()
    for question in questions:
        times = await page.talk(question)
        assert times.silence == pytest.approx(times.wait, abs=0.25)
        assert times.heard > 0.5
        # Of the page's own there are none; a machine that is busy may be late, and the page knows.
        holes = [hole for hole in times.holes if hole > 0.03]
        assert len(holes) <= int(await page.root.get_attribute("data-underruns") or 0)
    await expect(page.players).to_have_count(6)
    stranger = await open_tab(server)
    for player in await page.players.all():
        assert 0.5 < await player.evaluate(_LENGTH) < 4
        url = await player.evaluate("player => player.src")
        assert (await page.tab.request.get(url)).status == 200
        assert (await stranger.tab.request.get(url)).status == 404


_LENGTH = """player => new Promise((resolve, reject) => {
  player.onloadedmetadata = () => resolve(player.duration);
  player.onerror = () => reject(player.error.message);
  player.preload = "auto";
  player.load();
})"""


async def test_speech_during_a_reply_stops_it_and_only_what_was_heard_is_kept(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG)))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(1)
    await page.say(questions[1])
    await page.hear_of("input_audio_buffer.speech_started", 2)
    started = [
        entry
        for entry in await page.log()
        if entry.get("in", {}).get("type") == "input_audio_buffer.speech_started"
    ]
    assert (await _next_after(page, started[1]))["player"] == "clear"
    await page.reach("speaking")
    heard = (await page.track("speaker")).sounds()[0]
    cut = next(
        entry["out"]["audio_end_ms"] / 1000
        for entry in await page.log()
        if entry.get("out", {}).get("type") == "conversation.item.truncate"
    )
    assert cut == pytest.approx(heard.seconds, abs=0.02)
    bubble = page.bubbles.nth(1)
    await expect(bubble).to_contain_text("interrupted")
    words = "".join(chunk.text for chunk in _LONG[: int(cut)])
    await expect(bubble).to_contain_text(re.compile(rf"{words}\s"))
    await page.stop()


async def test_stop_is_silent_at_once_lets_go_of_the_microphone_and_keeps_the_chat(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG)))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(0.5)
    assert await page.live_tracks() == 1
    await page.tab.evaluate(
        "addEventListener('click', () => rig.log.push({ at: Date.now(), clicked: true }), true)"
    )
    await page.stop()
    await page.reach("idle")
    assert await page.live_tracks() == 0
    assert (await _next_after(page, {"clicked": True}))["player"] == "clear"
    await expect(page.bubbles.nth(1)).to_contain_text("interrupted")
    await expect(page.players).to_have_count(2)
    await page.tab.wait_for_function("rig.log.some(entry => entry.closed)")
    (heard,) = (await page.track("speaker")).sounds()
    (cut,) = [
        entry["out"]["audio_end_ms"] / 1000
        for entry in await page.log()
        if entry.get("out", {}).get("type") == "conversation.item.truncate"
    ]
    assert heard.seconds == pytest.approx(cut, abs=0.1)  # the tap loses 85 ms as its context closes


async def test_stop_while_the_browser_asks_for_the_microphone_lets_go_of_it(
    serve_page: ServePage, open_tab: Open
) -> None:
    ask = "rig.hold = new Promise((resolve) => (rig.allow = resolve));"
    page = await open_tab(serve_page(), script=ask)
    await page.start(until="connecting")
    await page.tab.wait_for_function("rig.log.some(entry => entry.asked)")
    await page.stop()
    await page.reach("idle")
    await page.tab.evaluate("rig.allow()")
    await page.tab.wait_for_function("rig.live.length && rig.live[0].readyState === 'ended'")
    assert await page.live_tracks() == 0
    assert await page.times("in", "session.created") == []


async def test_with_the_switch_off_nothing_is_sent_until_the_reply_was_heard(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG[:2])))
    await page.start()
    await page.root.get_by_role("switch", name="Let me interrupt").uncheck()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.say(questions[1])
    await page.reach("listening")
    await page.let_pass(0.2)
    log = await page.log()
    updates = [
        entry["out"] for entry in log if entry.get("out", {}).get("type") == "session.update"
    ]
    detection = updates[-1]["session"]["audio"]["input"]["turn_detection"]
    assert detection["interrupt_response"] is False
    states = [entry.get("state") for entry in log]
    thinking = states.index("thinking")
    listening = states.index("listening", thinking)
    sent = [entry.get("out", {}).get("type") for entry in log]
    assert "input_audio_buffer.append" not in sent[thinking:listening]
    assert "input_audio_buffer.append" in sent[listening:]
    speaker = await page.track("speaker")
    (heard,) = speaker.sounds()
    assert heard.seconds == pytest.approx(2, abs=0.01)
    end = (speaker.frame + heard.first + len(heard.samples)) / speaker.rate
    assert log[listening]["clock"] > end
    await page.say(questions[2])
    await page.reach("speaking")


async def test_the_words_of_both_sides_are_shown_as_they_are(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    words = "<b onclick=x>1. *a* _b_ [c](d) `e` $$f$$ www.example.com # ${g} {{h}} &amp; 5 > 4</b>"
    page = await open_tab(serve_page(ScriptedModel([say(words, 0.5)])))
    await page.start()
    await page.talk(questions[0])
    await expect(page.bubbles.nth(1)).to_contain_text(words)
    assert await page.bubbles.nth(1).locator("b, em, a, code, .katex").count() == 0


async def test_the_words_of_a_reply_are_shown_while_the_rest_is_still_being_made(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG, gate=Gate(3))))
    await page.start()
    await page.say(questions[0])
    await expect(page.bubbles.nth(1)).to_contain_text("One two three")
    assert await page.times("in", "response.done") == []
    await page.stop()


async def _scroll(page: Page, by: int) -> None:
    """Turn the wheel; returns when the scrolling has ended."""
    await page.tab.evaluate(
        "addEventListener('scrollend', () => (rig.scrolled = true), { capture: true, once: true })"
    )
    await page.tab.mouse.wheel(0, by)
    await page.tab.wait_for_function("rig.scrolled")
    await page.tab.evaluate("rig.scrolled = false")


async def test_the_chat_follows_the_words_but_not_while_somebody_reads_further_up(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    gate, lines = Gate(1), 0
    words = [say(f"line {number} " + "and more " * 30, 0.1) for number in range(100)]
    page = await open_tab(serve_page(ScriptedModel([say("words " * 600, 0.5), *words], gate=gate)))
    await page.start()
    await page.say(questions[0])
    reply = page.bubbles.nth(1)
    await expect(reply).to_contain_text("words")

    async def come() -> None:
        """Let three lines more be written, and the page draw what it may do about them."""
        nonlocal lines
        for _ in range(3):
            gate.open()
            await expect(reply).to_contain_text(f"line {lines} ")
            lines += 1
        for _ in range(40):
            await page.tab.evaluate("new Promise(requestAnimationFrame)")

    async def top_and_height() -> tuple[float, float]:
        box = await reply.bounding_box()
        assert box
        return box["y"], box["height"]

    box = await page.tab.locator(".duologue-chat").bounding_box()
    assert box
    # Not `hover`: it would scroll to a reply that has outgrown the chat meanwhile.
    await page.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    await come()
    top, height = await top_and_height()
    await come()
    followed, higher = await top_and_height()
    assert followed - top == pytest.approx(height - higher, abs=2)
    assert higher > height
    end = followed + higher

    await _scroll(page, -200)
    top, height = await top_and_height()
    assert top > followed
    await come()
    stayed, higher = await top_and_height()
    assert stayed == pytest.approx(top, abs=2)
    assert higher > height

    await _scroll(page, 2000)
    assert sum(await top_and_height()) == pytest.approx(end, abs=2)
    await come()
    assert sum(await top_and_height()) == pytest.approx(end, abs=2)
    # As if a line had come while its reader scrolled back.
    await _scroll(page, -40)
    await come()
    assert sum(await top_and_height()) == pytest.approx(end, abs=2)
    await page.stop()


async def test_a_lost_connection_is_told_and_the_conversation_goes_on(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    await page.talk(questions[0])
    await page.tab.evaluate("rig.socket.close()")
    await expect(page.failure).to_contain_text("connection to the server was lost")
    await page.reach("idle")
    assert await page.live_tracks() == 0
    await page.start()
    await expect(page.failure).to_be_empty()
    await page.talk(questions[1])
    await expect(page.players).to_have_count(4)


async def test_a_reloaded_tab_shows_and_goes_on_with_its_conversation(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    await page.talk(questions[0])
    await page.tab.reload()
    await expect(page.players).to_have_count(2)
    await page.start()
    await page.talk(questions[1])
    await expect(page.players).to_have_count(4)
    await page.stop()
    await page.root.get_by_role("button", name="New conversation").click()
    await expect(page.players).to_have_count(0)


def _listens(server: Uvicorn) -> bool:
    address = urlsplit(server.url)
    try:
        socket.create_connection((address.hostname, address.port)).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_a_server_that_is_gone_is_told(serve_page: ServePage, open_tab: Open) -> None:
    server = serve_page()
    page = await open_tab(server)
    server.should_exit = True
    await asyncio.to_thread(wait_for, lambda: not _listens(server))
    await page.start(until="idle")
    await expect(page.failure).to_contain_text("server does not answer")


async def test_a_server_that_shuts_down_is_told(serve_page: ServePage, open_tab: Open) -> None:
    server = serve_page()
    page = await open_tab(server)
    await page.start()
    server.should_exit = True
    await expect(page.failure).to_contain_text("server is shutting down")
    await page.reach("idle")


async def test_a_busy_server_is_told(serve_page: ServePage, open_tab: Open) -> None:
    server = serve_page(sessions=1)
    await (await open_tab(server)).start()
    page = await open_tab(server)
    await page.start(until="idle")
    await expect(page.failure).to_contain_text("server is busy")
    assert await page.live_tracks() == 0


async def test_a_model_that_fails_is_told_and_the_conversation_goes_on(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel([say("One"), RuntimeError("out of luck")])))
    await page.start()
    await page.talk(questions[0])
    await expect(page.failure).to_contain_text("The model failed to answer")
    await expect(page.bubbles.nth(1)).to_contain_text("failed")
    await page.talk(questions[1])


async def test_a_model_that_fails_before_its_first_sound_leaves_the_page_listening(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel([RuntimeError("out of luck")])))
    await page.start()
    await page.say(questions[0])
    await expect(page.failure).to_contain_text("The model failed to answer")
    await page.reach("listening")


async def test_the_microphone_is_released_when_nobody_speaks(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page(idle_timeout=1))
    await page.start()
    await page.reach("idle")
    await expect(page.failure).to_contain_text("Nothing was said for 1 second,")
    assert await page.live_tracks() == 0


async def test_who_talks_for_long_is_told_before_the_limit_and_no_longer_once_it_is_answered(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    # Pauses are no ends here, so that it is one turn: longer than 6 s, when it is told, shorter than 11.
    flags = {"patience": "fixed", "silence": 2.0, "time_limit": 11}
    page = await open_tab(serve_page(ScriptedModel([say("Fine.", 0.5)]), **flags))
    await page.start()
    question = questions[0].at(INPUT_RATE)
    times = math.ceil(7.5 / question.duration)
    talk = asyncio.create_task(page.say(concatenate([question] * times, INPUT_RATE)))
    await expect(page.failure).to_contain_text("In 5 seconds")
    await talk
    await page.reach("speaking")
    await expect(page.failure).to_have_text("")


async def test_an_utterance_cut_at_the_time_limit_is_told_and_answered(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(time_limit=1))
    await page.start()
    # It is told until the rest of the question has ended, too, which is soon: each frame is looked at.
    told = asyncio.create_task(
        page.tab.wait_for_function(
            "[...document.querySelectorAll('section.voice [role=alert]')]"
            ".some((alert) => alert.textContent.includes('A turn may last 1 second:'))"
        )
    )
    await page.say(questions[0])
    await told
    await expect(page.players).to_have_count(2)


async def test_a_denied_microphone_is_told(serve_page: ServePage, open_tab: Open) -> None:
    page = await open_tab(serve_page(), fake=False)
    await page.start(until="idle")
    await expect(page.failure).to_contain_text("microphone is blocked")


@pytest.mark.usefixtures("browser")  # skips where there is none
async def test_a_missing_microphone_is_told(serve_page: ServePage) -> None:
    server = serve_page()
    async with chromium() as bare:
        page = await open_page(bare, server.url, fake=False, permissions=["microphone"])
        await page.start(until="idle")
        await expect(page.failure).to_contain_text("No microphone was found")


async def test_a_page_that_may_not_use_microphones_is_told(
    serve_page: ServePage, open_tab: Open
) -> None:
    hide = "Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined });"
    page = await open_tab(serve_page(), fake=False, script=hide)
    await page.start(until="idle")
    await expect(page.failure).to_contain_text("only to https pages and to localhost")


async def test_an_unplugged_microphone_is_told(serve_page: ServePage, open_tab: Open) -> None:
    page = await open_tab(serve_page())
    await page.start()
    await page.tab.evaluate("rig.live[0].dispatchEvent(new Event('ended'))")
    await expect(page.failure).to_contain_text("unplugged or blocked")
    await page.reach("idle")


async def test_a_panel_that_is_taken_out_of_the_page_lets_go_of_the_microphone(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    await page.root.evaluate("root => root.remove()")
    await page.tab.wait_for_function("rig.live[0].readyState === 'ended'")
    await page.tab.wait_for_function("rig.socket.readyState === WebSocket.CLOSED")


async def test_a_browser_that_resamples_no_microphone_is_helped(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    firefox = """const create = AudioContext.prototype.createMediaStreamSource;
    AudioContext.prototype.createMediaStreamSource = function (stream) {
      if (this.sampleRate !== 24000) return create.call(this, stream);
      throw new DOMException("different sample rates", "NotSupportedError");
    };"""
    page = await open_tab(serve_page(), script=firefox)
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.reach("listening")
    assert await page.tab.evaluate("rig.contexts.map(context => context.sampleRate)") != [24000]
    length = await page.players.nth(1).evaluate(_LENGTH)
    assert length == pytest.approx(questions[0].duration, abs=1.2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_scrolls_down_only(
    serve_page: ServePage, open_tab: Open, questions: Questions, scheme: str
) -> None:
    size = {"width": 390, "height": 780}
    page = await open_tab(serve_page(), viewport=size, color_scheme=scheme)
    await page.start()
    await page.talk(questions[0])
    assert await page.tab.evaluate("document.documentElement.scrollWidth") == 390
    await expect(page.root.get_by_role("button", name="Stop conversation")).to_be_in_viewport()


_THEIR_APP = """
import sys

import gradio as gr
from duologue import Voice

def show(event: gr.EventData) -> str:
    return f"You: {event.user} It: {event.reply}"

with gr.Blocks(analytics_enabled=False) as demo:
    voice = Voice(url=sys.argv[1])
    words = gr.Textbox(label="Words")
    voice.turn(show, None, words, show_progress="hidden", trigger_mode="always_last")

demo.launch(server_port=int(sys.argv[2]), quiet=True, prevent_thread_lock=True)
print("ready", flush=True)
demo.block_thread()
"""


async def test_the_panel_works_in_somebody_elses_gradio_app(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    theirs = f"http://127.0.0.1:{port}"
    server = serve_page(ScriptedModel([say("Fine")]), allow_origin=(theirs,))
    command = [sys.executable, "-c", _THEIR_APP, f"{server.url}/v1/realtime", str(port)]
    app = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert app.stdout
        assert await app.stdout.readline() == b"ready\n"
        page = await open_tab(theirs)
        await page.start()
        await page.talk(questions[0])
        await expect(page.tab.get_by_label("Words")).to_have_value("You:  It: Fine")
        await page.tab.context.close()
    finally:
        app.terminate()
        await app.wait()
