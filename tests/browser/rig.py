"""A real browser in front of a real page, with ears: what a test or a benchmark says and hears, and when.

    async with chromium() as browser:
        page = await open_page(browser, "http://127.0.0.1:7860")
        await page.start()
        turn = await page.talk(question)
        print(turn.latency)

All times are seconds since 1970, taken on the audio threads and in the page, of one machine.
"""

import base64
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Browser, ConsoleMessage, Locator, async_playwright
from playwright.async_api import Page as Tab

from duologue.audio import AudioChunk, Samples

_SCRIPT = Path(__file__).with_name("rig.js")
_AUDIBLE = 0.003  # of full scale, -50 dB: where a reply begins to be heard
_HOLE = 0.005  # seconds of nothing at all, from which a gap is no property of the sound

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
]


def find_chromium() -> str | None:
    """Where a Chromium or Chrome is, if anywhere; `CHROMIUM` names another."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """A headless Chromium. It has no microphone of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[*_FLAGS, *flags],
            ignore_default_args=["--mute-audio"],
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(frozen=True, slots=True)
class Track:
    """What went through one point, without a gap.

    Attributes:
        samples: float32 [T].
        rate: hertz.
        starts: [T / 2048], when each 2,048 samples began to be rendered.
    """

    samples: Samples
    rate: int
    starts: NDArray[np.float64]

    def when(self, index: int) -> float:
        """When this sample was rendered."""
        chunk, rest = divmod(index, 2048)
        return float(self.starts[chunk]) + rest / self.rate

    def loud(self, start: float, end: float, level: float = _AUDIBLE) -> list[float]:
        """When the first and the last sample above `level` were there, in this time; or nothing."""
        found = self._indices(np.abs(self.samples) > level, start, end)
        return [self.when(int(index)) for index in (found[0], found[-1])] if len(found) else []

    def between(self, start: float, end: float) -> Samples:
        """What went through in this time."""
        times = self._indices(np.ones(len(self.samples), np.bool_), start, end)
        return self.samples[times[0] : times[-1] + 1] if len(times) else self.samples[:0]

    def seconds(self, start: float, end: float) -> float:
        """Sound that went through, by its samples: what a machine that halts does not lengthen."""
        return len(self.between(start, end)) / self.rate

    def holes(self, start: float, end: float) -> list[float]:
        """Seconds of each stretch of exact zeros between sounds, in this time."""
        sounds = self._indices(self.samples != 0, start, end)
        gaps = np.diff(sounds) / self.rate
        return [float(gap) for gap in gaps[gaps > _HOLE]]

    def _indices(self, wanted: NDArray[np.bool_], start: float, end: float) -> NDArray[np.intp]:
        found = np.flatnonzero(wanted)
        chunks, rest = np.divmod(found, 2048)
        times = self.starts[chunks] + rest / self.rate
        return found[(times >= start) & (times <= end)]


@dataclass(frozen=True, slots=True)
class Times:
    """One turn, as a person with two good ears would have it.

    Attributes:
        ended: the last loud sample of the question.
        detected: the page learnt that the turn had ended.
        audible: the first audible sample of the reply.
        silent: its last.
        holes: seconds of each gap in it.
    """

    ended: float
    detected: float
    audible: float
    silent: float
    holes: list[float]

    @property
    def latency(self) -> float:
        """Seconds from the end of speech to the first audible sample."""
        return self.audible - self.ended


@dataclass(slots=True)
class _Kept:
    """Of a track, what was fetched so far."""

    name: str
    frame: int  # the first
    offsets: list[float] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)


