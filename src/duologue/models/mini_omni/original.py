"""The original's files: what their configurations say, and their tensors. No pickle runs code."""

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.checkpoint import NOISE, read_tensors
from duologue.models.mini_omni.nets.shapes import FRAME, EncoderShape, LanguageModelShape, SnacShape

try:
    import torch
    from torch import Tensor
except ModuleNotFoundError as missing:
    raise ModelUnavailable(
        "converting Mini-Omni's weights takes torch, which is missing; "
        "install it with: pip install 'duologue[torch]'"
    ) from missing

WEIGHTS, CONFIG, TOKENIZER = "lit_model.pth", "model_config.yaml", "tokenizer.json"
"""In the repository of Mini-Omni."""

SMALL = "small.pt"
"""Whisper small as its authors publish it, and as it lies beside Mini-Omni 2."""

WHISPER_WEIGHTS, WHISPER_CONFIG = "model.safetensors", "config.json"
"""Whisper small as it lies on the hub."""

SNAC_WEIGHTS, SNAC_CONFIG = "pytorch_model.bin", "config.json"
"""SNAC as it lies on the hub."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Original:
    """The folders that the files lie in.

    Attributes:
        mini_omni: of `WEIGHTS`, `CONFIG` and `TOKENIZER`.
        whisper: of `SMALL`, or else of `WHISPER_WEIGHTS` and `WHISPER_CONFIG`.
        snac: of `SNAC_WEIGHTS` and `SNAC_CONFIG`.
        source: where they are from, for people.
        commits: of the repositories they are from.
        random: they were never trained.
    """

    mini_omni: Path
    whisper: Path
    snac: Path
    source: str
    commits: Mapping[str, str] = field(default_factory=dict)
    random: bool = False

    @classmethod
    def in_folder(cls, folder: Path, *, random: bool = False) -> "Original":
        """All in one: Mini-Omni's own and small.pt in it, the rest in whisper-small, snac_24khz."""
        whisper = folder if (folder / SMALL).exists() else folder / "whisper-small"
        source = NOISE if random else f"the files in {folder.absolute()}"
        return cls(folder, whisper, folder / "snac_24khz", source, random=random)


def language_model(folder: Path) -> tuple[Path, LanguageModelShape, Tensors]:
    """The language model: its file, its shape, its tensors, mapped into memory.

    Raises:
        ModelUnavailable: a file is missing, or does not hold what it should.
    """
    shape = _language_model_shape(folder / CONFIG)
    path = folder / WEIGHTS
    tensors = _unpickled(path)
    head, table = tensors.get("lm_head.weight"), tensors.get("transformer.wte.weight")
    if head is not None and table is not None:
        # The file has both keys in either case, so it is the values that tell.
        shape = replace(shape, tied=head.shape == table.shape and torch.equal(head, table))
        if shape.tied:
            del tensors["lm_head.weight"]
    return path, shape, tensors


def encoder(folder: Path) -> tuple[Path, EncoderShape, Tensors]:
    """Whisper's encoder: its file, its shape, its tensors in the names that its authors gave.

    Raises:
        ModelUnavailable: a file is missing, or does not hold what it should.
    """
    if (path := folder / SMALL).exists():
        said = _unpickled(path, whole=True)
        dims, tensors = said.get("dims"), said.get("model_state_dict")
        if not isinstance(dims, dict) or not _are_tensors(tensors):
            raise ModelUnavailable(f"{path} is no Whisper: it has no dims, or no model_state_dict")
        keys = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")
        shape = EncoderShape(*(_size(path, dims, key) for key in keys))
        kept = {key: value for key, value in tensors.items() if key.startswith("encoder.")}
        return path, shape, kept
    config = folder / WHISPER_CONFIG
    keys = (
        "num_mel_bins",
        "max_source_positions",
        "d_model",
        "encoder_attention_heads",
        "encoder_layers",
    )
    said = _json(config)
    shape = EncoderShape(*(_size(config, said, key) for key in keys))
    path = folder / WHISPER_WEIGHTS
    arrays = read_tensors(path)
    kept = {key: torch.from_numpy(arrays[key]) for key in arrays if key.startswith(_ENCODER)}
    return path, shape, {_whisper_name(key): tensor for key, tensor in kept.items()}


