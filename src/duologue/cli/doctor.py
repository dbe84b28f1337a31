"""What is there, what is missing or damaged, and how to get it."""

import asyncio
import importlib.util
import platform
import time
from collections.abc import Iterator, Sequence

import numpy as np

from duologue import weights
from duologue.audio import INPUT_RATE, AudioChunk
from duologue.audio.log_mel import frames_of, log_mel
from duologue.errors import ModelUnavailable
from duologue.models import cascade
from duologue.models.cascade import nearby
from duologue.models.mini_omni.arrangement import is_made
from duologue.models.mini_omni.checkpoint import find_checkpoint
from duologue.models.mini_omni.checksums import verify
from duologue.models.mini_omni.nets.window import exact, pooled
from duologue.system.cpus import cpus, lacking

_MEAN, _QUANTILE = 0.999, 0.994  # of the cosine: trained Whisper base is above both

_SENTENCES = (
    "What is the weather like today?",
    "Tell me a story about a dog and a cat who lived together in a small house by the sea.",
    "Good morning! How far is it from here to the next station, and what does a ticket cost?",
)

_BETTER = "install Ollama, or run: duologue pull qwen2.5-1.5b && duologue serve --llm qwen2.5-1.5b"


def examine() -> Iterator[tuple[str, bool, str]]:
    """Look at each part, which takes seconds where weights are read whole.

    Yields:
        Its state (ok, missing, damaged, absent), whether the default model needs it, a sentence.
    """
    system = f"{platform.system()} {platform.machine()}"
    yield "ok", True, f"Python {platform.python_version()} on {system}"
    for package, extra, what in (
        ("gradio", "page", "the page"),
        ("ctranslate2", "cascade", "the default model's recogniser"),
        ("tokenizers", "cascade", "the default model's text"),
        ("xllamacpp", "cascade", "the default model's language model"),
        ("openvino", "cascade", "the default model's synthesiser, and Mini-Omni on CPUs"),
        ("espeakng_loader", "cascade", "the default model's pronunciation, and its quick voice"),
    ):
        there = importlib.util.find_spec(package) is not None
        how = "" if there else f" is missing; get it: pip install 'duologue[{extra}]'"
        yield "ok" if there else "missing", True, f"{package}, {what}{how}"
    for flag in lacking(cascade.NEEDED):
        yield "missing", True, f"{flag} in this processor, for the default model's language model"
    for status in weights.status():
        where = {
            "ok": f"in {status.path}",
            "missing": f"are missing; get them: {status.how}",
            "damaged": f"in {status.path} are damaged; get them again: {status.how}",
        }[status.state]
        needed = weights.WEIGHTS[status.name].by_default
        state = "absent" if status.state == "missing" and not needed else status.state
        yield state, needed, f"the weights {status.name} {where}"
    offers = nearby.offers()
    for offer in offers:
        yield "ok", False, offer
    if not offers:
        yield "absent", False, f"a language model that is better than SmolLM2: {_BETTER}"
    yield from _mini_omni()


def compare_windows(recordings: Sequence[AudioChunk]) -> Iterator[str]:
    """Compare what Mini-Omni hears with `window=pooled` with what it hears with `window=exact`.

    Args:
        recordings: of speech; none: espeak-ng speaks some.

    Yields:
        Lines for people.

    Raises:
        ModelUnavailable: the weights, or what computes or speaks, are not here.
    """
    checkpoint = find_checkpoint()
    for package in ("openvino", *(() if recordings else ("espeakng_loader",))):
        if importlib.util.find_spec(package) is None:
            raise ModelUnavailable(
                f"the comparison needs the package {package!r}; install it: pip install 'duologue[all]'"
            )
    # Not above: they cannot be imported without those packages.
    from duologue.models.mini_omni.cpu.encoder import cosines
    from duologue.models.mini_omni.cpu.runtime import open_encoder

    if not recordings:
        recordings = asyncio.run(_spoken())
    encoder = open_encoder(checkpoint, "int8", cpus())
    total = checkpoint.encoder.frames
    near, took = [], np.zeros(2)
    for recording in recordings:
        samples = recording.at(INPUT_RATE).samples
        mel, count = log_mel(samples), frames_of(samples)
        features = []
        for number, window in enumerate((exact(total), pooled(count, total))):
            encoder.encode_at_once(mel, window, count)  # once, for what only the first time takes
            started = time.perf_counter()
            features.append(encoder.encode_at_once(mel, window, count))
            took[number] += time.perf_counter() - started
        near.append(cosines(*features))
        yield (
            f"{recording.duration:5.1f} s: cosine mean {near[-1].mean():.4f}, "
            f"5 % quantile {np.quantile(near[-1], 0.05):.4f}, lowest {near[-1].min():.4f}"
        )
    every, lowest = np.concatenate(near), min(float(np.quantile(each, 0.05)) for each in near)
    good = every.mean() >= _MEAN and lowest >= _QUANTILE
    yield (
        f"{checkpoint.source}, int8, {len(near)} recordings: with window=pooled, features have a cosine of "
        f"{every.mean():.4f} to those of window=exact, in {took[1] / took[0]:.2f} of its time; "
        + (
            "that is near enough"
            if good
            else f"at least {_MEAN} was wanted, and {_QUANTILE} as the 5 % quantile of each recording; "
            "the whole window: --model-options window=exact"
        )
    )


async def _spoken() -> list[AudioChunk]:
    """Sentences of espeak-ng."""
    from duologue.models.cascade.espeak import Espeak

    voice = Espeak()
    sounds = [chunk for text in _SENTENCES async for chunk in voice.speak(text)]
    await voice.close()
    return sounds


def _mini_omni() -> Iterator[tuple[str, bool, str]]:
    """What Mini-Omni needs, which nobody has to have."""
    for package, extra, what in (
        ("torch", "torch", "Mini-Omni on GPUs, and the conversion of its weights"),
    ):
        there = importlib.util.find_spec(package) is not None
        how = "" if there else f"; get it: pip install 'duologue[{extra}]'"
        yield "ok" if there else "absent", False, f"{package}, {what}{how}"
    try:
        checkpoint = find_checkpoint()
        verify(checkpoint)
    except ModelUnavailable as error:
        yield "absent", False, f"the weights mini-omni: {error}"
        return
    made = is_made(checkpoint, "int8")
    rounded = "" if made else "; int8 is not there, or damaged: the next start makes it anew"
    yield (
        "ok",
        False,
        f"the weights mini-omni, {checkpoint.source}, in {checkpoint.folder}{rounded}",
    )
