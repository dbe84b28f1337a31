"""The language model in OpenVINO against the golden logits, in full precision."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("duologue.system.openvino")
pytest.importorskip("torch")
pytest.importorskip("safetensors")


from duologue.models.mini_omni.arrangement import arrange, quantise
from duologue.models.mini_omni.cpu.language_model import LanguageModel, build_adapter
from duologue.models.mini_omni.runtime import Floats, Span
from duologue.system.openvino import ov
from models.mini_omni.nets.generate import load_language_model, state, vectors

EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}
SHAPE = load_language_model("small").shape
GOLDEN = {name: tensor.numpy() for name, tensor in vectors("small").items()}
ARRANGED = dict(arrange(SHAPE, {name: tensor.numpy() for name, tensor in state("small").items()}))
IDS = GOLDEN["batch_input_ids"].astype(np.int64)  # [8, 2, 15]
HEARD = 13  # positions that both rows have in common: all but the last two


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(ov.Core(), SHAPE, ARRANGED, 4, EXACT)


@pytest.fixture(scope="module")
def features() -> Floats:
    adapter = ov.Core().compile_model(build_adapter(ARRANGED), "CPU", EXACT)
    adapted: Floats = adapter({"x": GOLDEN["batch_audio_features"][0]})[0]
    np.testing.assert_allclose(adapted, GOLDEN["adapter_out"], atol=1e-5)
    return adapted


def logits(model: LanguageModel, hidden: Floats) -> NDArray[np.float32]:
    """[B, V] in the order of the golden arrays: text, then the audio layers."""
    audio = model.audio_logits(hidden).reshape(len(hidden), -1)
    return np.concatenate((model.text_logits(hidden), audio), 1)


def near(got: NDArray[np.float32], golden: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(got, golden, atol=2e-4, rtol=0)


def test_a_prompt_read_at_once_gives_the_original_s_logits(
    model: LanguageModel, features: Floats
) -> None:
    hidden = model.hidden([Span(row, 0, IDS[:, row], features) for row in range(2)])
    near(logits(model, hidden), GOLDEN["batch_prefill_logits"][:, -1])


@pytest.mark.parametrize("cuts", [[1], [5, 9], list(range(1, 15))])
def test_a_prompt_read_in_pieces_gives_the_same(
    model: LanguageModel, features: Floats, cuts: list[int]
) -> None:
    edges = [0, *cuts, 15]
    for start, end in pairwise(edges):
        hidden = model.hidden([Span(2, start, IDS[:, 0, start:end], features)])
    near(logits(model, hidden), GOLDEN["batch_prefill_logits"][:1, -1])


def test_a_row_that_began_as_another_goes_on_as_if_it_had_read_all_itself(
    model: LanguageModel, features: Floats
) -> None:
    model.hidden([Span(0, 0, IDS[:, 0, :14], features)])
    model.fork(0, 3, 14)
    hidden = model.hidden([Span(3, 14, IDS[:, 1, 14:])])
    near(logits(model, hidden), GOLDEN["batch_prefill_logits"][1:, -1])


def test_rows_of_different_lengths_in_one_pass_do_not_disturb_each_other(
    model: LanguageModel, features: Floats
) -> None:
    model.hidden([Span(0, 0, IDS[:, 0, :14], features)])
    model.hidden([Span(1, 0, IDS[:, 1, :3], features)])
    hidden = model.hidden(
        [
            Span(1, 3, IDS[:, 1, 3:9], features),
            Span(0, 14, IDS[:, 0, 14:]),
            Span(2, 0, IDS[:, 0], features),
        ]
    )
    golden = GOLDEN["batch_prefill_logits"]
    near(logits(model, hidden[1:2]), golden[:1, -1])
    near(logits(model, hidden[2:]), golden[:1, -1])
    hidden = model.hidden([Span(1, 9, IDS[:, 1, 9:], features)])
    near(logits(model, hidden), golden[1:, -1])


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.99), ("int4", 0.8)])
def test_fewer_bits_stay_near(features: Floats, precision: str, least: float) -> None:
    few = dict(quantise(ARRANGED.items(), precision))
    settings = {**EXACT, "KV_CACHE_PRECISION": "u8", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64}
    model = LanguageModel(ov.Core(), SHAPE, few, 2, settings)
    got = logits(model, model.hidden([Span(0, 0, IDS[:, 0], features)]))[0]
    right = GOLDEN["batch_prefill_logits"][0, -1]
    assert got @ right / np.linalg.norm(got) / np.linalg.norm(right) > least


def test_nothing_is_left_in_a_row_of_what_was_there_before(features: Floats) -> None:
    few = dict(quantise(ARRANGED.items(), "int8"))
    settings = {**EXACT, "KV_CACHE_PRECISION": "u8", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64}
    model = LanguageModel(ov.Core(), SHAPE, few, 2, settings)
    fresh = model.hidden([Span(0, 0, IDS[:, 0], features)])
    model.hidden([Span(1, 0, np.tile(IDS[:, 1], 3), 100 * features)])
    for position in range(45, 80):
        model.hidden([Span(1, position, IDS[:, 1, 2:3])])
    np.testing.assert_array_equal(model.hidden([Span(1, 0, IDS[:, 0], features)]), fresh)
