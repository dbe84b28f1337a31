"""A conversation with Mini-Omni in a real browser: the real parts in small, whose weights are random."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from browser.conftest import Open, ServePage
from duologue.audio import AudioChunk
from duologue.model import SpeechModel, load_model

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]


@pytest.fixture
def model(mini_omni_cache: Path, monkeypatch: pytest.MonkeyPatch) -> SpeechModel:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(mini_omni_cache))
    return load_model("mini-omni", max_reply="8")


async def test_probe(
    serve_page: ServePage, open_tab: Open, questions: Questions, model: SpeechModel
) -> None:
    page = await open_tab(serve_page(model))
    print(await page.tab.locator(".duologue-head.prose").inner_text())
    await page.start()
    for q in questions:
        times = await page.talk(q)
        print(
            times.latency, times.audible - times.detected, times.silent - times.audible, times.holes
        )
        print(await page.root.get_attribute("data-underruns"))
        for b in await page.bubbles.all():
            print(repr(await b.inner_text())[:300])
    sp = await page.track("speaker")
    import numpy as np

    x = sp.samples
    print(len(x) / sp.rate, np.abs(x).max(), np.sqrt((x**2).mean()))
    t0 = (await page.log())[0]["at"]
    for e in await page.log():
        if "state" in e or e.get("in", {}).get("type", "").split(".")[-1] in (
            "completed",
            "done",
            "speech_started",
            "speech_stopped",
            "created",
        ):
            print(round(e["at"] - t0, 2), str({k: v for k, v in e.items() if k != "at"})[:160])
