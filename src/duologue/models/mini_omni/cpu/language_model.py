"""The language model in OpenVINO: paged attention, so that every row has its own length.

One call takes any mixture of rows: some go on by one position, some read a prompt. Weights that are
int8 or int4 stay so in memory, and activations are quantised on the way (groups of 64).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.models.mini_omni.nets.shapes import LanguageModelShape
from duologue.models.mini_omni.runtime import Floats, Span
from duologue.system.openvino import ops, ov

Tensors = Mapping[str, NDArray[np.generic]]

_BLOCK = 32  # positions of a block of the cache; what the CPU plugin's paged attention works with


class LanguageModel:
    """Blocks and heads, compiled, with a cache of `rows` sequences."""

    def __init__(
        self,
        core: ov.Core,
        shape: LanguageModelShape,
        tensors: Tensors,
        rows: int,
        settings: Mapping[str, Any],
    ) -> None:
        """Compile; the graphs share the memory of `tensors`, which has to stay."""
        self.shape = shape
        self._blocks = -(-shape.positions // _BLOCK)  # of one row
        self._embedding = tensors["embedding"]
        self._rope = _rope_tables(shape, self._blocks * _BLOCK)
        body = core.compile_model(_body(shape, tensors), "CPU", settings)
        self._body = body.create_infer_request()
        self._audio_head, self._text_head = (
            core.compile_model(_head(tensors, name), "CPU", settings).create_infer_request()
            for name in ("audio_head", "text_head")
        )
        self._cache: list[NDArray[np.generic]] = []
        for port in body.inputs:
            if "_cache" in port.any_name:
                sizes = [
                    d.get_length() if d.is_static else rows * self._blocks
                    for d in port.partial_shape
                ]
                array = np.zeros(sizes, port.element_type.to_dtype())
                self._body.set_tensor(port.any_name, ov.Tensor(array, shared_memory=True))
                self._cache.append(array)

    def hidden(self, spans: Sequence[Span]) -> Floats:
        """[B, D]: what the last position of each span has come to."""
        past = np.array([span.start for span in spans], np.int32)
        lengths = np.array([span.length for span in spans], np.int32)
        ends = np.cumsum(lengths, dtype=np.int32)
        used = -(-(past + lengths) // _BLOCK)
        blocks = [
            span.row * self._blocks + np.arange(n) for span, n in zip(spans, used, strict=True)
        ]
        positions = np.concatenate([s.start + np.arange(s.length) for s in spans])
        cosine, sine = self._rope
        self._body.infer(
            {
                "x": np.concatenate([self._embed(span) for span in spans]),
                "cosine": cosine[positions, None, None],
                "sine": sine[positions, None, None],
                "past": past,
                "begins": np.concatenate(([0], ends)).astype(np.int32),
                "blocks": np.concatenate(blocks).astype(np.int32),
                "block_begins": np.concatenate(([0], np.cumsum(used))).astype(np.int32),
                "longest": np.array((past + lengths).max(), np.int32),
                "last": ends - 1,
            }
        )
        return np.array(self._body.get_output_tensor(0).data)

    def audio_logits(self, hidden: Floats) -> Floats:
        """[B, D] -> [B, 7, audio vocabulary]."""
        self._audio_head.infer({"x": hidden})
        logits: Floats = self._audio_head.get_output_tensor(0).data
        return logits.reshape(len(hidden), -1, self.shape.audio_vocabulary)

    def text_logits(self, hidden: Floats) -> Floats:
        """[B, D] -> [B, text vocabulary]."""
        self._text_head.infer({"x": hidden})
        logits: Floats = self._text_head.get_output_tensor(0).data
        return logits

    def fork(self, source: int, target: int, positions: int) -> None:
        """Copy the first `positions` of a row to another."""
        count = -(-positions // _BLOCK)
        of, to = source * self._blocks, target * self._blocks
        for array in self._cache:
            array[to : to + count] = array[of : of + count]

    def _embed(self, span: Span) -> Floats:
        """[T, D]: the mean of the eight streams; features take the place of the seven of audio."""
        x = self._embedding[span.ids].astype(np.float32).sum(0) / np.float32(8)
        if span.features is not None:
            first, end = max(span.start, 1), min(span.start + span.length, len(span.features) + 1)
            heard = slice(first - span.start, max(first, end) - span.start)
            text = self._embedding[span.ids[7, heard]].astype(np.float32)
            x[heard] = (7 * span.features[first - 1 : end - 1] + text) / np.float32(8)
        return np.asarray(x, np.float32)


def build_adapter(tensors: Tensors) -> ov.Model:
    """[T, adapter width] -> [T, D]."""
    x = parameter("x", [-1, matrix_width(tensors, "adapter.gate")])
    return ov.Model([_gated(x, tensors, "adapter")], [x], "adapter")


def parameter(name: str, sizes: Sequence[int], kind: ov.Type = ov.Type.f32) -> Any:
    """An input of a graph; -1: any size."""
    node = ops.parameter(ov.PartialShape(list(sizes)), kind, name=name)
    node.output(0).tensor.names = {name}
    return node


def linear(x: Any, tensors: Tensors, name: str) -> Any:
    """X times the matrix `name`, in whatever precision it lies there."""
    weight = tensors[f"{name}.weight"]
    scale = tensors.get(f"{name}.scale")
    if scale is None:
        return ops.matmul(x, constant(weight), False, True)
    if weight.dtype == np.uint8:
        out, groups, _ = scale.shape
        packed = ov.Tensor(
            weight, ov.Shape([out, groups, 2 * weight.shape[1] // groups]), ov.Type.i4
        )
        levels = ops.convert(ops.constant(packed, shared_memory=True), "f32")
        matrix = ops.reshape(
            ops.multiply(levels, constant(scale)),
            _int64(out, 2 * weight.shape[1]),
            special_zero=False,
        )
    else:
        matrix = ops.multiply(ops.convert(constant(weight), "f32"), constant(scale))
    return ops.matmul(x, matrix, False, True)


def matrix_width(tensors: Tensors, name: str) -> int:
    """How many inputs the matrix `name` takes."""
    weight = tensors[f"{name}.weight"]
    return int(weight.shape[1]) * (2 if weight.dtype == np.uint8 else 1)


def constant(array: NDArray[np.generic]) -> Any:
    """A constant that shares the array's memory."""
    return ops.constant(array, shared_memory=True)


