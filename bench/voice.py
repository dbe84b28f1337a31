"""The synthesiser: how soon, how fast, how well understood: `python -m bench.voice`."""

import asyncio
import itertools
import statistics
import time

from rigs.processes import children
from rigs.recordings import words, wrong

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, concatenate, silence
from duologue.models.cascade.espeak import Espeak
from duologue.models.cascade.kokoro import Kokoro
from duologue.models.cascade.kokoro.spoken import spoken
from duologue.models.cascade.parts import Synthesiser
from duologue.models.cascade.whisper import Whisper

_CLAUSES = (
    "Sure.",
    "Yes, of course,",
    "The capital of France is Paris.",
    "That is a good question,",
)
_SENTENCES = (
    "The capital of France is Paris, which is also one of the most visited cities in the world.",
    "Every year, millions of people come to see its museums and bridges.",
    "However, I do not think that this is what you asked for.",
    "If you like, I can tell you more about the history of the tower.",
)

_NAMES = ("Dr. Smith", "Mrs. Johnson", "Prof. Miller", "Anna Brown", "Mr. David Wilson")
_SAID = (
    "{name} paid ${number}.50 for lunch on March {day}th.",
    "{name} lives at {number} Main St. in Chicago.",
    "The meeting with {name} is at {hour}:30 p.m. on Friday.",
    "It is {number}°C outside, said {name}.",
    "{name} ran {day} km in {number} minutes.",
    "About {number}% of the people know {name}.",
    "In {year}, {name} moved to the U.S. with the family.",
    "{name} weighs {number} kg, approx. {day} more than before.",
)


async def _spoken(voice: Synthesiser, text: str) -> tuple[AudioChunk, float]:
    """The sound, and the seconds until its first piece."""
    begun, first, sounds = time.perf_counter(), 0.0, []
    async for sound in voice.speak(text, "en"):
        first = first or time.perf_counter() - begun
        sounds.append(sound)
    return concatenate(sounds, REPLY_RATE), first


async def speed(voice: Synthesiser, name: str) -> None:
    firsts = [(await _spoken(voice, clause))[1] for clause in _CLAUSES * 5]
    paces = []
    for sentence in _SENTENCES * 3:
        begun = time.perf_counter()
        sound, _ = await _spoken(voice, sentence)
        paces.append((time.perf_counter() - begun) / sound.duration)
    memory = sum(process.memory_info().rss for process in children("kokoro.child"))
    print(
        f"{name}: first clause {statistics.median(firsts) * 1000:.0f} ms (p50 of {len(firsts)}), "
        f"real-time factor {statistics.median(paces):.2f}; {memory / 2**20:.0f} MiB of its own"
    )


async def understood() -> None:
    """Sentences with figures, names and abbreviations, heard by our ear."""
    voice, ear = Kokoro(), Whisper()
    await asyncio.gather(voice.start(), ear.start())
    edge, wrong_words, count = silence(0.3, INPUT_RATE), 0, 0
    numbers = itertools.cycle((12, 25, 37, 48, 63, 71, 86, 94))
    for at, (said, name) in enumerate(itertools.product(_SAID * 5, _NAMES)):
        text = said.format(
            name=name, number=next(numbers), day=4 + at % 15, hour=1 + at % 12, year=1950 + at % 70
        )
        sound, _ = await _spoken(voice, text)
        heard = await ear.recognise(concatenate([edge, sound.at(INPUT_RATE), edge], INPUT_RATE))
        there, here = spoken(text), spoken(heard.words)
        wrong_words += min(len(words(there)), wrong(there, here))
        count += len(words(there))
    await asyncio.gather(voice.close(), ear.close())
    print(
        f"read back: {100 - 100 * wrong_words / count:.1f} % of {count} words in {at + 1} sentences"
    )


async def measure() -> None:
    for threads in (1, 2):
        voice = Kokoro(threads=threads)
        await voice.start()
        await speed(voice, f"Kokoro, {threads} thread{'s' if threads > 1 else ''}")
        await voice.close()
    espeak = Espeak()
    await speed(espeak, "espeak-ng")
    await espeak.close()
    await understood()


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
