import gc

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("duologue.system.openvino")
pytest.importorskip("torch")
pytest.importorskip("safetensors")

from torch import Tensor, cosine_similarity, from_numpy

from duologue.audio.log_mel import log_mel
from duologue.models.mini_omni.arrangement import quantise
from duologue.models.mini_omni.cpu.encoder import build_encoder
from duologue.models.mini_omni.nets.whisper import encoder
from duologue.models.mini_omni.nets.window import Window, exact, pooled
from duologue.system.openvino import ov
from models.mini_omni.nets.generate import assert_near, encoder_shape, state, vectors


def _encode(
    tensors: dict[str, Tensor],
    mel: NDArray[np.float32],
    pieces: int,
    window: Window | None = None,
    wanted: int | None = None,
) -> Tensor:
    """[P, D]"""
    window = window or exact(mel.shape[1] // 2)
    models = build_encoder(
        encoder_shape(),
        {name: tensor.numpy() for name, tensor in tensors.items()},
        pieces,
    )
    gc.collect()  # the graphs must need none of the arrays that they were built from
    assert len(models) == pieces
    core, x = ov.Core(), mel[None, :, : window.mel]
    known = {
        "taken": window.taken,
        "positions": window.positions,
        "weights": window.weights,
        "wanted": np.array([wanted or len(window.positions)]),
    }
    for model in models:
        names = [port.any_name for port in model.inputs if port.any_name != "x"]
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        x = compiled({"x": x, **{name: known[name] for name in names}})[0]
    return from_numpy(x[0].copy())


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return vectors("whisper")


def test_the_features_of_a_recording_are_the_original_s(golden: dict[str, Tensor]) -> None:
    features = _encode(state("whisper"), log_mel(golden["audio16k"].numpy()), 2)
    assert features.shape == (1500, 32)
    assert_near(features[:128], golden["encoder_out_first128"])
    assert_near(features[-4:], golden["encoder_out_last4"])


def test_the_first_features_are_the_same_when_no_others_are_wanted(
    golden: dict[str, Tensor],
) -> None:
    mel = log_mel(golden["audio16k"].numpy())
    features = _encode(state("whisper"), mel, 2, wanted=98)
    assert features.shape == (98, 32)
    assert_near(features, golden["encoder_out_first128"][:98])


@pytest.mark.parametrize("heard", [5, 98, 700, 1450])
def test_a_pooled_window_gives_what_torch_gives(heard: int) -> None:
    speech = 0.1 * np.random.default_rng(heard).standard_normal(320 * heard).astype(np.float32)
    mel, window = log_mel(speech), pooled(heard, 1500)
    right = encoder(encoder_shape(), state("whisper"))(from_numpy(mel)[None], window)[0]
    assert len(right) == len(window.positions)
    assert_near(_encode(state("whisper"), mel, 2, window=window), right)
    assert_near(_encode(state("whisper"), mel, 2, window=window, wanted=heard), right[:heard])


def test_weights_in_eight_bits_stay_near_the_original(golden: dict[str, Tensor]) -> None:
    stored = {name: tensor.numpy() for name, tensor in state("whisper").items()}
    fewer = {name: from_numpy(array) for name, array in quantise(stored.items(), "int8")}
    features = _encode(fewer, log_mel(golden["audio16k"].numpy()), 2)
    right = golden["encoder_out_first128"]
    assert cosine_similarity(features[:128].flatten(), right.flatten(), 0) > 0.999


def test_float16_weights_and_a_short_window_give_what_torch_gives() -> None:
    halves = {name: tensor.half() for name, tensor in state("whisper").items()}
    mel = np.random.default_rng(4).standard_normal((80, 500), np.float32)
    right = encoder(encoder_shape(), halves)(from_numpy(mel)[None])[0]
    assert_near(_encode(halves, mel, 2), right)


def test_the_decoder_s_tensors_are_passed_over() -> None:
    tensors = state("whisper")
    mel = np.zeros((80, 100), np.float32)
    more = {**tensors, "decoder.ln.weight": tensors["encoder.ln_post.weight"]}
    assert_near(_encode(more, mel, 2), _encode(tensors, mel, 2))
