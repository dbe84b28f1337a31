import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.checkpoint import (
    check_tensors,
    checkpoint_folder,
    encoder_tensors,
    find_checkpoint,
    language_model_tensors,
    open_checkpoint,
    read_tensors,
    snac_tensors,
    write_tensors,
)
from duologue.models.mini_omni.convert import convert
from duologue.models.mini_omni.nets.shapes import EncoderShape, LanguageModelShape, SnacShape
from tiny_mini_omni import ENCODER, LANGUAGE_MODEL, SNAC, original

GOLDEN = Path(__file__).parents[2] / "golden/mini_omni"

ARRAYS: dict[str, NDArray[Any]] = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "half": np.array([[0.5], [-2.0]], np.float16),
    "few": np.arange(-3, 4, dtype=np.int8),
    "bytes": np.arange(5, dtype=np.uint8),
    "behind an odd number of bytes": np.array([1.5, -1.5], np.float32),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DUOLOGUE_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(cache: Path, tmp_path: Path) -> Path:
    """A checkpoint where it should lie."""
    convert(original(tmp_path / "original"), cache / "mini-omni")
    return cache / "mini-omni"


def complaint(folder: Path) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        open_checkpoint(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("small_state", language_model_tensors(LANGUAGE_MODEL)),
        ("whisper_state", encoder_tensors(ENCODER)),
        ("snac_state", snac_tensors(SNAC)),
    ],
)
def test_the_original_s_networks_consist_of_what_is_expected(
    file: str, expected: dict[str, tuple[int, ...]]
) -> None:
    path = GOLDEN / f"{file}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    check_tensors(path, read_tensors(path), expected)


def test_full_size_networks_have_as_many_weights_as_their_authors_say() -> None:
    def weights(tensors: dict[str, tuple[int, ...]]) -> float:
        return sum(float(np.prod(shape)) for shape in tensors.values()) / 1e6

    # Millions; the specification of Mini-Omni's inference, sections 1 and 3.
    assert weights(language_model_tensors(LanguageModelShape())) == pytest.approx(694.3, abs=0.05)
    tied = language_model_tensors(LanguageModelShape(tied=True))
    assert weights(tied) == pytest.approx(532.0, abs=0.05)
    encoder = encoder_tensors(EncoderShape())
    del encoder["encoder.positional_embedding"]  # computed, not learnt, and so not counted there
    assert weights(encoder) == pytest.approx(87.0, abs=0.05)
    decoder = {key: s for key, s in snac_tensors(SnacShape()).items() if key.startswith("decoder")}
    assert weights(decoder) == pytest.approx(13.0, abs=0.1)


def test_a_checkpoint_says_what_it_is(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.language_model == LANGUAGE_MODEL
    assert checkpoint.encoder == ENCODER
    assert checkpoint.snac == SNAC
    assert checkpoint.random
    assert checkpoint.source == "random weights (noise)"


def test_real_weights_go_before_random_ones(cache: Path, folder: Path, tmp_path: Path) -> None:
    assert find_checkpoint().folder == find_checkpoint("real").folder == folder
    with pytest.raises(ModelUnavailable, match="missing; run: duologue pull mini-omni --random"):
        find_checkpoint("random")
    folder.rename(cache / "mini-omni-random")
    assert find_checkpoint().folder == find_checkpoint("random").folder
    with pytest.raises(
        ModelUnavailable, match=r"weights are missing; run: duologue pull mini-omni$"
    ):
        find_checkpoint("real")


def test_broken_real_weights_are_not_replaced_by_noise(cache: Path, folder: Path) -> None:
    checkpoint_folder(random=True).mkdir()
    (folder / "snac.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"snac\.safetensors in .* is missing"):
        find_checkpoint()


def test_a_file_that_is_cut_short_is_named(folder: Path) -> None:
    path = folder / "encoder.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert complaint(folder) == (
        f"encoder.safetensors in {folder} has {size - 1} bytes, not {size}; "
        "run: duologue pull mini-omni"
    )


def test_another_format_is_converted_again(folder: Path) -> None:
    description = folder / "checkpoint.json"
    said = json.loads(description.read_text())
    description.write_text(json.dumps({**said, "format": 99}))
    assert "another version of Duologue (its format is 99, not 2)" in complaint(folder)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2}', '{"format": 2, "random": 1', "[" * 9999, "{"]
)
def test_a_description_that_says_nothing_is_one_sentence(folder: Path, content: str) -> None:
    (folder / "checkpoint.json").write_text(content)
    assert "checkpoint.json is missing in" in complaint(folder)


