import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch

from duologue.audio.log_mel import log_mel
from duologue.models.mini_omni.nets.whisper import encoder
from duologue.models.mini_omni.nets.window import exact, pooled
from models.mini_omni.nets.generate import assert_near, encoder_shape, state, vectors


def test_the_features_of_a_recording_are_the_original_s() -> None:
    golden = vectors("whisper")
    mel = torch.from_numpy(log_mel(golden["audio16k"].numpy()))
    features = encoder(encoder_shape(), state("whisper"))(mel[None])[0]
    assert features.shape == (1500, 32)
    for name, got in (("first128", features[:128]), ("last4", features[-4:])):
        assert_near(got, golden[f"encoder_out_{name}"])


def test_a_window_of_all_positions_is_no_window() -> None:
    mel = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    model = encoder(encoder_shape(), state("whisper"))
    torch.testing.assert_close(model(mel, exact(1500)), model(mel), rtol=0, atol=1e-5)


def test_where_neighbours_in_the_silence_are_the_same_one_stands_for_three() -> None:
    heard, tensors = 150, dict(state("whisper"))
    window = pooled(heard, 1500)
    embedding = tensors["encoder.positional_embedding"].clone()
    for middle, weight in zip(window.positions, window.weights, strict=True):
        if weight > 0:
            embedding[middle - 1 : middle + 2] = embedding[middle]
    model = encoder(encoder_shape(), {**tensors, "encoder.positional_embedding": embedding})
    speech = 0.1 * np.random.default_rng(5).standard_normal(320 * heard).astype(np.float32)
    mel = torch.from_numpy(log_mel(speech))[None]
    right = model(mel)[0, :heard]
    # Not quite: behind the last position, convolutions see zeros and no silence.
    assert_near(model(mel, window)[0, :heard], right, 1e-3)
    weightless = dataclasses.replace(window, weights=np.zeros_like(window.weights))
    assert (model(mel, weightless)[0, :heard] - right).abs().max() > 5e-3


def test_the_decoder_s_tensors_are_passed_over() -> None:
    tensors = {**state("whisper"), "decoder.ln.weight": torch.ones(32)}
    mel = torch.zeros(1, 80, 100)
    torch.testing.assert_close(
        encoder(encoder_shape(), tensors)(mel), encoder(encoder_shape(), state("whisper"))(mel)
    )


def test_recordings_in_one_batch_do_not_touch_each_other() -> None:
    model = encoder(encoder_shape(), state("whisper"))
    mel = torch.randn(3, 80, 200, generator=torch.Generator().manual_seed(3))
    together = model(mel)
    for row, one in zip(together, mel, strict=True):
        torch.testing.assert_close(row, model(one[None])[0])


def test_bfloat16_stays_near_float32() -> None:
    mel = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(3))
    right = encoder(encoder_shape(), state("whisper"))(mel)
    half = encoder(encoder_shape(), state("whisper"), torch.bfloat16)(mel)
    assert half.dtype == torch.bfloat16
    assert torch.cosine_similarity(half.float().flatten(), right.flatten(), 0) > 0.999