def _int64(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))


def _float(value: float) -> Any:
    return ops.constant(np.float32(value))


def _head(tensors: Tensors, name: str) -> ov.Model:
    x = parameter("x", [-1, matrix_width(tensors, name)])
    return ov.Model([linear(x, tensors, name)], [x], name)


def _gated(x: Any, tensors: Tensors, name: str) -> Any:
    """down(silu(gate x) * up x)."""
    gate = ops.swish(linear(x, tensors, f"{name}.gate"))
    return linear(ops.multiply(gate, linear(x, tensors, f"{name}.up")), tensors, f"{name}.down")


def _body(shape: LanguageModelShape, tensors: Tensors) -> ov.Model:
    """All blocks and the last norm; then only the last position of each row goes on."""
    x = parameter("x", [-1, shape.width])
    rope = [parameter(name, [-1, 1, 1, shape.head_width]) for name in ("cosine", "sine")]
    rows = {
        name: parameter(name, [-1], ov.Type.i32)
        for name in ("past", "begins", "blocks", "block_begins")
    }
    longest, last = parameter("longest", [], ov.Type.i32), parameter("last", [-1], ov.Type.i32)
    inputs = [x, *rope, *rows.values(), longest, last]
    h = x
    for layer in range(shape.layers):
        name = f"layers.{layer}"
        cache = [
            parameter(f"{kind}_cache.{layer}", [-1, shape.groups, -1, -1], ov.Type.dynamic)
            for kind in ("key", "value")
        ]
        inputs += cache
        normed = _norm(h, tensors[f"{name}.norm_1"], shape.norm_epsilon)
        qkv = ops.add(
            linear(normed, tensors, f"{name}.qkv"), constant(tensors[f"{name}.qkv.bias"][None])
        )
        attended = _attention(qkv, shape, rope, [*cache, *rows.values()], longest)
        h = ops.add(h, linear(attended, tensors, f"{name}.output"))
        normed = _norm(h, tensors[f"{name}.norm_2"], shape.norm_epsilon)
        h = ops.add(h, _gated(normed, tensors, name))
    h = ops.gather(h, last, ops.constant(np.int64(0)))
    return ov.Model([_norm(h, tensors["norm"], shape.norm_epsilon)], inputs, "body")


