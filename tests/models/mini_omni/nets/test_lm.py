from collections.abc import Mapping
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch
from torch import Tensor

from duologue.models.mini_omni.nets.lm import KeyValueCache, LanguageModel, language_model
from models.mini_omni.nets.generate import (
    all_logits,
    assert_near,
    load_language_model,
    state,
    vectors,
    write,
)

Arrays = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def small() -> LanguageModel:
    return load_language_model("small")


@pytest.fixture(scope="module")
def golden() -> Arrays:
    return vectors("small")


@pytest.fixture(scope="module")
def full() -> LanguageModel:
    return load_language_model("full")


def _prompt(golden: Arrays, mode: str) -> tuple[Tensor, Tensor | None]:
    ids = golden[f"{mode}_input_ids"]
    return ids.reshape(8, -1, ids.shape[-1]), golden.get(f"{mode}_audio_features")


def _random_vectors(model: LanguageModel, *size: int) -> Tensor:
    return torch.randn(*size, model.shape.width, generator=torch.Generator().manual_seed(7))


def _positions(*positions: int) -> Tensor:
    return torch.tensor(positions)


def _alone(model: LanguageModel, x: Tensor) -> Tensor:
    """What the network makes of a sequence [T, D] in one call and a cache of its own."""
    cache = KeyValueCache(model.shape, 1, len(x))
    out: Tensor = model(x[None], cache, None, _positions(0))[0]
    return out


@pytest.mark.parametrize("mode", ["batch", "stop_eot", "stop_eoa", "A1A2", "T1A2"])
def test_a_spoken_answer_is_the_original_s_token_by_token(
    small: LanguageModel, golden: Arrays, mode: str
) -> None:
    ids, features = _prompt(golden, mode)
    end = int(golden["stop_eot_eos_id_t"]) if mode == "stop_eot" else None
    written = write(small, ids, features, steps=40, end_of_text=end)
    assert torch.equal(torch.stack(written.tokens, 1), golden[f"{mode}_tokens"])
    assert_near(torch.stack(written.margins), golden[f"{mode}_margins"])
    prefill = golden[f"{mode}_prefill_logits"]
    assert_near(written.prefill[:, -prefill.shape[1] :], prefill)
    for step, logits in enumerate(golden.get(f"{mode}_decode_logits", []), start=1):
        assert_near(written.logits[step], logits)


@pytest.mark.parametrize("mode", ["A1T2", "A1T1", "T1T2"])
def test_a_written_answer_is_the_original_s_token_by_token(
    small: LanguageModel, golden: Arrays, mode: str
) -> None:
    ids, features = _prompt(golden, mode)
    written = write(small, ids, features, steps=40, speaks=False)
    assert torch.equal(torch.stack(written.tokens)[:, -1], golden[f"{mode}_tokens"])
    assert_near(torch.stack(written.margins)[:, -1], golden[f"{mode}_margins"][:, -1])
    assert_near(written.prefill[:, -1:], golden[f"{mode}_prefill_logits"])
    for step, logits in enumerate(golden[f"{mode}_decode_logits"], start=1):
        assert_near(written.logits[step], logits)


def test_a_cached_prompt_has_the_logits_of_the_original_without_a_cache(
    small: LanguageModel, golden: Arrays
) -> None:
    written = write(small, *_prompt(golden, "batch"), steps=0)
    assert_near(written.prefill, golden["batch_nocache_logits"])


@pytest.mark.shared
def test_the_real_vocabulary_with_a_tied_head_gives_the_original_s_tokens(
    full: LanguageModel,
) -> None:
    arrays = vectors("full")
    written = write(full, *_prompt(arrays, "batch"), steps=40)
    tokens = torch.stack(written.tokens, 1)
    for name in ("batch_tokens", "stream4_tokens", "stream3_tokens"):
        assert torch.equal(tokens, arrays[name])
    assert_near(torch.stack(written.margins), arrays["batch_margins"])
    assert_near(written.prefill[:, -1:], arrays["batch_prefill_logits"])
    for step, logits in enumerate(arrays["batch_decode_logits"], start=1):
        assert_near(written.logits[step], logits)


def test_the_rotary_tables_are_the_original_s(small: LanguageModel, golden: Arrays) -> None:
    assert_near(small.cos[:64], golden["rope_cos"], within=1e-6)
    assert_near(small.sin[:64], golden["rope_sin"], within=1e-6)


def test_the_adapter_is_the_original_s(small: LanguageModel, golden: Arrays) -> None:
    features = golden["batch_audio_features"][0]
    assert_near(small.adapt(features), golden["adapter_out"], within=1e-5)


def test_every_block_leaves_what_the_original_s_does(small: LanguageModel, golden: Arrays) -> None:
    left: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _block, _inputs, out: left.append(out[0]))
        for block in small.h
    ]
    write(small, *_prompt(golden, "batch"), steps=0)
    for hook in hooks:
        hook.remove()
    assert_near(torch.stack(left), golden["hidden_after_block"])


