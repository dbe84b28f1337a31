"""What a listener says into a reply, by Kokoro in its English voices, and what our ear makes of it."""

from dataclasses import dataclass
from itertools import cycle

import numpy as np

from bench.turns.barge_in import as_loud_as_speech, trimmed
from duologue.audio import INPUT_RATE, AudioChunk, Samples, concatenate
from duologue.models.cascade.kokoro import Kokoro, is_voice
from duologue.models.cascade.whisper import Whisper
from duologue.turns.words import Said, likely, weigh

# Not "mhm" and "uh-huh": Kokoro does not say them as people do.
NODS = ("Yeah.", "Okay.", "Right.", "Sure.", "I see.", "Yes.", "Oh.", "Got it.", "Yes, yes.")
"""Words of assent: the listener goes on listening."""

STOPS = (
    "Stop.", "Wait.", "No.", "Wait a second.", "Hold on.", "What?", "Hey.", "Stop it.", "Why?", "Sorry?",
    "One moment.",
)  # fmt: skip
"""Words with which the listener wants to have the floor."""

OTHER_NODS = (
    "Alright.", "Exactly.", "True.", "Okay, okay.", "Of course.", "Yep.", "Ah.", "That's right.", "Really?",
    "Yeah, sure.",
)  # fmt: skip
"""More words of assent, which nothing was chosen by."""

OTHER_STOPS = (
    "Listen.", "But.", "No, no.", "Excuse me.", "Enough.", "Pause.", "Hello?", "Maybe.", "Never.", "Seven.",
    "Three.", "Please stop.", "When?", "Who?", "Go back.", "Repeat.", "Okay, stop.", "Not that.", "Again.",
    "Louder.",
)  # fmt: skip
"""More words that want the floor, likewise."""

_VOICES = 20
_EACH = 3  # of the words, in each voice


@dataclass(frozen=True, slots=True)
class Word:
    """A word or two.

    Attributes:
        sound: at `INPUT_RATE`, float32 [T], without silence in front.
        said: what our ear makes of it.
    """

    sound: Samples
    said: Said


async def speak(words: tuple[str, ...]) -> list[Word]:
    """Some of the words in each voice that is here, in turns; with one voice, all of them."""
    kokoro, left, sounds = Kokoro(), cycle(words), []
    await kokoro.start()
    voices = [name for name in kokoro.voices if is_voice(name) and name[0] in "ab"][:_VOICES]
    for voice in voices:
        for _ in range(_EACH if len(voices) > 1 else len(words)):
            pieces = [piece async for piece in kokoro.speak(next(left), "en", voice=voice)]
            sounds.append(trimmed(concatenate(pieces, pieces[0].rate).at(INPUT_RATE).samples))
    await kokoro.close()
    return await heard(sounds)


async def heard(sounds: list[Samples]) -> list[Word]:
    """These sounds, and what our ear makes of them."""
    ear, edge, words = Whisper(), np.zeros(round(0.2 * INPUT_RATE), np.float32), list[Word]()
    await ear.start()
    for sound in sounds:
        said = np.concatenate([edge, as_loud_as_speech(sound), edge[: len(edge) // 2]])
        found = await ear.recognise(
            AudioChunk(said, INPUT_RATE), language="en", likely=likely("en")
        )
        words.append(Word(sound, weigh(found.words)))
    await ear.close()
    return words
