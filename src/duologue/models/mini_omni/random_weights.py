"""Weights that were never trained, of the right size: so that everything runs, and utters noise."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni import checkpoint as layout
from duologue.models.mini_omni import convert
from duologue.models.mini_omni import original as files
from duologue.models.mini_omni.checkpoint import Checkpoint, checkpoint_folder, open_checkpoint
from duologue.models.mini_omni.checksums import verify
from duologue.models.mini_omni.nets.shapes import (
    CODEBOOKS,
    EncoderShape,
    LanguageModelShape,
    SnacShape,
)
from duologue.models.mini_omni.original import Original, Tensors
from duologue.models.mini_omni.vocabulary import Vocabulary

# Behind the modules that say what to do where there is no torch.
import torch  # isort: skip

SEED = 0

_GAIN = 1.5  # of the language model's matrices, so that the tokens before have a say in the next
_LOUDNESS = 0.01  # of SNAC: makes an rms of 0.1 of random codes, peaks below 0.5


def pull(say: Callable[[str], None]) -> tuple[Checkpoint, bool]:
    """Make a full-size checkpoint in the cache folder, unless it is there.

    It takes the way of the real one, from files in the original's format, which are deleted after.

    Args:
        say: is told what takes its time.

    Returns:
        The checkpoint, and whether anything had to be done.

    Raises:
        ModelUnavailable: it can't be stored.
    """
    folder = checkpoint_folder(random=True)
    try:
        checkpoint = open_checkpoint(folder)
        verify(checkpoint)
    except ModelUnavailable:  # not there, or broken: to be made anew
        pass
    else:
        return checkpoint, False
    with convert.replacing(folder) as work:
        say("making random weights, and converting them")
        original = work / "original"
        original.mkdir()
        make_random(original, LanguageModelShape(), EncoderShape(), SnacShape(), SEED)
        convert.convert(Original.in_folder(original, random=True), work / folder.name)
    return open_checkpoint(folder), True


def make_random(
    folder: Path,
    language_model: LanguageModelShape,
    encoder: EncoderShape,
    snac: SnacShape,
    seed: int,
) -> None:
    """Write random weights in the original's format, as `Original.in_folder` wants them.

    The same seed gives the same weights. Whisper's decoder and SNAC's encoder, which no one needs, are
    left out. The ids that end a reply or are no sound are never the likeliest.
    """
    random = torch.Generator().manual_seed(seed)
    torch.save(_language_model(language_model, random), folder / files.WEIGHTS)
    (folder / files.CONFIG).write_text(_config(language_model))
    (folder / files.TOKENIZER).write_text(_tokenizer(Vocabulary.of(language_model).end_of_text))
    torch.save(_whisper(encoder, random), folder / files.SMALL)
    beside = folder / "snac_24khz"
    beside.mkdir()
    torch.save(_snac(snac, random), beside / files.SNAC_WEIGHTS)
    (beside / files.SNAC_CONFIG).write_text(json.dumps(_snac_config(snac)))


def _language_model(shape: LanguageModelShape, random: torch.Generator) -> Tensors:
    tensors: Tensors = {}
    for key, size in layout.language_model_tensors(shape).items():
        tensor = tensors[key] = torch.randn(size, generator=random)
        if "norm" in key or "ln_f" in key:
            tensor.mul_(0.1).add_(1)
        elif key.endswith("bias"):
            tensor.mul_(0.5)
        elif "wte" not in key and "lm_head" not in key:
            tensor.mul_(_GAIN / math.sqrt(size[1]))
    head = tensors.setdefault("lm_head.weight", tensors["transformer.wte.weight"])
    vocabulary = Vocabulary.of(shape)
    for layer in range(CODEBOOKS):
        start = vocabulary.shift(vocabulary.codes, layer)
        head[start : vocabulary.shift(shape.audio_vocabulary, layer)] = 0
    return tensors


def _whisper(shape: EncoderShape, random: torch.Generator) -> dict[str, object]:
    tensors: Tensors = {}
    for key, size in layout.encoder_tensors(shape).items():
        tensor = torch.randn(size, generator=random)
        if "ln" in key and key.endswith("weight"):
            tensor.mul_(0.1).add_(1)
        elif len(size) == 1 or "positional" in key:
            tensor.mul_(0.1)
        else:
            tensor.div_(math.sqrt(math.prod(size[1:])))
        tensors[key] = tensor.half()
    dims = {
        "n_mels": shape.bins,
        "n_audio_ctx": shape.frames,
        "n_audio_state": shape.width,
        "n_audio_head": shape.heads,
        "n_audio_layer": shape.layers,
    }
    return {"dims": dims, "model_state_dict": tensors}


def _snac(shape: SnacShape, random: torch.Generator) -> Tensors:
    tensors: Tensors = {}
    for key, size in layout.snac_tensors(shape).items():
        tensor = tensors[key] = torch.randn(size, generator=random)
        if key.endswith("alpha"):
            tensor.mul_(0.1).add_(1)
        elif key.endswith("bias"):
            tensor.mul_(0.1)
        elif key.endswith("original0"):
            tensor.mul_(0.1).add_(1).mul_(_snac_gain(shape, key))
    return tensors


def _snac_gain(shape: SnacShape, key: str) -> float:
    """What the norm of a matrix is, so that the sound is neither lost on the way nor clipped."""
    number = int(key.split(".")[2])
    if not key.startswith("decoder") or number < 2:
        return 1
    if number - 2 >= len(shape.rates):
        return _LOUDNESS
    if ".linear." in key:
        return 0.3  # the noise is a tenth of the power
    if key.count("block") == 1:
        # A norm is that of an input channel, which is spread over `rate` samples and half the channels.
        return math.sqrt(shape.rates[number - 2] / 2)
    return 0.5 if ".block.3.parametrizations" in key else 1  # what a unit adds to its input


def _config(shape: LanguageModelShape) -> str:
    said: Mapping[str, object] = {
        "name": "random",
        "block_size": shape.positions,
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "n_head": shape.heads,
        "n_query_groups": shape.groups,
        "head_size": shape.head_width,
        "intermediate_size": shape.mlp_width,
        "norm_class_name": "RMSNorm",
        "norm_eps": shape.norm_epsilon,
        "mlp_class_name": "LLaMAMLP",
        "rope_base": int(shape.rope_base),
        "rotary_percentage": 1.0,
        "bias": False,
        "lm_head_bias": False,
        "add_qkv_bias": True,
        "parallel_residual": False,
        "text_vocab_size": shape.text_vocabulary,
        "audio_vocab_size": shape.audio_vocabulary,
        "padded_vocab_size": shape.vocabulary,
        "whisper_adapter_dim": shape.adapter_width,
        "asr_adapter": "llamamlp",
        "post_adapter": False,
        "tie_word_embeddings": shape.tied,
    }
    return "".join(f"{key}: {value}\n" for key, value in said.items())


def _snac_config(shape: SnacShape) -> dict[str, object]:
    return {
        "sampling_rate": 24_000,
        "attn_window_size": None,
        "noise": True,
        "depthwise": True,
        "latent_dim": shape.latent,
        "decoder_dim": shape.width,
        "decoder_rates": shape.rates,
        "vq_strides": shape.strides,
        "codebook_size": shape.codes,
        "codebook_dim": shape.code_width,
    }


def _tokenizer(words: int) -> str:
    """A word of three syllables for each id that is one of text: kanomu, terilo."""
    syllables = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]
    many = len(syllables)
    vocabulary = {}
    for index in range(words):
        number = index * 104_729 % many**3  # a prime, so that no word comes twice
        parts = (number // many**2, number // many % many, number % many)
        vocabulary["".join(syllables[part] for part in parts)] = index
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": next(iter(vocabulary))}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": model,
        }
    )
