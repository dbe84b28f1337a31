"""Mini-Omni in torch: for GPUs, and on a CPU for parity with the original."""

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.audio import Samples
from duologue.models.mini_omni.checkpoint import (
    ENCODER,
    LANGUAGE_MODEL,
    SNAC,
    Checkpoint,
    read_tensors,
)
from duologue.models.mini_omni.nets import snac_stream
from duologue.models.mini_omni.nets.lm import KeyValueCache, LanguageModel, language_model
from duologue.models.mini_omni.nets.shapes import CODEBOOKS, SnacShape
from duologue.models.mini_omni.nets.snac import SnacDecoder, snac_decoder
from duologue.models.mini_omni.nets.snac_stream import Codes, SnacStream
from duologue.models.mini_omni.nets.whisper import Encoder, encoder
from duologue.models.mini_omni.nets.window import pooled
from duologue.models.mini_omni.runtime import Floats, Logits, Span, Tokens

_PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
_TOGETHER = (
    16  # utterances: 30 s each are 5 TFLOP for the encoder, by estimate 20 ms of a large GPU
)
_SLOTS = 256  # of the cache that a step looks at, doubled until they suffice: a graph for each


def open_torch(
    checkpoint: Checkpoint, *, device: str, precision: str, rows: int, pool: bool
) -> "TorchRuntime":
    """Load a checkpoint.

    Args:
        checkpoint: what to run.
        device: cpu or cuda.
        precision: bf16 or fp32, of all but the decoder: that is small, and rounding would be heard.
        rows: of the cache.
        pool: the encoder computes one in three of the silent positions, not all.
    """
    dtype, folder = _PRECISIONS[precision], checkpoint.folder
    return TorchRuntime(
        language_model(checkpoint.language_model, _read(checkpoint, LANGUAGE_MODEL), dtype, device),
        encoder(checkpoint.encoder, _read(checkpoint, ENCODER), dtype, device),
        snac_decoder(checkpoint.snac, read_tensors(folder / SNAC), device),
        checkpoint.snac,
        rows,
        pool=pool,
    )