def test_the_order_of_the_streams_matters_only_for_which_is_the_text(small: LanguageModel) -> None:
    ids = torch.randint(small.shape.vocabulary, (8, 2, 5))
    torch.testing.assert_close(small.embed(ids), small.embed(ids.flip(0)))
    adapted = _random_vectors(small, 2, 3)
    assert not torch.allclose(small.embed(ids, adapted), small.embed(ids.flip(0), adapted))


def test_a_prompt_in_parts_equals_the_prompt_at_once(small: LanguageModel) -> None:
    x = _random_vectors(small, 1, 30)
    cache = KeyValueCache(small.shape, 1, 30)
    parts = [
        small(x[:, start:end], cache, None, _positions(start))
        for start, end in ((0, 11), (11, 12), (12, 29), (29, 30))
    ]
    torch.testing.assert_close(torch.cat(parts, 1)[0], _alone(small, x[0]))


def test_rows_at_different_positions_in_one_step_equal_each_row_alone(
    small: LanguageModel,
) -> None:
    lengths, rows = (3, 17, 0), torch.tensor([4, 0, 2])
    x = _random_vectors(small, 3, 20)
    cache = KeyValueCache(small.shape, 5, 40)
    cache.keys.fill_(9)  # what earlier sequences left behind must not be seen
    cache.values.fill_(9)
    for row, length, sequence in zip(rows, lengths, x, strict=True):
        if length:
            small(sequence[None, :length], cache, row[None], _positions(0))
    for step in range(3):
        now = torch.stack([row[at + step] for row, at in zip(x, lengths, strict=True)])[:, None]
        out = small(now, cache, rows, _positions(*lengths) + step)
        for got, sequence, length in zip(out, x, lengths, strict=True):
            torch.testing.assert_close(got[0], _alone(small, sequence[: length + step + 1])[-1])


def test_a_fixed_number_of_slots_changes_nothing(small: LanguageModel) -> None:
    x = _random_vectors(small, 2, 9)
    exact, fixed = (KeyValueCache(small.shape, 2, 64) for _ in range(2))
    rows = torch.tensor([0, 1])
    for start, end in ((0, 7), (7, 8), (8, 9)):
        part, positions = x[:, start:end], _positions(start, start)
        torch.testing.assert_close(
            small(part, exact, rows, positions), small(part, fixed, None, positions, slots=64)
        )
    torch.testing.assert_close(exact.keys, fixed.keys)


def test_with_a_fixed_number_of_slots_no_value_decides_what_is_computed() -> None:
    model = load_language_model("small").to(
        "meta"
    )  # where there are shapes, but no values to look at
    cache = KeyValueCache(model.shape, 4, 64, device="meta")
    x = torch.zeros(2, 1, model.shape.width, device="meta")
    rows, positions = torch.zeros(2, 2, dtype=torch.int64, device="meta")
    assert model(x, cache, rows, positions, slots=64).shape == x.shape
    with pytest.raises(RuntimeError, match="meta"):
        model(x, cache, rows, positions)


def test_a_fork_goes_on_as_if_it_had_read_everything_itself(small: LanguageModel) -> None:
    x = _random_vectors(small, 2, 15)
    x[1, :10] = x[0, :10]
    cache = KeyValueCache(small.shape, 3, 15)
    small(x[:1, :12], cache, torch.tensor([2]), _positions(0))
    cache.fork(source=2, target=1, length=10)
    forked = small(x[1:, 10:], cache, torch.tensor([1]), _positions(10))
    went_on = small(x[:1, 12:], cache, torch.tensor([2]), _positions(12))
    torch.testing.assert_close(forked[0], _alone(small, x[1])[10:])
    torch.testing.assert_close(went_on[0], _alone(small, x[0])[12:])


def test_a_head_that_equals_the_table_is_kept_once(small: LanguageModel) -> None:
    tensors = state("small")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    equal = language_model(small.shape, tensors)
    del tensors["lm_head.weight"]
    absent = language_model(small.shape, tensors)
    hidden = _random_vectors(small, 1)
    for model in (equal, absent):
        assert model.lm_head.weight.data_ptr() == model.wte.weight.data_ptr()
        torch.testing.assert_close(all_logits(model, hidden), hidden @ model.wte.weight.T)
    assert small.lm_head.weight.data_ptr() != small.wte.weight.data_ptr()


def test_bfloat16_stays_near_float32(small: LanguageModel, golden: Arrays) -> None:
    ids, features = _prompt(golden, "batch")
    assert features is not None
    half = language_model(small.shape, state("small"), torch.bfloat16)
    cache = KeyValueCache(half.shape, 2, 15, torch.bfloat16)
    x = half.embed(ids, half.adapt(features.bfloat16()))
    logits = all_logits(half, half(x, cache, None, _positions(0, 0)))
    assert logits.dtype == torch.bfloat16
    right = golden["batch_prefill_logits"]
    near = torch.cosine_similarity(logits.float().flatten(), right.flatten(), 0)
    assert near > 0.999
    assert half.cos.dtype == torch.float32


def test_tensors_of_another_shape_are_refused(small: LanguageModel) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        language_model(replace(small.shape, adapter_width=16), state("small"))
