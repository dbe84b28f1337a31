"""Mini-Omni on a CPU: OpenVINO runs all of its networks, without torch and without a conversion."""

from collections.abc import Generator, Sequence
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
from duologue.models.mini_omni.cpu.encoder import Encoder
from duologue.models.mini_omni.cpu.language_model import LanguageModel, build_adapter
from duologue.models.mini_omni.cpu.snac import SnacDecoder
from duologue.models.mini_omni.nets.shapes import CODEBOOKS
from duologue.models.mini_omni.nets.snac_stream import (
    LATENTS,
    Codes,
    SeededNoise,
    SnacStream,
    speak,
)
from duologue.models.mini_omni.nets.window import exact, pooled
from duologue.models.mini_omni.runtime import Floats, Logits, Span, Tokens
from duologue.system import memory
from duologue.system.openvino import ov

_PIECES = 2  # of the encoder: others have their next frame in between; 150 ms each without AMX


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
        self, checkpoint: Checkpoint, precision: str, *, rows: int, pool: bool, threads: int
    ) -> None:
        """Compile the networks for this machine.

        Args:
            checkpoint: what to run.
            precision: of the language model's weights: int8, int4, or fp32 for parity.
            rows: of the cache.
            pool: the encoder computes one in three of the silent positions, not all.
            threads: that compute.
        """
        memory.keep_none()
        full = precision == "fp32"
        self._pool, self._positions = pool, checkpoint.encoder.frames
        self.shape, self.snac = checkpoint.language_model, checkpoint.snac
        self.about = f"{precision} weights in OpenVINO on {threads} threads"
        core, settings = ov.Core(), _settings(threads, full=full)
        if full:
            stored = read_tensors(checkpoint.folder / LANGUAGE_MODEL)
            self._weights: Arrays = dict(arrange(self.shape, stored))
        else:
            self._weights = read_tensors(variant(checkpoint, precision))
        self._language_model = LanguageModel(core, self.shape, self._weights, rows, settings)
        # The first pass of a network puts its weights in the order that suits the machine, in memory of
        # its own. What was read of the file can go then, before the next network needs room.
        start = Span(0, 0, np.zeros((CODEBOOKS + 1, 1), np.int64), audio=True, text=True)
        hidden = self._language_model.hidden([start])
        forget(self._weights)
        self._heads(hidden, [start])
        forget(self._weights)
        adapter = core.compile_model(build_adapter(self._weights), "CPU", settings)
        self._adapter = adapter.create_infer_request()
        self._encoder = _encoder(core, checkpoint, self._weights, settings, full=full)
        for _ in self.encode(
            [np.zeros((checkpoint.encoder.bins, 2 * self._positions), np.float32)], [1]
        ):
            pass
        forget(self._weights)
        spoken = read_tensors(checkpoint.folder / SNAC)
        self._snac = SnacDecoder(core, self.snac, spoken, settings)
        self.speak([SnacStream(self.snac, SeededNoise(0))], np.zeros((1, LATENTS, 3), np.int64))
        forget(spoken)

    def encode(
        self, mels: Sequence[Floats], frames: Sequence[int]
    ) -> Generator[None, None, list[Floats]]:
        """Listen to utterances, one after the other, each in some pieces."""
        heard = []
        for mel, count in zip(mels, frames, strict=True):
            window = pooled(count, self._positions) if self._pool else exact(self._positions)
            features = yield from self._encoder.encode(mel, window, count)
            self._adapter.infer({"x": features})
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

    def _heads(self, hidden: Floats, spans: Sequence[Span]) -> tuple[Any, Any]:
        """The logits of the spans that want them, in order: of audio, of text."""
        wants_audio = [span.audio for span in spans]
        wants_text = [span.text for span in spans]
        model = self._language_model
        return (
            iter(model.audio_logits(hidden[wants_audio])) if any(wants_audio) else iter(()),
            iter(model.text_logits(hidden[wants_text])) if any(wants_text) else iter(()),
        )


def open_encoder(checkpoint: Checkpoint, precision: str, threads: int) -> Encoder:
    """The encoder alone, as `CpuRuntime` has it."""
    full = precision == "fp32"
    weights = {} if full else read_tensors(variant(checkpoint, precision))
    return _encoder(ov.Core(), checkpoint, weights, _settings(threads, full=full), full=full)


def _encoder(
    core: ov.Core, checkpoint: Checkpoint, weights: Arrays, settings: dict[str, Any], *, full: bool
) -> Encoder:
    """With int8 weights. In bf16 it is a third faster on matrix units (AMX), and takes 0.3 GB more."""
    if full:
        verify(checkpoint, ENCODER)
        weights = read_tensors(checkpoint.folder / ENCODER)
    # For 64 at a time the features are nearer to exact ones, and for 128 no sooner there.
    settings = {**settings, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0 if full else 64}
    if not full and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        settings = {**settings, "INFERENCE_PRECISION_HINT": ov.Type.bf16}
    return Encoder(core, checkpoint.encoder, weights, settings, _PIECES)


def _settings(threads: int, *, full: bool) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # the event loop needs a core now and then
        "INFERENCE_PRECISION_HINT": "f32",
        # In eight bits, the cache costs no time and a quarter of the memory.
        "KV_CACHE_PRECISION": "f32" if full else "u8",
        # Activations are rounded, too, so many at a time, which halves the time of a prompt. The cosine of
        # the logits to fp32 is 0.9944 with 64, 0.9938 with 128, and then a prompt takes a tenth less.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0 if full else 128,
    }