class TorchRuntime:
    """A `Runtime` on one device: where the networks lie, and as precise as they are.

    On a GPU a step of all rows is one CUDA graph, and the host waits once: for the tokens.

    Attributes:
        shape: of the language model.
        snac: of the decoder.
        together: utterances that are best encoded and read at once.
        about: for people.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        encoder: Encoder,
        snac: SnacDecoder,
        snac_shape: SnacShape,
        rows: int,
        *,
        pool: bool,
    ) -> None:
        """Take the networks, make a cache of `rows`, and on a GPU capture steps of all sizes."""
        self._pooled = pool
        table = language_model.wte.weight
        self.shape, self.snac = language_model.shape, snac_shape
        self._device, self._dtype = table.device, table.dtype
        on_gpu = self._device.type == "cuda"
        self.together = _TOGETHER if on_gpu else 1
        self.about = f"{_name(self._dtype)} in torch on {_place(self._device)}"
        self._language_model, self._encoder, self._decoder = language_model, encoder, snac
        self._rows = rows
        # One row more, for what fills a step up to its size.
        self._cache = KeyValueCache(
            self.shape, rows + 1, self.shape.positions, self._dtype, self._device
        )
        self._steps: dict[tuple[int, int], _Step] = {}
        self._pool = torch.cuda.graph_pool_handle() if on_gpu else None
        if on_gpu:
            # The largest first: the others find room in its memory.
            for slots in reversed(_sizes(_SLOTS, self.shape.positions)):
                for count in reversed(_sizes(1, rows)):
                    self._step(count, slots)
            torch.cuda.empty_cache()  # what only loading needed

    def encode(
        self, mels: Sequence[Floats], frames: Sequence[int]
    ) -> Generator[None, None, list[Floats]]:
        """Listen to some utterances at once; see `Runtime`."""
        yield from ()  # on a GPU it takes less than a frame: others can wait for it
        return self._listen(mels, frames)

    def logits(self, spans: Sequence[Span]) -> list[Logits]:
        """What may follow each span; see `Runtime`."""
        ordered, audio, text = self._go_on(spans)
        sounds, words = iter(_array(audio)), iter(_array(text))
        known = {
            span: Logits(next(sounds) if span.audio else None, next(words) if span.text else None)
            for span in ordered
        }
        return [known[span] for span in spans]

    @torch.inference_mode()
    def tokens(self, spans: Sequence[Span]) -> list[Tokens]:
        """The likeliest of what may follow each span; see `Runtime`."""
        ordered, audio, text = self._go_on(spans)
        chosen = torch.cat((audio.argmax(-1).flatten(), text.argmax(-1)))
        # Here the host waits, for both; not after a prompt, of which nothing is wanted yet.
        ids = iter(chosen.tolist() if len(chosen) else [])
        sounds = iter([tuple(next(ids) for _ in range(CODEBOOKS)) for _ in audio])
        known = {
            span: Tokens(next(sounds) if span.audio else (), next(ids) if span.text else None)
            for span in ordered
        }
        return [known[span] for span in spans]

    def fork(self, source: int, target: int, positions: int) -> None:
        """Let a row begin as another; see `Runtime`."""
        self._cache.fork(source, target, positions)

    def speak(self, voices: Sequence[SnacStream], codes: Codes) -> list[Samples]:
        """Go on with some voices; see `Runtime`."""
        return snac_stream.speak(self._decoder, voices, codes)

    def close(self) -> None:
        """Let go of the networks and of the GPU's memory."""
        self._steps.clear()
        del self._language_model, self._encoder, self._decoder, self._cache
        torch.cuda.empty_cache()

    @torch.inference_mode()
    def _listen(self, mels: Sequence[Floats], frames: Sequence[int]) -> list[Floats]:
        mel, longest = np.stack(mels), max(frames)
        window = pooled(longest, mel.shape[2] // 2) if self._pooled else None
        heard = self._encoder(self._put(mel), window)[:, :longest]
        features = _array(self._language_model.adapt(heard))
        return [row[:count] for row, count in zip(features, frames, strict=True)]

    @torch.inference_mode()
    def _go_on(self, spans: Sequence[Span]) -> tuple[list[Span], Tensor, Tensor]:
        """The spans as they were computed, and what was asked for in that order.

        [B, 7, audio vocabulary] of those that want audio, [B, text vocabulary] of those that want text.
        """
        steps = [span for span in spans if span.length == 1 and span.features is None]
        prompts = [span for span in spans if span.length > 1 or span.features is not None]
        batches = _batches(prompts, self.shape.positions)
        ordered = [*steps, *(span for batch in batches for span in batch)]
        hidden = torch.cat(
            [*([self._next(steps)] if steps else []), *(self._read(batch) for batch in batches)]
        )
        audio = [n for n, span in enumerate(ordered) if span.audio]
        text = [n for n, span in enumerate(ordered) if span.text]
        wanted = hidden[self._put(np.array(audio + text, np.int64))]
        return (
            ordered,
            self._language_model.audio_logits(wanted[: len(audio)]),
            self._language_model.text_logits(wanted[len(audio) :]),
        )

    def _next(self, spans: Sequence[Span]) -> Tensor:
        """One position more of each: [B, D]."""
        count = _size(len(spans), _sizes(1, self._rows))
        reach = max(span.start for span in spans) + 1
        slots = _size(reach, _sizes(_SLOTS, self.shape.positions))
        positions = np.zeros((10, count), np.int64)
        positions[8] = self._rows
        used = positions[:, : len(spans)]
        used[:8] = np.concatenate([span.ids for span in spans], 1)
        used[8:] = np.array([(span.row, span.start) for span in spans]).T
        return self._step(count, slots)(self._pin(positions))[: len(spans)]

    def _step(self, count: int, slots: int) -> "_Step":
        if (count, slots) not in self._steps:
            idle = torch.zeros(10, count, dtype=torch.int64, device=self._device)
            idle[8] = self._rows
            self._steps[count, slots] = _Step(
                lambda positions: self._forward(positions, slots), idle, self._pool
            )
        return self._steps[count, slots]

    @torch.inference_mode()
    def _forward(self, positions: Tensor, slots: int) -> Tensor:
        """[10, B], ids of eight streams, rows and starts -> [B, D]; no value decides what is done."""
        ids, rows, starts = positions[:8, :, None], positions[8], positions[9]
        model = self._language_model
        hidden: Tensor = model(model.embed(ids), self._cache, rows, starts, slots)
        return hidden[:, 0]

    def _read(self, spans: Sequence[Span]) -> Tensor:
        """Some positions more of each: [B, D] of the last ones.

        What the shorter ones are filled up with lies behind their ends, where the next positions go.
        """
        model, longest = self._language_model, max(span.length for span in spans)
        ids = np.zeros((8, len(spans), longest), np.int64)
        heard = np.zeros((len(spans), longest, self.shape.width), np.float32)
        is_heard = np.zeros((len(spans), longest, 1), np.bool_)
        for n, span in enumerate(spans):
            ids[:, n, : span.length] = span.ids
            if span.features is not None:
                first = max(span.start, 1)
                end = max(first, min(span.start + span.length, len(span.features) + 1))
                heard[n, first - span.start : end - span.start] = span.features[first - 1 : end - 1]
                is_heard[n, first - span.start : end - span.start] = True
        streams = self._put(ids)
        spoken = CODEBOOKS * self._put(heard).to(self._dtype) + model.wte(streams[CODEBOOKS])
        x = torch.where(self._put(is_heard), spoken / (CODEBOOKS + 1), model.embed(streams))
        rows, starts, lengths = self._put(
            np.array([(span.row, span.start, span.length) for span in spans]).T
        )
        slots = max(span.start for span in spans) + longest
        hidden: Tensor = model(x, self._cache, rows, starts, slots)
        return hidden[torch.arange(len(spans), device=self._device), lengths - 1]

    def _put(self, array: NDArray[np.generic]) -> Tensor:
        """On the device, without waiting until it is there."""
        return self._pin(array).to(self._device, non_blocking=True)

    def _pin(self, array: NDArray[np.generic]) -> Tensor:
        """In memory that a GPU reads by itself."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self._device.type == "cuda" else tensor


class _Step:
    """A computation on inputs of one size: a captured graph on a GPU, elsewhere a plain call."""

    def __init__(
        self,
        compute: Callable[[Tensor], Tensor],
        inputs: Tensor,
        pool: "torch.cuda._POOL_HANDLE | None",
    ) -> None:
        """Capture it; `inputs` are such as do no harm, and become the place of all others.

        Args:
            compute: on the GPU if there is a pool.
            inputs: that it is tried with.
            pool: of memory, for all graphs: no two run at once, nor is a result used after the next ran.
        """
        self._compute, self._inputs = compute, inputs
        self._graph: torch.cuda.CUDAGraph | None = None
        if pool is None:
            return
        compute(inputs)  # what is made at first use must be there before: it cannot be captured
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._result = compute(inputs)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The result, which the next call may overwrite."""
        self._inputs.copy_(inputs, non_blocking=True)
        if self._graph is None:
            return self._compute(self._inputs)
        self._graph.replay()
        return self._result


def _batches(spans: Sequence[Span], positions: int) -> list[list[Span]]:
    """Those that can be filled up to the longest are read at once, those too near the end alone."""
    longest = max((span.length for span in spans), default=0)
    fitting = [span for span in spans if span.start + longest <= positions]
    others = [[span] for span in spans if span.start + longest > positions]
    return [fitting, *others] if fitting else others


def _sizes(least: int, most: int) -> list[int]:
    """Doubled from `least` on, and at last `most`."""
    sizes = [least << n for n in range(most.bit_length()) if least << n < most]
    return [*sizes, most]


def _size(needed: int, sizes: Sequence[int]) -> int:
    return next(size for size in sizes if size >= needed)


def _array(tensor: Tensor) -> Floats:
    floats: Floats = tensor.float().cpu().numpy()
    return floats


def _read(checkpoint: Checkpoint, name: str) -> dict[str, Tensor]:
    tensors = read_tensors(checkpoint.folder / name)
    return {key: torch.from_numpy(array) for key, array in tensors.items()}


def _name(dtype: torch.dtype) -> str:
    return {known: name for name, known in _PRECISIONS.items()}.get(dtype, str(dtype))


def _place(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads"
