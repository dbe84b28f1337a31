"""What is there, what is missing or damaged, and how to get it."""

import importlib.util
import platform
from collections.abc import Iterator

from duologue import weights
from duologue.cpus import lacking
from duologue.errors import ModelUnavailable
from duologue.models import cascade
from duologue.models.cascade import nearby
from duologue.models.mini_omni.arrangement import is_made
from duologue.models.mini_omni.checkpoint import find_checkpoint
from duologue.models.mini_omni.checksums import verify

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
