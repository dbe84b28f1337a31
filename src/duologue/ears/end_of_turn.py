"""Smart Turn: how finished the user sounds."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from duologue.audio import INPUT_RATE, AudioChunk, Samples
from duologue.audio.log_mel import HOP, log_mel
from duologue.system.onnx import open_network
from duologue.weights import locate

logger = logging.getLogger(__name__)

_HEARD = 8 * INPUT_RATE  # samples that the network takes

# Seconds in the queue. The question comes 0.1 s into a silence, and after 0.4 s the shortest wait that
# an answer can bring about is over.
_TOO_LATE = 0.3


class SmartTurn:
    """The network, loaded once for all sessions, and the one thread in which it answers them.

    It hears prosody, hardly words: real ends of turns and pauses inside them are told apart in three
    of four cases. So the answer is to change how long to wait, never whether.

    Source: Smart Turn v3.2, Daily; a Whisper tiny encoder with attention pooling, 8 bits.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._network = open_network(path or locate("smart-turn"))
        self._thread = ThreadPoolExecutor(1, "smart-turn")
        self._closed = False
        self._failed = False

    def probability(self, samples: Samples) -> float:
        """The probability, 0..1, that the speaker has finished.

        Args:
            samples: float32 [T] at 16 kHz, to the pause in question and a little into it. All of the
                turn, up to 8 s: with less it takes too much for finished. What is before is not heard.
        """
        [[[probability]]] = self._network.run(None, {"input_features": _features(samples)[None]})
        return float(probability)

    async def __call__(self, sound: AudioChunk) -> float | None:
        """`probability` of a sound at `INPUT_RATE`, without blocking the loop.

        None: it comes too late, because many asked at once; or the network failed, or is closed.
        """
        if self._closed:
            return None
        due = time.monotonic() + _TOO_LATE
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._answer, sound.samples, due)

    def close(self) -> None:
        """Let go of the thread. Who still waits for an answer gets None."""
        self._closed = True
        self._thread.shutdown(wait=False)

    def _answer(self, samples: Samples, due: float) -> float | None:
        if self._closed or time.monotonic() > due:
            return None
        try:
            return self.probability(samples)
        except Exception:
            # It may fail at every pause from now on, always with the same traceback.
            logger.exception(
                "Smart Turn failed, so this turn ends without it", exc_info=not self._failed
            )
            self._failed = True
            return None


def _features(samples: Samples) -> Samples:
    """What the network takes of a sound [T] at 16 kHz: [bins, frames].

    The silence in front counts in the mean and the variance, and is no silence after them: so it was
    when the network was trained.
    """
    sound = np.zeros(_HEARD, np.float32)
    newest = samples[-_HEARD:]
    sound[_HEARD - len(newest) :] = newest
    deviation = np.sqrt(sound.var() + np.float32(1e-7))
    return log_mel((sound - sound.mean()) / deviation, _HEARD // HOP)
