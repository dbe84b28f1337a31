from typing import Any

import numpy as np
import pytest

from duologue.models.mini_omni.arrangement import arrange, quantise, variant
from duologue.models.mini_omni.checkpoint import (
    LANGUAGE_MODEL,
    Checkpoint,
    read_tensors,
)

Arrays = dict[str, Any]


@pytest.fixture
def arranged(tiny: Checkpoint) -> Arrays:
    return dict(arrange(tiny.language_model, read_tensors(tiny.folder / LANGUAGE_MODEL)))


def test_queries_keys_and_values_stand_one_after_the_other(
    tiny: Checkpoint, arranged: Arrays
) -> None:
    """In the original, each of the two groups has two queries, a key and a value, of 16 rows each."""
    fused = read_tensors(tiny.folder / LANGUAGE_MODEL)["transformer.h.0.attn.attn.weight"]
    blocks = fused.reshape(2, 4, 16, 64)
    now = arranged["layers.0.qkv.weight"].reshape(8, 16, 64)
    for group in range(2):
        np.testing.assert_array_equal(now[2 * group], blocks[group, 0])
        np.testing.assert_array_equal(now[2 * group + 1], blocks[group, 1])
        np.testing.assert_array_equal(now[4 + group], blocks[group, 2])
        np.testing.assert_array_equal(now[6 + group], blocks[group, 3])


def test_the_heads_are_the_rows_of_the_original_s_head(tiny: Checkpoint, arranged: Arrays) -> None:
    head = read_tensors(tiny.folder / LANGUAGE_MODEL)["lm_head.weight"]
    text, audio = arranged["text_head.weight"], arranged["audio_head.weight"]
    np.testing.assert_array_equal(np.concatenate((text, audio)), head)


def test_eight_bits_are_off_by_half_a_level_at_most(arranged: Arrays) -> None:
    fewer: Arrays = dict(quantise(arranged.items(), "int8"))
    for name in ("layers.1.down", "audio_head", "adapter.gate"):
        matrix, scale = arranged[f"{name}.weight"], fewer[f"{name}.scale"]
        assert fewer[f"{name}.weight"].dtype == np.int8
        off = np.abs(fewer[f"{name}.weight"] * scale - matrix)
        assert (off <= scale / 2 + 1e-6).all()
    assert fewer["embedding"].dtype == np.float16


def test_four_bits_share_a_scale_among_64_inputs_and_leave_the_heads_at_eight(
    arranged: Arrays,
) -> None:
    fewer: Arrays = dict(quantise(arranged.items(), "int4"))
    packed, scale = fewer["layers.0.gate.weight"], fewer["layers.0.gate.scale"]
    assert packed.shape == (128, 32)
    assert scale.shape == (128, 1, 1)
    halves = np.stack((packed & 0xF, np.asarray(packed) >> 4), -1).astype(np.int8)
    levels = np.where(halves > 7, halves - 16, halves).reshape(128, 64)
    off = np.abs(levels * scale[:, 0] - arranged["layers.0.gate.weight"])
    assert (off <= scale[:, 0] / 2 + 1e-6).all()
    assert fewer["audio_head.weight"].dtype == np.int8


def test_a_row_of_zeros_stays_one() -> None:
    fewer: Arrays = dict(quantise([("a.weight", np.zeros((2, 64), np.float32))], "int8"))
    assert (fewer["a.weight"] == 0).all()
    assert np.isfinite(fewer["a.scale"]).all()


def test_a_variant_is_made_once(tiny: Checkpoint) -> None:
    path = variant(tiny, "int8")
    made = path.stat().st_mtime_ns
    assert variant(tiny, "int8") == path
    assert path.stat().st_mtime_ns == made
    names = read_tensors(path)
    assert "encoder.blocks.0.mlp.0.scale" in names
    assert "layers.1.qkv.bias" in names
