"""What Whisper wrote, read: tokens to segments with times, without what it made up. Pure."""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

SECOND = 50
"""Timestamp tokens, and encoder's frames, in a second."""

_LATE = 0.1  # seconds before the end of the sound from which on a segment would be behind it
_LOOPS = 2.4  # compression ratio above which a text repeats itself (Whisper's own limit)
_LOOPS_WORDS = 5  # times that the same few words may follow each other at most, less one
_SENTENCE = 4  # words, of what has no end, that are no more than once in a row
_UNSURE = (
    -1.0
)  # mean log probability of a token below which it may be made up (Whisper's own limit)
_NOTHING = 0.6  # probability of no speech above which it probably is, then (Whisper's own limit)
# What it wrote for noise and music had 0.44 or more, questions of people 0.31 or less.
_DOUBTFUL = 0.4


_TWICE = re.compile(r"((?<!\w)\w[^.!?。]*[.!?。])(?:\s*\1)+", re.IGNORECASE)
_MARKS = re.compile(r"[^\w]+$|^[^\w]+")
_AGAIN = re.compile(rf"(?<!\w)((?:[\w']+\W+){{1,4}}?)\1{{{_LOOPS_WORDS - 1},}}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Segment:
    """Words between two timestamps.

    Attributes:
        start: seconds from the beginning of the sound.
        end: likewise; None: not written, so the words may be cut off.
        words: with the space in front of them.
    """

    start: float
    end: float | None
    words: str


def segments(
    tokens: Sequence[int], first_timestamp: int, text: Callable[[list[int]], str]
) -> list[Segment]:
    """The segments that these tokens are.

    Args:
        tokens: as they were generated.
        first_timestamp: the token that stands for 0.00 s; the next ones are 0.02 s apart.
        text: of tokens that are words.
    """
    found: list[Segment] = []
    start, words = 0.0, list[int]()
    for token in tokens:
        if token < first_timestamp:
            words.append(token)
            continue
        at = (token - first_timestamp) / SECOND
        if words:
            found.append(Segment(start, at, text(words)))
        start, words = at, []
    if words:
        found.append(Segment(start, None, text(words)))
    return found


def plausible(
    found: Sequence[Segment], seconds: float, score: float, nothing: float
) -> list[Segment]:
    """Those that can have been said in a sound of so many seconds.

    Whisper goes on where the sound has ended: it says the same again, or makes something up.

    Args:
        found: in order.
        seconds: of sound, without what it was padded with.
        score: mean log probability of the tokens.
        nothing: probability that nobody speaks.
    """
    if score < _UNSURE and nothing > _NOTHING:
        return []
    kept: list[Segment] = []
    for segment in found:
        again = kept and segment.words.strip() == kept[-1].words.strip()
        late = segment.start > max(0.0, seconds - _LATE)
        if again and (late or (segment.end or seconds) > seconds + _LATE):
            break
        if late and kept:
            break
        if loops(segment.words):
            break
        if not any(map(str.isalnum, segment.words)):
            continue  # music was "¶¶¶¶" to it
        if segment.end is None:
            segment = replace(segment, words=_once(segment.words))
        kept.append(segment)
    return kept


def _once(words: str) -> str:
    """What was not ended, without its repetitions: it was written until there was no room left."""
    every = words.split()
    said = [
        _MARKS.sub("", word).lower() for word in every
    ]  # a sentence begins anew without its capital
    for count in range(_SENTENCE, len(every) - _SENTENCE + 1):
        if said[count:] == said[:-count]:
            return " " + " ".join(every[:count])
    return words


def doubtful(found: Sequence[Segment], score: float, nothing: float) -> bool:
    """Whether somebody else must have heard speech, too, before these words are believed.

    Args:
        found: all that was written; of music, "Music" nine times.
        score: mean log probability of the tokens.
        nothing: probability that nobody speaks.
    """
    return score < _UNSURE or nothing > _DOUBTFUL or loops(joined(found))


def loops(words: str) -> bool:
    """Whether a text says the same over and over."""
    data = words.encode()
    if len(data) > 60 and len(data) / len(zlib.compress(data)) > _LOOPS:
        return True
    return bool(_AGAIN.search(f"{words} "))


def single(words: str) -> str:
    """Sentences that follow each other twice or more, once: after a list of words, a word becomes one."""
    return _TWICE.sub(r"\1", words)


def joined(found: Sequence[Segment]) -> str:
    """Their words as one text."""
    return " ".join("".join(segment.words for segment in found).split())
