import io
import json
import re
from pathlib import Path

import pytest
import torch

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni import original as source
from duologue.models.mini_omni.nets.shapes import LanguageModelShape, SnacShape
from duologue.models.mini_omni.original import Original
from tiny_mini_omni import ENCODER, LANGUAGE_MODEL, SNAC, as_on_the_hub, original

# As the authors of the original write it, and with keys that mean nothing to us.
REAL_CONFIG = """\
attn_dropout: 0.0
add_qkv_bias: true
asr_adapter: llamamlp
bias: false
block_size: 2048  # positions
force_align: false
gelu_approximate: none
head_size: 64
hf_config:
  name: Qwen2-0.5B
  n_layer: 99
intermediate_size: 4864
lm_head_bias: false
mlp_class_name: LLaMAMLP
n_embd: 896
n_head: 14
n_layer: 24
n_query_groups: 2
name: Qwen2-0.5B
norm_class_name: "RMSNorm"
norm_eps: 1.0e-06
padded_vocab_size: 181120
parallel_residual: false
post_adapter: true
prompt_vocab_size: null
rope_base: 1000000
rotary_percentage: 1.0
shared_attention_norm: false
text_vocab_size: 152000
"""


class Malice:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def made(tmp_path: Path) -> Original:
    return original(tmp_path / "original")


def configure(original: Original, **keys: object) -> None:
    """Change lines of model_config.yaml; None: leave the key out."""
    path = original.mini_omni / source.CONFIG
    text = path.read_text()
    for key, value in keys.items():
        text = re.sub(f"^{key}:.*\n", "", text, flags=re.MULTILINE)
        text += "" if value is None else f"{key}: {value}\n"
    path.write_text(text)


def test_the_sizes_of_the_real_one_are_read(made: Original) -> None:
    (made.mini_omni / source.CONFIG).write_text(REAL_CONFIG)
    assert source.language_model(made.mini_omni)[1] == LanguageModelShape()


def test_what_the_file_does_not_say_is_the_original_s_default(made: Original) -> None:
    configure(made, norm_eps=None, rope_base=None, block_size=None, head_size="null")
    shape = source.language_model(made.mini_omni)[1]
    assert (shape.norm_epsilon, shape.rope_base, shape.positions) == (1e-5, 10_000, 4096)
    assert shape.head_width == LANGUAGE_MODEL.head_width


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("norm_class_name", "LayerNorm", "is LayerNorm by .*, and only RMSNorm is implemented"),
        ("norm_class_name", None, "is LayerNorm by .*, and only RMSNorm is implemented"),
        ("mlp_class_name", "GptNeoxMLP", "only LLaMAMLP is implemented"),
        ("rotary_percentage", 0.25, "only 1.0 is implemented"),
        ("bias", "True", "only False is implemented"),
        ("add_qkv_bias", "false", "only True is implemented"),
        ("asr_adapter", "mlp", "only llamamlp is implemented"),
        ("parallel_residual", "true", "only False is implemented"),
        ("n_layer", None, "does not say what n_layer is"),
        ("n_layer", "many", "n_layer is 'many' in .*, not a whole number above 0"),
        ("n_head", "0", "n_head is 0 in .*, not a whole number above 0"),
        ("n_query_groups", "3", "n_query_groups does not divide n_head"),
        ("norm_eps", "no", "norm_eps is 'no' in .*, not a number above 0"),
    ],
)
def test_a_configuration_that_is_not_implemented_is_one_sentence(
    made: Original, key: str, value: object, sentence: str
) -> None:
    configure(made, **{key: value})
    with pytest.raises(ModelUnavailable, match=sentence) as caught:
        source.language_model(made.mini_omni)
    assert key in str(caught.value)


def test_a_head_that_is_the_embedding_table_is_tied(made: Original) -> None:
    path = made.mini_omni / source.WEIGHTS
    tensors = torch.load(path, weights_only=True)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    torch.save(tensors, path)
    _, shape, kept = source.language_model(made.mini_omni)
    assert shape.tied
    assert "lm_head.weight" not in kept


def test_whisper_from_the_hub_is_whisper_from_its_authors(made: Original, tmp_path: Path) -> None:
    _, shape, theirs = source.encoder(made.whisper)
    as_on_the_hub(made.whisper / source.SMALL, tmp_path / "whisper-small")
    _, same, ours = source.encoder(tmp_path / "whisper-small")
    assert same == shape == ENCODER
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_small_pt_goes_without_its_decoder(made: Original) -> None:
    path = made.whisper / source.SMALL
    small = torch.load(path, weights_only=True)
    small["model_state_dict"]["decoder.ln.weight"] = torch.ones(3)
    torch.save(small, path)
    assert all(key.startswith("encoder.") for key in source.encoder(made.whisper)[2])


