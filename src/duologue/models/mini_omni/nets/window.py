"""What Whisper's encoder computes of its 30 s: every position, or one in three of the silence at the end.

The encoder was trained with a window of 30 s, and uses its silent tail. But neighbours in that tail say
nearly the same: one of three can stand for all three, if it weighs as much as they do. Here stands which
positions are computed; the networks, in OpenVINO and in torch, do what it says.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GROUP = 3  # positions of the tail that one stands for
_MARGIN = 50  # positions of silence behind the utterance, 1 s, that are all computed
_STEP = 50  # positions that utterances are rounded up to, 1 s: kernels are made for 30 lengths, not 1,500


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The positions that are computed.

    Attributes:
        mel: mel frames that the convolutions look at; behind them is nothing but silence.
        taken: int64 [P], which of the convolutions' outputs each begins with. In the tail it is one for
            all: what the convolutions make of silence.
        positions: int64 [P], where each stands in the encoder's window: the embedding that is added.
        weights: float32 [P], the logarithm of how many each stands for. It is added to the attention's
            logits where the position is a key.
    """

    mel: int
    taken: NDArray[np.int64]
    positions: NDArray[np.int64]
    weights: NDArray[np.float32]


def exact(total: int) -> Window:
    """All positions of a window of `total`."""
    every = np.arange(total)
    return Window(2 * total, every, every, np.zeros(total, np.float32))


def pooled(heard: int, total: int) -> Window:
    """The positions of an utterance and of 1 s behind it, and of the rest one in three.

    Args:
        heard: positions of the utterance.
        total: positions of the window.
    """
    kept = -(-heard // _STEP) * _STEP + _MARGIN
    if kept + 2 > total:
        return exact(total)
    groups = np.arange(kept, total, _GROUP)
    sizes = np.minimum(_GROUP, total - groups)
    return Window(
        2 * (kept + 2),  # as many more as it takes until an output sees silence only
        np.concatenate((np.arange(kept), np.full(len(groups), kept))),
        np.concatenate((np.arange(kept), groups + (sizes - 1) // 2)),
        np.concatenate((np.zeros(kept), np.log(sizes))).astype(np.float32),
    )