def _norm(x: Any, weight: NDArray[np.generic], epsilon: float) -> Any:
    """RMSNorm, written as the compiler knows it."""
    mean = ops.reduce_mean(ops.power(x, _float(2)), _int64(-1), keep_dims=True)
    rms = ops.sqrt(ops.add(mean, _float(epsilon)))
    return ops.multiply(ops.multiply(x, ops.divide(_float(1), rms)), constant(weight))


def _attention(
    qkv: Any, shape: LanguageModelShape, rope: list[Any], state: list[Any], longest: Any
) -> Any:
    widths = [shape.heads * shape.head_width, *[shape.groups * shape.head_width] * 2]
    query, key, value = ops.variadic_split(
        qkv, ops.constant(np.int64(1)), _int64(*widths)
    ).outputs()
    off = ops.constant(np.int32(0))
    none = {kind: ops.constant(np.zeros(0, kind)) for kind in ("int32", "float32", "uint8")}
    node = ov.op._PagedAttentionExtension(
        [
            port.output(0) if hasattr(port, "output") else port
            for port in (
                _rotate(query, rope, shape.heads, shape.head_width),
                _rotate(key, rope, shape.groups, shape.head_width),
                value,
                *state,
                _float(shape.head_width**-0.5),
                off,  # sliding window
                none["float32"],  # slopes of ALiBi
                longest,
                none["int32"],  # window of score aggregation
                none["int32"],  # cache rotation: blocks, deltas, table
                none["int32"],
                none["float32"],
                none["float32"],  # sparse attention: threshold, block, stride
                off,
                off,
                ops.constant(np.zeros((0, 0, 0, 0), np.float32)),  # attention sinks
                off,  # cache eviction: start, sizes, sets of blocks, where they begin
                *[none["int32"]] * 3,
                none["int32"],  # token types
                none["uint8"],  # bias between queries, and where it begins
                none["int32"],
            )
        ]
    )
    about = node.get_rt_info()  # where the CPU plugin looks for the sizes of the heads
    for kind in ("k", "v"):
        about[f"num_{kind}_heads"], about[f"{kind}_head_size"] = shape.groups, shape.head_width
    return node.output(0)


def _rotate(x: Any, rope: list[Any], heads: int, width: int) -> Any:
    """Rotary position embedding, half-split, written as the compiler knows it."""
    x = ops.reshape(x, _int64(0, heads, 1, width), special_zero=True)
    half, axis, step = _int64(width // 2), _int64(3), _int64(1)
    first = ops.slice(x, _int64(0), half, step, axis)
    second = ops.slice(x, half, _int64(2**31 - 1), step, axis)
    turned = ops.concat([ops.multiply(second, _float(-1)), first], -1)
    rotated = ops.add(ops.multiply(x, rope[0]), ops.multiply(turned, rope[1]))
    return ops.reshape(rotated, _int64(0, heads * width), special_zero=True)


def _rope_tables(shape: LanguageModelShape, positions: int) -> tuple[Floats, Floats]:
    half = shape.head_width // 2
    angle = np.arange(positions)[:, None] * shape.rope_base ** (-np.arange(half) / half)
    angle = np.tile(angle, 2)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
