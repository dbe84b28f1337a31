"""Between which values Kokoro's convolutions take what they take: writes `kokoro/ranges.json`.

`python -m bench.kokoro_ranges`, once for a network; needs `duologue pull kokoro kokoro-voices misaki-en`.
The range of each is the one that loses least when it is cut into 256 steps.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue import weights
from duologue.models.cascade import espeak, kokoro
from duologue.models.cascade.kokoro import network, spectra
from duologue.models.cascade.kokoro.decoder import STYLE, Network
from duologue.models.cascade.kokoro.onnx_file import OnnxFile
from duologue.models.cascade.kokoro.phonemes import Phonemes
from duologue.system.onnx import open_network
from duologue.system.openvino import ov

_VOICES = ("af_heart", "af_bella", "am_michael", "bf_emma", "bm_george", "am_fenrir")
_SENTENCES = (
    "Sure.",
    "The capital of France is Paris.",
    "No, I do not think so! What else could it be?",
    "Every year, millions of people come to see its museums and bridges,",
    "how are you today",
)
_KEPT = 20_000  # values of each convolution and sentence
_SHARES = np.geomspace(0.12, 1, 16)  # of the largest value


def _is_computed_with_8_bits(name: str) -> bool:
    """All that takes long, but what mixes the curves and the source in: that is heard."""
    if name.startswith("generator/"):
        return "noise_convs" not in name and "ups" not in name
    return name.startswith("decode.") and "1x1" not in name


def _taken() -> dict[str, list[NDArray[np.float32]]]:
    """What each convolution takes, for some sentences in some voices."""
    file = OnnxFile(weights.locate("kokoro"))
    text = open_network(file.cut(network._OUTPUTS), 2)
    written = Network(file)
    model = written.model()
    matrix, bias = written.styles()
    names = list(written.inputs)
    taps = [written.inputs[name].output(0) for name in names]
    tapped = ov.Model([*model.outputs, *taps], model.get_parameters(), "tapped")
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(tapped, "CPU", settings).create_infer_request()
    harmonics = file.tensors["onnx::MatMul_6993"].ravel().astype(np.float32)
    (offset,) = file.tensors["decoder.decoder.generator.m_source.l_linear.bias"]
    english = Phonemes.load(
        weights.locate("misaki-en"), lambda word: espeak.phonemes(word, "en-us")
    )
    random, taken = np.random.default_rng(1), {name: list[NDArray[np.float32]]() for name in names}
    voices = kokoro._voices()
    for voice in _VOICES:
        styles = network.read_voice(voices[voice])
        for sentence in _SENTENCES:
            tokens = [network._TOKENS[phoneme] for phoneme in english.of(sentence)]
            style = styles[len(tokens) - 1]
            inputs = {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style[None],
                "speed": np.ones(1, np.float32),
            }
            content, pitch, energy = text.run(network._OUTPUTS, inputs)
            source = spectra.source(pitch[0], harmonics, offset)
            given = (style[:STYLE] @ matrix + bias)[None]
            absent = np.zeros((1, 1, 1), np.float32)
            request.infer([content, pitch[None], energy[None], source[None], given, absent])
            for number, name in enumerate(names, 1):
                values = request.get_output_tensor(number).data.ravel()
                some = random.choice(values, min(len(values), _KEPT))
                taken[name] += [some, np.array([values.min(), values.max()], np.float32)]
    return taken


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    low, high = min(0.0, float(values.min())), max(1e-3, float(values.max()))
    some, best = values[::4], (np.inf, 0.0, 0.0)
    for first in (low * share for share in _SHARES):
        for last in (high * share for share in _SHARES):
            step = (last - first) / 255
            zero = round(-first / step)
            kept = (np.clip(np.round(some / step) + zero, 0, 255) - zero) * step
            best = min(best, (float(((kept - some) ** 2).mean()), first, last))
    return round(best[1], 3), round(best[2], 3)


def main() -> None:
    lines = [
        f'  "{name}": [{low}, {high}]'
        for name, values in _taken().items()
        if _is_computed_with_8_bits(name)
        for low, high in [_range(np.concatenate(values))]
    ]
    path = Path(kokoro.__file__).with_name("ranges.json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(lines)} ranges in {path}, {len(json.loads(path.read_text()))} read back")


if __name__ == "__main__":
    main()
