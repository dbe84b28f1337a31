"""The default model: recogniser -> language model -> synthesiser, streamed clause by clause.

Whisper in CTranslate2, SmolLM2 135M in llama.cpp and Kokoro: small enough for any computer, and to be had
where no model hub can be reached. They run in processes of their own: a computation can only be stopped
with its process.
"""

import importlib.util

from duologue import weights
from duologue.cpus import lacking
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.model import SpeechModel

NEEDED = ("avx2", "fma", "f16c", "bmi2")
"""What xllamacpp is built for: elsewhere its process dies of an illegal instruction."""

RECOGNISERS = ("whisper-base", "whisper-tiny.en")
"""What can be named for `stt`."""

_PACKAGES = ("ctranslate2", "tokenizers", "xllamacpp", "openvino", "espeakng_loader")


def load(stt: str = "", voice: str = "", speed: str = "1", language: str = "") -> SpeechModel:
    """The model for `--model cascade`.

    Args:
        stt: the recogniser, of `RECOGNISERS`; empty: the best that is quick enough here.
        voice: of Kokoro, such as af_heart or bf_emma, or of espeak-ng, such as en-us; empty: af_heart.
        speed: of the voice, 0.5 to 2.
        language: that is spoken, ISO 639-1; empty: it is found out.

    Raises:
        ModelUnavailable: a package or the weights are missing, or the processor is too old.
        InvalidSetting: there is no such recogniser or voice.
    """
    if missing := lacking(NEEDED):
        raise ModelUnavailable(
            "the model 'cascade' cannot run here: its language model needs a processor with "
            f"{' and '.join(missing)}; take --model mini-omni"
        )
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ModelUnavailable(
                f"the model 'cascade' needs the package {package!r}; "
                "install it with: pip install 'duologue[cascade]'"
            )
    if stt and stt not in RECOGNISERS:
        raise InvalidSetting(f"stt is one of {', '.join(RECOGNISERS)}, not {stt!r}")
    # Not above: they cannot be imported without those packages. And the child processes, which import this
    # package too, start faster without them.
    from duologue.models.cascade.espeak import Espeak
    from duologue.models.cascade.kokoro import Kokoro, is_voice
    from duologue.models.cascade.language import LanguageModel
    from duologue.models.cascade.pipeline import Cascade
    from duologue.models.cascade.whisper import Whisper

    try:
        pace = float(speed)
    except ValueError:
        raise InvalidSetting(f"speed is a number from 0.5 to 2, not {speed!r}") from None
    return Cascade(
        Whisper(stt, language),
        LanguageModel(weights.locate("smollm2-135m")),
        Kokoro(voice, pace) if is_voice(voice or "af_heart") else Espeak(voice, pace),
    )
