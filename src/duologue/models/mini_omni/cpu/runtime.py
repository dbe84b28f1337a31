"""Mini-Omni on a CPU: OpenVINO runs all of its networks, without torch and without a conversion."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duologue.audio import Samples
from duologue.models.mini_omni.arrangement import arrange, variant
from duologue.models.mini_omni.checkpoint import (
    ENCODER,
    LANGUAGE_MODEL,
    SNAC,
    Arrays,
    Checkpoint,
    forget,
    read_tensors,
)
from duologue.models.mini_omni.checksums import verify
from duologue.models.mini_omni.cpu.encoder import build_encoder
from duologue.models.mini_omni.cpu.language_model import LanguageModel, build_adapter
from duologue.models.mini_omni.cpu.snac import SnacDecoder
from duologue.models.mini_omni.runtime import Floats, Logits, Span, Tokens
from duologue.nets.shapes import CODEBOOKS
from duologue.nets.snac_stream import Codes, SnacStream, speak
from duologue.openvino import ov

_PIECES = 6  # of the encoder: others have their next frame in between; 130 ms each without AMX

_VOICES = (1, 2)  # at once


class CpuRuntime:
    """A `Runtime` on some cores.

    Attributes:
        shape: of the language model.
        snac: of the decoder.
        together: utterances are read one by one: one alone keeps both cores busy.
        about: for people.
    """

    together = 1

    def __init__(
        self, checkpoint: Checkpoint, precision: str, *, rows: int, window: int, threads: int
    ) -> None:
        """Compile the networks for this machine.

        Args:
            checkpoint: what to run.
            precision: of the language model's weights: int8, int4, or fp32 for parity.
            rows: of the cache.
            window: seconds that the encoder listens to.
            threads: that compute.
        """
        exact = precision == "fp32"
        self.shape, self.snac = checkpoint.language_model, checkpoint.snac
        self.about = f"{precision} weights in OpenVINO on {threads} threads"
        core, settings = ov.Core(), _settings(threads, exact=exact)
        if exact:
            stored = read_tensors(checkpoint.folder / LANGUAGE_MODEL)
            self._weights: Arrays = dict(arrange(self.shape, stored))
        else:
            self._weights = read_tensors(variant(checkpoint, precision))
        self._language_model = LanguageModel(core, self.shape, self._weights, rows, settings)
        # The first pass puts the weights in the order that suits the machine, in memory of its own.
        # What was read of the file can go then, before the other networks need room.
        start = np.zeros((CODEBOOKS + 1, 1), np.int64)
        self.tokens([Span(0, 0, start, audio=True, text=True)])
        adapter = core.compile_model(build_adapter(self._weights), "CPU", settings)
        self._adapter = adapter.create_infer_request()
        self._adapter.infer({"x": np.zeros((1, self.shape.adapter_width), np.float32)})
        forget(self._weights)
        self._encoder = self._compile_encoder(core, checkpoint, 50 * window, settings, exact=exact)
        spoken = read_tensors(checkpoint.folder / SNAC)
        self._snac = SnacDecoder(core, self.snac, spoken, settings, _VOICES)

    def encode(
        self, mels: Sequence[Floats], frames: Sequence[int]
    ) -> Generator[None, None, list[Floats]]:
        """Listen to utterances, one after the other, each in some pieces."""
        heard = []
        for mel, count in zip(mels, frames, strict=True):
            x = mel[None]
            for piece in self._encoder[:-1]:
                piece.infer({"x": x})
                x = piece.get_output_tensor(0).data
                yield
            self._encoder[-1].infer({"x": x, "wanted": np.array([count])})
            self._adapter.infer({"x": self._encoder[-1].get_output_tensor(0).data[0]})
            heard.append(np.array(self._adapter.get_output_tensor(0).data))
        return heard

    def logits(self, spans: Sequence[Span]) -> list[Logits]:
        """What may follow each span; see `Runtime`."""
        hidden = self._language_model.hidden(spans)
        audio, text = self._heads(hidden, spans)
        return [
            Logits(
                next(audio).copy() if span.audio else None, next(text).copy() if span.text else None
            )
            for span in spans
        ]

    def tokens(self, spans: Sequence[Span]) -> list[Tokens]:
        """The likeliest of what may follow each span; see `Runtime`."""
        hidden = self._language_model.hidden(spans)
        audio, text = self._heads(hidden, spans)
        return [
            Tokens(
                tuple(next(audio).argmax(-1).tolist()) if span.audio else (),
                int(next(text).argmax()) if span.text else None,
            )
            for span in spans
        ]

    def fork(self, source: int, target: int, positions: int) -> None:
        """Let a row begin as another; see `Runtime`."""
        self._language_model.fork(source, target, positions)

    def speak(self, voices: Sequence[SnacStream], codes: Codes) -> list[Samples]:
        """Go on with some voices; see `Runtime`."""
        return speak(self._snac, voices, codes)

    def close(self) -> None:
        """Let go of the networks."""
        del self._language_model, self._adapter, self._encoder, self._snac, self._weights

    def _compile_encoder(
        self,
        core: ov.Core,
        checkpoint: Checkpoint,
        frames: int,
        settings: dict[str, Any],
        *,
        exact: bool,
    ) -> list[ov.InferRequest]:
        """In bf16 where the machine has matrix units for it; else int8 weights, which are faster then."""
        kind = ov.Type.bf16 if _has_amx() and not exact else ov.Type.f32
        if exact or kind == ov.Type.bf16:
            verify(checkpoint, ENCODER)
            tensors: Arrays = read_tensors(checkpoint.folder / ENCODER)
        else:
            tensors = self._weights
        if not exact and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            settings = {**settings, "INFERENCE_PRECISION_HINT": ov.Type.bf16}
        graphs = build_encoder(checkpoint.encoder, tensors, frames, kind, _PIECES)
        return [
            core.compile_model(graph, "CPU", settings).create_infer_request() for graph in graphs
        ]

    def _heads(self, hidden: Floats, spans: Sequence[Span]) -> tuple[Any, Any]:
        """The logits of the spans that want them, in order: of audio, of text."""
        wants_audio = [span.audio for span in spans]
        wants_text = [span.text for span in spans]
        model = self._language_model
        return (
            iter(model.audio_logits(hidden[wants_audio])) if any(wants_audio) else iter(()),
            iter(model.text_logits(hidden[wants_text])) if any(wants_text) else iter(()),
        )


def _has_amx() -> bool:
    """Whether this is a processor with matrix units for bf16, on which that is four times faster."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "amx_bf16" in cpu.read_text()


def _settings(threads: int, *, exact: bool) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # the event loop needs a core now and then
        "INFERENCE_PRECISION_HINT": "f32",
        # In eight bits, the cache costs no time and a quarter of the memory.
        "KV_CACHE_PRECISION": "f32" if exact else "u8",
        # Activations are rounded, too, 64 at a time: a third faster.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0 if exact else 64,
    }
