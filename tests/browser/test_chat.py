"""The chat of the page: what stands there, when, and what it costs."""

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.async_api import Response, expect
from rigs.browser import Page

from browser.conftest import Open, ServePage
from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.server.app import Uvicorn
from duologue.testing import ScriptedModel, say, turn_items

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

_FINE = [say("Fine", 0.5)]


class _Held(ScriptedModel):
    """Says nothing until `go` is set."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.go = threading.Event()

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        async for chunk in super().reply(prompt):
            yield chunk


def _fill(server: Uvicorn, count: int) -> None:
    """Let the one conversation of this server have so many more turns."""
    record = next(iter(server._server.history._kept.values()))
    for number in range(count):
        reply = [say(f"This is answer number {number}.", 0.1)]
        for item in turn_items(f"made{number}", silence(0.1, INPUT_RATE), "Go on.", reply):
            record.save(item)


async def _gone(port: int) -> None:
    """Wait until nobody serves there."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.1)


@contextmanager
def _sizes(page: Page) -> Iterator[list[int]]:
    """The bytes of each answer that the chat gets meanwhile."""
    lengths: list[int] = []

    def note(response: Response) -> None:
        if "/v1/turns" in response.url:
            lengths.append(int(response.headers["content-length"]))

    page.tab.on("response", note)
    yield lengths
    page.tab.remove_listener("response", note)


