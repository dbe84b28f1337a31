"""The language model's weights as the runtime without torch wants them, and in fewer bits."""

import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.checkpoint import (
    ENCODER,
    LANGUAGE_MODEL,
    Arrays,
    Checkpoint,
    read_tensors,
    remedy,
    write_tensors,
)
from duologue.models.mini_omni.checksums import discard, is_whole, seal, verify
from duologue.models.mini_omni.nets.shapes import LanguageModelShape

_log = logging.getLogger(__name__)

_GROUP = 64  # inputs that share one scale at int4, as in the study of Mini-Omni on CPUs

PRECISIONS = ("int8", "int4", "fp32")
"""int8: one scale a row. int4: the blocks only, one scale for 64 inputs; the rest is int8."""


def variant(checkpoint: Checkpoint, precision: str) -> Path:
    """The file with encoder and language model at int8 or int4; it is made if it is not there, or damaged.

    Raises:
        ModelUnavailable: what it is made of is damaged, or it can't be stored.
    """
    path = _path(checkpoint, precision)
    if is_whole(path):
        return path
    if path.exists():
        _log.warning("%s is damaged; it is made anew", path)
    verify(checkpoint, LANGUAGE_MODEL, ENCODER)
    said = arrange(checkpoint.language_model, read_tensors(checkpoint.folder / LANGUAGE_MODEL))
    heard = read_tensors(checkpoint.folder / ENCODER).items()
    try:
        discard(path)
        write_tensors(path, quantise(chain(said, heard), precision))
        seal(path)
    except OSError as error:
        raise ModelUnavailable(
            f"{path.name} could not be written in {checkpoint.folder} ({error.strerror or error}); "
            f"{remedy(checkpoint.folder)}"
        ) from error
    return path


def is_made(checkpoint: Checkpoint, precision: str) -> bool:
    """Whether the file with that precision is there, and not damaged."""
    return is_whole(_path(checkpoint, precision))


def arrange(
    shape: LanguageModelShape, tensors: Arrays
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Rename and split: queries, keys and values one after the other, audio head and text head apart.

    Matrices are named `….weight`, [out, in]; norms and biases as what they are; `embedding` is the
    table of both. Nothing is copied but what is put in another order.
    """
    order = _unleave(shape)
    for layer in range(shape.layers):
        old, new = f"transformer.h.{layer}", f"layers.{layer}"
        yield f"{new}.norm_1", tensors[f"{old}.norm_1.weight"]
        yield f"{new}.qkv.weight", tensors[f"{old}.attn.attn.weight"][order]
        yield f"{new}.qkv.bias", tensors[f"{old}.attn.attn.bias"][order]
        yield f"{new}.output.weight", tensors[f"{old}.attn.proj.weight"]
        yield f"{new}.norm_2", tensors[f"{old}.norm_2.weight"]
        yield f"{new}.gate.weight", tensors[f"{old}.mlp.fc_1.weight"]
        yield f"{new}.up.weight", tensors[f"{old}.mlp.fc_2.weight"]
        yield f"{new}.down.weight", tensors[f"{old}.mlp.proj.weight"]
    yield "norm", tensors["transformer.ln_f.weight"]
    yield "adapter.gate.weight", tensors["whisper_adapter.fc_1.weight"]
    yield "adapter.up.weight", tensors["whisper_adapter.fc_2.weight"]
    yield "adapter.down.weight", tensors["whisper_adapter.proj.weight"]
    table = tensors["transformer.wte.weight"]
    head = table if shape.tied else tensors["lm_head.weight"]
    yield "audio_head.weight", head[shape.text_vocabulary :]
    yield "text_head.weight", head[: shape.text_vocabulary]
    yield "embedding", table


def quantise(
    arranged: Iterable[tuple[str, NDArray[np.generic]]], precision: str
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Round matrices to the nearest of 255 or 15 levels, symmetric around 0; the table to fp16.

    A matrix `N.weight`, [out, in], becomes `N.weight`, int8 [out, in] or uint8 [out, in / 2] with two
    int4 in a byte, and `N.scale`, fp32 [out, 1] or [out, in / 64, 1].
    """
    for name, array in arranged:
        if name == "embedding":
            yield name, array.astype(np.float16)
        elif not name.endswith(".weight") or array.ndim != 2:
            yield name, np.asarray(array, np.float32)
        else:
            few = precision == "int4" and name.startswith("layers.") and not array.shape[1] % _GROUP
            levels, scale = (_int4 if few else _int8)(np.asarray(array, np.float32))
            yield name, levels
            yield name.replace(".weight", ".scale"), scale


def _path(checkpoint: Checkpoint, precision: str) -> Path:
    return checkpoint.folder / f"{precision}.safetensors"


def _unleave(shape: LanguageModelShape) -> NDArray[np.int64]:
    """Where the rows of all queries, then all keys, then all values stand in the fused matrix.

    There, each group has its queries, its key and its value side by side.
    """
    each = shape.heads // shape.groups
    count = (shape.heads + 2 * shape.groups) * shape.head_width
    rows = np.arange(count).reshape(shape.groups, each + 2, shape.head_width)
    parts = (rows[:, :each], rows[:, each], rows[:, each + 1])
    return np.concatenate([part.reshape(-1) for part in parts])


def _int8(matrix: NDArray[np.float32]) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    scale = np.abs(matrix).max(axis=1, keepdims=True) / 127
    scale[scale == 0] = 1  # a row of zeros
    return np.rint(matrix / scale).astype(np.int8), scale


def _int4(matrix: NDArray[np.float32]) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    out, width = matrix.shape
    groups = matrix.reshape(out, width // _GROUP, _GROUP)
    scale = np.abs(groups).max(axis=2, keepdims=True) / 7
    scale[scale == 0] = 1
    levels = np.rint(groups / scale).astype(np.int8).reshape(out, width // 2, 2) & 0xF
    return (levels[..., 0] | levels[..., 1] << 4).astype(np.uint8), scale
