"""What the networks are built from: their sizes, as the checkpoints state them. No torch here."""

from dataclasses import dataclass

CODEBOOKS = 7
"""Audio tokens of one frame, and so the audio layers of the language model."""

FRAME = 2048
"""Samples of one frame at 24 kHz: 85.3 ms."""


@dataclass(frozen=True, slots=True)
class LanguageModelShape:
    """Sizes of the language model. The defaults are Mini-Omni's: Qwen2-0.5B with seven audio layers.

    Attributes:
        layers: transformer blocks.
        width: of the residual stream (D).
        heads: of the queries (H).
        groups: of keys and values; `heads / groups` query heads share one.
        head_width: of one head.
        mlp_width: of the gated feed-forward layer.
        text_vocabulary: text ids, special ones and padding included.
        audio_vocabulary: ids of one audio layer, special ones and padding included.
        adapter_width: of the encoder's features.
        positions: that a sequence may have.
        rope_base: of the rotary position embedding.
        norm_epsilon: of the RMS norms.
        tied: the output head is the embedding table.
    """

    layers: int = 24
    width: int = 896
    heads: int = 14
    groups: int = 2
    head_width: int = 64
    mlp_width: int = 4864
    text_vocabulary: int = 152_000
    audio_vocabulary: int = 4160
    adapter_width: int = 768
    positions: int = 2048
    rope_base: float = 1e6
    norm_epsilon: float = 1e-6
    tied: bool = False

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table and of the head: text, then the audio layers in order."""
        return self.text_vocabulary + CODEBOOKS * self.audio_vocabulary


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes of the Whisper encoder. The defaults are those of Whisper small.

    Attributes:
        bins: of the log-mel.
        frames: that come out; twice as many mel frames go in.
        width: of the features.
        heads: of the attention.
        layers: transformer blocks.
    """

    bins: int = 80
    frames: int = 1500
    width: int = 768
    heads: int = 12
    layers: int = 12


@dataclass(frozen=True, slots=True)
class SnacShape:
    """Sizes of the SNAC decoder. The defaults are those of snac_24khz.

    Attributes:
        latent: channels that the codes are turned into.
        width: channels that the decoder begins with; every block halves them.
        rates: by which the blocks upsample, in order.
        strides: latents of one code, by level.
        codes: in a codebook.
        code_width: of one code's vector.
    """

    latent: int = 768
    width: int = 1024
    rates: tuple[int, ...] = (8, 8, 4, 2)
    strides: tuple[int, ...] = (4, 2, 1)
    codes: int = 4096
    code_width: int = 8
