"""SNAC's decoder in OpenVINO: a graph of matrix products, channels last.

Three things make it fast: shapes are fixed, so that chains of small operations become one kernel; a
transposed convolution is one matrix product of neighbouring steps; and the sine is a polynomial, for
the plugin has no vectorised one.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from duologue.audio import Samples
from duologue.models.mini_omni.cpu.language_model import constant, parameter
from duologue.models.mini_omni.nets import snac_stream
from duologue.models.mini_omni.nets.shapes import SnacShape
from duologue.models.mini_omni.nets.snac_stream import (
    DILATIONS,
    KERNEL,
    LATENTS,
    Codes,
    Floats,
    Plan,
)
from duologue.system.openvino import ops, ov

_TERMS = 8  # of the series of sin²: the ninth is below 1e-7 everywhere


class SnacDecoder:
    """The network, compiled to go on by one group of codes of one voice.

    Voices come one after the other: two at once would be an eighth cheaper, and take 90 MB more.
    """

    def __init__(
        self,
        core: ov.Core,
        shape: SnacShape,
        tensors: Mapping[str, NDArray[np.generic]],
        settings: Mapping[str, Any],
    ) -> None:
        self._plan = snac_stream.plan(shape)
        weights = snac_stream.fold(tensors)
        levels = [f"quantizer.quantizers.{i}" for i in range(len(shape.strides))]
        self._codebooks = np.stack([weights[f"{level}.codebook.weight"] for level in levels])
        self._rates, self._times = self._plan.clock(1)
        model = _Network(shape, self._plan, weights).model()
        # Machines with bf16 would take it unasked: 44 dB from the exact sound, and no faster.
        settings = {**settings, "INFERENCE_PRECISION_HINT": "f32"}
        model.reshape({port: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def step(
        self,
        codes: Codes,
        noise: Sequence[Floats],
        spans: NDArray[np.int64] | None,
        states: Sequence[object],
    ) -> tuple[Samples, Sequence[Floats]]:
        """Compute groups and voices one after the other."""
        vectors = self._codebooks[np.arange(codes.shape[2]), codes].reshape(*codes.shape[:2], -1)
        fresh = np.zeros(self._plan.state, np.float32)
        state = np.stack([fresh if known is None else cast(Floats, known) for known in states])
        groups = codes.shape[1] // LATENTS
        samples = np.empty((len(codes), groups, LATENTS * self._plan.hop), np.float32)
        for voice, group in product(range(len(codes)), range(groups)):
            row = slice(voice, voice + 1)
            inputs = [_group(part[row], group, groups) for part in (vectors, *noise)]
            now = None if spans is None else spans[row] + (LATENTS * group, 0)
            self._request.infer([state[row], self._mask(now), *inputs])
            samples[row, group] = self._request.get_output_tensor(0).data
            state[row] = self._request.get_output_tensor(1).data
        return samples.reshape(len(codes), -1), list(state)

    def _mask(self, spans: NDArray[np.int64] | None) -> Floats:
        """[1, mask] of one voice."""
        if spans is None:
            return np.ones((1, len(self._times)), np.float32)
        now, end = spans[:, :1], spans[:, 1:]
        when = now * self._rates + self._times
        return ((when >= 0) & (when < end * self._rates)).astype(np.float32)


class _Network:
    """Writes the network down, [B, T, D] throughout."""

    def __init__(self, shape: SnacShape, plan: Plan, weights: Mapping[str, Floats]) -> None:
        self._shape = shape
        self._weights = weights
        self._pasts = iter(plan.pasts)
        self._state = parameter("state", [-1, plan.state])
        self._mask = parameter("mask", [-1, sum(LATENTS * past.rate for past in plan.pasts)])
        self._noise = [
            parameter(f"noise.{i}", [-1, LATENTS * rate]) for i, (rate, _) in enumerate(plan.noise)
        ]
        self._remembered = self._masked = 0
        self._kept: list[Any] = []

    def model(self) -> ov.Model:
        """One group of any number of voices."""
        levels = len(self._shape.strides)
        vectors = parameter("vectors", [-1, LATENTS, levels * self._shape.code_width])
        x = self._depthwise(self._join(self._latents(vectors)), "decoder.model.0", 1)
        x = self._linear(x, "decoder.model.1")
        for i, noise in enumerate(self._noise):
            x = self._block(x, f"decoder.model.{i + 2}.block", self._shape.rates[i], noise)
        last = len(self._noise) + 2
        x = _swap(self._snake(self._join(x), f"decoder.model.{last}"))
        kernel = constant(self._weights[f"decoder.model.{last + 1}.weight"])
        x = ops.convolution(x, kernel, [1], [0], [0], [1])
        x = ops.tanh(ops.add(x, self._vector(f"decoder.model.{last + 1}.bias")))
        outputs = [ops.squeeze(x, _integers(1)), ops.concat(self._kept, 1)]
        return ov.Model(outputs, [self._state, self._mask, vectors, *self._noise], "snac")

    def _latents(self, vectors: Any) -> Any:
        """All levels in one product, and their biases in one."""
        names = [f"quantizer.quantizers.{i}.out_proj" for i in range(len(self._shape.strides))]
        matrix = np.concatenate([self._weights[f"{name}.weight"][..., 0] for name in names], 1)
        bias = np.sum([self._weights[f"{name}.bias"] for name in names], 0)
        x = ops.matmul(vectors, constant(matrix), False, True)
        return ops.add(x, constant(bias[None, None]))

    def _block(self, x: Any, name: str, rate: int, noise: Any) -> Any:
        x = self._upsample(self._snake(self._join(x), f"{name}.0"), f"{name}.1", rate)
        noise = ops.unsqueeze(noise, _integers(2))
        x = ops.add(x, ops.multiply(noise, self._linear(x, f"{name}.2.linear")))
        for i, dilation in enumerate(DILATIONS):
            unit = f"{name}.{i + 3}.block"
            joined = self._join(x)
            y = self._depthwise(self._snake(joined, f"{unit}.0"), f"{unit}.1", dilation)
            y = self._linear(self._snake(y, f"{unit}.2"), f"{unit}.3")
            reach = KERNEL // 2 * dilation
            x = ops.add(_cut(joined, reach, -reach), y)
        return x

    def _join(self, x: Any) -> Any:
        """Put zeros where the mask has them, put what is remembered before it, remember its end."""
        past = next(self._pasts)
        mask = _cut(self._mask, self._masked, self._masked + LATENTS * past.rate)
        size = past.steps * past.channels
        remembered = _cut(self._state, self._remembered, self._remembered + size)
        self._masked += LATENTS * past.rate
        self._remembered += size
        remembered = _reshape(remembered, 0, past.steps, past.channels)
        joined = ops.concat([remembered, ops.multiply(x, ops.unsqueeze(mask, _integers(2)))], 1)
        self._kept.append(_reshape(_cut(joined, -past.steps), 0, size))
        return joined

    def _upsample(self, x: Any, name: str, rate: int) -> Any:
        """The transposed convolution: `rate` steps from every two neighbours."""
        weight = self._weights[f"{name}.weight"]  # [in, out, 2 rate]
        # The later half of the kernel is for the earlier of the two.
        matrix = np.concatenate((weight[..., rate:], weight[..., :rate]))
        matrix = matrix.transpose(2, 1, 0).reshape(-1, len(matrix))
        bias = np.tile(self._weights[f"{name}.bias"], rate)
        pairs = ops.concat([_cut(x, 0, -1), _cut(x, 1)], 2)
        x = ops.add(ops.matmul(pairs, constant(matrix), False, True), constant(bias[None, None]))
        return _reshape(x, 0, -1, weight.shape[1])

    def _depthwise(self, x: Any, name: str, dilation: int) -> Any:
        kernels = constant(self._weights[f"{name}.weight"][:, :, None])
        x = ops.group_convolution(_swap(x), kernels, [1], [0], [0], [dilation])
        return ops.add(_swap(x), self._vector(f"{name}.bias"))

    def _linear(self, x: Any, name: str) -> Any:
        x = ops.matmul(x, constant(self._weights[f"{name}.weight"][..., 0]), False, True)
        return ops.add(x, self._vector(f"{name}.bias")) if f"{name}.bias" in self._weights else x

    def _snake(self, x: Any, name: str) -> Any:
        """Add sin²(alpha x) / alpha, by the series of sin² between -pi/2 and pi/2, its period."""
        alpha = self._weights[f"{name}.alpha"].reshape(1, 1, -1)
        turns = ops.multiply(x, constant(alpha / np.float32(np.pi)))
        turns = ops.subtract(turns, ops.round(turns, "half_to_even"))
        square = ops.multiply(turns, turns)
        sine = _number(_series(_TERMS))
        for term in range(_TERMS - 1, 0, -1):
            sine = ops.add(ops.multiply(sine, square), _number(_series(term)))
        sine = ops.multiply(sine, square)
        return ops.add(x, ops.multiply(sine, constant(1 / (alpha + np.float32(1e-9)))))

    def _vector(self, name: str) -> Any:
        return constant(self._weights[name].reshape(1, 1, -1))


def _group(part: Floats, group: int, groups: int) -> Floats:
    """[B, T, …] -> [B, T / groups, …]: what belongs to one of the groups."""
    size = part.shape[1] // groups
    return part[:, group * size : (group + 1) * size]


def _series(term: int) -> float:
    """The factor of x^2term in sin²(pi x) = (1 - cos(2 pi x)) / 2."""
    return (1 if term % 2 else -1) * math.tau ** (2 * term) / (2 * math.factorial(2 * term))


def _cut(x: Any, start: int, stop: int = 2**31 - 1) -> Any:
    """Slice time, or what is flat: x[:, start:stop]."""
    return ops.slice(x, _integers(start), _integers(stop), _integers(1), _integers(1))


def _reshape(x: Any, *sizes: int) -> Any:
    """0: as it is."""
    return ops.reshape(x, _integers(*sizes), special_zero=True)


def _swap(x: Any) -> Any:
    """[B, T, D] <-> [B, D, T]: what is after it says which layout it likes; nothing is moved."""
    return ops.transpose(x, _integers(0, 2, 1))


def _integers(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))


def _number(value: float) -> Any:
    return ops.constant(np.float32(value))
