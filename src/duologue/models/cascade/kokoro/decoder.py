"""Kokoro's decoder in OpenVINO: from what is said, how high and how loud, to a spectrum. All is [B, D, T].

onnxruntime spends three quarters of its time here, in convolutions. Three things make it faster: OpenVINO
has convolutions of 8 bits for sequences, the sine is a polynomial, and a transposed convolution is one of
neighbouring steps. Where a convolution is computed with 8 bits, `ranges` tells between which values: they
were measured (`python -m bench.kokoro_ranges`).

Source: Kokoro-82M (hexgrad, Apache-2.0), which has the decoder of StyleTTS 2, arXiv:2306.07691, with
iSTFTNet, arXiv:2203.02395.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.models.cascade.kokoro.onnx_file import OnnxFile
from duologue.system.openvino import ops, ov

Floats = NDArray[np.float32]
Ranges = Mapping[str, tuple[float, float]]

STYLE = 128
"""Width of the style that the decoder sees."""

BINS = 22
"""Values of a step of a spectrum: 11 amplitudes and 11 phases."""

CONTENT = 512
"""Width of what is said."""

_RATES = (10, 6)
_DILATIONS = (1, 3, 5)
_KERNELS = 3  # blocks beside each other after each upsampling
_BLOCKS = 4
_SILENT = 1, 3  # steps from each end that stand for silence that was left out
_END = 2**31 - 1

# sin²(pi x) between -1/2 and 1/2 as a polynomial in x²: 2e-5 off at most.
_SINE = (9.86667838, -32.35397606, 41.29577738, -22.99281857)


class Decoder:
    """The network, compiled for clauses of any length."""

    def __init__(self, file: OnnxFile, settings: Mapping[str, Any], ranges: Ranges) -> None:
        network = Network(file, ranges)
        self._style, self._bias = network.styles()
        # Machines with bf16 would take it unasked: the 8 bits would be lost, and the sound.
        settings = {**settings, "INFERENCE_PRECISION_HINT": "f32"}
        self._compiled = ov.Core().compile_model(network.model(), "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def decode(
        self,
        content: Floats,
        pitch: Floats,
        energy: Floats,
        source: Floats,
        style: Floats,
        absent: float = 0.0,
    ) -> Floats:
        """The spectrum of a clause, [22, 120 T + 1]: logarithms of amplitudes, and what gives phases.

        Args:
            content: [512, T], what is said.
            pitch: [2 T], hertz.
            energy: [2 T].
            source: [22, 120 T + 1], the spectrum of the vocal cords.
            style: [128].
            absent: how much silence was left out at both ends, as a part of what would be there with it.
        """
        styles = style @ self._style + self._bias
        self._request.infer(
            [
                content[None],
                pitch[None, None],
                energy[None, None],
                source[None],
                styles[None],
                np.float32(absent).reshape(1, 1, 1),
            ]
        )
        spectrum = np.array(self._request.get_output_tensor(0).data[0])
        self._compiled.release_memory()  # 50 MB for each second of speech, which would stay
        return spectrum


class Network:
    """Writes the network down.

    Attributes:
        inputs: of the convolutions that may be computed with 8 bits, by name.
    """

    def __init__(self, file: OnnxFile, ranges: Ranges | None = None) -> None:
        """Without `ranges`, all is computed in 32 bits."""
        self._file, self._ranges = file, ranges
        self.inputs: dict[str, Any] = {}
        self._adapted = [name[: -len(_FC)] for name in file.nodes if name.endswith(_FC)]
        self._adapted = [name for name in self._adapted if name.startswith("/decoder/")]
        self._places: dict[str, tuple[int, int]] = {}
        place = 0
        for name in self._adapted:
            width = len(file.tensors[f"{_dotted(name)}.fc.bias"])
            self._places[name] = place, width // 2
            place += width
        self._styles = _parameter("styles", [1, place])
        self._absent = _parameter("absent", [1, 1, 1])

    def styles(self) -> tuple[Floats, Floats]:
        """What makes the scales and shifts of all layers of a style: a matrix [128, S], a vector [S]."""
        tensors = self._file.tensors
        matrix = np.concatenate([self._weight(f"{name}{_FC}") for name in self._adapted], 1)
        bias = np.concatenate([tensors[f"{_dotted(name)}.fc.bias"] for name in self._adapted])
        for place, width in self._places.values():
            bias[place : place + width] += 1  # a scale of 1 + what the style says
        return matrix, bias.astype(np.float32)

    def model(self) -> ov.Model:
        """All of it."""
        content = _parameter("content", [1, CONTENT, -1])
        pitch, energy = (_parameter(name, [1, 1, -1]) for name in ("pitch", "energy"))
        source = _parameter("source", [1, BINS, -1])
        curves = [
            self._convolve(curve, f"{_ROOT}/{name}", 2, 1)
            for curve, name in ((pitch, "F0_conv"), (energy, "N_conv"))
        ]
        x = self._block(ops.concat([content, *curves], 1), f"{_ROOT}/encode")
        beside = [self._convolve(content, f"{_ROOT}/asr_res/asr_res.0"), *curves]
        for i in range(_BLOCKS):
            x = self._block(ops.concat([x, *beside], 1), f"{_ROOT}/decode.{i}", i == _BLOCKS - 1)
        for level in range(len(_RATES)):
            x = self._generate(x, source, level)
        kernel = self._file.tensors[self._file.nodes[f"{_ROOT}/generator/conv_post/Conv"][1]]
        x = ops.convolution(_leaky(x, 0.01), _constant(kernel), [1], [3], [3], [1])
        x = ops.add(x, self._vector(f"{_ROOT}/generator/conv_post"))
        return ov.Model(
            [x], [content, pitch, energy, source, self._styles, self._absent], "decoder"
        )

    def _generate(self, x: Any, source: Any, level: int) -> Any:
        """More steps, joined with the source; then blocks that see more or less of what is around."""
        name = f"{_ROOT}/generator"
        stride = math.prod(_RATES[level + 1 :])
        heard = self._convolve(source, f"{name}/noise_convs.{level}", stride, stride // 2)
        rate = 2 * math.prod(_RATES[: level + 1])
        heard = self._residual(heard, f"{name}/noise_res.{level}", rate)
        x = self._upsample(_leaky(x, 0.1), level)
        if level == len(_RATES) - 1:  # the source has one step more than there are hops
            x = ops.concat([_cut(x, 1, 2), x], 2)
        x = ops.add(x, heard)
        first, *others = (
            self._residual(x, f"{name}/resblocks.{_KERNELS * level + i}", rate)
            for i in range(_KERNELS)
        )
        for other in others:
            first = ops.add(first, other)
        return ops.multiply(first, _number(1 / _KERNELS))

    def _block(self, x: Any, name: str, doubles: bool = False) -> Any:
        """Two convolutions with a short way beside; one block doubles the number of steps."""
        y = _leaky(self._adapt(x, f"{name}/norm1"), 0.2)
        if doubles:
            y, x = self._double(y, f"{name}/pool/ConvTranspose"), _interleave(x, x)
        y = self._convolve(y, f"{name}/conv1", 1, 1)
        y = _leaky(self._adapt(y, f"{name}/norm2", 2 if doubles else 1), 0.2)
        y = self._convolve(y, f"{name}/conv2", 1, 1)
        if f"{name}/conv1x1/Conv_quant" in self._file.nodes:
            x = self._convolve(x, f"{name}/conv1x1")
        return ops.multiply(ops.add(x, y), _number(1 / math.sqrt(2)))

    def _residual(self, x: Any, name: str, rate: int) -> Any:
        for i, dilation in enumerate(_DILATIONS):
            y = x
            for half, reach in ((1, dilation), (2, 1)):
                y = self._adapt(y, f"{name}/adain{half}.{i}", rate)
                y = _snake(y, self._file.tensors[f"{_dotted(name)}.alpha{half}.{i}"])
                conv = f"{name}/convs{half}.{i}"
                width = self._file.tensors[self._file.nodes[f"{conv}/Conv_quant"][1]].shape[2]
                y = self._convolve(y, conv, 1, width // 2 * reach, reach)
            x = ops.add(x, y)
        return x

    def _adapt(self, x: Any, name: str, rate: int = 1) -> Any:
        """Every channel with mean 0 and variance 1, then as the style has it.

        Mean and variance are those that it would have with the silence that was left out: that is like what
        is left of it, near both ends.
        """
        place, width = self._places[name]
        scale, shift = (
            ops.unsqueeze(_cut(self._styles, start, start + width, axis=1), _integers(2))
            for start in (place, place + width)
        )
        x = ops.mvn(x, _integers(2), True, 1e-5, "inside_sqrt")
        first, last = _SILENT
        ends = _cut(x, rate * first, rate * last), _cut(x, -rate * last, -rate * first)
        silence = ops.concat(list(ends), 2)
        mean = ops.multiply(self._absent, ops.reduce_mean(silence, _integers(2), True))
        square = ops.reduce_mean(ops.multiply(silence, silence), _integers(2), True)
        square = ops.subtract(square, _number(1))  # 1 is that of what is there
        square = ops.add(ops.multiply(self._absent, square), _number(1))
        scale = ops.divide(scale, ops.sqrt(ops.subtract(square, ops.multiply(mean, mean))))
        shift = ops.subtract(shift, ops.multiply(mean, scale))
        return ops.add(ops.multiply(x, scale), shift)

    def _double(self, x: Any, node: str) -> Any:
        """The transposed convolution of each channel by itself: kernel 3, two steps from each one."""
        _, kernel, bias = self._file.nodes[node]
        before, here, after = (
            _constant(self._file.tensors[kernel][None, :, 0, i, None]) for i in range(3)
        )
        following = ops.concat([_cut(x, 1, _END), ops.multiply(_cut(x, -1, _END), _number(0))], 2)
        odd = ops.add(ops.multiply(x, after), ops.multiply(following, before))
        both = _interleave(ops.multiply(x, here), odd)
        return ops.add(both, _constant(self._file.tensors[bias][None, :, None]))

    def _upsample(self, x: Any, level: int) -> Any:
        """The transposed convolution: `rate` steps from every two neighbours."""
        name, rate = f"{_ROOT}/generator/ups.{level}", _RATES[level]
        weight = self._file.tensors[
            self._file.nodes[f"{name}/ConvTranspose"][1]
        ]  # [in, out, 2 rate]
        # The later half of the kernel is for the earlier of the two.
        kernel = np.stack((weight[..., rate:], weight[..., :rate]), -1).transpose(1, 2, 0, 3)
        width = weight.shape[1]
        x = self._quantised(
            x, name, np.asarray(kernel.reshape(width * rate, -1, 2), np.float32), [1], [1], [1]
        )
        x = ops.reshape(x, _integers(1, width, rate, -1), special_zero=False)
        x = ops.reshape(ops.transpose(x, _integers(0, 1, 3, 2)), _integers(1, width, -1), False)
        return ops.add(_cut(x, rate // 2, -(rate // 2)), self._vector(name))

    def _convolve(self, x: Any, name: str, stride: int = 1, pad: int = 0, dilation: int = 1) -> Any:
        weight = self._weight(f"{name}/Conv_quant")
        x = self._quantised(x, name, weight, [stride], [pad], [dilation])
        return ops.add(x, self._vector(name)) if _bias(name) in self._file.tensors else x

    def _quantised(
        self,
        x: Any,
        name: str,
        weight: Floats,
        stride: list[int],
        pad: list[int],
        dilation: list[int],
    ) -> Any:
        """A convolution, with 8 bits where the range of what it takes is known."""
        short = name.removeprefix(f"{_ROOT}/")
        kernel = _constant(weight)
        if self._ranges is None:
            self.inputs[short] = x
        elif short in self._ranges:
            edges = [_number(edge) for edge in self._ranges[short]] * 2
            x = ops.fake_quantize(x, *edges, 256)
            steps = np.maximum(np.abs(weight).max((1, 2), keepdims=True) / 127, 1e-9)
            whole = ops.convert(_constant(np.round(weight / steps).astype(np.int8)), "f32")
            kernel = ops.multiply(whole, _constant(steps.astype(np.float32)))
        return ops.convolution(x, kernel, stride, pad, pad, dilation)

    def _weight(self, node: str) -> Floats:
        """The weights of an operation, which lie in the file as 8 bits with a scale."""
        _, name, _, zero = self._file.nodes[node]
        tensors = self._file.tensors
        whole = tensors[name].astype(np.float32) - tensors[zero].astype(np.float32)
        scale = tensors[f"{name.removesuffix('_quantized')}_scale"]
        return np.asarray(whole * scale.astype(np.float32), np.float32)

    def _vector(self, name: str) -> Any:
        return _constant(self._file.tensors[_bias(name)][None, :, None])


_ROOT = "/decoder/decoder"
_FC = "/fc/Gemm_MatMul_quant"


def _dotted(name: str) -> str:
    """What weights are called, of the name of an operation."""
    return name.removeprefix("/").replace("/", ".")


def _bias(name: str) -> str:
    return f"{_dotted(name)}.bias"


def _snake(x: Any, alpha: Any) -> Any:
    """Add sin²(alpha x) / alpha."""
    turns = ops.multiply(x, _constant(np.asarray(alpha / np.pi, np.float32)))
    turns = ops.subtract(turns, ops.round(turns, "half_to_even"))
    square = ops.multiply(turns, turns)
    sine = _number(_SINE[-1])
    for factor in reversed(_SINE[:-1]):
        sine = ops.add(ops.multiply(sine, square), _number(factor))
    sine = ops.multiply(sine, square)
    return ops.add(x, ops.multiply(sine, _constant(np.asarray(1 / alpha, np.float32))))


def _interleave(even: Any, odd: Any) -> Any:
    """Steps of one and of the other, in turns."""
    both = ops.concat([ops.unsqueeze(part, _integers(3)) for part in (even, odd)], 3)
    return ops.reshape(both, _integers(0, 0, -1), special_zero=True)


def _leaky(x: Any, slope: float) -> Any:
    return ops.prelu(x, _constant(np.full(1, slope, np.float32)))


def _cut(x: Any, start: int, stop: int, axis: int = 2) -> Any:
    return ops.slice(x, _integers(start), _integers(stop), _integers(1), _integers(axis))


def _parameter(name: str, shape: list[int]) -> Any:
    parameter = ops.parameter(shape, np.float32, name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


def _constant(array: NDArray[np.generic]) -> Any:
    return ops.constant(np.ascontiguousarray(array))


def _number(value: float) -> Any:
    return ops.constant(np.float32(value))


def _integers(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))
