"""The line under load: `python -m bench.load`. Echo, callers from another process, in real time."""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from bench.server import Server
from duologue.audio import INPUT_RATE, AudioChunk
from duologue.audio.files import read_audio
from duologue.ears.end_of_turn import SmartTurn
from duologue.ears.vad import Silero
from duologue.settings import Settings
from duologue.turns.detector import WINDOW, TurnDetector

RECORDINGS = sorted((Path(__file__).parents[2] / "shared/audio").glob("question*.wav"))


def percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else float("nan")


def callers(server: Server, count: int, turns: int) -> list[dict[str, object]]:
    """What `count` callers measured who spoke at the same time."""
    url = server.url.replace("http", "ws") + "/v1/realtime"
    command = [sys.executable, "-m", "bench.callers", url, str(count), str(turns)]
    run = subprocess.run([*command, *map(str, RECORDINGS)], stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def lateness(replies: list[dict[str, object]]) -> list[float]:
    return [late for reply in replies for late in reply["late"]]  # type: ignore[attr-defined]


def line(count: int, turns: int, patience: str) -> None:
    """`count` echo conversations at once."""
    flags = ("--model", "echo", "--patience", patience, "--no-page", "--sessions", str(count))
    with Server(*flags) as server:
        process = psutil.Process(server.pid)
        process.cpu_percent()
        replies = callers(server, count, turns)
        cpu = process.cpu_percent()
    first = [reply["first"] for reply in replies if "first" in reply]
    late = lateness(replies)
    print(
        f"{count:2d} sessions, {patience}: {len(first)} replies to {count * turns} questions; "
        f"last word -> first sound p50 {percentile(first, 50) * 1000:.0f} ms, "  # type: ignore[arg-type]
        f"p95 {percentile(first, 95) * 1000:.0f} ms; "  # type: ignore[arg-type]
        f"chunks late p95 {percentile(late, 95) * 1000:.0f} ms, worst {max(late) * 1000:.0f} ms; "
        f"server {cpu:.0f} % of a core"
    )


def vad() -> None:
    """What listening costs, at the start and after ten minutes."""
    sound = np.concatenate([read_audio(path).at(INPUT_RATE).samples for path in RECORDINGS])
    windows = len(sound) // WINDOW
    detector = TurnDetector(Silero().stream(), Settings())

    def listen(seconds: float) -> float:
        """CPU seconds a second of audio."""
        start = time.thread_time()
        done = 0
        while done * WINDOW < seconds * INPUT_RATE:
            at = done % windows * WINDOW
            list(detector.push(AudioChunk(sound[at : at + WINDOW], INPUT_RATE)))
            done += 1
        return (time.thread_time() - start) / seconds

    listen(2)
    early = listen(10)
    gc.collect()
    memory = psutil.Process().memory_info().rss
    listen(580)
    late = listen(10)
    gc.collect()
    growth = (psutil.Process().memory_info().rss - memory) / 2**20
    print(
        f"listening: {early * 100:.2f} % of a core a session, after 10 minutes {late * 100:.2f} %; "
        f"memory {growth:+.1f} MiB in 10 minutes"
    )


def smart_turn() -> None:
    """What an answer costs, of all cores together, and how long the event loop is held up by many."""
    end_of_turn, costs = SmartTurn(), []
    sounds = [read_audio(path).at(INPUT_RATE) for path in RECORDINGS]
    for sound in sounds * 6:
        start = time.process_time()
        end_of_turn.probability(sound.samples)
        costs.append(time.process_time() - start)
    held_up = [asyncio.run(_held_up(end_of_turn, sounds * 4)) for _ in range(5)]
    end_of_turn.close()
    print(
        f"Smart Turn: {percentile(costs, 50) * 1000:.0f} ms of a core, p50 of {len(costs)}; asked "
        f"{len(sounds) * 4} times at once, the event loop is held up for {max(held_up) * 1000:.1f} ms "
        f"at most (worst of {len(held_up)} times; median {percentile(held_up, 50) * 1000:.1f})"
    )


async def _held_up(end_of_turn: SmartTurn, sounds: list[AudioChunk]) -> float:
    """The longest time, seconds, that the event loop was late by while all were asked about."""
    answers = asyncio.gather(*map(end_of_turn, sounds))
    latest = 0.0
    while not answers.done():
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        latest = max(latest, time.perf_counter() - due)
    await answers
    return latest


def main() -> None:
    if not RECORDINGS:
        print("skipped: the recordings in ../shared/audio are not here")
        return
    vad()
    smart_turn()
    for patience in ("fixed", "quick"):
        line(1, 5, patience)
        line(20, 5, patience)


if __name__ == "__main__":
    main()
