"""People who speak, recorded, with what they say; and how much of it was heard.

Debian's package pocketsphinx-testdata has them: three chapters of a book, five hands of cards, one order.
"""

import re
from pathlib import Path

from duologue.audio import INPUT_RATE, AudioChunk, from_pcm16
from duologue.audio.files import read_audio

RECORDINGS = Path("/usr/share/pocketsphinx/test/data")
"""Where apt puts them."""

QUESTIONS = (
    "What is your name?",
    "What are your hobbies?",
    "Do you like Beijing?",
    "How are you feeling today?",
    "What is the weather like today?",
)
"""What the recordings of ../shared/audio say: question1.wav and so on."""

# Written in figures or letters, said in words.
_SAID = {"4": "four", "5": "five", "7": "seven", "8": "eight", "10": "ten", "mr": "mister"}


def recordings() -> list[tuple[str, AudioChunk]]:
    """What is said, and the sound, at `INPUT_RATE`."""
    found = []
    for folder, transcription in (("librivox", "transcription"), ("cards", "cards.transcription")):
        for line in (RECORDINGS / folder / transcription).read_text().splitlines():
            match = re.fullmatch(r"<s> (.*?) *</s> \((.*)\)", line.strip())
            assert match, line
            words, name = match.groups()
            found.append((words, read_audio(RECORDINGS / folder / f"{name}.wav").at(INPUT_RATE)))
    order = (RECORDINGS / "goforward.raw").read_bytes()
    found.append(("go forward ten meters", from_pcm16(order, INPUT_RATE)))
    return found


def words(text: str) -> list[str]:
    """A text as it is said, without case and punctuation."""
    plain = re.sub(r"[^\w' ]", " ", text.lower())
    return [_SAID.get(word, word) for word in plain.split()]


def wrong(said: str, heard: str) -> int:
    """Words that were added, left out or taken for others: the edit distance."""
    there, here = words(said), words(heard)
    distances = list(range(len(here) + 1))
    for number, word in enumerate(there, 1):
        above, distances[0] = distances[0], number
        for at, other in enumerate(here, 1):
            best = min(distances[at] + 1, distances[at - 1] + 1, above + (word != other))
            above, distances[at] = distances[at], best
    return distances[-1]
