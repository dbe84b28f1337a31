"""What a person hears of the page: echo, in Chromium, with recorded questions: `python -m bench.page`."""

import asyncio
import time

from bench.load import RECORDINGS, percentile
from bench.server import Server
from browser.rig import Page, chromium, find_chromium, open_page
from duologue.audio import AudioChunk, read_audio

_TURNS = 4  # of each recording
_INTERRUPTIONS = 12


async def turns(page: Page, questions: list[AudioChunk]) -> None:
    """The end of speech to the first audible sample, and holes inside replies."""
    times = [await page.talk(question) for question in questions * _TURNS]
    latency = [turn.latency * 1000 for turn in times]
    told = [(turn.detected - turn.ended) * 1000 for turn in times]
    holes = [hole for turn in times for hole in turn.holes]
    print(
        f"page, echo, {len(times)} turns: end of speech -> first audible sample p50 "
        f"{percentile(latency, 50):.0f} ms, p95 {percentile(latency, 95):.0f} ms (end of turn known "
        f"p50 {percentile(told, 50):.0f} ms); {len(holes)} holes"
        + (f", longest {max(holes) * 1000:.0f} ms" if holes else "")
    )


async def interruptions(page: Page, questions: list[AudioChunk]) -> None:
    """The server's detection of a barge-in, and its onset, to silence at the speaker."""
    detection, onset = [], []
    for _ in range(_INTERRUPTIONS):
        await page.say(questions[4])
        await page.reach("speaking", 60)
        await asyncio.sleep(1.0)
        begun = time.time()
        await page.say(questions[0])
        await page.reach("hearing")
        await page.hush()
        await page.reach("listening", 60)
        await page.tab.wait_for_timeout(200)
        told = [t for t in await page.times("in", "input_audio_buffer.speech_started") if t > begun]
        speaker, mic = await page.track("speaker"), await page.track("mic")
        heard = speaker.loud(begun, told[0] + 0.4)
        detection.append((heard[1] - told[0]) * 1000)
        onset.append((heard[1] - mic.loud(begun, told[0])[0]) * 1000)
    print(
        f"page, {len(detection)} barge-ins: detection known -> silence at the speaker p50 "
        f"{percentile(detection, 50):.0f} ms, p95 {percentile(detection, 95):.0f} ms; "
        f"onset of speech -> silence p50 {percentile(onset, 50):.0f} ms, "
        f"p95 {percentile(onset, 95):.0f} ms"
    )


async def run() -> None:
    with Server("--model", "echo") as server:
        async with chromium() as browser:
            questions = [read_audio(path) for path in RECORDINGS]
            page = await open_page(browser, server.url)
            await page.start()
            await turns(page, questions)
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
