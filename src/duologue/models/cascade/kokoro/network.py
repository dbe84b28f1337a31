"""Kokoro-82M: phonemes to sound."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue.audio import Samples
from duologue.models.cascade.kokoro import spectra
from duologue.models.cascade.kokoro.decoder import STYLE, Decoder
from duologue.models.cascade.kokoro.onnx_file import OnnxFile
from duologue.system.onnx import open_network

RATE = 24_000
"""Hertz of what it makes."""

LONGEST = 510
"""Phonemes that it takes at once."""

_SILENCE = -4.0  # energy below which a step is silent, at -60 dB
_MARGIN = 4  # silent steps that are decoded at both ends, at least
# OpenVINO keeps 10 MB for each length that it has seen, so there are few: every 0.4 s, of short ones 0.2 s.
_STEP = 16
_SHORT = 64  # steps

_MARKS = ".!?;:,—…"

# What the decoder takes, as the text's half of the network names it: what is said, the pitch, the energy.
_OUTPUTS = (
    "/encoder/MatMul_1_output_0",
    "/encoder/Reshape_output_0",
    "/encoder/Reshape_1_output_0",
)

# Which number each phoneme has: the first of some that follow each other, and those.
_RUNS = (
    (1, ";:,.!?"), (9, "—…\"()“” \u0303ʣʥʦʨᵝꭧAI"), (31, "O"), (33, "Q"), (35, "ST"), (39, "W"),
    (41, "Yᵊabcdef"), (50, "hijklmnopqrstuvwxyzɑɐɒæ"), (75, "βɔɕç"), (80, "ɖðʤə"), (85, "ɚɛɜ"),
    (90, "ɟ"), (92, "ɡ"), (99, "ɥ"), (101, "ɨɪʝ"), (110, "ɯɰŋɳɲɴø"), (118, "ɸθœ"), (123, "ɹ"),
    (125, "ɾɻ"), (128, "ʁɽʂʃʈʧ"), (135, "ʊʋ"), (138, "ʌɣɤ"), (142, "χʎ"), (147, "ʒʔ"),
    (156, "ˈˌː"), (162, "ʰ"), (164, "ʲ"), (169, "↓"), (171, "→↗↘"), (177, "ᵻ"),
)  # fmt: skip
_TOKENS = {phoneme: first + place for first, run in _RUNS for place, phoneme in enumerate(run)}


class Kokoro:
    """The network: its first half in onnxruntime, its second in OpenVINO, where it is faster."""

    def __init__(self, path: Path, threads: int) -> None:
        file = OnnxFile(path)
        self._text = open_network(file.cut(_OUTPUTS), threads)
        ranges = json.loads(Path(__file__).with_name("ranges.json").read_text())
        self._decoder = Decoder(file, {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}, ranges)
        self._harmonics = file.tensors["onnx::MatMul_6993"].ravel().astype(np.float32)
        (self._bias,) = file.tensors["decoder.decoder.generator.m_source.l_linear.bias"]

    def speak(self, phonemes: str, voice: Samples, speed: float) -> Samples:
        """The sound of some phonemes, float32 [T] at `RATE`; silence is around it.

        Args:
            phonemes: up to `LONGEST`; unknown ones are left out.
            voice: [510, 256], of as many phonemes in each row.
            speed: 1 is usual.
        """
        tokens = [_TOKENS[phoneme] for phoneme in phonemes if phoneme in _TOKENS][:LONGEST]
        if not tokens:
            return np.zeros(0, np.float32)
        style = voice[len(tokens) - 1]
        content, pitch, energy = self._text.run(
            _OUTPUTS,
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style[None],
                "speed": np.array([speed], np.float32),
            },
        )
        curves = np.stack((pitch[0], energy[0])).reshape(2, -1, 2)
        steps, absent = worth_decoding(curves[1].max(1))
        pitch, energy = curves[:, steps].reshape(2, -1)
        source = spectra.source(pitch, self._harmonics, self._bias)
        return spectra.waveform(
            self._decoder.decode(content[0][:, steps], pitch, energy, source, style[:STYLE], absent)
        )


def worth_decoding(energy: Samples) -> tuple[NDArray[np.intp], float]:
    """The steps worth decoding: what is said, with little of the half second of silence around it.

    Args:
        energy: [T].

    Returns:
        Their numbers, and which part of the silence and speech together was left out.
    """
    count = len(energy)
    loud = np.flatnonzero(energy > _SILENCE)
    first, last = (loud[0], loud[-1]) if len(loud) else (0, count - 1)
    start, end = first - _MARGIN, last + 1 + _MARGIN
    more = -(end - start) % (_STEP if end - start > _SHORT else _STEP // 2)
    before = min(more, max(0, start))  # of the silence in front, first
    start, end = start - before, end + more - before
    steps = np.arange(start, end)
    steps[(steps < 0) | (steps >= count)] = 0  # there is not so much of it: step 0 is silent
    steps[:2], steps[-2:] = (0, 1), (count - 2, count - 1) if end < count else 0
    return steps, max(0.0, 1 - len(steps) / count)


def read_voice(path: Path) -> Samples:
    """A voice of its author: float32 [510, 256]."""
    return np.fromfile(path, np.float32).reshape(-1, 256)


def pieces(phonemes: str, longest: int) -> Sequence[str]:
    """Cut where there is a break, or between two words, into pieces of at most so many phonemes.

    Each gets a mark at its end, if it has none: without one, the last sound of some voices is cut off.
    """
    found = []
    while len(phonemes) > longest:
        head = phonemes[:longest]
        cut = max(head.rfind(mark) for mark in _MARKS) + 1
        if cut < longest // 2:
            cut = head.rfind(" ")
        if cut <= 0:
            cut = longest
        piece = phonemes[:cut].strip()
        found.append(piece if piece[-1] in _MARKS else f"{piece},")
        phonemes = phonemes[cut:].strip()
    if phonemes:
        found.append(phonemes if phonemes[-1] in _MARKS else f"{phonemes}.")
    return found
