"""How near Mini-Omni's encoder stays to what it was trained as: `python -m bench.encoder`.

Its weights are at hand to few. Whisper base is the same network, smaller, and trained: it stands for
Whisper small here, in the same graphs. Needs `duologue pull whisper-base`, and of apt
pocketsphinx-testdata.
"""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rigs import recordings

from bench.load import RECORDINGS
from duologue import weights
from duologue.audio import INPUT_RATE, Samples
from duologue.audio.files import read_audio
from duologue.audio.log_mel import frames_of, log_mel
from duologue.models.mini_omni.arrangement import quantise
from duologue.models.mini_omni.cpu.encoder import Encoder, cosines
from duologue.models.mini_omni.nets.shapes import EncoderShape
from duologue.models.mini_omni.nets.window import exact, pooled
from duologue.system.cpus import cpus
from duologue.system.openvino import ov

TOTAL = EncoderShape().frames

Tensors = dict[str, NDArray[np.generic]]

_KINDS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
# Parts of a layer: CTranslate2's names, and those that Whisper was published with.
_PARTS = {
    "self_attention/layer_norm": "attn_ln",
    "self_attention/linear_1": "attn.out",
    "ffn/layer_norm": "mlp_ln",
    "ffn/linear_0": "mlp.0",
    "ffn/linear_1": "mlp.2",
}
_LAYERS, _HEADS = 6, 8


def whisper_base() -> tuple[EncoderShape, Tensors]:
    """Its encoder: sizes, and float32 tensors by the names that Whisper was published with."""
    stored = dict(_stored(weights.locate("whisper-base") / "model.bin"))
    tensors: Tensors = {}

    def put(name: str, array: NDArray[np.generic]) -> None:
        tensors[f"encoder.{name}"] = array.astype(np.float32)

    put("positional_embedding", stored["encoder/position_encodings/encodings"])
    for kind, norm in (("weight", "gamma"), ("bias", "beta")):
        put(f"ln_post.{kind}", stored[f"encoder/layer_norm/{norm}"])
        for name in ("conv1", "conv2"):
            put(f"{name}.{kind}", stored[f"encoder/{name}/{kind}"])
        for layer in range(_LAYERS):
            old, new = f"encoder/layer_{layer}", f"blocks.{layer}"
            for part, name in _PARTS.items():
                put(
                    f"{new}.{name}.{kind}",
                    stored[f"{old}/{part}/{norm if 'norm' in part else kind}"],
                )
            thirds = np.split(stored[f"{old}/self_attention/linear_0/{kind}"], 3)
            for name, third in zip(("query", "key", "value"), thirds, strict=True):
                if (name, kind) != ("key", "bias"):  # which is zero
                    put(f"{new}.attn.{name}.{kind}", third)
    width = tensors["encoder.ln_post.bias"].size
    return EncoderShape(width=width, heads=_HEADS, layers=_LAYERS), tensors


def _stored(path: Path) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """The tensors of a file of CTranslate2, version 6: of each its name, sizes, kind and bytes."""
    data, at = path.read_bytes(), 0

    def number(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(f"<{kind}")
        return int(value)

    def text() -> str:
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at].rstrip(b"\0").decode()

    assert number("I") == 6, "another version of the format"
    text()
    number("I")
    for _ in range(number("I")):
        name = text()
        sizes = [number("I") for _ in range(number("B"))]
        kind = np.dtype(_KINDS[number("B")])
        length = number("I")
        yield name, np.frombuffer(data, kind, length // kind.itemsize, at).reshape(sizes)
        at += length


def sounds() -> list[Samples]:
    """The five questions where they are, and what Debian has."""
    questions = [read_audio(path).at(INPUT_RATE) for path in RECORDINGS]
    return [sound.samples for sound in (*questions, *(s for _, s in recordings.recordings()))]


def nearness(name: str, one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> None:
    """Print how near features are to others, recording by recording."""
    near = [cosines(a, b) for a, b in zip(one, other, strict=True)]
    quantiles = [float(np.quantile(each, 0.05)) for each in near]
    error = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(one, other, strict=True)]
    print(
        f"{name}, {len(near)} recordings: cosine mean {np.concatenate(near).mean():.4f}, of the worst "
        f"recording {min(each.mean() for each in near):.4f}; 5 % quantile of the worst "
        f"{min(quantiles):.4f}; lowest {min(each.min() for each in near):.3f}; relative error "
        f"{np.mean(error):.3f}"
    )


def paused(samples: Samples) -> tuple[Samples, Samples]:
    """Speech up to 96 ms behind its last sound, and up to 0.4 s, with the sound of the room there."""
    power = np.convolve(samples**2, np.ones(512) / 512, "same")
    end = int(np.flatnonzero(power > power.max() / 1000)[-1])
    room = samples[end + 800 :]
    level = room.std() if len(room) > 1600 else 3e-4
    more = np.random.default_rng(0).normal(0, level, INPUT_RATE // 2).astype(np.float32)
    whole = np.concatenate((samples, more))
    return whole[: end + round(0.096 * INPUT_RATE)], whole[: end + round(0.4 * INPUT_RATE)]


def pauses(encoder: Encoder, said: list[Samples]) -> None:
    """Print how near the features of a pause are to those that 0.3 s more of it would give."""
    spoken, silent = [], []
    for samples in said:
        early, late = paused(samples)
        heard, total = frames_of(early), frames_of(late)
        one, other = (
            encoder.encode_at_once(log_mel(sound), pooled(frames_of(sound), TOTAL), total)
            for sound in (early, late)
        )
        near = cosines(one, other)
        spoken.append(near[:heard].mean())
        silent.append(near[heard:].mean())
    print(
        f"begun 96 ms behind the last word, against 0.3 s later: cosine of what was said "
        f"{np.mean(spoken):.4f}, worst recording {min(spoken):.4f}; of the silence that came on top, "
        f"computed as none at all, {np.mean(silent):.2f}"
    )


def main() -> None:
    if not recordings.RECORDINGS.is_dir():
        print("skipped: there are no recordings here (apt install pocketsphinx-testdata)")
        return
    shape, tensors = whisper_base()
    said, took = sounds(), {}
    features: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    for precision in ("fp32", "int8"):
        settings = {
            "INFERENCE_NUM_THREADS": cpus(),
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64 if precision == "int8" else 0,
        }
        stored = dict(quantise(tensors.items(), "int8")) if precision == "int8" else tensors
        encoder = Encoder(ov.Core(), shape, stored, settings)
        if precision == "fp32":
            pauses(encoder, said)
        for window in ("exact", "pooled"):
            key = precision, window
            features[key], took[key] = [], 0.0
            for samples in said:
                mel, count = log_mel(samples), frames_of(samples)
                shown = pooled(count, TOTAL) if window == "pooled" else exact(TOTAL)
                encoder.encode_at_once(mel, shown, count)
                started = time.perf_counter()
                features[key].append(encoder.encode_at_once(mel, shown, count))
                took[key] += time.perf_counter() - started
    print(f"Whisper base, trained, {cpus()} threads")
    whole = features["fp32", "exact"]
    nearness("fp32, pooled against exact", features["fp32", "pooled"], whole)
    nearness("int8 against fp32, both exact", features["int8", "exact"], whole)
    nearness("int8, pooled against exact", features["int8", "pooled"], features["int8", "exact"])
    nearness("int8, pooled, against fp32, exact", features["int8", "pooled"], whole)
    for precision in ("fp32", "int8"):
        share = took[precision, "pooled"] / took[precision, "exact"]
        print(f"{precision}: pooled takes {share:.2f} of the time of exact")


if __name__ == "__main__":
    main()
