"""Mini-Omni in small, and random: the shapes of the golden arrays, the original's files."""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from duologue.models.mini_omni.nets.shapes import EncoderShape, LanguageModelShape, SnacShape
from duologue.models.mini_omni.original import Original
from duologue.models.mini_omni.random_weights import make_random

LANGUAGE_MODEL = LanguageModelShape(
    layers=2,
    width=64,
    heads=4,
    groups=2,
    head_width=16,
    mlp_width=128,
    text_vocabulary=512,
    audio_vocabulary=192,
    adapter_width=32,
    positions=256,
)
ENCODER = EncoderShape(width=32, heads=4, layers=2)
SNAC = SnacShape(latent=32, width=64)


def original(folder: Path, language_model: LanguageModelShape = LANGUAGE_MODEL) -> Original:
    """Make the files, in a new folder."""
    folder.mkdir()
    make_random(folder, language_model, ENCODER, SNAC, seed=0)
    return Original.in_folder(folder, random=True)


def as_on_the_hub(small: Path, folder: Path) -> None:
    """Make model.safetensors and config.json of the encoder in small.pt, in a new folder."""
    layer = {
        "attn.query": "self_attn.q_proj",
        "attn.key": "self_attn.k_proj",
        "attn.value": "self_attn.v_proj",
        "attn.out": "self_attn.out_proj",
        "attn_ln": "self_attn_layer_norm",
        "mlp.0": "fc1",
        "mlp.2": "fc2",
        "mlp_ln": "final_layer_norm",
    }
    saved = torch.load(small, weights_only=True)
    hub = {"model.decoder.layer_norm.weight": torch.ones(3)}
    for key, tensor in saved["model_state_dict"].items():
        if block := re.fullmatch(r"encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)", key):
            name = f"layers.{block[1]}.{layer[block[2]]}.{block[3]}"
        else:
            name = key.removeprefix("encoder.").replace("ln_post", "layer_norm")
            name = name.replace("positional_embedding", "embed_positions.weight")
        hub[f"model.encoder.{name}"] = tensor
    folder.mkdir()
    save_file(hub, folder / "model.safetensors")
    sizes = {
        "num_mel_bins": saved["dims"]["n_mels"],
        "max_source_positions": saved["dims"]["n_audio_ctx"],
        "d_model": saved["dims"]["n_audio_state"],
        "encoder_attention_heads": saved["dims"]["n_audio_head"],
        "encoder_layers": saved["dims"]["n_audio_layer"],
    }
    (folder / "config.json").write_text(json.dumps(sizes))
