"""A conversation with Mini-Omni in a real browser: its real parts in small, with random weights."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from browser.conftest import Open, ServePage
from duologue.audio import AudioChunk
from duologue.models import SpeechModel, load_model

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

_REPLY = 8  # seconds: random weights talk until they have to stop

# Seconds that a recording lasts, once some of it was really played.
_PLAY = """player => new Promise((resolve, reject) => {
  player.ontimeupdate = () => {
    if (player.currentTime < 0.2) return;
    player.pause();
    resolve(player.duration);
  };
  player.play().catch(reject);
})"""


@pytest.fixture
def model(mini_omni_cache: Path, monkeypatch: pytest.MonkeyPatch) -> SpeechModel:
    with monkeypatch.context() as here:
        here.setenv("DUOLOGUE_CACHE", str(mini_omni_cache))
        return load_model("mini-omni", max_reply=str(_REPLY))


async def test_the_noise_is_heard_without_holes_and_stands_in_the_chat_below_the_users_words(
    serve_page: ServePage, open_tab: Open, questions: Questions, model: SpeechModel
) -> None:
    page = await open_tab(serve_page(model))
    for told in ("hears this turn only", "noise"):
        await expect(page.tab.get_by_text(told)).to_be_visible()
    await page.start()
    times = await page.talk(questions[0])
    assert times.silence == pytest.approx(times.wait, abs=0.25)
    assert times.heard == pytest.approx(_REPLY, abs=0.3)
    # Of the page's own there are none; a machine that is busy may be late, and the page knows.
    holes = [hole for hole in times.holes if hole > 0.03]
    assert len(holes) <= int(await page.root.get_attribute("data-underruns") or 0)

    events = [entry["in"] for entry in await page.log() if "in" in entry]
    kinds = [event["type"] for event in events]
    heard = kinds.index("conversation.item.input_audio_transcription.completed")
    assert kinds.index("response.output_audio.delta") < heard
    asked = events[heard]["transcript"]
    said = events[kinds.index("response.output_audio_transcript.done")]["transcript"]
    assert asked
    assert said
    await expect(page.bubbles).to_have_count(2)
    await expect(page.bubbles.nth(0)).to_contain_text(asked)
    await expect(page.bubbles.nth(1)).to_contain_text(said)
    lengths = [await player.evaluate(_PLAY) for player in await page.players.all()]
    assert lengths == [
        pytest.approx(questions[0].duration, abs=1.2),  # silence around it is kept
        pytest.approx(_REPLY, abs=0.3),
    ]


async def test_speech_in_the_middle_of_the_noise_stops_it(
    serve_page: ServePage, open_tab: Open, questions: Questions, model: SpeechModel
) -> None:
    page = await open_tab(serve_page(model))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(1.5)
    await page.say(questions[1])
    await page.hear_of("conversation.item.truncated")
    (cut,) = [
        entry["out"]["audio_end_ms"] / 1000
        for entry in await page.log()
        if entry.get("out", {}).get("type") == "conversation.item.truncate"
    ]
    assert 1 < cut < _REPLY - 1
    heard = (await page.track("speaker")).sounds()[0]
    assert heard.seconds == pytest.approx(cut, abs=0.1)  # noise may begin softly
    await expect(page.bubbles.nth(1)).to_contain_text("interrupted")
    await page.reach("speaking")
    await page.stop()
