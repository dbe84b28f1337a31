"""Reads what is inside an ONNX file, and cuts a network out of it.

Only the few fields of the format (onnx.proto3) that this needs are known here; all else is copied as it is.
The package onnx would do the same in 18 MB.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER, _OUTPUT, _VALUE_INFO = 1, 5, 12, 13  # of GraphProto
_INPUTS, _OUTPUTS, _NAME = 1, 2, 3  # of NodeProto
_BYTES = 2  # how a field is written


class _Tensor(IntEnum):
    """Fields of TensorProto."""

    DIMS = 1
    DATA_TYPE = 2
    INTEGERS = 5
    NAME = 8
    RAW = 9


_TYPES: Mapping[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
}


class OnnxFile:
    """A network in a file.

    Attributes:
        tensors: its weights by name.
        nodes: the names of what each of its operations takes, by the operation's name.
    """

    def __init__(self, path: Path) -> None:
        self._model = memoryview(path.read_bytes())
        self._graph = next(body for number, body, _ in _fields(self._model) if number == _GRAPH)
        self.tensors = dict(_tensor(body) for body in self._of_graph(_INITIALIZER))
        self.nodes = {_text(body, _NAME): _texts(body, _INPUTS) for body in self._of_graph(_NODE)}

    def cut(self, outputs: Sequence[str]) -> bytes:
        """A network that ends at these outputs; what nobody needs for them is left out."""
        needed, kept = set(outputs), set[int]()
        nodes = list(self._of_graph(_NODE))
        for place in reversed(
            range(len(nodes))
        ):  # they stand in the order in which they are computed
            if needed.intersection(_texts(nodes[place], _OUTPUTS)):
                kept.add(place)
                needed.update(_texts(nodes[place], _INPUTS))
        graph, place = bytearray(), -1
        for number, body, whole in _fields(self._graph):
            place += number == _NODE
            if (
                (number == _NODE and place not in kept)
                or (number == _INITIALIZER and _text(body, _Tensor.NAME) not in needed)
                or number in (_OUTPUT, _VALUE_INFO)
            ):
                continue
            graph += whole
        for name in outputs:
            graph += _written(_OUTPUT, _written(1, name.encode()))
        rest = b"".join(
            bytes(whole) for number, _, whole in _fields(self._model) if number != _GRAPH
        )
        return rest + _written(_GRAPH, bytes(graph))

    def _of_graph(self, field: int) -> Iterator[memoryview]:
        return (body for number, body, _ in _fields(self._graph) if number == field)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Each field: its number, what it holds, and all of its bytes."""
    place = 0
    while place < len(data):
        start = place
        key, place = _varint(data, place)
        begin = place
        match key & 7:
            case 0:
                _, place = _varint(data, place)
            case 1:
                place += 8
            case 5:
                place += 4
            case 2:
                size, begin = _varint(data, place)
                place = begin + size
            case kind:
                raise ValueError(f"no ONNX file: a field of kind {kind}")
        yield key >> 3, data[begin:place], data[start:place]


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _varints(data: memoryview) -> Iterator[int]:
    place = 0
    while place < len(data):
        value, place = _varint(data, place)
        yield value


def _written(number: int, body: bytes) -> bytes:
    size, head = len(body), bytearray(_number(number << 3 | _BYTES))
    return bytes(head + _number(size) + body)


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _texts(data: memoryview, field: int) -> list[str]:
    return [str(body, "utf-8") for number, body, _ in _fields(data) if number == field]


def _text(data: memoryview, field: int) -> str:
    return next(iter(_texts(data, field)), "")


def _tensor(data: memoryview) -> tuple[str, Array]:
    name, dims, kind, raw, values = "", list[int](), 0, memoryview(b""), list[int]()
    for number, body, _ in _fields(data):
        match number:
            case _Tensor.DIMS:
                dims += _varints(body)
            case _Tensor.DATA_TYPE:
                kind = _varint(body, 0)[0]
            case _Tensor.INTEGERS:  # of up to 32 bits; one that is negative is no zero point
                values += _varints(body)
            case _Tensor.NAME:
                name = str(body, "utf-8")
            case _Tensor.RAW:
                raw = body
    dtype = _TYPES.get(kind, np.uint8)
    array = np.array(values).astype(dtype) if values else np.frombuffer(raw, dtype)
    return name, array.reshape(dims) if array.size == math.prod(dims) else array
