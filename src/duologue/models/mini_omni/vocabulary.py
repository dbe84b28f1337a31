"""Mini-Omni's token ids: the special ones, and where each audio layer lies in the shared table.

Source: the specification of Mini-Omni's inference, arXiv:2408.16725.
"""

from dataclasses import dataclass

from duologue.models.mini_omni.nets.shapes import LanguageModelShape

_SPECIAL = 64  # ids at the end of each vocabulary that are kept for special tokens and padding


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The ids of one checkpoint. Audio ids are local (0..`audio_size`) until `shift`ed.

    Attributes:
        text_size: text ids in all; an audio layer's ids begin behind them in the shared table.
        audio_size: ids of one audio layer in all.
    """

    text_size: int = 152_000
    audio_size: int = 4160

    @classmethod
    def of(cls, shape: LanguageModelShape) -> "Vocabulary":
        """The ids of a language model of this shape."""
        return cls(shape.text_vocabulary, shape.audio_vocabulary)

    @property
    def codes(self) -> int:
        """Audio ids below this one are codes of SNAC; the others are no sound."""
        return self.audio_size - _SPECIAL

    @property
    def end_of_text(self) -> int:
        """EOT."""
        return self.text_size - _SPECIAL

    @property
    def pad_text(self) -> int:
        """PAD_T."""
        return self.end_of_text + 1

    @property
    def input_text(self) -> int:
        """INPUT_T."""
        return self.end_of_text + 2

    @property
    def answer_text(self) -> int:
        """ANSWER_T."""
        return self.end_of_text + 3

    @property
    def transcribe(self) -> int:
        """ASR: asks for the user's words."""
        return self.end_of_text + 4

    @property
    def end_of_audio(self) -> int:
        """EOA."""
        return self.codes

    @property
    def pad_audio(self) -> int:
        """PAD_A."""
        return self.codes + 1

    @property
    def input_audio(self) -> int:
        """INPUT_A."""
        return self.codes + 2

    @property
    def answer_audio(self) -> int:
        """ANSWER_A."""
        return self.codes + 3

    def shift(self, audio_id: int, layer: int) -> int:
        """The id in the shared table of a local id of an audio layer."""
        return audio_id + self.text_size + self.audio_size * layer
