import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch

from duologue.audio.log_mel import log_mel
from duologue.models.mini_omni.checkpoint import open_checkpoint
from duologue.models.mini_omni.convert import convert
from duologue.models.mini_omni.nets.lm import language_model
from duologue.models.mini_omni.nets.snac import snac_decoder
from duologue.models.mini_omni.nets.snac_stream import SeededNoise, SnacStream, by_latent
from duologue.models.mini_omni.nets.whisper import encoder
from duologue.models.mini_omni.prompts import Task, question, speech_prompt
from duologue.models.mini_omni.runtime import Floats, Ids, Logits, Runtime, Span, Tokens
from duologue.models.mini_omni.torch_runtime import TorchRuntime, open_torch
from duologue.models.mini_omni.vocabulary import Vocabulary
from models.mini_omni.nets.generate import encoder_shape, load_language_model, state, vectors
from models.mini_omni.nets.voice import ROUNDING, SHAPE, random_codes, reference, tensors
from tiny_mini_omni import LANGUAGE_MODEL, SNAC, original

ROWS = 6
SMALL = Vocabulary(512, 192)
ROUNDED = 2e-4  # what the order of float32 sums may change in logits of size 10


def make_runtime(
    dtype: torch.dtype = torch.float32, device: str = "cpu", rows: int = ROWS
) -> TorchRuntime:
    shape = load_language_model("small").shape
    return TorchRuntime(
        language_model(shape, state("small"), dtype, device),
        encoder(encoder_shape(), state("whisper"), dtype, device),
        snac_decoder(SHAPE, tensors(), device),
        SHAPE,
        rows,
        pool=False,
    )


@pytest.fixture(scope="module")
def runtime() -> TorchRuntime:
    return make_runtime()


def _ids(length: int, seed: int) -> Ids:
    return np.random.default_rng(seed).integers(0, 1856, (8, length))


def _features(frames: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((frames, 64), dtype=np.float32)


def _wanting(row: int, start: int, ids: Ids, features: Floats | None = None) -> Span:
    """A span of which all is wanted."""
    return Span(row, start, ids, features, audio=True, text=True)


def _alone(ids: Ids, features: Floats | None = None) -> Logits:
    """What follows a sequence [8, T] that is read at once, with nothing beside it."""
    [logits] = make_runtime(rows=1).logits([_wanting(0, 0, ids, features)])
    return logits


def _assert_same(got: Logits, right: Logits) -> None:
    for one, other in ((got.audio, right.audio), (got.text, right.text)):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDED)


def test_it_is_a_runtime(runtime: TorchRuntime) -> None:
    checked: Runtime = runtime
    assert checked.together == 1
    assert checked.about.startswith("fp32 in torch on ")
    assert checked.snac == SHAPE


def test_prompts_and_steps_of_any_length_share_a_call(runtime: TorchRuntime) -> None:
    lengths, rows = (3, 20, 1, 9, 30), (4, 0, 5, 1, 2)
    ids = [_ids(40, seed) for seed in range(5)]
    runtime.logits([Span(row, 0, x[:, :n]) for row, n, x in zip(rows, lengths, ids, strict=True)])
    # Steps of three rows, which fill up a step of four, and prompts of other lengths between them.
    grows = (1, 6, 1, 1, 10)
    spans = [
        _wanting(row, n, x[:, n : n + more])
        for row, n, more, x in zip(rows, lengths, grows, ids, strict=True)
    ]
    for got, n, more, x in zip(runtime.logits(spans), lengths, grows, ids, strict=True):
        _assert_same(got, _alone(x[:, : n + more]))


def test_steps_of_as_many_rows_as_there_are_do_not_touch_each_other(runtime: TorchRuntime) -> None:
    ids = [_ids(4, seed) for seed in range(ROWS)]
    for count in range(1, ROWS + 1):
        for step in range(4):
            got = runtime.logits(
                [_wanting(row, step, ids[row][:, step : step + 1]) for row in range(count)]
            )
        for row, logits in enumerate(got):
            _assert_same(logits, _alone(ids[row]))


