"""SNAC's decoder as a stream: what every way to run it has in common. No torch here.

Each convolution remembers its own past inputs and answers as late as its kernel reaches ahead. So a
call with G groups of codes gives G frames of samples, the stream as a whole is `Plan.latency` late,
and nothing is computed twice. Where the network expects zeros, before the first and after the last
latent, a mask puts them: the samples are those of decoding everything at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from duologue.audio import Samples
from duologue.models.mini_omni.nets.shapes import SnacShape

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]

KERNEL = 7
"""Taps of every convolution that looks around."""

DILATIONS = (1, 3, 9)
"""Of the residual units of a block, in order."""

COLUMNS = np.array([[0, 1, 2], [0, 1, 3], [0, 4, 5], [0, 4, 6]])
"""[latent of a group, level] -> which of the group's seven codes: a binary tree, parents first."""

LATENTS = len(COLUMNS)
"""Of a group, which a call computes."""

_NEVER = 2**31  # latents: later than any end


@dataclass(frozen=True, slots=True)
class Past:
    """Inputs that a convolution remembers.

    Attributes:
        rate: steps of a latent.
        delay: steps by which these inputs are late.
        steps: remembered.
        channels: of a step.
    """

    rate: int
    delay: int
    steps: int
    channels: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """When everything happens in a decoder of one shape. Get it with `plan`.

    Attributes:
        pasts: in the order in which the network meets them.
        noise: rate and delay of the noise of each block.
        hop: samples of a latent.
        latency: samples by which the sound is late.
    """

    pasts: tuple[Past, ...]
    noise: tuple[tuple[int, int], ...]
    hop: int
    latency: int

    @property
    def state(self) -> int:
        """Values that a stream remembers."""
        return sum(past.steps * past.channels for past in self.pasts)

    def clock(self, groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[M], [M]: rate and time of each step that joins a past in one call, one past after the other.

        The time is in steps of that rate, seen from the first latent of the call.
        """
        counts = [groups * LATENTS * past.rate for past in self.pasts]
        rates = np.repeat([past.rate for past in self.pasts], counts)
        times = [np.arange(n) - past.delay for n, past in zip(counts, self.pasts, strict=True)]
        return rates, np.concatenate(times)


@lru_cache
def plan(shape: SnacShape) -> Plan:
    """Lay out the decoder in time."""
    if shape.strides != (4, 2, 1):
        raise ValueError(
            f"codes of levels with strides (4, 2, 1) can be decoded, not {shape.strides}"
        )
    reach = KERNEL // 2
    pasts, noise = [Past(1, 0, 2 * reach, shape.latent)], []
    rate, delay, channels = 1, reach, shape.width
    for upsampling in shape.rates:
        pasts.append(Past(rate, delay, 1, channels))
        # The transposed convolution begins half a stride, its padding, before its input.
        rate, delay = rate * upsampling, delay * upsampling + (upsampling + 1) // 2
        channels //= 2
        noise.append((rate, delay))
        for dilation in DILATIONS:
            pasts.append(Past(rate, delay, 2 * reach * dilation, channels))
            delay += reach * dilation
    pasts.append(Past(rate, delay, 2 * reach, channels))
    return Plan(tuple(pasts), tuple(noise), rate, delay + reach)


class Noise(Protocol):
    """What a voice breathes: one endless sequence for every block."""

    def draw(self, block: int, count: int) -> Floats:
        """The next `count` values of a block's sequence."""
        ...


class SeededNoise:
    """Normal noise, the same for the same seed, however it is cut into calls."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._blocks: dict[int, np.random.Generator] = {}

    def draw(self, block: int, count: int) -> Floats:
        """The next values, mean 0, variance 1."""
        if block not in self._blocks:
            self._blocks[block] = np.random.default_rng((self._seed, block))
        return self._blocks[block].standard_normal(count, dtype=np.float32)


class NoNoise:
    """Zeros: the voice without its breath, which depends on the codes alone."""

    def draw(self, block: int, count: int) -> Floats:  # noqa: ARG002  # as `Noise` has it
        """Zeros."""
        return np.zeros(count, np.float32)


class SnacStream:
    """One voice, from its first latent to its last sample.

    Push its latents in groups as they come, then `end` it and push `tail` more groups, of any codes.

    Attributes:
        shape: of the decoder.
        state: what the decoder remembers of it, and only the decoder understands; None at first.
    """

    def __init__(self, shape: SnacShape, noise: Noise, start: int = 0) -> None:
        """Begin a voice.

        Args:
            shape: of the decoder.
            noise: that it breathes.
            start: 0, or the negative number of its first latent: those before 0 are no sound.
        """
        self.shape = shape
        self.state: object = None
        self._plan = plan(shape)
        self._noise = noise
        self._now = start  # latents pushed, but for those before 0
        self._end: int | None = None

    def end(self, latents: int | None = None) -> None:
        """Codes that come now are no sound.

        Args:
            latents: of the voice; None: all that were pushed.
        """
        if self._end is None:
            self._end = self._now if latents is None else latents

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._end is not None

    @property
    def tail(self) -> int:
        """Groups still to push until everything is out, if no more of the voice comes."""
        last = self._now if self._end is None else self._end
        if last <= 0:
            return 0
        left = last * self._plan.hop - (self._now * self._plan.hop - self._plan.latency)
        return max(0, -(-left // (LATENTS * self._plan.hop)))

    @property
    def span(self) -> tuple[int, int] | None:
        """First latent of the next call, and the latent at which it ends.

        None: the next call sees no step before the beginning, nor after the end.
        """
        if self._end is None and self._now * self._plan.hop >= self._plan.latency:
            return None
        return self.bounds

    @property
    def bounds(self) -> tuple[int, int]:
        """As `span`, but never None."""
        return self._now, _NEVER if self._end is None else self._end

    def breath(self, groups: int) -> list[Floats]:
        """The noise of the next call, block by block: [T]; zeros where the time is before 0."""
        values = []
        for block, (rate, delay) in enumerate(self._plan.noise):
            count = groups * LATENTS * rate
            before = min(count, max(0, delay - self._now * rate))
            drawn = self._noise.draw(block, count - before)
            values.append(np.concatenate((np.zeros(before, np.float32), drawn)))
        return values

    def advance(self, groups: int, samples: Samples) -> Samples:
        """Note that a call was made; of its samples, give those that belong to the voice."""
        start = self._now * self._plan.hop - self._plan.latency
        end = self.bounds[1] * self._plan.hop
        self._now += groups * LATENTS
        return samples[max(0, -start) : max(0, end - start)]


class Decoder(Protocol):
    """One way to run the network."""

    def step(
        self,
        codes: Codes,
        noise: Sequence[Floats],
        spans: NDArray[np.int64] | None,
        states: Sequence[object],
    ) -> tuple[Samples, Sequence[object]]:
        """Compute one call for B streams.

        Args:
            codes: [B, latents, levels]
            noise: [B, T] of each block.
            spans: [B, 2] as `SnacStream.bounds`; None: no stream is near its beginning or its end.
            states: what this decoder gave for each stream in the call before; None at first.

        Returns:
            [B, T] samples, and the states of the streams.
        """
        ...


def by_latent(codes: Codes) -> Codes:
    """The codes of each latent: [B, 7, G] -> [B, 4 G, levels]."""
    return codes[:, COLUMNS].transpose(0, 3, 1, 2).reshape(len(codes), -1, COLUMNS.shape[1])


def speak(decoder: Decoder, streams: Sequence[SnacStream], codes: Codes) -> list[Samples]:
    """Go on with several voices at once, wherever each of them is.

    Args:
        decoder: that all of them began with.
        streams: B voices of one shape.
        codes: [B, T, levels], as of `by_latent`, T a multiple of `LATENTS`; those behind the end of a voice
            are passed over.

    Returns:
        [T] of each: the samples that are known by now, none twice.

    Raises:
        ValueError: a code is not in the codebook.
    """
    groups, rest = divmod(codes.shape[1], LATENTS)
    if rest:
        raise ValueError(f"latents come in groups of {LATENTS}, not {codes.shape[1]} of them")
    left = np.array([end - now for now, end in (stream.bounds for stream in streams)])
    codes = np.where(np.arange(codes.shape[1])[:, None] < left[:, None, None], codes, 0)
    if codes.min() < 0 or codes.max() >= streams[0].shape.codes:
        raise ValueError(f"codes have to be in 0..{streams[0].shape.codes - 1}")
    at_edge = any(stream.span for stream in streams)
    spans = np.array([stream.bounds for stream in streams]) if at_edge else None
    breaths = zip(*(stream.breath(groups) for stream in streams), strict=True)
    samples, states = decoder.step(
        codes,
        [np.stack(rows) for rows in breaths],
        spans,
        [stream.state for stream in streams],
    )
    for stream, state in zip(streams, states, strict=True):
        stream.state = state
    return [stream.advance(groups, row) for stream, row in zip(streams, samples, strict=True)]


def fold(tensors: Mapping[str, NDArray[np.generic]]) -> dict[str, Floats]:
    """Work out the weight norm once, and drop what only the encoder needs.

    Args:
        tensors: by the original's names: `….parametrizations.weight.original0` is a matrix's norm,
            over all axes but the first, and `original1` its direction.

    Returns:
        The same names with `….weight` in their place.
    """
    folded = {}
    for name, tensor in tensors.items():
        if not name.startswith(("decoder.", "quantizer.")) or ".in_proj." in name:
            continue
        array = np.asarray(tensor, np.float32)
        matrix, _, part = name.partition(".parametrizations.weight.")
        if part == "original0":
            direction = np.asarray(
                tensors[f"{matrix}.parametrizations.weight.original1"], np.float32
            )
            norm = np.sqrt(np.square(direction).sum(axis=(1, 2), keepdims=True))
            folded[f"{matrix}.weight"] = array * direction / norm
        elif not part:
            folded[name] = array
    return folded
