"""From tokens to the next input, to the end of a reply, and to frames of codes: pure.

Source: the specification of Mini-Omni's inference, arXiv:2408.16725, section 3.
"""

from collections.abc import Sequence

import numpy as np

from duologue.models.mini_omni.nets.shapes import CODEBOOKS
from duologue.models.mini_omni.nets.snac_stream import COLUMNS
from duologue.models.mini_omni.runtime import Ids
from duologue.models.mini_omni.vocabulary import Vocabulary


class SpokenReply:
    """A reply in audio and text, token by token.

    The seven audio layers lag behind the text: layer i writes its code of a frame i + 1 steps late.

    Attributes:
        audio: seven local ids a step; `text`: one id a step, padding behind its end.
        text_ended: the text is complete: no more of it is wanted.
        ended: the reply is complete.
    """

    def __init__(self, vocabulary: Vocabulary, longest: int | None = None) -> None:
        """Begin a reply.

        Args:
            vocabulary: of the tokens.
            longest: frames that it may have; None: as many as come.
        """
        self._vocabulary = vocabulary
        self._longest = longest
        self._ahead = False  # the first latents of the frame that comes next were given
        self.audio: list[tuple[int, ...]] = []
        self.text: list[int] = []
        self.text_ended = False
        self.ended = False
        self._taken = 0  # frames given away
        self._last = (0,) * CODEBOOKS  # of the codes of the last frame

    def take(self, audio: Sequence[int], text: int | None) -> None:
        """The next tokens. What comes as text behind its end does not count."""
        v = self._vocabulary
        if self.text_ended or text is None:
            text = v.pad_text
        if self.audio:  # the first step, which the prompt itself gives, ends nothing
            if audio[-1] == v.end_of_audio:
                self.ended = True
                return
            self.text_ended = self.text_ended or text == v.end_of_text
        self.audio.append(tuple(audio))
        self.text.append(text)

    @property
    def audio_input(self) -> Ids:
        """[8, 1]: what the row that speaks is fed."""
        v = self._vocabulary
        shifted = [v.shift(token, layer) for layer, token in enumerate(self.audio[-1])]
        return np.array([*shifted, self.text[-1]], np.int64)[:, None]

    @property
    def text_input(self) -> Ids:
        """[8, 1]: what a row that only writes the same reply is fed."""
        return written_input(self._vocabulary, self.text[-1])

    def frames(self) -> list[tuple[int, ...]]:
        """The frames that are complete and were not given yet: seven codes each, all of them sound.

        A layer that says something that is no sound (it has ended before the others, or pads) repeats
        its code of the last frame. Where most layers say the end, it is the end.
        """
        frames = []
        while self._taken + CODEBOOKS < len(self.audio):
            step = self._taken + 1
            codes = [self.audio[step + layer][layer] for layer in range(CODEBOOKS)]
            if 2 * codes.count(self._vocabulary.end_of_audio) > CODEBOOKS:
                self.ended, self._taken = True, len(self.audio)
                break
            self._last = tuple(
                code if code < self._vocabulary.codes else before
                for code, before in zip(codes, self._last, strict=True)
            )
            frames.append(self._last)
            self._taken += 1
        return frames

    def latents(self, frames: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """The latents that are known by now and were not given yet: of each its codes of three levels.

        The last layer of a frame comes a step after the others, and only the last latent needs it. So three
        latents of the next frame are known, too, unless it may still turn out to be the end.

        Args:
            frames: what `frames` has just given.
        """
        known: list[tuple[int, ...]] = []
        for frame in frames:
            whole = [tuple(frame[layer] for layer in layers) for layers in COLUMNS]
            known += whole[-1:] if self._ahead else whole
            self._ahead = False
        step = self._taken + 1
        comes = self._longest is None or self._taken < self._longest
        if comes and not self._ahead and not self.ended and step + CODEBOOKS - 1 <= len(self.audio):
            codes = [self.audio[step + layer][layer] for layer in range(CODEBOOKS - 1)]
            if 2 * (codes.count(self._vocabulary.end_of_audio) + 1) <= CODEBOOKS:
                sound = [
                    code if code < self._vocabulary.codes else before
                    for code, before in zip(codes, self._last, strict=False)
                ]
                known += [tuple(sound[layer] for layer in layers) for layers in COLUMNS[:-1]]
                self._ahead = True
        return known


class WrittenReply:
    """A reply in text only, token by token.

    Attributes:
        text: its ids, without the one that ends it.
        ended: it is complete.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.text: list[int] = []
        self.ended = False

    def take(self, text: int) -> None:
        """The next token."""
        if text == self._vocabulary.end_of_text:
            self.ended = True
        else:
            self.text.append(text)

    @property
    def text_input(self) -> Ids:
        """[8, 1]: what its row is fed."""
        return written_input(self._vocabulary, self.text[-1])


def written_input(vocabulary: Vocabulary, token: int) -> Ids:
    """[8, 1]: a text token beside silent audio layers."""
    pads = [vocabulary.shift(vocabulary.pad_audio, layer) for layer in range(CODEBOOKS)]
    return np.array([*pads, token], np.int64)[:, None]