async def test_what_was_said_stands_in_the_chat_as_soon_as_the_turn_has_ended(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    model = _Held(_FINE)
    page = await open_tab(serve_page(model))
    await page.start()
    await page.say(questions[0])
    await page.reach("thinking")
    await expect(page.bubbles).to_have_count(1)
    await expect(page.bubbles).to_contain_text("…")
    assert await page.times("in", "response.output_audio.delta") == []
    model.go.set()
    await page.reach("listening")
    await expect(page.bubbles).to_have_count(2)
    await expect(page.bubbles.nth(0)).to_contain_text("Your recording")
    await expect(page.bubbles.nth(1)).to_contain_text("Fine")


async def test_the_words_appear_while_they_are_spoken_and_stay_until_the_whole_is_known(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    model = _Held(
        [ReplyChunk(user_text="What is it called?"), *_FINE], overhears=["What", "What is"]
    )
    page = await open_tab(serve_page(model))
    await page.start()
    await page.say(concatenate([questions[0].at(INPUT_RATE)] * 2, INPUT_RATE))
    await page.reach("thinking")
    await expect(page.bubbles).to_have_count(1)
    await expect(page.bubbles.nth(0)).to_contain_text("What is")
    (first, *_) = await page.times("in", "conversation.item.input_audio_transcription.delta")
    (stopped, *_) = await page.times("in", "input_audio_buffer.speech_stopped")
    assert first < stopped
    model.go.set()
    await page.reach("listening")
    await expect(page.bubbles).to_have_count(2)
    await expect(page.bubbles.nth(0)).to_contain_text("What is it called?")
    await page.talk(questions[1])
    await expect(page.bubbles).to_have_count(4)
    await expect(page.bubbles.nth(2)).to_contain_text("What is it called?")


async def test_a_server_that_was_restarted_leaves_what_is_shown(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    server = serve_page(ScriptedModel(_FINE))
    page = await open_tab(server)
    await page.start()
    await page.talk(questions[0])
    await expect(page.players).to_have_count(2)
    server.should_exit = True
    await expect(page.failure).not_to_be_empty()
    port = int(server.url.rsplit(":", 1)[1])
    await _gone(port)
    serve_page(ScriptedModel([say("Again", 0.5)]), port=port)
    await page.start()
    await expect(page.bubbles.nth(1)).to_contain_text("Fine")
    await page.talk(questions[1])
    await expect(page.bubbles).to_have_count(4)
    await expect(page.bubbles.nth(0)).to_contain_text("The recording is gone.")
    await expect(page.bubbles.nth(1)).to_contain_text("Fine The recording is gone.")
    await expect(page.bubbles.nth(3)).to_contain_text("Again")
    await expect(page.players).to_have_count(2)
    assert await page.tab.locator(".toast-body").filter(visible=True).count() == 0


async def test_a_turn_of_a_long_conversation_costs_what_a_turn_of_a_short_one_does(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    server = serve_page(ScriptedModel([say("This"), say(" is"), say(" an answer.")]))
    page = await open_tab(server)
    await page.start()
    with _sizes(page) as short:
        await page.talk(questions[0])
    _fill(server, 300)
    await page.talk(questions[1])  # the chat learns of them
    with _sizes(page) as long:
        await page.talk(questions[2])
    await page.stop()
    assert short
    assert len(long) <= 2 * len(short) + 5
    assert max(long) < 1500
    await expect(page.bubbles).to_have_count(40)
    nodes = await page.tab.locator(".duologue-chat *").count()
    assert nodes < 500

    earlier = page.tab.get_by_role("button", name="Show earlier turns")
    await earlier.click()
    await expect(page.bubbles).to_have_count(80)
    await expect(page.bubbles.nth(1)).to_contain_text("This is answer number 262.")
    await expect(page.bubbles.nth(79)).to_contain_text("This is an answer.")
    await page.tab.reload()
    await expect(page.bubbles).to_have_count(40)


# Each does something where it is taken for markup, as HTML, Markdown, LaTeX, or a template.
_PAYLOADS = [
    "<script>hacked=1</script>",
    "<img src=x onerror=hacked=1>",
    "<svg onload=hacked=1>",
    "<svg><script>hacked=1</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<body onload=hacked=1>",
    "<details open ontoggle=hacked=1>x</details>",
    "<input autofocus onfocus=hacked=1>",
    "<video><source onerror=hacked=1></video>",
    "<audio src=x onerror=hacked=1></audio>",
    "<a href='javascript:hacked=1'>x</a>",
    "<math><mtext><img src=x onerror=hacked=1></mtext></math>",
    "<template><img src=x onerror=hacked=1></template>",
    "<style>@import '//evil.example/x'</style>",
    "<link rel=stylesheet href=//evil.example/x>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><button>x</button></form>",
    "</p></li></ol><img src=x onerror=hacked=1>",
    "&lt;img src=x onerror=hacked=1&gt;",
    "[x](javascript:hacked=1)",
    "![x](//evil.example/x.png)",
    "$$\\href{javascript:hacked=1}{x}$$",
    "${hacked=1} {{hacked}} #{hacked}",
    "\u202e<img src=x onerror=hacked=1>\u202c",
]


async def test_no_words_of_either_side_are_run_or_become_anything_else_than_words(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    words = " ".join(_PAYLOADS)
    page = await open_tab(serve_page(ScriptedModel([ReplyChunk(user_text=words), say(words, 0.5)])))
    await page.start()
    await page.talk(questions[0])
    await page.tab.reload()
    for number in (0, 1):
        await expect(page.bubbles.nth(number)).to_contain_text(words)
        tags = await page.bubbles.nth(number).evaluate(
            "bubble => [...bubble.querySelectorAll('*')].map(element => element.localName)"
        )
        assert set(tags) <= {"span", "p", "div", "button", "audio"}
    assert await page.tab.evaluate("typeof hacked") == "undefined"


async def _tree(page: Page) -> list[tuple[str, str]]:
    """Role and name of what a screen reader is given, in order."""
    session = await page.tab.context.new_cdp_session(page.tab)
    nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    seen = [node for node in nodes if not node["ignored"]]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in seen]


async def test_a_screen_reader_gets_words_and_no_markup(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel([ReplyChunk(user_text="How are you?"), *_FINE])))
    await page.start()
    await page.talk(questions[0])
    await page.stop()
    await expect(page.players).to_have_count(2)
    tree = await _tree(page)
    assert not [name for _, name in tree if "<" in name or "&#" in name]
    assert ("region", "Conversation") in tree
    names = [(role, name.strip()) for role, name in tree]
    assert {"You:", "How are you?", "Reply:", "Fine"} <= {name for _, name in names}
    players = [name for role, name in names if role == "button" and name.startswith("Play")]
    assert len(players) == 2
    assert re.fullmatch(r"Play what you said, \d seconds?", players[0])
    assert players[1] == "Play the reply, 1 second"


_LISTEN = """() => {
  window.told = [];
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      const element = target.closest ? target : target.parentElement;
      const region = element?.closest("[role=status], [role=alert], [aria-live]");
      const live = region && region.ariaLive !== "off" && region.textContent.trim();
      if (live && told.at(-1) !== live) told.push(live);
    }
  }).observe(document, { subtree: true, childList: true, characterData: true });
}"""


async def test_a_reply_is_announced_once_when_it_is_over_and_nothing_before(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    model = ScriptedModel([say(f" Part {number}.", 0.4) for number in range(5)])
    page = await open_tab(serve_page(model))
    await page.tab.evaluate(_LISTEN)
    await page.start()
    await page.talk(questions[0])
    await page.tab.wait_for_function("told.at(-1)?.startsWith('Part')")
    await page.talk(questions[1])
    await page.stop()
    told = await page.tab.evaluate("told")
    whole = "Part 0. Part 1. Part 2. Part 3. Part 4."
    assert told[:2] == [
        "Connecting… The browser may ask for your microphone.",
        "Listening. Just talk.",
    ]
    assert [line for line in told if line.startswith("Part")] == [whole]
    assert not {"I hear you.", "Thinking…", "Speaking. Talk to interrupt."} & set(told)


async def test_a_recording_tells_its_length_and_becomes_a_player_when_it_is_played(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel([say("Fine", 3)])))
    await page.start()
    await page.talk(questions[0])
    await page.stop()
    play = page.bubbles.nth(1).get_by_role("button", name="Play the reply, 3 seconds")
    await expect(play).to_have_text("▶ 0:03")
    assert not [url for url in page.requests if "/v1/recordings/" in url]
    await play.click()
    await page.tab.wait_for_function("document.querySelectorAll('audio')[1].currentTime > 0")
    assert await page.tab.evaluate("document.activeElement.localName") == "audio"
    await expect(play).to_have_count(0)
    await page.bubbles.nth(0).get_by_role("button").click()
    await page.tab.wait_for_function("document.querySelectorAll('audio')[1].paused")


async def test_a_model_that_fails_and_a_stop_while_it_thinks_are_told_in_words(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel([RuntimeError("out of luck")])))
    await page.start()
    await page.say(questions[0])
    reply = page.bubbles.nth(1)
    await expect(reply).to_contain_text("The model failed to answer.")
    assert "heard" not in (await reply.text_content() or "")
