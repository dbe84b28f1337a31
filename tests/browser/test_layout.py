"""The page in small windows, narrow columns, large text and contrast themes."""

import pytest
from playwright.async_api import expect
from rigs.browser import Page

from browser.conftest import Open, ServePage

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What sticks out of the panel, what lies over something else, and what is wider than the window.
_FAULTS = """() => {
  const panel = document.querySelector("section.voice");
  const seen = [...panel.querySelectorAll("button, label, .doing, .meter, .failure")].filter(
    (part) => part.getClientRects().length && (part.matches(".meter") || part.textContent.trim()),
  );
  const box = panel.getBoundingClientRect();
  const faults = [];
  const name = (element) => element.className + ": " + element.textContent.trim();
  for (const element of seen) {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const inside = left >= box.left && right <= box.right && top >= box.top && bottom <= box.bottom;
    if (!inside) faults.push("sticks out " + name(element));
    const { scrollWidth, clientWidth } = element;
    if (clientWidth && scrollWidth > clientWidth + 1) faults.push("too wide " + name(element));
    for (const other of seen) {
      if (other === element) continue;
      const that = other.getBoundingClientRect();
      const over = Math.min(right, that.right) - Math.max(left, that.left);
      const deep = Math.min(bottom, that.bottom) - Math.max(top, that.top);
      if (over > 1 && deep > 1) faults.push(name(element) + " lies over " + name(other));
    }
  }
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) faults.push("the window scrolls sideways");
  return faults;
}"""

# As after a call that has failed: everything that can be there is.
_FULL = """() => {
  const panel = document.querySelector("section.voice");
  panel.querySelector(".failure").textContent =
    "The microphone is blocked: allow it for this page next to the browser's address, then press Start.";
  for (const hidden of panel.querySelectorAll("[hidden]")) hidden.hidden = false;
}"""


async def _reach(page: Page) -> None:
    """Each part of the page can be scrolled into view."""
    for part in (
        page.tab.get_by_role("heading", name="Duologue"),
        page.tab.locator(".duologue-chat"),
        page.root.locator(".talk"),
        page.root.get_by_role("switch"),
        page.root.locator(".anew"),
        page.failure,
    ):
        await part.scroll_into_view_if_needed()
        await expect(part).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize(
    ("width", "height", "text"),
    [
        (1280, 800, 100),
        (640, 400, 100),
        (844, 390, 100),
        (667, 375, 100),
        (1280, 400, 100),
        (320, 568, 100),
        (320, 256, 100),
        (1280, 800, 200),
        (390, 844, 200),
    ],
)
async def test_all_of_the_page_can_be_reached_in_a_window_of_any_size(
    serve_page: ServePage, open_tab: Open, width: int, height: int, text: int
) -> None:
    page = await open_tab(serve_page(), viewport={"width": width, "height": height})
    await page.tab.add_style_tag(content=f"html {{ font-size: {text}% !important; }}")
    await page.tab.evaluate(_FULL)
    assert await page.tab.evaluate(_FAULTS) == []
    await _reach(page)


@pytest.mark.parametrize("width", [244, 265, 320, 417, 575, 640, 700, 900])
async def test_the_panel_keeps_together_in_a_column_of_any_width(
    serve_page: ServePage, open_tab: Open, width: int
) -> None:
    page = await open_tab(serve_page())
    style = f".block:has(.voice) {{ width: {width}px !important; min-width: 0 !important; }}"
    await page.tab.add_style_tag(content=style)
    await page.tab.evaluate(_FULL)
    box = await page.root.bounding_box()
    assert box
    assert box["width"] == pytest.approx(width, abs=2)
    assert await page.tab.evaluate(_FAULTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_with_a_contrast_theme_the_switch_the_meter_and_the_failure_are_seen(
    serve_page: ServePage, open_tab: Open, scheme: str
) -> None:
    page = await open_tab(serve_page(), forced_colors="active", color_scheme=scheme)
    await page.tab.evaluate(_FULL)
    switch = page.root.get_by_role("switch")
    on = await switch.screenshot(animations="disabled")
    await switch.uncheck()
    assert await switch.screenshot(animations="disabled") != on
    meter = page.root.get_by_role("meter")
    empty = await meter.screenshot(animations="disabled")
    await meter.evaluate("meter => meter.style.setProperty('--level', 0.5)")
    assert await meter.screenshot(animations="disabled") != empty
    for part in (switch, meter, page.failure, page.root.locator(".talk")):
        style = await part.evaluate("part => getComputedStyle(part).borderTopStyle")
        assert style == "solid"
