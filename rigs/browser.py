"""A real browser in front of a real page, with ears: what a test or a benchmark says and hears, and when.

    async with chromium() as browser:
        page = await open_page(browser, "http://127.0.0.1:7860")
        await page.start()
        turn = await page.talk(question)
        print(turn.heard)

Times are seconds since 1970, taken on the audio threads and in the page, of one machine; they are for
benchmarks. Tests count samples and look at the order of events, which a busy machine does not change.
"""

import base64
import os
import shutil
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

_SCRIPT = Path(__file__).with_name("browser.js")
WIRE_RATE = 24_000  # hertz of what the page sends

_AUDIBLE = 0.003  # of full scale, -50 dB: where a reply begins to be heard
_HOLE = 0.005  # seconds of nothing at all, from which a gap is no property of the sound
_APART = 0.5  # seconds without anything audible between two replies

LIMIT = 120.0  # seconds that something may take to come about, on however busy a machine

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
        frame: of the audio context's, the first; its clock was `frame / rate` then.
        starts: [T / 2048], when each 2,048 samples began to be rendered.
    """

    samples: Samples
    rate: int
    frame: int
    starts: NDArray[np.float64]

    def when(self, index: int) -> float:
        """When this sample was rendered."""
        chunk, rest = divmod(index, 2048)
        return float(self.starts[chunk]) + rest / self.rate

    def loud(self, start: float, end: float, level: float = _AUDIBLE) -> list[float]:
        """When the first and the last sample above `level` were there, in this time; or nothing."""
        found = self._indices(np.abs(self.samples) > level, start, end)
        return [self.when(int(index)) for index in (found[0], found[-1])] if len(found) else []

    def sounds(self, since: int = 0) -> list["Sound"]:
        """The stretches of sound from this sample on, in order: of a loudspeaker, the replies."""
        loud = since + np.flatnonzero(np.abs(self.samples[since:]) > _AUDIBLE)
        pieces = np.split(loud, np.flatnonzero(np.diff(loud) > _APART * self.rate) + 1)
        return [
            Sound(self.samples[piece[0] : piece[-1] + 1], self.rate, int(piece[0]))
            for piece in pieces
            if len(piece)
        ]

    def _indices(self, wanted: NDArray[np.bool_], start: float, end: float) -> NDArray[np.intp]:
        found = np.flatnonzero(wanted)
        chunks, rest = np.divmod(found, 2048)
        times = self.starts[chunks] + rest / self.rate
        return found[(times >= start) & (times <= end)]


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of a track, from its first audible sample to its last.

    Attributes:
        samples: float32 [T].
        rate: hertz.
        first: which sample of the track is its first.
    """

    samples: Samples
    rate: int
    first: int

    @property
    def holes(self) -> list[float]:
        """Seconds of each stretch of exact zeros in it."""
        gaps = np.diff(np.flatnonzero(self.samples)) / self.rate
        return [float(gap) for gap in gaps[gaps > _HOLE]]

    @property
    def seconds(self) -> float:
        """How long it is, the holes left out."""
        return len(self.samples) / self.rate - sum(self.holes)


