"""Choosing a token from logits."""

import torch
from torch import Tensor

from duologue.errors import InvalidSetting


def greedy(logits: Tensor) -> Tensor:
    """The likeliest id of each [..., V], the lowest where several are: [...]."""
    return logits.argmax(-1)


def sample(
    logits: Tensor,
    temperature: float,
    top_k: int | None = None,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw an id from each distribution.

    Args:
        logits: [..., V]
        temperature: that the logits are divided by, above 0.
        top_k: how many of the likeliest ids can be drawn, at least 1; None: all.
        top_p: of those, as few as have this probability together (above 0; 1: all).
        generator: on the logits' device.

    Returns:
        [...]

    Raises:
        InvalidSetting: nothing could be drawn with these.
    """
    if not 0 < temperature < float("inf"):
        raise InvalidSetting(
            f"temperature has to be above 0, not {temperature}; for the likeliest id, set top_k to 1"
        )
    if top_k is not None and top_k < 1:
        raise InvalidSetting(f"top_k has to be 1 or more, not {top_k}")
    if not 0 < top_p <= 1:
        raise InvalidSetting(f"top_p has to be above 0 and at most 1, not {top_p}")
    if top_k == 1:  # topk does not say which of equals it takes
        return greedy(logits)
    size = logits.shape[-1]
    kept, ids = logits.topk(size if top_k is None else min(top_k, size))  # the likeliest first
    kept = kept.float()
    # The best is made 0, so that no temperature is too low for the division.
    chances = ((kept - kept[..., :1]) / temperature).softmax(-1)
    if top_p < 1:
        before = chances.cumsum(-1) - chances
        chances = chances.masked_fill(before >= top_p, 0)
    drawn = torch.multinomial(chances.reshape(-1, chances.shape[-1]), 1, generator=generator)
    return ids.gather(-1, drawn.reshape(*ids.shape[:-1], 1)).squeeze(-1)
