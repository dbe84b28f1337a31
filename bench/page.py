"""What a person hears of the page: echo, in Chromium, with recorded questions: `python -m bench.page`."""

import asyncio
import time
from collections.abc import Sequence

from rigs.browser import Page, Times, chromium, find_chromium, open_page

from bench.load import RECORDINGS, percentile
from bench.server import Server
from bench.turns.__main__ import FOLDER as TURNS
from bench.turns.barge_in import as_loud_as_speech, speech_of, trimmed
from bench.turns.recordings import load
from duologue.audio import INPUT_RATE, AudioChunk
from duologue.audio.files import read_audio

_TURNS = 4  # of each recording
_INTERRUPTIONS = 16


async def turns(page: Page, said: Sequence[AudioChunk], model: str, patience: str) -> None:
    """The end of speech to the first audible sample, and holes inside replies."""
    times = [await page.talk(question) for question in said]
    timings = await _timings(page)
    latency = [turn.latency * 1000 for turn in times]
    print(
        f"page, {model}, {patience}, {len(times)} turns: end of speech -> first audible sample p50 "
        f"{percentile(latency, 50):.0f} ms, p95 {percentile(latency, 95):.0f} ms; "
        f"{_holes(times)}; {len(timings) - len(said)} questions cut"
    )
    if patience == "fixed" or len(timings) != len(said):
        return
    finished = [float(each.get("finished_probability", "0")) >= 0.93 for each in timings]
    for what, which in (("finished", True), ("less finished", False)):
        some = [ms for ms, sounded in zip(latency, finished, strict=True) if sounded is which]
        print(
            f"  of {len(some)} that sounded {what}: p50 {percentile(some, 50):.0f} ms, "
            f"p95 {percentile(some, 95):.0f} ms"
        )


def _holes(times: Sequence[Times]) -> str:
    holes = [hole for turn in times for hole in turn.holes]
    return f"{len(holes)} holes" + (f", longest {max(holes) * 1000:.0f} ms" if holes else "")


async def _timings(page: Page) -> list[dict[str, str]]:
    """What the server says of each turn."""
    done = [entry["in"] for entry in await page.log() if "in" in entry]
    return [e["response"].get("metadata") or {} for e in done if e["type"] == "response.done"]


async def interruptions(page: Page, long: AudioChunk, sounds: Sequence[AudioChunk]) -> None:
    """The onset of speech to a quieter reply, and to silence."""
    ducked, stopped, silent, known = [], [], [], []
    for sound in sounds:
        await page.say(long)
        await page.reach("speaking", 60)
        await asyncio.sleep(1.1)  # not within the second that makes it the rest of the first turn
        begun = time.time()
        await page.say(sound.between(0, 1.5))
        await page.reach("hearing")
        await page.hush()
        await page.reach("listening", 60)
        await page.tab.wait_for_timeout(200)
        speaker, mic = await page.track("speaker"), await page.track("mic")
        onset = mic.loud(begun, begun + 5, 1e-6)[0]  # of a recording that begins with its speech
        stop = await _first(page, "input_audio_buffer.speech_started", begun)
        silence = speaker.loud(begun - 1, stop + 0.4)[1]
        ducked.append((await _first(page, "duologue.reply.ducked", begun) - onset) * 1000)
        stopped.append((stop - onset) * 1000)
        silent.append((silence - onset) * 1000)
        known.append((silence - stop) * 1000)
    print(f"page, {len(sounds)} barge-ins, ms after the onset of speech, p50 / p95:")
    for what, times in (
        ("told to play quieter", ducked),
        ("told to stop", stopped),
        ("silent", silent),
        ("silent after being told", known),
    ):
        print(f"  {what} {percentile(times, 50):.0f} / {percentile(times, 95):.0f}")


def _interrupters(questions: Sequence[AudioChunk]) -> list[AudioChunk]:
    """Recordings that begin with speech, all as loud: of commands where they are, else of questions."""
    if (TURNS / "turns.jsonl").is_file():
        clips = [clip for clip in load(TURNS) if clip.kind in ("cmd", "cmd2")][::8]
        sounds = speech_of(clips[:_INTERRUPTIONS])
    else:
        sounds = [trimmed(question.at(INPUT_RATE).samples) for question in questions]
    return [AudioChunk(as_loud_as_speech(sound), INPUT_RATE) for sound in sounds]


async def _first(page: Page, kind: str, since: float) -> float:
    return next(at for at in await page.times("in", kind) if at > since)


async def run() -> None:
    questions = [read_audio(path) for path in RECORDINGS]
    # Before any call begins: it takes a minute, and a call without a word ends by then.
    interrupters = _interrupters(questions)
    for patience in ("fixed", "quick", "normal", "patient"):
        with Server("--model", "echo", "--patience", patience) as server:
            async with chromium() as browser:
                page = await open_page(browser, server.url)
                await page.start()
                if patience == "patient":  # which takes no question's pause for its end
                    # The longest, and so is its echo.
                    await interruptions(page, questions[4], interrupters)
                else:
                    await turns(page, questions * _TURNS, "echo", patience)


def main() -> None:
    if not RECORDINGS:
        print("skipped: the recordings in ../shared/audio are not here")
    elif not find_chromium():
        print("skipped: there is no Chromium")
    else:
        asyncio.run(run())


if __name__ == "__main__":
    main()
