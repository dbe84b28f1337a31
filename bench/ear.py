"""The recogniser: what it mishears, what it makes up, how long one waits for it.

`python -m bench.ear`, or with the name of another model: `… -m bench.ear whisper-tiny.en`.
"""

import asyncio
import functools
import math
import statistics
import sys
import time

import numpy as np
from rigs.noises import NOISES
from rigs.recordings import QUESTIONS, RECORDINGS, recordings, words, wrong

from bench.load import RECORDINGS as SHARED
from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.audio.files import read_audio
from duologue.conversation.effects import Overhear
from duologue.conversation.events import Overheard
from duologue.conversation.overhearing import Overhearing
from duologue.conversation.prompt import Prompt
from duologue.ears.vad import Silero
from duologue.models.cascade.whisper import Whisper
from duologue.settings import Settings
from duologue.turns.detector import WINDOW, TurnDetector
from duologue.turns.events import SpeechStarted, TurnEnded

_MINUTES = 10
_EARLIEST = (
    0.224  # seconds of a pause after which `--patience quick` asks the model, at the earliest
)


async def mistakes(whisper: Whisper) -> None:
    """Word error rate."""
    if not RECORDINGS.is_dir():
        print("skipped: word errors; apt install pocketsphinx-testdata brings the recordings")
        return
    clips = recordings()
    count = sum(len(words(said)) for said, _ in clips)
    errors, soft, exact = 0, 0, 0
    for said, sound in clips:
        errors += wrong(said, (await whisper.recognise(sound)).words)
        softer = AudioChunk(sound.samples * np.float32(0.1), INPUT_RATE)
        soft += wrong(said, (await whisper.recognise(softer)).words)
    for path, question in zip(SHARED, QUESTIONS, strict=False):
        exact += (await whisper.recognise(read_audio(path).at(INPUT_RATE))).words == question
    print(
        f"{whisper.name}: {errors} of {count} recorded words wrong ({errors / count * 100:.1f} %), "
        f"{soft} where they are 20 dB softer; {exact} of {len(SHARED)} shared questions exact"
    )


async def inventions(whisper: Whisper) -> None:
    """Words for what nobody said: the noise cut into pieces, and as turns that the detector finds."""
    for name, noise in NOISES.items():
        sound = noise(60 * _MINUTES)
        step = 6 * INPUT_RATE
        pieces = [sound.samples[at : at + step] for at in range(0, len(sound.samples), step)]
        made_up = [(await whisper.recognise(AudioChunk(p, INPUT_RATE))).words for p in pieces]
        detector = TurnDetector(Silero().stream(), Settings(patience="fixed"))
        turns = sum(isinstance(event, SpeechStarted) for event in detector.push(sound))
        print(
            f"{_MINUTES} minutes of {name}: words in {sum(map(bool, made_up))} of {len(pieces)} "
            f"pieces of 6 s; {turns} turns begun"
        )


async def tails(whisper: Whisper) -> None:
    """In real time: from the moment that the model is asked, and from the last word, to the words."""
    clips = [read_audio(path).at(INPUT_RATE) for path in SHARED]
    if RECORDINGS.is_dir():
        clips += [sound for said, sound in recordings() if len(words(said)) > 4]
    asked, spoken = [], []
    for number, clip in enumerate(clips):
        after_asked, after_word = await _tail(whisper, clip, f"caller {number}")
        asked.append(after_asked)
        spoken.append(after_word)
    print(
        f"{len(clips)} utterances of {min(c.duration for c in clips):.0f} to "
        f"{max(c.duration for c in clips):.0f} s: words known {statistics.median(asked) * 1000:.0f} ms "
        f"(p50; worst {max(asked) * 1000:.0f}) after the model is asked, "
        f"{_EARLIEST * 1000:.0f} ms into the pause; {statistics.median(spoken) * 1000:.0f} ms (p50) "
        "after the last word"
    )


async def _tail(whisper: Whisper, clip: AudioChunk, listener: str) -> tuple[float, float]:
    detector = TurnDetector(Silero().stream(), Settings(patience="fixed", silence=_EARLIEST))
    overhearing = Overhearing("speech", detector, functools.partial(Prompt, listener=listener))
    looking: asyncio.Task[None] | None = None

    async def look(number: int, prompt: Prompt) -> None:
        words = (await whisper.overhear(prompt.utterance, listener)).words
        list(overhearing.hear(Overheard(number, words)))

    sound = concatenate([silence(0.5, INPUT_RATE), clip, silence(2, INPUT_RATE)], INPUT_RATE)
    begun, result = time.perf_counter(), (math.nan, math.nan)
    async with asyncio.TaskGroup() as tasks:
        for at in range(0, len(sound.samples) - WINDOW, WINDOW):
            await asyncio.sleep(begun + (at + WINDOW) / INPUT_RATE - time.perf_counter())
            window = AudioChunk(sound.samples[at : at + WINDOW], INPUT_RATE)
            for event in list(detector.push(window)):
                if isinstance(event, TurnEnded):
                    asked = time.perf_counter()
                    await whisper.recognise(event.utterance, listener)
                    known = time.perf_counter()
                    result = known - asked, known - begun - (event.at - _EARLIEST)
            for effect in overhearing.follow("turn" if detector.is_open else None):
                if isinstance(effect, Overhear):
                    looking = tasks.create_task(look(effect.look, effect.prompt))
                elif looking:
                    looking.cancel()
    return result  # of the last pause


async def measure() -> None:
    whisper = Whisper(*sys.argv[1:2])
    await whisper.start()
    try:
        await mistakes(whisper)
        await tails(whisper)
        await inventions(whisper)
    finally:
        await whisper.close()


def main() -> None:
    asyncio.run(measure())


if __name__ == "__main__":
    main()