def snac(folder: Path) -> tuple[Path, SnacShape, Tensors]:
    """SNAC without its encoder: the file, its shape, its tensors.

    Raises:
        ModelUnavailable: a file is missing, or does not hold what it should.
    """
    path = folder / SNAC_CONFIG
    said = _json(path)
    for key, supported in (
        ("sampling_rate", 24_000),
        ("attn_window_size", None),
        ("noise", True),
        ("depthwise", True),
        ("vq_strides", [4, 2, 1]),
    ):
        if said.get(key) != supported:
            raise ModelUnavailable(
                f"{key} is {said.get(key)} by {path}, and only {supported} is implemented"
            )
    rates = said.get("decoder_rates")
    if not isinstance(rates, list) or _product(rates) * 4 != FRAME:
        raise ModelUnavailable(
            f"decoder_rates is {rates} by {path}, which makes no {FRAME} samples"
        )
    if said.get("latent_dim") is None:  # the encoder doubles its channels at every step
        steps = said.get("encoder_rates")
        doubled = 2 ** len(steps) if isinstance(steps, list) else 1
        said["latent_dim"] = _size(path, said, "encoder_dim") * doubled
    shape = SnacShape(
        latent=_size(path, said, "latent_dim"),
        width=_size(path, said, "decoder_dim"),
        rates=tuple(rates),
        codes=_size(path, said, "codebook_size"),
        code_width=_size(path, said, "codebook_dim"),
    )
    path = folder / SNAC_WEIGHTS
    unused = re.compile(r"encoder\.|quantizer\.quantizers\.\d+\.in_proj\.")
    tensors = _unpickled(path).items()
    return path, shape, {key: tensor for key, tensor in tensors if not unused.match(key)}


def as_array(tensor: Tensor, *, half: bool = False) -> NDArray[np.generic]:
    """A view if it is fp32, or fp16 where `half` allows that; else a copy in fp32."""
    kept = tensor.dtype == torch.float32 or (half and tensor.dtype == torch.float16)
    array: NDArray[np.generic] = (tensor if kept else tensor.float()).detach().numpy()
    return array


# What the original assumes of a key that its file does not name, and what is implemented here.
_ONLY: dict[str, tuple[object, object]] = {
    "norm_class_name": ("LayerNorm", "RMSNorm"),
    "mlp_class_name": ("GptNeoxMLP", "LLaMAMLP"),
    "rotary_percentage": (0.25, 1.0),
    "rope_condense_ratio": (1, 1),
    "bias": (True, False),
    "add_qkv_bias": (None, True),
    "lm_head_bias": (False, False),
    "parallel_residual": (True, False),
    "shared_attention_norm": (False, False),
    "scale_embeddings": (False, False),
    "asr_adapter": ("llamamlp", "llamamlp"),
}