class Page:
    """The page in one tab.

    Attributes:
        tab: playwright's own.
        requests: the URLs that it asked for.
        complaints: its console's warnings and errors, and uncaught exceptions.
    """

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._tracks: dict[str, _Kept] = {}
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("websocket", lambda socket: self.requests.append(socket.url))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("console", self._listen)

    @property
    def root(self) -> Locator:
        """The voice panel."""
        return self.tab.locator("section.voice")

    @property
    def failure(self) -> Locator:
        """The line that says what went wrong."""
        return self.root.get_by_role("alert")

    @property
    def bubbles(self) -> Locator:
        """The messages in the chat."""
        return self.tab.locator(".duologue-chat .message.bot, .duologue-chat .message.user")

    @property
    def players(self) -> Locator:
        """The recordings in the chat."""
        return self.tab.locator(".duologue-chat audio")

    async def start(self, *, until: str = "listening") -> None:
        """Press Start."""
        await self.root.get_by_role("button", name="Start conversation").click()
        await self.reach(until)

    async def stop(self) -> None:
        """Press Stop."""
        await self.root.get_by_role("button", name="Stop conversation").click()

    async def reach(self, state: str, seconds: float = 20) -> None:
        """Wait until `data-state` is `state`."""
        # Looks at every frame; playwright's own expectations look once a second.
        await self.tab.wait_for_function(
            "state => document.querySelector('section.voice')?.dataset.state === state",
            arg=state,
            timeout=seconds * 1000,
        )

    async def pass_through(self, state: str, since: float, seconds: float = 20) -> None:
        """Wait until `data-state` is `state`, or has been since then, however briefly."""
        await self.tab.wait_for_function(
            "([state, since]) => rig.log.some(entry => entry.state === state && entry.at >= since)",
            arg=[state, since * 1000],
            timeout=seconds * 1000,
        )

    async def say(self, sound: AudioChunk) -> None:
        """Speak into the microphone; returns when it has been said."""
        words = base64.b64encode(sound.samples.astype("<f4").tobytes()).decode()
        await self.tab.evaluate("([words, rate]) => rig.say(words, rate)", [words, sound.rate])

    async def hush(self) -> None:
        """Stop speaking."""
        await self.tab.evaluate("rig.hush()")

    async def talk(self, sound: AudioChunk) -> Times:
        """Say something, hear the reply to its end, and tell how that went."""
        start = time.time()
        await self.say(sound)
        await self.pass_through("speaking", since=start)
        await self.reach("listening", 60)
        await self.tab.wait_for_timeout(150)  # the taps send what they heard every 85 ms
        end = time.time()
        mic, speaker = await self.track("mic"), await self.track("speaker")
        quiet = 0.03 * float(np.abs(sound.samples).max())  # as the echo model counts silence
        ended = mic.loud(start, end, quiet)[1]
        detected = await self.times("in", "input_audio_buffer.speech_stopped")
        audible, silent = speaker.loud(start, end)
        return Times(ended, detected[-1], audible, silent, speaker.holes(start, end))

    async def times(self, way: str, kind: str) -> list[float]:
        """When events of this type went `in` or `out`."""
        return [entry["at"] for entry in await self.log() if entry.get(way, {}).get("type") == kind]

    async def log(self) -> list[dict[str, Any]]:
        """What happened, in order: {at, in: event} | {at, out: event} | {at, state} | {at, closed}."""
        entries: list[dict[str, Any]] = await self.tab.evaluate("rig.log")
        return [{**entry, "at": entry["at"] / 1000} for entry in entries]

    async def track(self, name: str) -> Track:
        """What went through "mic" since the page was opened, or "speaker" since the last Start."""
        news = await self.tab.evaluate("name => rig.drain(name)", name)
        kept = self._tracks.get(name)
        if not kept or kept.name != news["track"]:
            kept = self._tracks[name] = _Kept(news["track"], news["frame"])
        kept.offsets += news["offsets"]
        kept.samples += map(base64.b64decode, news["samples"])
        offsets = np.array(kept.offsets) / 1000
        # The audio thread runs in bursts: of half a second, the earliest rendering is the honest one.
        steady = np.array([offsets[max(0, i - 6) : i + 7].min() for i in range(len(offsets))])
        starts = steady + (kept.frame + 2048 * np.arange(len(offsets))) / news["rate"]
        return Track(np.frombuffer(b"".join(kept.samples), "<f4"), news["rate"], starts)

    async def live_tracks(self) -> int:
        """How many microphones are still held."""
        count: int = await self.tab.evaluate(
            "rig.live.filter(track => track.readyState === 'live').length"
        )
        return count

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


async def open_page(
    browser: Browser, url: str, *, fake: bool = True, script: str = "", **context: Any
) -> Page:
    """Open the page in a context of its own: another user.

    Args:
        browser: from `chromium`.
        url: of the server.
        fake: the microphone is the rig's; False: the browser's.
        script: run in the page before anything of it.
        context: for playwright's `new_context`.
    """
    owner = await browser.new_context(**context)
    await owner.add_init_script(path=_SCRIPT)
    if fake:
        await owner.add_init_script("rig.fake();")
    if script:
        await owner.add_init_script(script)
    page = Page(await owner.new_page())
    await page.tab.goto(url)
    await page.tab.wait_for_selector("section.voice .talk:enabled")
    return page