def test_snac_goes_without_its_encoder(made: Original) -> None:
    path = made.snac / source.SNAC_WEIGHTS
    tensors = torch.load(path, weights_only=True)
    more = {
        "encoder.block.0.bias": torch.ones(3),
        "quantizer.quantizers.0.in_proj.bias": torch.ones(8),
    }
    torch.save(tensors | more, path)
    _, shape, kept = source.snac(made.snac)
    assert shape == SNAC
    assert kept.keys() == tensors.keys()


def test_the_latents_of_snac_follow_from_its_encoder(made: Original) -> None:
    path = made.snac / source.SNAC_CONFIG
    said = json.loads(path.read_text())
    del said["latent_dim"]
    path.write_text(json.dumps({**said, "encoder_dim": 48, "encoder_rates": [2, 4, 8, 8]}))
    assert source.snac(made.snac)[1].latent == SnacShape().latent


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("vq_strides", [8, 4, 2, 1], r"only \[4, 2, 1\] is implemented"),
        ("attn_window_size", 32, "only None is implemented"),
        ("decoder_rates", [8, 8], "which makes no 2048 samples"),
        ("decoder_rates", None, "which makes no 2048 samples"),
        ("decoder_dim", "wide", "decoder_dim is 'wide'"),
    ],
)
def test_a_snac_that_is_not_implemented_is_one_sentence(
    made: Original, key: str, value: object, sentence: str
) -> None:
    path = made.snac / source.SNAC_CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ModelUnavailable, match=sentence):
        source.snac(made.snac)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "old format"])
def test_a_pickle_never_runs_code(made: Original, tmp_path: Path, archive: bool) -> None:
    path, mark = made.mini_omni / source.WEIGHTS, tmp_path / "mark"
    torch.save({"key": Malice(mark)}, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(ModelUnavailable, match=f"{path} wants to run .*; it was not run"):
        source.language_model(made.mini_omni)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have, otherwise


def test_the_old_format_of_torch_is_read(made: Original) -> None:
    path = made.snac / source.SNAC_WEIGHTS
    tensors = torch.load(path, weights_only=True)
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    kept = source.snac(made.snac)[2]
    assert all(torch.equal(kept[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "old format"])
@pytest.mark.parametrize("left", [0.999, 0.5, 0.001])
def test_weights_that_are_cut_short_are_one_sentence(
    made: Original, archive: bool, left: float
) -> None:
    path = made.snac / source.SNAC_WEIGHTS
    buffer = io.BytesIO()
    tensors = torch.load(path, weights_only=True)
    torch.save(tensors, buffer, _use_new_zipfile_serialization=archive)
    path.write_bytes(buffer.getvalue()[: int(left * buffer.tell())])
    with pytest.raises(ModelUnavailable, match=f"{path} .*cut short"):
        source.snac(made.snac)


def test_a_web_page_in_place_of_weights_is_one_sentence(made: Original) -> None:
    path = made.snac / source.SNAC_WEIGHTS
    path.write_text("<html>please log in</html>")
    with pytest.raises(ModelUnavailable, match=f"{path} is no file of torch, or is cut short"):
        source.snac(made.snac)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"model": {"a": torch.ones(2)}}, {1: 2}])
def test_something_else_than_tensors_is_one_sentence(made: Original, content: object) -> None:
    torch.save(content, made.mini_omni / source.WEIGHTS)
    with pytest.raises(ModelUnavailable, match="holds something else than tensors by name"):
        source.language_model(made.mini_omni)


def test_a_small_pt_that_is_no_whisper_is_one_sentence(made: Original) -> None:
    torch.save({"dims": {}}, made.whisper / source.SMALL)
    with pytest.raises(ModelUnavailable, match=r"small\.pt is no Whisper"):
        source.encoder(made.whisper)


@pytest.mark.parametrize("name", ["lit_model.pth", "model_config.yaml"])
def test_a_missing_file_is_named(made: Original, name: str) -> None:
    (made.mini_omni / name).unlink()
    with pytest.raises(ModelUnavailable, match=f"there is no {made.mini_omni / name}"):
        source.language_model(made.mini_omni)