def _language_model_shape(path: Path) -> LanguageModelShape:
    """What model_config.yaml says; keys that make no difference, and unknown ones, are passed over."""
    said = _flat_yaml(_text(path))
    for key, (default, supported) in _ONLY.items():
        value = default if said.get(key) is None else said[key]
        if value != supported:
            raise ModelUnavailable(
                f"{key} is {value} by {path}, and only {supported} is implemented"
            )
    width, heads = (_size(path, said, key) for key in ("n_embd", "n_head"))
    shape = LanguageModelShape(
        layers=_size(path, said, "n_layer"),
        width=width,
        heads=heads,
        groups=_size(path, said, "n_query_groups"),
        head_width=_size(path, said, "head_size", width // heads),
        mlp_width=_size(path, said, "intermediate_size"),
        # The original's own defaults, from here on.
        text_vocabulary=_size(path, said, "text_vocab_size", 152_000),
        audio_vocabulary=_size(path, said, "audio_vocab_size", 4160),
        adapter_width=_size(path, said, "whisper_adapter_dim", 768),
        positions=_size(path, said, "block_size", 4096),
        rope_base=_number(path, said, "rope_base", 10_000),
        norm_epsilon=_number(path, said, "norm_eps", 1e-5),
        tied=said.get("tie_word_embeddings") is True,
    )
    if shape.heads % shape.groups:
        raise ModelUnavailable(f"n_query_groups does not divide n_head in {path}")
    return shape


_ENCODER = "model.encoder."

# From the names on the hub to those that Whisper's authors gave, applied in this order.
_RENAMED = (
    (_ENCODER, "encoder."),
    (".layers.", ".blocks."),
    (".self_attn_layer_norm.", ".attn_ln."),
    (".final_layer_norm.", ".mlp_ln."),
    (".self_attn.q_proj.", ".attn.query."),
    (".self_attn.k_proj.", ".attn.key."),
    (".self_attn.v_proj.", ".attn.value."),
    (".self_attn.out_proj.", ".attn.out."),
    (".fc1.", ".mlp.0."),
    (".fc2.", ".mlp.2."),
    ("encoder.layer_norm.", "encoder.ln_post."),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
)


def _whisper_name(key: str) -> str:
    for there, here in _RENAMED:
        key = key.replace(there, here)
    return key


def _unpickled(path: Path, *, whole: bool = False) -> dict[str, Any]:
    """What torch saved: tensors by name, or with `whole` anything else by name, too."""
    if not path.is_file():
        raise ModelUnavailable(f"there is no {path}")
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    if archive and not zipfile.is_zipfile(path):  # its directory is at its end
        raise ModelUnavailable(f"{path} is cut short")
    try:
        said = torch.load(path, "cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelUnavailable(
                f"{path} wants to run {code[1]}, which weights have no need of; it was not run, "
                "and the file is best deleted"
            ) from error
        raise ModelUnavailable(f"{path} is no file of torch, or is cut short") from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise ModelUnavailable(f"{path} cannot be read; it may be cut short") from error
    if not isinstance(said, dict) or not (whole or _are_tensors(said)):
        raise ModelUnavailable(f"{path} holds something else than tensors by name")
    return said


def _are_tensors(said: object) -> TypeGuard[Tensors]:
    return isinstance(said, dict) and all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in said.items()
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ModelUnavailable(f"there is no {path}") from None
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path} cannot be read: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(_text(path))
    except ValueError as error:
        raise ModelUnavailable(f"{path} is no JSON, or is cut short") from error
    if not isinstance(said, dict):
        raise ModelUnavailable(f"{path} should hold a JSON object")
    return said


def _flat_yaml(text: str) -> dict[str, object]:
    """The lines `key: value` of the outermost level, which is all that the original's file has of use."""
    pairs = re.findall(r"^([A-Za-z_]\w*):[ \t]+([^#\n]*[^#\s])[ \t]*(?:#.*)?$", text, re.MULTILINE)
    return {key: _scalar(value) for key, value in pairs}


def _scalar(text: str) -> object:
    words: dict[str, object] = {"true": True, "false": False, "null": None, "~": None}
    if text.lower() in words:
        return words[text.lower()]
    kinds: tuple[Callable[[str], object], ...] = (int, float)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            pass
    return text.strip("'\"")


def _size(path: Path, said: Mapping[str, object], key: str, default: int | None = None) -> int:
    value = _stated(path, said, key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelUnavailable(f"{key} is {value!r} in {path}, not a whole number above 0")
    return value


def _number(path: Path, said: Mapping[str, object], key: str, default: float) -> float:
    value = _stated(path, said, key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise ModelUnavailable(f"{key} is {value!r} in {path}, not a number above 0")
    return float(value)


def _stated(path: Path, said: Mapping[str, object], key: str, default: object) -> object:
    value = said.get(key)
    if value is None:
        value = default
    if value is None:
        raise ModelUnavailable(f"{path} does not say what {key} is")
    return value


def _product(rates: list[object]) -> int:
    """0 if they are no whole numbers."""
    product = 1
    for rate in rates:
        product *= rate if isinstance(rate, int) else 0
    return product
