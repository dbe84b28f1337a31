"""The page below a path of a reverse proxy."""

from typing import Any

import pytest
from playwright.async_api import Response, expect

from browser.conftest import Open, ServePage
from duologue.audio import AudioChunk
from duologue.testing import ScriptedModel, say
from proxy import proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

_PATH = "/voice-lab/duologue"


@pytest.mark.parametrize(
    ("flags", "how"),
    [
        ({"root_path": _PATH}, {"strips": True}),
        ({"root_path": _PATH}, {"strips": False}),
        ({}, {"headers": (f"X-Forwarded-Prefix: {_PATH}",)}),
    ],
    ids=["cut off", "passed on", "named in a header"],
)
async def test_the_whole_page_works_below_a_path(
    serve_page: ServePage,
    open_tab: Open,
    questions: Questions,
    flags: dict[str, Any],
    how: dict[str, Any],
) -> None:
    server = serve_page(ScriptedModel([say("Fine")]), **flags)
    async with proxy(server.url, _PATH, **how) as url:
        page = await open_tab(f"{url}{_PATH}/")
        await page.start()
        await page.talk(questions[0])
        await page.stop()
        await expect(page.players).to_have_count(2)
        for player in await page.players.all():
            source = await player.evaluate("player => player.src")
            assert source.startswith(f"{url}{_PATH}/v1/recordings/")
            assert (await page.tab.request.get(source)).status == 200
        font = await page.root.evaluate("root => getComputedStyle(root).fontFamily")
        assert "system-ui" in font  # from theme.css
        answers: list[Response] = []
        page.tab.on("response", lambda answer: answers.append(answer))
        await page.tab.reload()
        await expect(page.players).to_have_count(2)
        # Gradio asks for its manifest at the root, whatever it is told.
        answers = [answer for answer in answers if not answer.url.endswith("/manifest.json")]
        assert [answer.url for answer in answers if answer.status >= 400] == []
        assert all(answer.url.startswith(f"{url}{_PATH}/") for answer in answers)
        page.complaints.clear()


async def test_a_stranger_cannot_name_the_path(serve_page: ServePage, open_tab: Open) -> None:
    server = serve_page()
    page = await open_tab(server)
    for header in ("//evil.example", "/a b", '/x"><script>hacked', "evil.example"):
        answer = await page.tab.request.get(server.url, headers={"X-Forwarded-Prefix": header})
        assert answer.status == 200
        assert header not in await answer.text()
