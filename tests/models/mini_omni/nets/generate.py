"""The golden arrays, and a plain greedy loop over the network to compare with them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import SHARED
from duologue.models.mini_omni.nets.lm import KeyValueCache, LanguageModel, language_model
from duologue.models.mini_omni.nets.shapes import CODEBOOKS, EncoderShape, LanguageModelShape
from duologue.models.mini_omni.vocabulary import Vocabulary

GOLDEN = Path(__file__).parents[3] / "golden/mini_omni"

CONFIG = json.loads((GOLDEN / "config.json").read_text())


def vectors(name: str) -> dict[str, Tensor]:
    """The golden arrays of a set: small, full (only in ../shared), snac, whisper."""
    with np.load(_folder(name) / f"{name}_vectors.npz") as arrays:
        return {key: torch.from_numpy(array) for key, array in arrays.items()}


def assert_near(got: Tensor, golden: Tensor, within: float = 2e-4) -> None:
    """Compare what is of size 1 to 10; `within` is what the order of float32 sums may change."""
    torch.testing.assert_close(got, golden, rtol=0, atol=within)


def state(name: str) -> dict[str, Tensor]:
    """The weights of a set, by the original's names."""
    return load_file(_folder(name) / f"{name}_state.safetensors")


def load_language_model(name: str) -> LanguageModel:
    """The network of a set."""
    config = CONFIG[name]["config"]
    shape = LanguageModelShape(
        layers=config["n_layer"],
        width=config["n_embd"],
        heads=config["n_head"],
        groups=config["n_query_groups"],
        head_width=config["head_size"],
        mlp_width=config["intermediate_size"],
        text_vocabulary=config["text_vocab_size"],
        audio_vocabulary=config["audio_vocab_size"],
        adapter_width=config["whisper_adapter_dim"],
        positions=config["block_size"],
        rope_base=config["rope_base"],
        norm_epsilon=config["norm_eps"],
        tied=config["tie_word_embeddings"],
    )
    return language_model(shape, state(name))


def encoder_shape() -> EncoderShape:
    """Of the whisper set."""
    config = CONFIG["whisper"]
    return EncoderShape(
        bins=config["n_mels"],
        frames=config["n_audio_ctx"],
        width=config["n_audio_state"],
        heads=config["n_audio_head"],
        layers=config["n_audio_layer"],
    )


@dataclass
class Written:
    """What the loop wrote.

    Attributes:
        prefill: [B, T, V], the logits of the whole prompt: text, then the audio layers.
        tokens: of each step [8]: the seven local audio ids and the text id.
        logits: of each step [B, V].
        margins: of each step [8], one that ends it all too: the best logit less the second best.
    """

    prefill: Tensor
    tokens: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    margins: list[Tensor] = field(default_factory=list)


def all_logits(model: LanguageModel, hidden: Tensor) -> Tensor:
    """[..., D] to [..., V], ordered as the golden arrays are."""
    text, audio = model.text_logits(hidden), model.audio_logits(hidden)
    return torch.cat((text, audio.flatten(-2)), -1)


def write(
    model: LanguageModel,
    ids: Tensor,
    features: Tensor | None,
    steps: int,
    *,
    speaks: bool = True,
    end_of_text: int | None = None,
) -> Written:
    """Answer one prompt as the original does, step by step.

    Args:
        model: of the language.
        ids: [8, B, T]; the audio is taken from the first row, the text from the last.
        features: [B, N, adapter width], what was heard.
        steps: at most so many.
        speaks: whether the answer has audio; else its end is the text's.
        end_of_text: instead of the vocabulary's.
    """
    vocabulary = Vocabulary.of(model.shape)
    end = vocabulary.end_of_text if end_of_text is None else end_of_text
    _, batch, length = ids.shape
    cache, rows = KeyValueCache(model.shape, batch, length + steps), torch.arange(batch)
    x = model.embed(ids, None if features is None else model.adapt(features))
    hidden = model(x, cache, rows, torch.zeros(batch, dtype=torch.int64))
    written = Written(all_logits(model, hidden))
    text_ended = False
    for step in range(steps):
        logits = [*model.audio_logits(hidden[0, -1]), model.text_logits(hidden[-1, -1])]
        best = torch.stack([each.topk(2).values for each in logits])
        written.margins.append(best[:, 0] - best[:, 1])
        chosen = [int(each.argmax(-1)) for each in logits]
        if text_ended:
            chosen[-1] = vocabulary.pad_text
        if speaks and step and chosen[CODEBOOKS - 1] == vocabulary.end_of_audio:
            break
        if chosen[-1] == end and (step or not speaks):
            if not speaks:
                break
            text_ended = True
        written.tokens.append(torch.tensor(chosen))
        written.logits.append(all_logits(model, hidden[:, -1]))
        pads = [vocabulary.shift(vocabulary.pad_audio, layer) for layer in range(CODEBOOKS)]
        said = [vocabulary.shift(code, layer) for layer, code in enumerate(chosen[:CODEBOOKS])]
        fed = [[*(said if speaks and row == 0 else pads), chosen[-1]] for row in range(batch)]
        x = model.embed(torch.tensor(fed).T[:, :, None])
        hidden = model(x, cache, rows, torch.full((batch,), length + step))
    return written


def _folder(name: str) -> Path:
    return SHARED / "golden/mini_omni" if name == "full" else GOLDEN
