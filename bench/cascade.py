"""The default model: how long until it speaks, and of what that is made: `python -m bench.cascade`.

`python -m bench.cascade --llm FILE.gguf`, or any flags of `serve`: the same with other parts.
"""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Iterable
from contextlib import aclosing

import psutil

from bench.load import RECORDINGS, callers, lateness, percentile
from bench.server import Server
from duologue import weights
from duologue.audio import INPUT_RATE
from duologue.audio.files import read_audio
from duologue.conversation.items import Item, Usage
from duologue.models.cascade.clauses import Clauses
from duologue.models.cascade.kokoro import Kokoro
from duologue.models.cascade.language import LanguageModel
from duologue.models.cascade.parts import AnswerCut
from duologue.models.cascade.prompt import SMALL, messages
from duologue.models.cascade.whisper import Whisper
from duologue.timings import Timings
from duologue.tools import NO_TOOLS

_QUESTIONS = (
    "What is your name?",
    "Do you like music?",
    "How are you today?",
    "Where is the sea?",
    "What shall I cook?",
)


async def parts() -> None:
    """Each part by itself, with nothing else running."""
    recogniser, synthesiser = Whisper(), Kokoro()
    language = LanguageModel(weights.locate("smollm2-135m"))
    await asyncio.gather(recogniser.start(), language.start(), synthesiser.start())
    times: dict[str, list[float]] = {"recogniser": [], "first token": [], "first clause": []}
    times["synthesis"] = []
    for path in RECORDINGS * 3:
        sound = read_audio(path).at(INPUT_RATE)
        start = time.perf_counter()
        words = (await recogniser.recognise(sound)).words
        times["recogniser"].append(time.perf_counter() - start)
        token, first_clause, clause = await _write(language, words)
        times["first token"].append(token)
        times["first clause"].append(first_clause)
        start = time.perf_counter()
        await anext(synthesiser.speak(clause, "en"))
        times["synthesis"].append(time.perf_counter() - start)
    await asyncio.gather(recogniser.close(), language.close(), synthesiser.close())
    row = ", ".join(f"{part} {statistics.median(t) * 1000:.0f} ms" for part, t in times.items())
    print(f"parts, p50 of {len(times['synthesis'])} (the clause counts from the same start): {row}")


async def _write(language: LanguageModel, words: str) -> tuple[float, float, str]:
    """Seconds to the first token and to the first clause of the answer, and that clause."""
    start, token, clauses = time.perf_counter(), 0.0, Clauses()
    conversation = messages(words, [], "", style=SMALL)
    async with aclosing(language._pieces(conversation, NO_TOOLS, 80)) as choices:
        async for choice in choices:
            if isinstance(choice, Usage):
                continue
            now, piece = time.perf_counter() - start, choice.delta.content or ""
            token = token or (now if piece else 0.0)
            for clause in clauses.push(piece):
                return token, now, clause
    return token, now, clauses.flush()


async def long_conversation() -> None:
    """The first token of each turn: what was said before is read while the user speaks."""
    language = LanguageModel(weights.locate("smollm2-135m"))
    await language.start()
    items: list[Item] = []
    times = []
    for question in _QUESTIONS * 4:
        token, answer = 0.0, ""
        language.read_ahead(items)
        await asyncio.sleep(1.5)  # the user speaks
        begun = time.perf_counter()
        async with aclosing(language.answer(question, items)) as pieces:
            with contextlib.suppress(AnswerCut):
                async for piece in pieces:
                    token = token or time.perf_counter() - begun
                    answer += piece if isinstance(piece, str) else ""
        times.append(token)
        items += [Item("user", text=question), Item("assistant", "assistant", text=answer)]
    await language.close()
    early, late = times[1:4], times[9:]
    print(
        f"first token in turns 2 to 4: p50 {statistics.median(early) * 1000:.0f} ms; in turns 10 to 20: "
        f"p50 {statistics.median(late) * 1000:.0f} ms, worst {max(late) * 1000:.0f} ms"
    )


def line(count: int, turns: int) -> None:
    """`count` conversations at once, over the line, in real time."""
    with Server("--model", "cascade", "--no-page", *sys.argv[1:]) as server:
        replies = callers(server, count, turns)
        memory, idle = _at_rest(server.pid) if count == 1 else (0.0, 0.0)
    first = [float(reply["first"]) for reply in replies if "first" in reply]  # type: ignore[arg-type]
    timings = [Timings.from_metadata(reply["timings"]) for reply in replies if "timings" in reply]  # type: ignore[arg-type]
    late = lateness(replies)
    print(
        f"{count} conversations: {len(replies)} replies; last word -> first sound p50 "
        f"{percentile(first, 50) * 1000:.0f} ms, p95 {percentile(first, 95) * 1000:.0f} ms; turn ended "
        f"{_median(each.decided for each in timings)}, model asked "
        f"{_median(each.started for each in timings)}, its first sound "
        f"{_median(each.first_sound for each in timings)}; "
        f"{sum(each.drops for each in timings)} starts thrown away; chunks late p95 "
        f"{percentile(late, 95) * 1000:.0f} ms, worst {max(late) * 1000:.0f} ms"
    )
    if memory:
        print(f"the server and its parts: {memory:.0f} MiB; at rest {idle:.1f} % of a core")


def _at_rest(pid: int) -> tuple[float, float]:
    """MiB that all processes have of their own (PSS), and what they compute while nobody speaks."""
    server = psutil.Process(pid)
    processes = [server, *server.children(recursive=True)]
    memory = sum(process.memory_full_info().pss for process in processes)
    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    time.sleep(10)
    after = sum(sum(process.cpu_times()[:2]) for process in processes)
    return memory / 2**20, (after - before) * 10


def _median(times: Iterable[float | None]) -> str:
    return f"{percentile([at for at in times if at is not None], 50) * 1000:.0f} ms"


def main() -> None:
    if not RECORDINGS:
        print("skipped: the recordings in ../shared/audio are not here")
        return
    if len(sys.argv) == 1:
        asyncio.run(parts())
        asyncio.run(long_conversation())
    line(1, 10)
    line(4, 5)


if __name__ == "__main__":
    main()