def test_a_tensor_is_named_that_is_missing_or_too_much_or_of_another_shape(folder: Path) -> None:
    path = folder / "snac.safetensors"
    tensors = read_tensors(path)
    key = "decoder.model.0.bias"
    for change, sentence in (
        ({key: tensors[key][:-1]}, f"{key} in {path} has the shape [31], not [32]"),
        ({"more": tensors[key]}, f"{path} has more, which is no part of Mini-Omni"),
    ):
        with pytest.raises(ModelUnavailable) as caught:
            check_tensors(path, {**tensors, **change}, snac_tensors(SNAC))
        assert str(caught.value) == sentence
    del tensors[key]
    with pytest.raises(ModelUnavailable, match=rf"has no {key}, which Mini-Omni needs"):
        check_tensors(path, tensors, snac_tensors(SNAC))


def test_a_checkpoint_whose_shapes_are_others_is_not_opened(folder: Path) -> None:
    description = folder / "checkpoint.json"
    said = json.loads(description.read_text())
    said["encoder"]["layers"] = 3
    description.write_text(json.dumps(said))
    assert "has no encoder.blocks.2.attn_ln.weight" in complaint(folder)


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    write_tensors(path, ARRAYS.items(), {"made": "here"})
    for read in (read_tensors(path), load_file(path)):
        assert read.keys() == ARRAYS.keys()
        for key, array in ARRAYS.items():
            assert read[key].dtype == array.dtype
            np.testing.assert_array_equal(read[key], array)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_others_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    save_file(ARRAYS, path)
    for key, array in read_tensors(path).items():
        np.testing.assert_array_equal(array, ARRAYS[key])


def test_writing_into_an_array_does_not_change_the_file(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    write_tensors(path, ARRAYS.items())
    read_tensors(path)["few"].fill(0)
    np.testing.assert_array_equal(read_tensors(path)["few"], ARRAYS["few"])


def test_a_failure_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    with pytest.raises(KeyError):
        write_tensors(path, {"complex": np.zeros(1, np.complex64)}.items())
    assert not path.exists()


def test_a_file_that_is_missing_or_empty_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    with pytest.raises(ModelUnavailable, match="there is no"):
        read_tensors(path)
    path.touch()
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        read_tensors(path)


@given(data=st.data())
def test_no_part_of_a_file_is_read_as_a_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("part") / "arrays.safetensors"
    save_file(ARRAYS, path)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(1, len(content) - 1))])
    with pytest.raises(ModelUnavailable, match="cut short"):
        read_tensors(path)


@given(junk=st.binary(min_size=1, max_size=100))
def test_junk_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("junk") / "arrays.safetensors"
    path.write_bytes(len(junk).to_bytes(8, "little") + junk)
    with pytest.raises(ModelUnavailable):
        read_tensors(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]},
        {"dtype": "F32", "data_offsets": [0, 4]},
        {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]},
    ],
)
def test_an_array_that_contradicts_itself_is_named(
    tmp_path: Path, entry: dict[str, object]
) -> None:
    path = tmp_path / "arrays.safetensors"
    header = json.dumps({"odd": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ModelUnavailable, match=f"odd in {path} cannot be read: its header says"):
        read_tensors(path)


def test_a_tied_head_is_not_expected() -> None:
    tied = language_model_tensors(replace(LANGUAGE_MODEL, tied=True))
    assert language_model_tensors(LANGUAGE_MODEL).keys() - tied.keys() == {"lm_head.weight"}
