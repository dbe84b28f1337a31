"""What becomes of a call when the browser's sound or the microphone dies without a word."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.async_api import expect
from rigs.browser import Page, chromium, open_page

from browser.conftest import Open, ServePage
from duologue.audio import AudioChunk
from duologue.testing import ScriptedModel, say

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

_LONG = [say(word) for word in ("One", " two", " three", " four", " five", " six", " seven")] * 3
_SOON = 30_000  # milliseconds: far more than it takes, as the machine may be busy


async def _is_told(page: Page, sentence: str) -> None:
    """This was said, and the microphone is free."""
    await expect(page.failure).to_contain_text(sentence, timeout=_SOON)
    await page.reach("idle")
    assert await page.live_tracks() == 0


async def test_sound_that_the_system_halts_is_resumed(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    await page.tab.evaluate("rig.contexts[0].suspend()")
    await page.tab.wait_for_function("rig.contexts[0].state === 'running'")
    await page.talk(questions[0])
    await expect(page.failure).to_be_empty()
    await page.stop()


_NO_RESUME = "rig.contexts[0].resume = () => new Promise(() => {});"

_DEATHS = {
    "suspended": f"{_NO_RESUME} rig.contexts[0].suspend()",
    # As Safari says it, when the telephone rings.
    "interrupted": """const [context] = rig.contexts;
        context.resume = async () => { throw new DOMException("no", "InvalidStateError"); };
        Object.defineProperty(context, "state", { value: "interrupted" });
        context.dispatchEvent(new Event("statechange"));""",
    "closed": "rig.contexts[0].close()",
    "dead, and says that it runs": """const [context] = rig.contexts;
        Object.defineProperty(context, "state", { value: "running" });
        context.suspend();""",
}


@pytest.mark.parametrize(
    ("death", "state"), list(zip(_DEATHS, ["speaking", "listening"] * 2, strict=True))
)
async def test_sound_that_cannot_be_resumed_is_told(
    serve_page: ServePage, open_tab: Open, questions: Questions, death: str, state: str
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG)))
    await page.start()
    if state == "speaking":
        await page.say(questions[0])
        await page.reach("speaking")
    await page.tab.evaluate(f"() => {{ {_DEATHS[death]} }}")
    await _is_told(page, "The browser has stopped the sound of this page")
    if death == "suspended":
        await page.start()
        await expect(page.failure).to_be_empty()
        await page.say(questions[1])
        await page.reach("speaking")
        await page.stop()


async def test_sound_that_never_runs_is_told(serve_page: ServePage, open_tab: Open) -> None:
    halted = """const Open = AudioContext;
    window.AudioContext = class extends Open {
      constructor(...given) {
        super(...given);
        if (this.sampleRate !== 24000) return;
        this.suspend();
        this.resume = () => new Promise(() => {});
      }
    };"""
    page = await open_tab(serve_page(), script=halted)
    await page.start(until="connecting")
    await _is_told(page, "The browser has stopped the sound of this page")


@pytest.mark.usefixtures("browser")  # skips where there is none
async def test_a_microphone_that_gives_nothing_is_named(
    serve_page: ServePage, tmp_path: Path
) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(48_000, np.int16), 48_000)
    server = serve_page()
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={silent}",
    )
    async with chromium(*flags) as browser:
        page = await open_page(browser, server.url, fake=False)
        await page.start()
        await expect(page.failure).to_contain_text(
            "Nothing comes from the microphone “Fake", timeout=_SOON
        )
        assert await page.root.get_attribute("data-state") == "listening"
        await page.stop()


async def test_a_muted_microphone_is_told_until_it_is_no_longer(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    for _ in range(2):
        await page.tab.evaluate(
            """() => {
              rig.live[0].enabled = false;
              Object.defineProperty(rig.live[0], "muted", { value: true, configurable: true });
            }"""
        )
        await expect(page.failure).to_contain_text("” is muted: unmute it", timeout=_SOON)
        await page.tab.evaluate("() => { rig.live[0].enabled = true; delete rig.live[0].muted; }")
        await expect(page.failure).to_be_empty(timeout=_SOON)
    await page.talk(questions[0])
    await page.stop()


async def test_a_microphone_that_gives_nothing_in_pauses_is_complained_of_once(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    await page.tab.evaluate("rig.live[0].enabled = false")
    await expect(page.failure).to_contain_text("Nothing comes from the microphone", timeout=_SOON)
    await page.tab.evaluate("rig.live[0].enabled = true")
    await expect(page.failure).to_be_empty(timeout=_SOON)
    await page.tab.evaluate("rig.live[0].enabled = false")
    before = len(await page.times("out", "input_audio_buffer.append"))
    sent = "n => rig.log.filter(e => e.out?.type === 'input_audio_buffer.append').length > n"
    await page.tab.wait_for_function(sent, arg=before + 150, timeout=_SOON)  # six seconds of it
    await expect(page.failure).to_be_empty()
    await page.stop()


async def test_a_microphone_that_is_gone_is_told_though_the_browser_did_not_say_so(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    await page.tab.evaluate("rig.live[0].stop()")
    await _is_told(page, "The microphone was unplugged or blocked")


async def test_when_devices_change_the_microphone_is_looked_at_at_once(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page())
    await page.start()
    told = await page.tab.evaluate(
        """() => {
          rig.live[0].stop();
          navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
          return document.querySelector("section.voice [role=alert]").textContent;
        }"""
    )
    assert told.startswith("The microphone was unplugged or blocked")
