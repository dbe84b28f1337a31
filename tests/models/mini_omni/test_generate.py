import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch

from duologue.errors import InvalidRequest
from duologue.models.mini_omni.nets.lm import LanguageModel
from duologue.models.mini_omni.nets.snac import snac_decoder
from duologue.models.mini_omni.nets.whisper import encoder
from duologue.models.mini_omni.prompts import Task, text_prompt
from duologue.models.mini_omni.runtime import Floats
from duologue.models.mini_omni.torch_runtime import TorchRuntime
from duologue.models.mini_omni.vocabulary import Vocabulary
from models.mini_omni import generate
from models.mini_omni.nets.generate import encoder_shape, load_language_model, state, vectors
from models.mini_omni.nets.voice import SHAPE, tensors

STEPS = 40  # of the golden replies, at most


@pytest.fixture(scope="module")
def small() -> LanguageModel:
    return load_language_model("small")


@pytest.fixture(scope="module")
def full() -> LanguageModel:
    return load_language_model("full")


def _runtime(model: LanguageModel) -> TorchRuntime:
    return TorchRuntime(
        model,
        encoder(encoder_shape(), state("whisper")),
        snac_decoder(SHAPE, tensors()),
        SHAPE,
        2,
        pool=False,
    )


def _question(
    model: LanguageModel, name: str, mode: str
) -> tuple[NDArray[np.int64], Floats | None]:
    """The prompt but for its last position, and what was heard, adapted."""
    golden = vectors(name)
    ids = golden[f"{mode}_input_ids"].reshape(8, -1, golden[f"{mode}_input_ids"].shape[-1])[:, 0]
    features = golden.get(f"{mode}_audio_features")
    return ids[:, :-1].numpy(), None if features is None else model.adapt(features[0]).numpy()


def _speak(model: LanguageModel, name: str, mode: str, *, parallel: bool) -> list[list[int]]:
    prompt, features = _question(model, name, mode)
    reply = generate.speak(_runtime(model), prompt, STEPS, features, parallel=parallel)
    return [[*audio, text] for audio, text in zip(reply.audio, reply.text, strict=True)]


@pytest.mark.parametrize("mode", ["batch", "stop_eoa", "A1A2", "T1A2"])
def test_a_spoken_reply_is_the_original_s(small: LanguageModel, mode: str) -> None:
    spoken = _speak(small, "small", mode, parallel=mode not in ("A1A2", "T1A2"))
    assert spoken == vectors("small")[f"{mode}_tokens"].T.tolist()


def test_a_reply_whose_text_ends_in_the_middle_is_the_original_s(
    small: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopsEarly(Vocabulary):
        """With the end that the golden reply was given, and nothing else moved."""

        end_of_text = 222
        pad_text, answer_text = 449, 451

    monkeypatch.setattr(generate, "Vocabulary", StopsEarly)
    spoken = _speak(small, "small", "stop_eot", parallel=True)
    assert spoken == vectors("small")["stop_eot_tokens"].T.tolist()


@pytest.mark.shared
def test_a_reply_in_the_real_vocabulary_is_the_original_s(full: LanguageModel) -> None:
    spoken = _speak(full, "full", "batch", parallel=True)
    assert spoken == vectors("full")["batch_tokens"].T.tolist()


@pytest.mark.parametrize("task", [Task.A1T2, Task.A1T1, Task.T1T2])
def test_a_written_reply_is_the_original_s(small: LanguageModel, task: Task) -> None:
    prompt, features = _question(small, "small", task.name)
    reply = generate.write(_runtime(small), prompt, task, STEPS, features)
    assert torch.equal(torch.tensor(reply.text), vectors("small")[f"{task.name}_tokens"])


def test_a_text_of_no_tokens_is_answered_and_one_of_3000_is_refused(small: LanguageModel) -> None:
    runtime, vocabulary = _runtime(small), Vocabulary.of(small.shape)
    assert generate.write(runtime, text_prompt(vocabulary, []), Task.T1T2, 3).text
    assert len(generate.speak(runtime, text_prompt(vocabulary, []), 3).audio) == 3
    endless = text_prompt(vocabulary, [5] * 3000)
    with pytest.raises(InvalidRequest, match="may have 255 positions, and this one has 3002"):
        generate.write(runtime, endless, Task.T1T2, 3)
    with pytest.raises(InvalidRequest, match="3002"):
        generate.speak(runtime, endless, 3)


def test_a_reply_ends_where_the_model_has_no_more_positions(small: LanguageModel) -> None:
    vocabulary = Vocabulary.of(small.shape)
    prompt = text_prompt(vocabulary, [5] * 240)
    assert len(generate.speak(_runtime(small), prompt, 500).audio) <= 256 - 242
