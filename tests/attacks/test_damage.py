"""Mini-Omni's weights, damaged in every file and way: made anew where they can be, else one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("duologue.system.openvino")

from duologue import cli, weights
from duologue.conversation.prompt import Prompt
from duologue.errors import DuologueError, ModelUnavailable
from duologue.models import load_model, mini_omni
from duologue.models.mini_omni.arrangement import is_made, variant
from duologue.models.mini_omni.checkpoint import (
    Checkpoint,
    find_checkpoint,
    open_checkpoint,
    read_tensors,
    write_tensors,
)
from duologue.models.mini_omni.checksums import seal, verify
from duologue.testing import tone

INT8 = "int8.safetensors"
CONVERTED = [f"{part}.safetensors" for part in ("language_model", "encoder", "snac")]


def garble(path: Path) -> None:
    """1,000 bytes of 0xff in the middle: the size stays, and so does the header."""
    content = bytearray(path.read_bytes())
    middle = len(content) * 3 // 4
    content[middle : middle + 1000] = bytes([255]) * len(content[middle : middle + 1000])
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([255]) * 8 + content[8:])


def nest_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8 : 8 + 100_000] = b"[" * 100_000
    path.write_bytes(content)


def make_folder(path: Path) -> None:
    path.unlink()
    (path / "in it").mkdir(parents=True)


def remove_seal(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").unlink()


DAMAGES = [garble, cut, empty, lengthen_header, nest_header, make_folder]

Damage = Callable[[Path], None]


@pytest.fixture
def checkpoint(
    mini_omni_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Checkpoint:
    """Mini-Omni in small in a cache folder of its own, with its int8 file."""
    shutil.copytree(mini_omni_cache / "mini-omni-random", tmp_path / "mini-omni-random")
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    checkpoint = find_checkpoint()
    variant(checkpoint, "int8")
    return checkpoint


async def answer() -> int:
    """Start the model and let it answer; gives how many samples it said."""
    model = load_model("mini-omni", device="cpu", max_reply="1", slots="1")
    try:
        await model.start()
        said = [chunk.audio async for chunk in model.reply(Prompt(tone(0.5))) if chunk.audio]
    finally:
        await model.close()
    return sum(len(audio.samples) for audio in said)


@pytest.mark.parametrize("damage", [*DAMAGES, remove_seal], ids=lambda damage: damage.__name__)
def test_a_damaged_int8_file_is_made_anew(
    checkpoint: Checkpoint, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    path = checkpoint.folder / INT8
    whole = path.read_bytes()
    damage(path)
    assert not is_made(checkpoint, "int8")
    assert variant(checkpoint, "int8") == path
    assert path.read_bytes() == whole
    assert is_made(checkpoint, "int8")
    assert f"{path} is damaged; it is made anew" in caplog.text


async def test_a_start_makes_a_damaged_int8_file_anew(checkpoint: Checkpoint) -> None:
    cut(checkpoint.folder / INT8)
    assert await answer()
    assert is_made(checkpoint, "int8")


@pytest.mark.parametrize("name", CONVERTED)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_of_a_converted_file_is_found_and_the_sentence_has_a_remedy(
    checkpoint: Checkpoint, name: str, damage: Damage
) -> None:
    damage(checkpoint.folder / name)
    with pytest.raises(ModelUnavailable) as caught:
        verify(open_checkpoint(checkpoint.folder))
    sentence = str(caught.value)
    assert name in sentence
    assert sentence.endswith("run: duologue pull mini-omni --random")
    assert len(sentence) < 600


@pytest.mark.parametrize("name", ["snac.safetensors", "tokenizer.json"])
def test_no_start_with_damaged_small_files(checkpoint: Checkpoint, name: str) -> None:
    garble(checkpoint.folder / name)
    with pytest.raises(ModelUnavailable, match=f"{name} in .* is damaged; run: duologue pull"):
        load_model("mini-omni", device="cpu")


async def test_no_damaged_int8_file_is_made_anew_of_damaged_ones(checkpoint: Checkpoint) -> None:
    garble(checkpoint.folder / "language_model.safetensors")
    cut(checkpoint.folder / INT8)
    with pytest.raises(ModelUnavailable, match=r"language_model.safetensors in .* is damaged; run"):
        await answer()
    assert not is_made(checkpoint, "int8")


def test_pull_never_says_there_already_of_damaged_files(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tiny_mini_omni import original

    files = original(tmp_path / "original")
    made: list[str] = []

    def make_random(folder: Path, *_: object) -> None:
        made.append("random")
        shutil.copytree(files.mini_omni, folder, dirs_exist_ok=True)

    monkeypatch.setattr("duologue.models.mini_omni.random_weights.make_random", make_random)
    monkeypatch.setattr(weights, "pull", lambda name: False)
    pull = ["pull", "mini-omni", "--random"]
    assert cli.main(pull) == 0
    assert "there already" in capsys.readouterr().out
    for name in (*CONVERTED, "tokenizer.json"):
        garble(checkpoint.folder / name)
        assert cli.main(pull) == 0
        assert "there already" not in capsys.readouterr().out
        assert made.pop() == "random"
        verify(find_checkpoint())
    garble(checkpoint.folder / INT8)
    assert cli.main(pull) == 0
    assert "there already" not in capsys.readouterr().out
    assert is_made(find_checkpoint(), "int8")
    assert made == []


def test_doctor_finds_damage(checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor"])
    assert "ok       the weights mini-omni" in capsys.readouterr().out
    (checkpoint.folder / INT8).write_bytes(b"")
    cli.main(["doctor"])
    assert "int8 is not there, or damaged: the next start makes it anew" in capsys.readouterr().out
    garble(checkpoint.folder / "encoder.safetensors")
    cli.main(["doctor"])
    assert "absent   the weights mini-omni: encoder.safetensors in" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mini-omni", "mini-omni-random"])
def test_an_empty_folder_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    (tmp_path / name).mkdir()
    assert not mini_omni.is_there()
    with pytest.raises(ModelUnavailable, match=r"weights are missing; run: duologue pull"):
        find_checkpoint()


def test_an_empty_folder_hides_no_random_weights(checkpoint: Checkpoint) -> None:
    (checkpoint.folder.parent / "mini-omni").mkdir()
    assert find_checkpoint().folder == checkpoint.folder


async def test_weights_that_are_no_numbers_are_no_sound(checkpoint: Checkpoint) -> None:
    """Sealed as they are: what a wrong conversion would give."""
    from duologue.models.watched import Watched

    path = checkpoint.folder / "snac.safetensors"
    tensors = {name: np.array(array) for name, array in read_tensors(path).items()}
    tensors["decoder.model.0.bias"][:] = np.nan
    write_tensors(path, tensors.items())
    description = checkpoint.folder / "checkpoint.json"
    said = json.loads(description.read_text())
    seal(path)
    said["sha256"][path.name] = path.with_name(f"{path.name}.sha256").read_text().split()[0]
    description.write_text(json.dumps(said))
    model = Watched(load_model("mini-omni", device="cpu", max_reply="1", slots="1"))
    await model.start()
    try:
        with pytest.raises(DuologueError, match="holds no numbers"):
            [chunk async for chunk in model.reply(Prompt(tone(0.5)))]
    finally:
        await model.close()


def test_a_tokenizer_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    from duologue.models.mini_omni import model

    for content in (b"", b"\xff" * 100, b"{}", b'{"model": {"type": "BPE"}}'):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(ModelUnavailable, match=r"tokenizer.json is no tokenizer that can be"):
            model._read(tmp_path / "tokenizer.json")
