from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from duologue.models.mini_omni import random_weights
from duologue.models.mini_omni.nets.shapes import CODEBOOKS, SnacShape
from duologue.models.mini_omni.nets.snac import snac_decoder
from duologue.models.mini_omni.nets.snac_stream import SeededNoise, SnacStream, by_latent, speak
from duologue.models.mini_omni.random_weights import make_random
from duologue.models.mini_omni.vocabulary import Vocabulary
from tiny_mini_omni import ENCODER, LANGUAGE_MODEL, SNAC

FILES = (
    "lit_model.pth",
    "model_config.yaml",
    "small.pt",
    "snac_24khz/config.json",
    "snac_24khz/pytorch_model.bin",
    "tokenizer.json",
)


def made(folder: Path, seed: int = 0, snac: SnacShape = SNAC) -> Path:
    folder.mkdir()
    make_random(folder, LANGUAGE_MODEL, ENCODER, snac, seed)
    return folder


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    one, two, other = made(tmp_path / "one"), made(tmp_path / "two"), made(tmp_path / "other", 1)
    files = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert files == sorted(FILES)
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (one / FILES[0]).read_bytes() != (other / FILES[0]).read_bytes()


def test_no_audio_layer_says_that_it_has_ended(tmp_path: Path) -> None:
    head = torch.load(made(tmp_path / "it") / "lit_model.pth", weights_only=True)["lm_head.weight"]
    v = Vocabulary.of(LANGUAGE_MODEL)
    hidden = torch.randn(100, LANGUAGE_MODEL.width, generator=torch.Generator().manual_seed(1))
    logits = (hidden @ head.T)[:, v.text_size :].unflatten(1, (CODEBOOKS, v.audio_size))
    assert (logits.argmax(-1) < v.codes).all()
    assert (head.norm(dim=1) == 0).sum() == CODEBOOKS * (v.audio_size - v.codes)


def test_every_text_id_is_a_word_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(random_weights._tokenizer(Vocabulary().end_of_text))
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 151_936
    ids = [0, 1, 77, 151_935]
    words = tokenizer.decode(ids)
    assert words.replace(" ", "").isalpha()
    assert tokenizer.encode(words.capitalize()).ids == ids
    assert tokenizer.encode("What?").ids  # anything can be asked


def test_the_noise_is_as_loud_as_speech_and_does_not_clip() -> None:
    shape = SnacShape()
    tensors = random_weights._snac(shape, torch.Generator().manual_seed(random_weights.SEED))
    decoder = snac_decoder(shape, {key: tensor.numpy() for key, tensor in tensors.items()})
    codes = np.random.default_rng(0).integers(0, shape.codes, (1, CODEBOOKS, 12))
    [sound] = speak(decoder, [SnacStream(shape, SeededNoise(0))], by_latent(codes))
    assert 0.05 < np.sqrt(np.mean(sound**2)) < 0.2
    assert np.abs(sound).max() < 0.9


def test_pull_makes_it_once_and_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    for name, shape in (
        ("LanguageModelShape", LANGUAGE_MODEL),
        ("EncoderShape", ENCODER),
        ("SnacShape", SNAC),
    ):  # the real ones take half a minute and six gigabytes
        monkeypatch.setattr(random_weights, name, lambda shape=shape: shape)
    checkpoint, done = random_weights.pull(lambda _: None)
    assert done
    assert checkpoint.random
    assert checkpoint.source == "random weights (noise)"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "mini-omni-random"]
    assert random_weights.pull(pytest.fail) == (checkpoint, False)
    (checkpoint.folder / "snac.safetensors").unlink()
    assert random_weights.pull(lambda _: None) == (checkpoint, True)
