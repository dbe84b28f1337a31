"""What runs the networks: one way for CPUs, one for GPUs and parity, behind these few functions."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from duologue.audio import Samples
from duologue.models.mini_omni.nets.shapes import LanguageModelShape, SnacShape
from duologue.models.mini_omni.nets.snac_stream import Codes, SnacStream

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """New positions of one row of the cache.

    Attributes:
        row: which.
        start: the first of the positions; all before it are in the cache.
        ids: [8, T] of the shared table: seven audio streams, then the text.
        features: [F, D] of the utterance, which take the place of the audio streams at the
            positions 1 to F; None: there are none.
        audio: the audio tokens that follow the last position are wanted.
        text: the text token that follows it is wanted.
    """

    row: int
    start: int
    ids: Ids
    features: Floats | None = None
    audio: bool = False
    text: bool = False

    @property
    def length(self) -> int:
        """T."""
        return int(self.ids.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Logits:
    """What may follow the last position of a span.

    Attributes:
        audio: [7, audio vocabulary], or None where it was not wanted.
        text: [text vocabulary], or None.
    """

    audio: Floats | None
    text: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The likeliest token that follows the last position of a span.

    Attributes:
        audio: local ids of the seven layers; empty where they were not wanted.
        text: its id, or None.
    """

    audio: tuple[int, ...]
    text: int | None


class Runtime(Protocol):
    """The networks of one checkpoint, and a cache of `rows` sequences."""

    @property
    def shape(self) -> LanguageModelShape:
        """Of the language model."""
        ...

    @property
    def snac(self) -> SnacShape:
        """Of the decoder."""
        ...

    @property
    def about(self) -> str:
        """For people: precision, library, device."""
        ...

    @property
    def together(self) -> int:
        """How many utterances are best encoded and read at once."""
        ...

    def encode(
        self, mels: Sequence[Floats], frames: Sequence[int]
    ) -> Generator[None, None, list[Floats]]:
        """Listen to some utterances, piece by piece: other work may run in between.

        Args:
            mels: log-mels [bins, 2 * positions of the window].
            frames: how many features of each are wanted.

        Returns:
            [frames, D] of each: its first features, adapted to the language model.
        """
        ...

    def logits(self, spans: Sequence[Span]) -> list[Logits]:
        """Go on with these rows, all at once; each row may come once."""
        ...

    def tokens(self, spans: Sequence[Span]) -> list[Tokens]:
        """As `logits`, but only the likeliest tokens, which is cheaper."""
        ...

    def fork(self, source: int, target: int, positions: int) -> None:
        """Let the row `target` begin as the row `source` began: its first `positions`."""
        ...

    def speak(self, voices: Sequence[SnacStream], codes: Codes) -> list[Samples]:
        """Go on with these voices: see `snac_stream.speak`; gives of each the samples known by now."""
        ...

    def close(self) -> None:
        """Let go of the networks."""
        ...
