import errno
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.checkpoint import open_checkpoint, read_tensors
from duologue.models.mini_omni.convert import convert, pull, replacing
from duologue.models.mini_omni.original import Original
from tiny_mini_omni import LANGUAGE_MODEL, original


@pytest.fixture
def made(tmp_path: Path) -> Original:
    return original(tmp_path / "original")


def edit(path: Path, **tensors: torch.Tensor | None) -> None:
    """Change what torch saved; None: leave it out."""
    said = torch.load(path, weights_only=True)
    inner = said.get("model_state_dict", said)
    for key, tensor in tensors.items():
        inner.pop(key)
        if tensor is not None:
            inner[key] = tensor
    torch.save(said, path)


def test_every_tensor_arrives_as_it_was(made: Original, tmp_path: Path) -> None:
    checkpoint = convert(made, tmp_path / "new")
    for name, path in (
        ("language_model", made.mini_omni / "lit_model.pth"),
        ("encoder", made.whisper / "small.pt"),
        ("snac", made.snac / "pytorch_model.bin"),
    ):
        there = torch.load(path, weights_only=True)
        there = there.get("model_state_dict", there)
        here = read_tensors(checkpoint.folder / f"{name}.safetensors")
        assert here.keys() == there.keys()
        for key, tensor in there.items():
            assert here[key].dtype == tensor.numpy().dtype  # fp16 stays fp16
            np.testing.assert_array_equal(here[key], tensor.numpy())
    tokenizer = (made.mini_omni / "tokenizer.json").read_bytes()
    assert (checkpoint.folder / "tokenizer.json").read_bytes() == tokenizer
    assert checkpoint == open_checkpoint(tmp_path / "new")


def test_a_tied_head_is_kept_once(tmp_path: Path) -> None:
    made = original(tmp_path / "original", replace(LANGUAGE_MODEL, tied=True))
    checkpoint = convert(made, tmp_path / "new")
    assert checkpoint.language_model.tied
    assert "lm_head.weight" not in read_tensors(tmp_path / "new/language_model.safetensors")


def test_bf16_becomes_fp32(made: Original, tmp_path: Path) -> None:
    path = made.mini_omni / "lit_model.pth"
    tensors = torch.load(path, weights_only=True)
    torch.save({key: tensor.bfloat16() for key, tensor in tensors.items()}, path)
    convert(made, tmp_path / "new")
    table = read_tensors(tmp_path / "new/language_model.safetensors")["transformer.wte.weight"]
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, tensors["transformer.wte.weight"].bfloat16().float())


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("lit_model.pth", "transformer.h.1.attn.attn.bias"),
        ("lit_model.pth", "lm_head.weight"),
        ("small.pt", "encoder.ln_post.bias"),
        ("snac_24khz/pytorch_model.bin", "decoder.model.7.bias"),
    ],
)
def test_a_tensor_that_is_wrong_is_named_with_its_file(
    made: Original, tmp_path: Path, file: str, key: str
) -> None:
    path = made.mini_omni / file
    whole = path.read_bytes()
    for tensor, sentence in (
        (None, f"{path} has no {key}, which Mini-Omni needs"),
        (torch.zeros(1, 2, 3), rf"{key} in {path} has the shape \[1, 2, 3\], not \["),
    ):
        edit(path, **{key: tensor})
        with pytest.raises(ModelUnavailable, match=sentence):
            convert(made, tmp_path / "new")
        path.write_bytes(whole)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_named(made: Original, tmp_path: Path, value: float) -> None:
    key = "decoder.model.6.alpha"
    edit(made.snac / "pytorch_model.bin", **{key: torch.full((1, 4, 1), value)})
    with pytest.raises(ModelUnavailable, match=f"{key} in .* holds something that is no finite"):
        convert(made, tmp_path / "new")


def test_a_key_of_another_model_is_named(made: Original, tmp_path: Path) -> None:
    path = made.mini_omni / "lit_model.pth"
    tensors = torch.load(path, weights_only=True)
    torch.save({**tensors, "vision_adapter.fc_1.weight": torch.ones(2)}, path)
    with pytest.raises(
        ModelUnavailable, match=r"has vision_adapter\.fc_1\.weight, which is no part"
    ):
        convert(made, tmp_path / "new")


def test_an_encoder_of_another_width_is_one_sentence(made: Original, tmp_path: Path) -> None:
    other = original(tmp_path / "other", replace(LANGUAGE_MODEL, adapter_width=48))
    with pytest.raises(
        ModelUnavailable, match="gives features of 32 values, and Mini-Omni expects 48"
    ):
        convert(replace(made, mini_omni=other.mini_omni), tmp_path / "new")


@pytest.mark.parametrize("content", [None, b'{"version": ', b"\xff\xfe"])
def test_a_tokenizer_that_is_missing_or_cut_short_is_named(
    made: Original, tmp_path: Path, content: bytes | None
) -> None:
    path = made.mini_omni / "tokenizer.json"
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=str(path)):
        convert(made, tmp_path / "new")


def test_a_new_conversion_takes_away_what_was_made_of_the_old_one(
    made: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("DUOLOGUE_CACHE", str(cache))
    said: list[str] = []
    folder = pull(made, said.append).folder
    assert folder == cache / "mini-omni"
    (folder / "int8.safetensors").write_text("of the old weights")
    (cache / "pull-killed").mkdir()  # what a process leaves behind that was killed
    pull(made, said.append)
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "mini-omni"]
    assert not (folder / "int8.safetensors").exists()
    assert said == ["converting the weights, once"] * 2


def test_a_failure_leaves_what_was_there(
    made: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path / "cache"))
    before = pull(made, lambda _: None)
    (made.mini_omni / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailable, match="there is no"):
        pull(made, lambda _: None)
    assert open_checkpoint(before.folder) == before


def test_a_full_disk_and_a_folder_that_can_t_be_written_are_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelUnavailable, match=f"the disk of {tmp_path} is full, .* DUOLOGUE_CACHE"),
        replacing(tmp_path / "mini-omni"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    (tmp_path / "file").touch()
    with (
        pytest.raises(ModelUnavailable, match=r"cannot be written .*; set DUOLOGUE_CACHE"),
        replacing(tmp_path / "file/mini-omni"),
    ):
        pass


@pytest.mark.parametrize("module", ["convert", "random_weights"])
def test_without_torch_it_says_how_to_get_it(module: str) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from duologue.models.mini_omni import checkpoint\n"
        f"from duologue.models.mini_omni import {module}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.rstrip().endswith(
        "converting Mini-Omni's weights takes torch, which is missing; "
        "install it with: pip install 'duologue[torch]'"
    )
