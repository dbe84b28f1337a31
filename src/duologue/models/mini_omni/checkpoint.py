"""A converted checkpoint: one folder, of which nothing is loaded but what is looked at. No torch."""

import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.nets.shapes import EncoderShape, LanguageModelShape, SnacShape
from duologue.weights import cache_folder

LANGUAGE_MODEL = "language_model.safetensors"
"""The original's keys, fp32."""

ENCODER = "encoder.safetensors"
"""The keys of Whisper's authors, `encoder.` and no others, as precise as they came."""

SNAC = "snac.safetensors"
"""Decoder and quantizer, weight norms not folded."""

TOKENIZER = "tokenizer.json"

NOISE = "random weights (noise)"
"""What a checkpoint is called that was never trained."""

_FILES = (LANGUAGE_MODEL, ENCODER, SNAC, TOKENIZER)
_DESCRIPTION = "checkpoint.json"
_FORMAT = 2
_REAL, _RANDOM = "mini-omni", "mini-omni-random"

Arrays = Mapping[str, NDArray[np.generic]]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are there, whole, and of these shapes.

    Attributes:
        folder: where it lies.
        random: it was never trained: all it utters is noise.
        source: where it is from, for people.
        commits: of the repositories that it was made from, by their names.
        sha256: of the files, by their names (see `checksums`).
    """

    folder: Path
    random: bool
    source: str
    language_model: LanguageModelShape
    encoder: EncoderShape
    snac: SnacShape
    commits: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)


class Shaped(Protocol):
    """An array, or something like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size in each dimension."""
        ...


def checkpoint_folder(*, random: bool = False) -> Path:
    """Where the checkpoint lies, or will."""
    return cache_folder() / (_RANDOM if random else _REAL)


def is_there(*, random: bool = False) -> bool:
    """Whether a checkpoint was made, whole or not. An empty folder is none."""
    return (checkpoint_folder(random=random) / _DESCRIPTION).exists()


def remedy(folder: Path) -> str:
    """What to do about the checkpoint in a folder: the end of a sentence."""
    return f"run: duologue pull mini-omni{' --random' if folder.name == _RANDOM else ''}"


def find_checkpoint(which: str = "auto") -> Checkpoint:
    """The checkpoint: "real", "random", or with "auto" the real one unless only the other is there.

    Raises:
        ModelUnavailable: it is not there, or something is wrong with it.
    """
    random = which == "random" or (which == "auto" and not is_there() and is_there(random=True))
    return open_checkpoint(checkpoint_folder(random=random))


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder; its files are checked, as far as that goes without reading them.

    Raises:
        ModelUnavailable: a file is missing, cut short, or does not hold what it should.
    """
    how = remedy(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        raise ModelUnavailable(f"Mini-Omni's weights are missing; {how}")
    try:
        said = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        if said["format"] != _FORMAT:
            raise ModelUnavailable(
                f"the checkpoint in {folder} was converted by another version of Duologue "
                f"(its format is {said['format']}, not {_FORMAT}); {how}"
            )
        checkpoint = Checkpoint(
            folder,
            said["random"],
            said["source"],
            LanguageModelShape(**said["language_model"]),
            EncoderShape(**said["encoder"]),
            SnacShape(**{key: _hashable(value) for key, value in said["snac"].items()}),
            said["commits"],
            {name: said["sha256"][name] for name in _FILES},
        )
        sizes = {name: said["sizes"][name] for name in _FILES}
        expected = {
            LANGUAGE_MODEL: language_model_tensors(checkpoint.language_model),
            ENCODER: encoder_tensors(checkpoint.encoder),
            SNAC: snac_tensors(checkpoint.snac),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelUnavailable(
            f"{_DESCRIPTION} is missing in {folder}, or does not say what it should; {how}"
        ) from error
    for name, size in sizes.items():
        there = (folder / name).stat().st_size if (folder / name).is_file() else None
        if there != size:
            what = "is missing" if there is None else f"has {there} bytes, not {size}"
            raise ModelUnavailable(f"{name} in {folder} {what}; {how}")
    try:
        for name, tensors in expected.items():
            check_tensors(folder / name, read_tensors(folder / name), tensors)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{error}; {how}") from error
    return checkpoint


def describe(checkpoint: Checkpoint) -> None:
    """Write down what a folder is, when all its files are written: from now on it can be opened."""
    folder = checkpoint.folder
    said = asdict(checkpoint)
    del said["folder"]
    said["sizes"] = {name: (folder / name).stat().st_size for name in _FILES}
    said["sha256"] = {name: digest(folder / name) for name in _FILES}
    part = folder / f"{_DESCRIPTION}.part"
    part.write_text(json.dumps({"format": _FORMAT, **said}, indent=2), "utf-8")
    part.replace(folder / _DESCRIPTION)


def check_tensors(path: Path, tensors: Mapping[str, Shaped], expected: Shapes) -> None:
    """Compare names and shapes.

    Raises:
        ModelUnavailable: the first name that is missing, is one too many, or has another shape.
    """
    for key, shape in expected.items():
        if key not in tensors:
            raise ModelUnavailable(f"{path} has no {key}, which Mini-Omni needs")
        if tuple(tensors[key].shape) != shape:
            found = list(tensors[key].shape)
            raise ModelUnavailable(f"{key} in {path} has the shape {found}, not {list(shape)}")
    for key in tensors:
        if key not in expected:
            raise ModelUnavailable(f"{path} has {key}, which is no part of Mini-Omni")


def language_model_tensors(shape: LanguageModelShape) -> Shapes:
    """What the language model consists of, in the original's names; [out, in]."""
    width, mlp = shape.width, shape.mlp_width
    fused = (shape.heads + 2 * shape.groups) * shape.head_width
    tensors: Shapes = {} if shape.tied else {"lm_head.weight": (shape.vocabulary, width)}
    tensors["transformer.wte.weight"] = (shape.vocabulary, width)
    for layer in range(shape.layers):
        block = f"transformer.h.{layer}"
        tensors[f"{block}.norm_1.weight"] = (width,)
        tensors[f"{block}.attn.attn.weight"] = (fused, width)
        tensors[f"{block}.attn.attn.bias"] = (fused,)
        tensors[f"{block}.attn.proj.weight"] = (width, shape.heads * shape.head_width)
        tensors[f"{block}.norm_2.weight"] = (width,)
        tensors[f"{block}.mlp.fc_1.weight"] = (mlp, width)
        tensors[f"{block}.mlp.fc_2.weight"] = (mlp, width)
        tensors[f"{block}.mlp.proj.weight"] = (width, mlp)
    tensors["transformer.ln_f.weight"] = (width,)
    tensors["whisper_adapter.fc_1.weight"] = (mlp, shape.adapter_width)
    tensors["whisper_adapter.fc_2.weight"] = (mlp, shape.adapter_width)
    tensors["whisper_adapter.proj.weight"] = (width, mlp)
    return tensors


def encoder_tensors(shape: EncoderShape) -> Shapes:
    """What the encoder consists of, in the names that Whisper's authors gave."""
    width = shape.width
    tensors: Shapes = {
        "encoder.conv1.weight": (width, shape.bins, 3),
        "encoder.conv1.bias": (width,),
        "encoder.conv2.weight": (width, width, 3),
        "encoder.conv2.bias": (width,),
        "encoder.positional_embedding": (shape.frames, width),
    }

    def add(name: str, *size: int, bias: bool = True) -> None:
        tensors[f"{name}.weight"] = size
        if bias:
            tensors[f"{name}.bias"] = size[:1]

    for layer in range(shape.layers):
        block = f"encoder.blocks.{layer}"
        add(f"{block}.attn_ln", width)
        for part in ("query", "key", "value", "out"):
            add(f"{block}.attn.{part}", width, width, bias=part != "key")
        add(f"{block}.mlp_ln", width)
        add(f"{block}.mlp.0", 4 * width, width)
        add(f"{block}.mlp.2", width, 4 * width)
    add("encoder.ln_post", width)
    return tensors


def snac_tensors(shape: SnacShape) -> Shapes:
    """What SNAC's decoder and quantizer consist of, in the original's names, with weight norms."""
    tensors: Shapes = {}

    def add(name: str, *size: int, bias: int) -> None:
        tensors[f"{name}.parametrizations.weight.original0"] = (size[0], 1, 1)
        tensors[f"{name}.parametrizations.weight.original1"] = size
        if bias:
            tensors[f"{name}.bias"] = (bias,)

    for level in range(len(shape.strides)):
        quantizer = f"quantizer.quantizers.{level}"
        tensors[f"{quantizer}.codebook.weight"] = (shape.codes, shape.code_width)
        add(f"{quantizer}.out_proj", shape.latent, shape.code_width, 1, bias=shape.latent)
    add("decoder.model.0", shape.latent, 1, 7, bias=shape.latent)
    add("decoder.model.1", shape.width, shape.latent, 1, bias=shape.width)
    width = shape.width
    for number, rate in enumerate(shape.rates, 2):
        block = f"decoder.model.{number}.block"
        tensors[f"{block}.0.alpha"] = (1, width, 1)
        add(f"{block}.1", width, width // 2, 2 * rate, bias=width // 2)  # transposed: [in, out, k]
        width //= 2
        add(f"{block}.2.linear", width, width, 1, bias=0)
        for unit in (3, 4, 5):
            inner = f"{block}.{unit}.block"
            tensors[f"{inner}.0.alpha"] = (1, width, 1)
            add(f"{inner}.1", width, 1, 7, bias=width)
            tensors[f"{inner}.2.alpha"] = (1, width, 1)
            add(f"{inner}.3", width, width, 1, bias=width)
    last = 2 + len(shape.rates)
    tensors[f"decoder.model.{last}.alpha"] = (1, width, 1)
    add(f"decoder.model.{last + 1}", 1, width, 7, bias=1)
    return tensors


_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_LONGEST = 100_000_000  # bytes of a header: the limit of the format itself
_START = 1 << 17  # bytes in front of the arrays: three times the longest header, and whole pages


def read_tensors(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a safetensors file: views of the mapped file, which are read when looked at.

    They can be written to, but that changes the copy in this process and not the file.

    Raises:
        ModelUnavailable: the file is missing, cut short, or no safetensors.
    """
    try:
        with path.open("rb") as file:
            # A copy on write, because torch wants no arrays that can't be written to.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except FileNotFoundError:
        raise ModelUnavailable(f"there is no {path}") from None
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise ModelUnavailable(f"{path} cannot be read: {error}") from error
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        if start > min(len(data), 8 + _LONGEST):
            raise ValueError("a header is shorter, and all of it is there")  # noqa: TRY301
        header: dict[str, Any] = json.loads(data[8:start])
        header.pop("__metadata__", None)
        whole = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelUnavailable(f"{path} is no safetensors file, or is cut short") from error
    if len(data) < whole:
        raise ModelUnavailable(f"{path} is cut short: it has {len(data)} of {whole} bytes")
    return {key: _view(path, key, entry, data, start) for key, entry in header.items()}


def forget(tensors: Arrays) -> None:
    """Let the memory go that holds what was read of files; what is looked at again is read again."""
    for base in {id(base): base for base in map(_mapping, tensors.values())}.values():
        if base is not None and hasattr(base, "madvise"):  # not on Windows
            base.madvise(mmap.MADV_DONTNEED)


def write_tensors(
    path: Path,
    tensors: Iterable[tuple[str, NDArray[np.generic]]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, array by array, so that no two need be in memory.

    There is never a part of a file under its name.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    part = path.with_name(f"{path.name}.part")
    end = 0
    with part.open("wb") as file:
        file.seek(_START)
        for key, array in tensors:
            offsets = [end, end := end + array.nbytes]
            kind, shape = _NAMES[array.dtype], list(array.shape)
            header[key] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
            file.write(np.ascontiguousarray(array).data.cast("B"))
        file.seek(0)
        text = json.dumps(header).encode().ljust(_START - 8)
        if len(text) != _START - 8:
            raise ValueError(f"the header of {path.name} does not fit")
        file.write(len(text).to_bytes(8, "little") + text)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave the final name without its bytes
    part.replace(path)


def _view(
    path: Path, key: str, entry: dict[str, Any], data: mmap.mmap, start: int
) -> NDArray[np.generic]:
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        dtype = np.dtype(_TYPES[kind])
        if (
            begin < 0
            or any(size < 0 for size in shape)
            or end - begin != (math.prod(shape) * dtype.itemsize)
        ):
            raise ValueError(f"{shape} does not take {end - begin} bytes")  # noqa: TRY301
        flat = np.frombuffer(data, dtype, math.prod(shape), start + begin)
        return flat.reshape(shape)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            f"{key} in {path} cannot be read: its header says {json.dumps(entry)[:200]}"
        ) from error


def _mapping(array: NDArray[np.generic]) -> mmap.mmap | None:
    """The mapped file that an array is a view of."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; 0.5 GB take 0.4 s where the processor helps."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashable(value: Any) -> Any:
    """As it was before JSON made a list of it."""
    return tuple(value) if isinstance(value, list) else value