@pytest.mark.parametrize("cuts", [(0, 5, 10, 14), (0, 1, 2, 13, 14), (0, 12, 13, 14), (0, 14)])
def test_what_was_heard_is_read_in_pieces_as_at_once(
    runtime: TorchRuntime, cuts: Sequence[int]
) -> None:
    prompt, features = speech_prompt(SMALL, 12), _features(12)
    for start, end in pairwise(cuts):
        piece = _wanting(0, start, prompt[:, start:end], features)
        other = _wanting(1, 0, speech_prompt(SMALL, 3), _features(3, seed=1))
        got = runtime.logits([piece, other])
    _assert_same(got[0], _alone(prompt, features))
    _assert_same(got[1], _alone(speech_prompt(SMALL, 3), _features(3, seed=1)))
    assert not np.allclose(got[0].audio, _alone(prompt).audio, atol=ROUNDED)  # type: ignore[arg-type]


def test_a_row_at_the_end_of_the_cache_is_read_beside_a_long_prompt(runtime: TorchRuntime) -> None:
    last, long = _ids(256, 1), _ids(40, 2)
    runtime.logits([Span(3, 0, last[:, :251])])
    near, far = runtime.logits([_wanting(3, 251, last[:, 251:255]), _wanting(2, 0, long)])
    _assert_same(near, _alone(last[:, :255]))
    _assert_same(far, _alone(long))
    [end] = runtime.logits([_wanting(3, 255, last[:, 255:])])
    _assert_same(end, _alone(last))


def test_steps_far_into_the_cache_look_at_all_of_it() -> None:
    # The small network in a cache of so many positions that steps come in sizes.
    model = load_language_model("small")
    shape = replace(model.shape, positions=600)
    parts = (encoder(encoder_shape(), state("whisper")), snac_decoder(SHAPE, tensors()), SHAPE)
    stepped, read = (
        TorchRuntime(language_model(shape, state("small")), *parts, rows=2, pool=False)
        for _ in range(2)
    )
    ids = _ids(520, 3)
    for start in (254, 510):
        stepped.logits([Span(0, 0, ids[:, :start]), Span(1, 0, ids[:, :5])])
        for step in range(start, start + 4):
            got, short = stepped.logits(
                [_wanting(0, step, ids[:, step : step + 1]), _wanting(1, 5, ids[:, 5:6])]
            )
            [right] = read.logits([_wanting(0, 0, ids[:, : step + 1])])
            _assert_same(got, right)
        _assert_same(short, _alone(ids[:, :6]))


def test_a_fork_goes_on_as_if_it_had_read_everything_itself(runtime: TorchRuntime) -> None:
    prompt, features = speech_prompt(SMALL, 12), _features(12)
    runtime.tokens([Span(0, 0, prompt, features)])
    runtime.fork(0, 4, 14)
    asked = [question(SMALL, task) for task in (Task.A1A2, Task.A1T1)]
    got = runtime.logits([_wanting(0, 14, asked[0]), _wanting(4, 14, asked[1])])
    for logits, last in zip(got, asked, strict=True):
        _assert_same(logits, _alone(np.hstack([prompt, last]), features))


def test_tokens_are_the_likeliest_and_only_what_was_wanted_comes(runtime: TorchRuntime) -> None:
    spans = [
        Span(0, 0, _ids(5, 0), audio=True),
        Span(1, 0, _ids(1, 1), text=True),
        Span(2, 0, _ids(3, 2)),
        Span(3, 0, _ids(1, 3), audio=True, text=True),
    ]
    logits = runtime.logits(spans)
    assert [(x.audio is None, x.text is None) for x in logits] == [
        (not span.audio, not span.text) for span in spans
    ]
    right = [
        Tokens(
            () if x.audio is None else tuple(x.audio.argmax(-1).tolist()),
            None if x.text is None else int(x.text.argmax()),
        )
        for x in logits
    ]
    got = runtime.tokens(spans)
    assert [(x.audio, x.text) for x in got] == [(x.audio, x.text) for x in right]
    assert runtime.tokens([spans[2]])[0].text is None


