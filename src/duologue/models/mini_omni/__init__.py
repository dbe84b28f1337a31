"""Mini-Omni: hears and talks natively, and thinks while it talks (arXiv:2408.16725).

On CPUs it runs in OpenVINO, on GPUs in torch. `fp32` on a CPU is torch, too, to the last digit what
the original computes.
"""

import ctypes.util
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.models import SpeechModel
from duologue.models.engine import Engine
from duologue.system.cpus import cpus

if TYPE_CHECKING:
    from duologue.models.mini_omni.checkpoint import Checkpoint
    from duologue.models.mini_omni.runtime import Runtime

# The first is the default.
_PRECISIONS = {"cpu": ("int8", "int4", "fp32"), "cuda": ("bf16", "fp32")}

_LABELS = {"int4": "int4 weights: quicker, and far from what was trained. "}


def load(
    weights: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    slots: str = "4",
    max_reply: str = "30",
    window: str = "auto",
    threads: str = "auto",
) -> SpeechModel:
    """The model for `--model mini-omni`.

    Args:
        weights: real, random, or auto: real ones unless only the others are there.
        device: cpu, cuda, or auto: a GPU if torch finds one.
        precision: cpu: int8, int4 or fp32; cuda: bf16 or fp32.
        slots: replies at once, 1 to 256; 1 to 16 on a CPU.
        max_reply: seconds that a reply may last, 1 to 120.
        window: what the encoder computes of its 30 s. exact: all; pooled: one in three of the positions
            behind the utterance, which takes a third of the time; auto: exact at fp32, else pooled.
        threads: that compute on a CPU; auto: one for each processor.

    Raises:
        ModelUnavailable: a package or the weights are missing, or there is no such device.
        InvalidSetting: an option has no such value.
    """
    device = _device(device)
    precision = _precision(device, precision)
    needed = ("tokenizers", "openvino" if precision.startswith("int") else "torch")
    for package in needed:
        if importlib.util.find_spec(package) is None:
            extra = "torch" if package == "torch" else "mini-omni"
            raise ModelUnavailable(
                f"the model 'mini-omni' needs the package {package!r}; "
                f"install it with: pip install 'duologue[{extra}]'"
            )
    # Not above: they cannot be imported without those packages.
    from duologue.models.mini_omni.checkpoint import SNAC, TOKENIZER, find_checkpoint
    from duologue.models.mini_omni.checksums import verify
    from duologue.models.mini_omni.model import MiniOmni
    from duologue.models.mini_omni.reply import Options

    if window not in ("auto", "exact", "pooled"):
        raise InvalidSetting(f"window is auto, exact or pooled, not {window!r}")
    pool = window == "pooled" or (window == "auto" and precision != "fp32")
    if weights not in ("auto", "real", "random"):
        raise InvalidSetting(f"weights are auto, real or random, not {weights!r}")
    checkpoint = find_checkpoint(weights)
    verify(checkpoint, SNAC, TOKENIZER)  # small, and used at every precision
    options = Options(
        slots=_number("slots", slots, 1, 256 if device == "cuda" else 16),
        max_reply=_number("max_reply", max_reply, 1, 120),
    )
    used = cpus() if threads == "auto" else _number("threads", threads, 1, 256)
    opener = _opener(checkpoint, device, precision, options.slots, used, pool=pool)
    noise = "Random weights: all it utters is noise. " if checkpoint.random else ""
    note = f"{noise}{_LABELS.get(precision, '')}Mini-Omni hears this turn only."
    return Engine(MiniOmni(opener, checkpoint.folder / TOKENIZER, options, note))


def is_there() -> bool:
    """Whether trained weights are here, and what runs them: then it is the model of first choice.

    Raises:
        ModelUnavailable: something is where the weights belong, and is not whole.
    """
    if (
        importlib.util.find_spec("openvino") is None
        or importlib.util.find_spec("tokenizers") is None
    ):
        return False
    from duologue.models.mini_omni import checkpoint

    if not checkpoint.is_there():
        return False
    checkpoint.open_checkpoint(checkpoint.checkpoint_folder())
    return True


def _opener(
    checkpoint: "Checkpoint", device: str, precision: str, slots: int, threads: int, *, pool: bool
) -> "Callable[[], Runtime]":
    from duologue.models.mini_omni.reply import ROWS

    rows = ROWS * slots
    if precision.startswith("int"):
        from duologue.models.mini_omni.cpu.runtime import CpuRuntime

        return lambda: CpuRuntime(checkpoint, precision, rows=rows, pool=pool, threads=threads)
    from duologue.models.mini_omni.torch_runtime import open_torch

    return lambda: open_torch(checkpoint, device=device, precision=precision, rows=rows, pool=pool)


def _device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise InvalidSetting(f"device is auto, cpu or cuda, not {device!r}")
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    # Not above: importing torch takes seconds, and most machines have no use for it.
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ModelUnavailable("torch finds no GPU here; leave out device=cuda")
    return "cpu"


def _may_have_gpu() -> bool:
    driver = ctypes.util.find_library("cuda") or ctypes.util.find_library("nvcuda")
    return driver is not None and importlib.util.find_spec("torch") is not None


def _precision(device: str, precision: str) -> str:
    known = _PRECISIONS[device]
    if precision == "auto":
        return known[0]
    if precision not in known:
        raise InvalidSetting(f"precision on {device} is {' or '.join(known)}, not {precision!r}")
    return precision


def _number(name: str, text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise InvalidSetting(f"{name} is a whole number from {low} to {high}, not {text!r}")
    return int(text)