@dataclass(frozen=True, slots=True)
class Times:
    """One turn, as a person with two good ears would have it.

    Attributes:
        ended: the last loud sample of the question.
        audible: the first audible sample of the reply.
        silence: seconds of sound that the server was sent from the last loud sample of the question to
            the end of the turn.
        wait: seconds of silence that the server took for the end of the turn, as it says itself.
        heard: seconds of the reply, from its first audible sample to its last, holes left out.
        holes: seconds of each gap in the reply.
    """

    ended: float
    audible: float
    silence: float
    wait: float
    heard: float
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

    async def reach(self, state: str, seconds: float = LIMIT) -> None:
        """Wait until `data-state` is `state`."""
        # Looks at every frame; playwright's own expectations look once a second.
        await self.tab.wait_for_function(
            "state => document.querySelector('section.voice')?.dataset.state === state",
            arg=state,
            timeout=seconds * 1000,
        )

    async def pass_through(self, state: str, since: int) -> None:
        """Wait until `data-state` is `state`, or has been since that entry of the log, however briefly."""
        await self.tab.wait_for_function(
            "([state, since]) => rig.log.slice(since).some(entry => entry.state === state)",
            arg=[state, since],
        )

    async def receive(self, **event: str) -> None:
        """Let the page take an event as if it had come from the server."""
        message = "new MessageEvent('message', { data: JSON.stringify(event) })"
        await self.tab.evaluate(f"event => rig.socket.dispatchEvent({message})", event)

    async def hear_of(self, kind: str, count: int = 1) -> None:
        """Wait until that many events of this type have come in, since the page was opened."""
        await self.tab.wait_for_function(
            "([kind, count]) => rig.log.filter(entry => entry.in?.type === kind).length >= count",
            arg=[kind, count],
        )

    async def let_pass(self, seconds: float) -> None:
        """Wait until so much more of the microphone has been sent: time as the server counts it."""
        await self.tab.evaluate(f"rig.due = rig.sentSamples + {seconds * WIRE_RATE}")
        await self.tab.wait_for_function("rig.sentSamples >= rig.due")

    async def say(self, sound: AudioChunk, *, at: str | None = None) -> None:
        """Speak into the microphone; returns when it has been said.

        Args:
            sound: what is said.
            at: the state of the page that is waited for, and acted on without delay; None: at once.
        """
        words = base64.b64encode(sound.samples.astype("<f4").tobytes()).decode()
        how = [words, sound.rate, at]
        await self.tab.evaluate("([words, rate, at]) => rig.say(words, rate, at)", how)

    async def hush(self) -> None:
        """Stop speaking."""
        await self.tab.evaluate("rig.hush()")

    async def talk(self, sound: AudioChunk) -> Times:
        """Say something, hear the reply to its end, and tell how that went."""
        mic, speaker, sent = await self.track("mic"), await self.track("speaker"), await self.sent()
        before = len(mic.samples), len(speaker.samples), len(sent)
        mark = len(await self.log())
        await self.say(sound)
        await self.pass_through("speaking", mark)
        await self.reach("listening")
        mic, speaker, sent = await self.track("mic"), await self.track("speaker"), await self.sent()
        quiet = 0.03 * float(np.abs(sound.samples).max())  # as the echo model counts silence
        events = [entry["in"] for entry in await self.log() if "in" in entry]
        stopped = [e for e in events if e["type"] == "input_audio_buffer.speech_stopped"][-1]
        done = [event for event in events if event["type"] == "response.done"][-1]
        end = round(stopped["audio_end_ms"] * WIRE_RATE / 1000)
        last = before[2] + int(np.flatnonzero(np.abs(sent[before[2] : end]) > quiet)[-1])
        ended = before[0] + int(np.flatnonzero(np.abs(mic.samples[before[0] :]) > quiet)[-1])
        replies = speaker.sounds(before[1])
        return Times(
            mic.when(ended),
            speaker.when(replies[0].first),
            (end - last) / WIRE_RATE,
            float(done["response"]["metadata"]["wait_s"]),
            sum(reply.seconds for reply in replies),
            [hole for reply in replies for hole in reply.holes],
        )

    async def sent(self) -> Samples:
        """What was sent of the microphone since the newest line was opened, at `WIRE_RATE`."""
        news = await self.tab.evaluate("rig.drainSent()")
        kept = self._tracks.get("sent")
        if not kept or kept.name != news["track"]:
            kept = self._tracks["sent"] = _Kept(news["track"], 0)
        kept.samples += map(base64.b64decode, news["samples"])
        return (np.frombuffer(b"".join(kept.samples), "<i2") / 32768).astype(np.float32)

    async def times(self, way: str, kind: str) -> list[float]:
        """When events of this type went `in` or `out`."""
        return [entry["at"] for entry in await self.log() if entry.get(way, {}).get("type") == kind]

    async def log(self) -> list[dict[str, Any]]:
        """What happened, in order: {at, clock} and one of in, out (events), state, ducked, player.

        `clock` is seconds of sound that the loudspeaker was given until then, in all of the call;
        `player` is what the player was told.
        """
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
        samples = np.frombuffer(b"".join(kept.samples), "<f4")
        return Track(samples, news["rate"], kept.frame, starts)

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
    browser: Browser,
    url: str,
    *,
    fake: bool = True,
    script: str = "",
    ready: bool = True,
    **context: Any,
) -> Page:
    """Open the page in a context of its own: another user.

    Args:
        browser: from `chromium`.
        url: of the server.
        fake: the microphone is the rig's; False: the browser's.
        script: run in the page before anything of it.
        ready: wait until a call can be started.
        context: for playwright's `new_context`.
    """
    owner = await browser.new_context(**context)
    owner.set_default_timeout(LIMIT * 1000)
    await owner.add_init_script(path=_SCRIPT)
    if fake:
        await owner.add_init_script("rig.fake();")
    if script:
        await owner.add_init_script(script)
    page = Page(await owner.new_page())
    await page.tab.goto(url)
    await page.tab.wait_for_selector(f"section.voice .talk{':enabled' if ready else ''}")
    return page
