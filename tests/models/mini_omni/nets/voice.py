"""The small SNAC decoder with golden sound, a plain reference of it, and a voice fed as one likes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name it has everywhere
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor

from duologue.audio import Samples
from duologue.models.mini_omni.nets.shapes import CODEBOOKS, FRAME, SnacShape
from duologue.models.mini_omni.nets.snac_stream import (
    COLUMNS,
    LATENTS,
    Codes,
    Decoder,
    Floats,
    Noise,
    SeededNoise,
    SnacStream,
    by_latent,
    fold,
    speak,
)
from models.mini_omni.nets.generate import CONFIG, GOLDEN

SHAPE = SnacShape(latent=CONFIG["snac"]["latent_dim"], width=CONFIG["snac"]["decoder_dim"])

ROUNDING = 1e-4
"""Between float32 decoders: the golden sound itself is 4e-5 from float64, at a level of 0.7."""


class GivenNoise:
    """A sequence for each block; zeros after its end."""

    def __init__(self, blocks: Sequence[Floats]) -> None:
        self._blocks = list(blocks)

    def draw(self, block: int, count: int) -> Floats:
        now, self._blocks[block] = np.split(self._blocks[block], [count])
        return np.pad(now, (0, count - len(now)))


def tensors() -> dict[str, NDArray[np.generic]]:
    """The weights, by the original's names."""
    return dict(load_file(GOLDEN / "snac_state.safetensors"))


def golden() -> dict[str, NDArray[np.generic]]:
    """Codes by level, noise by block, and sound."""
    with np.load(GOLDEN / "snac_vectors.npz") as arrays:
        return dict(arrays)


def golden_codes() -> Codes:
    """[7, 6]"""
    levels = [golden()[f"codes_l{i}"].reshape(6, -1) for i in range(3)]  # [G, latents]
    codes = np.empty((CODEBOOKS, 6), np.int64)
    for latent, columns in enumerate(COLUMNS):
        for level, column in zip(levels, columns, strict=True):
            codes[column] = level[:, latent * level.shape[1] // 4]
    return codes


def golden_noise() -> list[Floats]:
    """[T] of each block."""
    arrays = golden()
    return [arrays[f"noise_{i}"].reshape(-1).astype(np.float32) for i in range(4)]


def random_codes(groups: int, seed: int = 0) -> Codes:
    """[7, G]"""
    return np.random.default_rng(seed).integers(0, SHAPE.codes, (CODEBOOKS, groups))


def decode(decoder: Decoder, codes: Codes, noise: Noise, calls: Sequence[int]) -> Samples:
    """A whole voice, pushed so many groups a call: codes [7, sum of calls] -> [2048 * groups]."""
    stream = SnacStream(SHAPE, noise)
    ends = np.cumsum([0, *calls])
    parts = [speak(decoder, [stream], by_latent(codes[None, :, a:b]))[0] for a, b in pairwise(ends)]
    stream.end()
    if stream.tail:
        parts += speak(decoder, [stream], np.zeros((1, LATENTS * stream.tail, 3), np.int64))
    assert stream.tail == 0
    return np.concatenate(parts)


def together(decoder: Decoder, voices: Sequence[Codes], starts: Sequence[int]) -> list[Samples]:
    """Voices that share calls of one group; voice i has noise of seed i and begins in call starts[i]."""
    streams = [SnacStream(SHAPE, SeededNoise(seed)) for seed in range(len(voices))]
    parts: list[list[Samples]] = [[] for _ in voices]
    call = 0
    while going := [i for i, stream in enumerate(streams) if stream.tail or not stream.ended]:
        going = [i for i in going if starts[i] <= call]
        codes = np.zeros((len(going), CODEBOOKS, 1), np.int64)
        for row, i in enumerate(going):
            group = call - starts[i]
            if group < voices[i].shape[1]:
                codes[row] = voices[i][:, group : group + 1]
            else:
                streams[i].end()
        speakers = [streams[i] for i in going]
        for i, part in zip(going, speak(decoder, speakers, by_latent(codes)), strict=True):
            parts[i].append(part)
        call += 1
    return [np.concatenate(part) for part in parts]


def reference(codes: Codes, noise: Noise) -> Samples:
    """All at once, in float64, with padding and without streams: [7, G] -> [2048 * G]."""
    weights = {name: torch.from_numpy(array).double() for name, array in fold(tensors()).items()}
    latents = torch.from_numpy(codes[COLUMNS].transpose(2, 0, 1).reshape(-1, 3))  # [T, level]
    x = torch.zeros(1, SHAPE.latent, len(latents), dtype=torch.float64)
    for level in range(3):
        name = f"quantizer.quantizers.{level}"
        vectors = weights[f"{name}.codebook.weight"][latents[:, level]].T[None]
        x = x + F.conv1d(
            vectors, weights[f"{name}.out_proj.weight"], weights[f"{name}.out_proj.bias"]
        )
    model = "decoder.model"
    x = _convolve(_convolve(x, weights, f"{model}.0"), weights, f"{model}.1")
    for i, rate in enumerate(SHAPE.rates):
        block = f"{model}.{i + 2}.block"
        x = _snake(x, weights, f"{block}.0")
        weight, bias = weights[f"{block}.1.weight"], weights[f"{block}.1.bias"]
        x = F.conv_transpose1d(x, weight, bias, stride=rate, padding=rate // 2)
        breath = torch.from_numpy(noise.draw(i, x.shape[2])).double()
        x = x + breath * F.conv1d(x, weights[f"{block}.2.linear.weight"])
        for unit, dilation in enumerate((1, 3, 9), start=3):
            name = f"{block}.{unit}.block"
            y = _convolve(_snake(x, weights, f"{name}.0"), weights, f"{name}.1", dilation)
            x = x + _convolve(_snake(y, weights, f"{name}.2"), weights, f"{name}.3")
    x = torch.tanh(_convolve(_snake(x, weights, f"{model}.6"), weights, f"{model}.7"))
    assert x.shape == (1, 1, FRAME * codes.shape[1])
    return x[0, 0].float().numpy()


def _convolve(x: Tensor, weights: Mapping[str, Tensor], name: str, dilation: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    padding = weight.shape[2] // 2 * dilation
    groups = x.shape[1] // weight.shape[1]
    bias = weights[f"{name}.bias"]
    return F.conv1d(x, weight, bias, padding=padding, dilation=dilation, groups=groups)


def _snake(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    alpha = weights[f"{name}.alpha"]
    return x + torch.sin(alpha * x).square() / (alpha + 1e-9)
