"""Silero VAD: whether a window holds speech."""

from pathlib import Path

import numpy as np

from duologue.audio import INPUT_RATE, Samples
from duologue.system.onnx import InferenceSession, open_network
from duologue.weights import locate

_CONTEXT = 64  # samples of the window before that the network wants in front of each window


class Silero:
    """The network, loaded once for all sessions; `stream()` gives each its own ears."""

    def __init__(self, path: Path | None = None) -> None:
        self._network = open_network(path or locate("silero-vad"))

    def stream(self) -> "SileroStream":
        """A detector for one stream of audio."""
        return SileroStream(self._network)


class SileroStream:
    """The voice activity of one stream. Cost and memory stay the same however long it lasts."""

    def __init__(self, network: InferenceSession) -> None:
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
