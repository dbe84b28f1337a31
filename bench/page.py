"""What a person hears of the page: echo, in Chromium, with recorded questions: `python -m bench.page`."""

import asyncio
import time
from collections.abc import Sequence

from bench.load import RECORDINGS, percentile
from bench.server import Server
from browser.rig import Page, Times, chromium, find_chromium, open_page
from duologue.audio import AudioChunk, read_audio

_TURNS = 4  # of each recording
_INTERRUPTIONS = 12


async def turns(page: Page, questions: list[AudioChunk], name: str) -> None:
    """The end of speech to the first audible sample, and holes inside replies."""
    said = questions * _TURNS
    times = [await page.talk(question) for question in said]
    receipts = await _receipts(page)
    latency = [turn.latency * 1000 for turn in times]
    print(
        f"page, echo, {name}, {len(times)} turns: end of speech -> first audible sample p50 "
        f"{percentile(latency, 50):.0f} ms, p95 {percentile(latency, 95):.0f} ms; "
        f"{_holes(times)}; {len(receipts) - len(said)} questions cut"
    )
    if name == "fixed" or len(receipts) != len(said):
        return
    finished = [float(receipt.get("finished_probability", "0")) >= 0.93 for receipt in receipts]
    for what, which in (("finished", True), ("less finished", False)):
        some = [ms for ms, sounded in zip(latency, finished, strict=True) if sounded is which]
        print(
            f"  of {len(some)} that sounded {what}: p50 {percentile(some, 50):.0f} ms, "
            f"p95 {percentile(some, 95):.0f} ms"
        )


def _holes(times: Sequence[Times]) -> str:
    holes = [hole for turn in times for hole in turn.holes]
    return f"{len(holes)} holes" + (f", longest {max(holes) * 1000:.0f} ms" if holes else "")


async def _receipts(page: Page) -> list[dict[str, str]]:
    """What the server says of each turn."""
    done = [entry["in"] for entry in await page.log() if "in" in entry]
    return [e["response"].get("metadata") or {} for e in done if e["type"] == "response.done"]


async def interruptions(page: Page, questions: list[AudioChunk]) -> None:
    """The server's detection of a barge-in, and its onset, to a quieter reply and to silence."""
    detection, onset, ducked = [], [], []
    for _ in range(_INTERRUPTIONS):
        await page.say(questions[4])
        await page.reach("speaking", 60)
        await asyncio.sleep(1.3)  # not within the second that makes it the rest of the first turn
        begun = time.time()
        await page.say(questions[0])
        await page.reach("hearing")
        await page.hush()
        await page.reach("listening", 60)
        await page.tab.wait_for_timeout(200)
        stopped = await _first(page, "input_audio_buffer.speech_started", begun)
        speaker, mic = await page.track("speaker"), await page.track("mic")
        spoken = mic.loud(begun, stopped)[0]
        silent = speaker.loud(begun, stopped + 0.4)[1]
        detection.append((silent - stopped) * 1000)
        onset.append((silent - spoken) * 1000)
        ducked.append((await _first(page, "duologue.reply.ducked", begun) - spoken) * 1000)
    print(
        f"page, {len(detection)} barge-ins: onset of speech -> the page is told to play quieter p50 "
        f"{percentile(ducked, 50):.0f} ms, p95 {percentile(ducked, 95):.0f} ms; -> silence at the "
        f"speaker p50 {percentile(onset, 50):.0f} ms, p95 {percentile(onset, 95):.0f} ms; known -> "
        f"silence p50 {percentile(detection, 50):.0f} ms, p95 {percentile(detection, 95):.0f} ms"
    )


async def _first(page: Page, kind: str, since: float) -> float:
    return next(at for at in await page.times("in", kind) if at > since)


async def run() -> None:
    questions = [read_audio(path) for path in RECORDINGS]
    for patience in ("fixed", "quick", "normal"):
        with Server("--model", "echo", "--patience", patience) as server:
            async with chromium() as browser:
                page = await open_page(browser, server.url)
                await page.start()
                await turns(page, questions, patience)
                if patience == "quick":
                    await interruptions(page, questions)


def main() -> None:
    if not RECORDINGS:
        print("skipped: the recordings in ../shared/audio are not here")
    elif not find_chromium():
        print("skipped: there is no Chromium")
    else:
        asyncio.run(run())


if __name__ == "__main__":
    main()