def test_utterances_are_heard_together_as_alone(runtime: TorchRuntime) -> None:
    golden = vectors("whisper")
    recording = golden["audio16k"].numpy()
    mels = [log_mel(recording), log_mel(recording[:8_000])]
    hearing = runtime.encode(mels, [98, 25])
    with pytest.raises(StopIteration) as end:
        next(hearing)
    heard = end.value.value
    assert [features.shape for features in heard] == [(98, 64), (25, 64)]
    assert all(features.dtype == np.float32 for features in heard)
    adapted = load_language_model("small").adapt(golden["encoder_out_first128"][:98])
    np.testing.assert_allclose(heard[0], adapted, rtol=0, atol=ROUNDED)
    with pytest.raises(StopIteration) as end:
        next(runtime.encode(mels[1:], [25]))
    np.testing.assert_allclose(heard[1], end.value.value[0], rtol=0, atol=ROUNDED)


def test_a_voice_sounds_as_the_decoder_s(runtime: TorchRuntime) -> None:
    codes, voice = random_codes(5), SnacStream(SHAPE, SeededNoise(3))
    latents = by_latent(codes[None])
    parts = [runtime.speak([voice], latents[:, at : at + 4])[0] for at in range(0, 20, 4)]
    voice.end()
    parts += runtime.speak([voice], np.zeros((1, 4 * voice.tail, 3), np.int64))
    right = reference(codes, SeededNoise(3))
    np.testing.assert_allclose(np.concatenate(parts), right, rtol=0, atol=ROUNDING)


def test_bfloat16_stays_near_float32(runtime: TorchRuntime) -> None:
    rough = make_runtime(torch.bfloat16)
    assert rough.about.startswith("bf16 in torch on ")
    prompt, features = speech_prompt(SMALL, 12), _features(12)
    both = []
    for one in (runtime, rough):
        one.tokens([Span(0, 0, prompt, features)])
        [logits] = one.logits([_wanting(0, 14, question(SMALL, Task.A1A2))])
        assert logits.audio is not None
        assert logits.audio.dtype == np.float32
        both.append(logits.audio.ravel())
    assert np.dot(*both) / np.linalg.norm(both[0]) / np.linalg.norm(both[1]) > 0.999


def test_what_it_held_is_free_when_it_is_closed() -> None:
    runtime = make_runtime()
    runtime.tokens([Span(0, 0, _ids(1, 0), audio=True)])
    cache = weakref.ref(runtime._cache)
    runtime.close()
    assert cache() is None


def test_a_checkpoint_is_opened_and_answers(tmp_path: Path) -> None:
    convert(original(tmp_path / "original"), tmp_path / "checkpoint")
    checkpoint = open_checkpoint(tmp_path / "checkpoint")
    runtime = open_torch(checkpoint, device="cpu", precision="fp32", rows=2, pool=True)
    assert (runtime.shape, runtime.snac) == (LANGUAGE_MODEL, SNAC)
    with pytest.raises(StopIteration) as end:
        next(runtime.encode([log_mel(np.zeros(16_000, np.float32))], [51]))
    [features] = end.value.value
    prompt = speech_prompt(SMALL, 51)
    [tokens] = runtime.tokens([Span(0, 0, prompt, features, audio=True, text=True)])
    assert all(0 <= token < SMALL.codes for token in tokens.audio)
    [sound] = runtime.speak(
        [SnacStream(SNAC, SeededNoise(0))], by_latent(np.array(tokens.audio)[None, :, None])
    )
    assert np.isfinite(sound).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
def test_on_a_gpu_captured_steps_give_what_a_cpu_gives(runtime: TorchRuntime) -> None:
    captured = make_runtime(device="cuda")
    ids = [_ids(12, seed) for seed in range(5)]
    for one in (runtime, captured):
        one.tokens([Span(row, 0, x[:, : row + 1]) for row, x in enumerate(ids)])
    for step in range(6):
        rows = [row for row in range(5) if (row + step) % 3]  # the sizes change from step to step
        spans = [_wanting(row, row + 1, ids[row][:, row + 1 : row + 2 + step % 2]) for row in rows]
        for got, right in zip(captured.logits(spans), runtime.logits(spans), strict=True):
            _assert_same(got, right)
