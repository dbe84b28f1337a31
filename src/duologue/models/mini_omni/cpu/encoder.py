"""Whisper's encoder in OpenVINO, in pieces: between them, other replies can have their next frame."""

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.models.mini_omni.cpu.language_model import parameter
from duologue.models.mini_omni.nets.shapes import EncoderShape
from duologue.models.mini_omni.nets.window import Window
from duologue.models.mini_omni.runtime import Floats
from duologue.system.openvino import ops, ov

_EPSILON = 1e-5  # of the layer norms: torch's default, with which Whisper was trained


class Encoder:
    """The network, compiled."""

    def __init__(
        self,
        core: ov.Core,
        shape: EncoderShape,
        tensors: Mapping[str, NDArray[np.generic]],
        settings: Mapping[str, Any],
        pieces: int = 3,
    ) -> None:
        """Compile it with `settings`; the other arguments are those of `build_encoder`."""
        self._pieces = [
            core.compile_model(graph, "CPU", settings).create_infer_request()
            for graph in build_encoder(shape, tensors, pieces)
        ]

    def encode(self, mel: Floats, window: Window, wanted: int) -> Generator[None, None, Floats]:
        """The first `wanted` features of a log-mel [bins, T], after a pause behind each piece but the last.

        Returns:
            [wanted, D], until the next call.
        """
        x, more = mel[None, :, : window.mel], {"taken": window.taken, "positions": window.positions}
        for piece in self._pieces[:-1]:
            piece.infer({"x": x, "weights": window.weights, **more})
            x, more = piece.get_output_tensor(0).data, {}
            yield
        self._pieces[-1].infer({"x": x, "weights": window.weights, "wanted": np.array([wanted])})
        features: Floats = self._pieces[-1].get_output_tensor(0).data[0]
        return features

    def encode_at_once(self, mel: Floats, window: Window, wanted: int) -> Floats:
        """The same without pauses, and to be kept."""
        encoding = self.encode(mel, window, wanted)
        while True:
            try:
                next(encoding)
            except StopIteration as end:
                return np.array(end.value)


def cosines(features: Floats, others: Floats) -> Floats:
    """How near features [T, D] are to others, one by one: [T], 1 where they point the same way."""
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(others, axis=1)
    return np.asarray((features * others).sum(1) / lengths, np.float32)


def build_encoder(
    shape: EncoderShape,
    tensors: Mapping[str, NDArray[np.generic]],
    pieces: int = 3,
) -> list[ov.Model]:
    """Build the graphs that, one after the other, turn a log-mel into features.

    Args:
        shape: of the checkpoint.
        tensors: by the original's names: float16, float32, or int8 with its `….scale`.
        pieces: graphs, two at least, at most as many as there are layers.

    Returns:
        All take `x`: the first the log-mel, [1, bins, 2 T], the others what the one before gives,
        [1, P, D]. They take of a `Window` its `weights`, the first also `taken` and `positions`. The last
        also takes `wanted`, int64 [1], and gives that many features: the last layer computes no others.
        All are float32.
    """
    weights = {
        name.removeprefix("encoder."): _constant(tensor, tensors, name)
        for name, tensor in tensors.items()
        if name.startswith("encoder.") and not name.endswith(".scale")
    }
    models = []
    for piece in range(pieces):
        last = piece == pieces - 1
        size = [1, -1, shape.width] if piece else [1, shape.bins, -1]
        inputs = [parameter("x", size), parameter("weights", [-1])]
        x = inputs[0]
        bias = ops.unsqueeze(inputs[1], _int64(0, 1, 2))
        if piece == 0:
            inputs += [parameter(name, [-1], ov.Type.i64) for name in ("taken", "positions")]
            x = _stem(x, weights, *inputs[2:])
        start, end = (shape.layers * (piece + after) // pieces for after in (0, 1))
        for layer in range(start, end - last):
            x = _block(x, weights, f"blocks.{layer}", shape.heads, bias)
        if last:
            inputs.append(parameter("wanted", [1], ov.Type.i64))
            x = _block(x, weights, f"blocks.{end - 1}", shape.heads, bias, inputs[-1])
            x = _norm(x, weights, "ln_post")
        models.append(ov.Model([x], inputs, f"encoder_{piece}"))
    return models


def _constant(
    array: NDArray[np.generic],
    tensors: Mapping[str, NDArray[np.generic]],
    name: str,
) -> Any:
    if array.dtype == np.int8:
        scale = tensors[name.replace(".weight", ".scale")]
        levels = ops.convert(ops.constant(array, shared_memory=True), "f32")
        return ops.multiply(levels, ops.constant(scale))
    return ops.constant(np.ascontiguousarray(array, np.float32))


def _stem(mel: Any, weights: Mapping[str, Any], taken: Any, positions: Any) -> Any:
    """[1, bins, 2 T] -> [1, P, D]: two convolutions, then the positions."""
    x = mel
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = ops.convolution(x, weights[f"{name}.weight"], [stride], [1], [1], [1])
        bias = ops.unsqueeze(weights[f"{name}.bias"], _int64(1))
        x = ops.gelu(ops.add(x, bias), "erf")
    heard = ops.gather(ops.transpose(x, _int64(0, 2, 1)), taken, _int64(1))
    return ops.add(heard, ops.gather(weights["positional_embedding"], positions, _int64(0)))


def _block(
    x: Any, weights: Mapping[str, Any], name: str, heads: int, bias: Any, wanted: Any | None = None
) -> Any:
    """[1, P, D] -> [1, P, D], or only the first `wanted` of them; `bias` is added to the keys' logits."""
    normed = _norm(x, weights, f"{name}.attn_ln")
    asking = normed
    if wanted is not None:
        x, asking = _first(x, wanted), _first(normed, wanted)
    query, key, value = (
        ops.transpose(
            _reshape(_linear(seen, weights, f"{name}.attn.{part}"), heads, -1), _int64(0, 2, 1, 3)
        )
        for part, seen in (("query", asking), ("key", normed), ("value", normed))
    )
    attended = ops.scaled_dot_product_attention(query, key, value, bias)
    heard = ops.transpose(attended, _int64(0, 2, 1, 3))
    x = ops.add(x, _linear(_reshape(heard, -1), weights, f"{name}.attn.out"))
    wide = _linear(_norm(x, weights, f"{name}.mlp_ln"), weights, f"{name}.mlp.0")
    return ops.add(x, _linear(ops.gelu(wide, "erf"), weights, f"{name}.mlp.2"))


def _first(x: Any, count: Any) -> Any:
    """x[:, :count]."""
    return ops.slice(x, _int64(0), count, _int64(1), _int64(1))


def _norm(x: Any, weights: Mapping[str, Any], name: str) -> Any:
    normed = ops.mvn(x, _int64(-1), True, _EPSILON, "inside_sqrt")
    return ops.add(ops.multiply(normed, weights[f"{name}.weight"]), weights[f"{name}.bias"])


def _linear(x: Any, weights: Mapping[str, Any], name: str) -> Any:
    out = ops.matmul(x, weights[f"{name}.weight"], False, True)
    bias = weights.get(f"{name}.bias")  # the keys have none
    return out if bias is None else ops.add(out, bias)


def _reshape(x: Any, *sizes: int) -> Any:
    """[1, T, ...] -> [1, T, *sizes]."""
    return ops.reshape(x, _int64(0, 0, *sizes), special_zero=True)


def _int64(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))
