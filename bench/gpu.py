"""Mini-Omni on a GPU: `python -m bench.gpu`. Random weights of full size, users who ask all at once."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models

from duologue.audio import INPUT_RATE, AudioChunk
from duologue.conversation.prompt import Prompt
from duologue.models.mini_omni import checkpoint
from duologue.models.mini_omni.model import MiniOmni
from duologue.models.mini_omni.nets.lm import language_model
from duologue.models.mini_omni.nets.shapes import (
    CODEBOOKS,
    EncoderShape,
    LanguageModelShape,
    SnacShape,
)
from duologue.models.mini_omni.nets.snac import snac_decoder
from duologue.models.mini_omni.nets.whisper import encoder
from duologue.models.mini_omni.reply import ROWS, Options
from duologue.models.mini_omni.torch_runtime import TorchRuntime
from duologue.models.mini_omni.vocabulary import Vocabulary

QUESTION = 3.3  # seconds
REPLY = 20.0  # seconds: random weights never end one
PARTS = {"_listen": "encoder", "tokens": "language model", "speak": "SNAC"}


def load(device: str, layers: int, users: int) -> TorchRuntime:
    shape, heard = LanguageModelShape(layers=layers), EncoderShape(layers=min(layers, 12))
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    random = torch.Generator(device).manual_seed(0)

    def tensors(sizes: checkpoint.Shapes) -> dict[str, torch.Tensor]:
        """Matrices that keep what passes through them about as large as it was."""
        return {
            name: torch.randn(size, generator=random, dtype=dtype, device=device)
            / float(np.prod(size[1:])) ** 0.5
            for name, size in sizes.items()
        }

    weights, vocabulary = tensors(checkpoint.language_model_tensors(shape)), Vocabulary.of(shape)
    head = torch.unflatten(weights["lm_head.weight"][shape.text_vocabulary :], 0, (CODEBOOKS, -1))
    head[:, vocabulary.codes :] = 0  # what ends a reply, or is no code, is never the likeliest
    sounds = tensors(checkpoint.snac_tensors(SnacShape()))
    return TorchRuntime(
        language_model(shape, weights, dtype, device),
        encoder(heard, tensors(checkpoint.encoder_tensors(heard)), dtype, device),
        snac_decoder(SnacShape(), {k: v.float().cpu().numpy() for k, v in sounds.items()}, device),
        SnacShape(),
        ROWS * users,
        pool=True,
    )


def timed(call: Callable[..., Any], took: list[float]) -> Callable[..., Any]:
    def measured(*arguments: Any) -> Any:  # and the result is on the host when it ends
        started = time.perf_counter()
        result = call(*arguments)
        took.append(time.perf_counter() - started)
        return result

    return measured


def line(device: str, layers: int, users: int, tokenizer: Path) -> None:
    """`users` who ask at once."""
    runtime = load(device, layers, users)
    model = MiniOmni(lambda: runtime, tokenizer, Options(slots=users, max_reply=REPLY), "")
    model.start()
    took: dict[str, list[float]] = {part: [] for part in PARTS.values()}
    for name, part in PARTS.items():
        setattr(runtime, name, timed(getattr(runtime, name), took[part]))
    noise = 0.1 * np.random.default_rng(0).standard_normal(int(QUESTION * INPUT_RATE))
    prompt = Prompt(AudioChunk(noise.astype(np.float32), INPUT_RATE))
    started, first, made = time.perf_counter(), dict[int, float](), 0.0
    going = list(range(users))
    for slot in going:
        model.admit(slot, prompt)
    while going:
        chunks = list(zip(going, model.step(going), strict=True))
        seconds = time.perf_counter() - started
        for slot, chunk in chunks:
            if chunk is None:
                model.evict(slot)
                going.remove(slot)
            elif chunk.audio:
                made += chunk.audio.duration
                first.setdefault(slot, seconds)
    wait, late = np.percentile(list(first.values()), (50, 95)) * 1000
    memory = f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GiB; " if device == "cuda" else ""
    parts = ", ".join(f"{part} {np.median(each) * 1000:.1f} ms" for part, each in took.items())
    print(
        f"{users:3d} users, {runtime.about}: question -> first sound p50 {wait:.0f} ms, "
        f"p95 {late:.0f} ms; {made / seconds:.1f} x real time in all; {memory}a call, p50: {parts}"
    )
    model.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--layers", type=int, default=LanguageModelShape().layers)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("skipped: torch finds no GPU here")
        return
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(folder) / "tokenizer.json"
        Tokenizer(models.WordLevel({"word": 0}, unk_token="word")).save(str(tokenizer))  # noqa: S106
        for users in given.users:
            line(given.device, given.layers, users, tokenizer)
            if given.device == "cuda":
                torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
