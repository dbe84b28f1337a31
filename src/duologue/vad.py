"""Silero VAD: whether a window holds speech."""

import os
from pathlib import Path

import numpy as np

# onnxruntime 1.32 sends usage to its makers from the moment it is imported; this program tells nobody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

from duologue.audio import INPUT_RATE, Samples
from duologue.weights import locate

_CONTEXT = 64  # samples of the window before that the network wants in front of each window


class Silero:
    """The network, loaded once for all sessions; `stream()` gives each its own ears."""

    def __init__(self, path: Path | None = None) -> None:
        options = onnxruntime.SessionOptions()
        # A window takes 0.12 ms on one thread; handing it to a pool costs more than that.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._network = onnxruntime.InferenceSession(
            path or locate("silero-vad"), options, providers=["CPUExecutionProvider"]
        )

    def stream(self) -> "SileroStream":
        """A detector for one stream of audio."""
        return SileroStream(self._network)


class SileroStream:
    """The voice activity of one stream. Cost and memory stay the same however long it lasts."""

    def __init__(self, network: onnxruntime.InferenceSession) -> None:
        self._network = network
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._rate = np.array(INPUT_RATE, np.int64)

    def __call__(self, window: Samples) -> float:
        """The probability, 0..1, that this window (float32 [512] at 16 kHz) is speech."""
        sound = np.concatenate((self._context, window))
        probability, self._state = self._network.run(
            None, {"input": sound[None], "state": self._state, "sr": self._rate}
        )
        self._context = window[-_CONTEXT:]
        return float(probability[0, 0])
