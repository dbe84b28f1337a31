"""The default model: recogniser -> language model -> synthesiser, streamed clause by clause.

Whisper in CTranslate2, SmolLM2 135M in llama.cpp and Kokoro: small enough for any computer, and to be had
where no model hub can be reached. They run in processes of their own: a computation can only be stopped
with its process. Each may run on a server instead.
"""

import importlib.util

from duologue import weights
from duologue.errors import InvalidSetting, ModelUnavailable, quoted
from duologue.models import SpeechModel
from duologue.models.cascade.parts import (
    QUICKEST,
    SLOWEST,
    LanguageModel,
    Recogniser,
    Synthesiser,
)
from duologue.system.cpus import lacking
from duologue.system.folders import expand
from duologue.weights import gguf

NEEDED = ("avx2", "fma", "f16c", "bmi2")
"""What xllamacpp is built for: elsewhere its process dies of an illegal instruction."""

RECOGNISERS = ("whisper-base", "whisper-tiny.en")
"""What can be named for `stt`, besides addresses."""

_PACKAGES = {
    "stt": ("ctranslate2", "tokenizers"),
    "llm": ("xllamacpp",),
    "tts": ("espeakng_loader", "openvino"),
    "espeak": ("espeakng_loader",),
}


def load(
    stt: str = "",
    stt_model: str = "",
    stt_key: str = "",
    llm: str = "",
    llm_model: str = "",
    llm_key: str = "",
    tts: str = "",
    tts_model: str = "",
    tts_key: str = "",
    voice: str = "",
    speed: str = "1",
    language: str = "",
) -> SpeechModel:
    """The model for `--model cascade`. Each part may be the address of a server with OpenAI's API.

    Args:
        stt: the recogniser, of `RECOGNISERS`; empty: the best that is quick enough here.
        stt_model: of its server; empty: the only one.
        stt_key: of its server.
        llm: the language model: smollm2-135m, qwen2.5-0.5b, qwen2.5-1.5b, the path of a GGUF file, or of
            one on the hub (OWNER/REPOSITORY/FILE.gguf); empty: smollm2-135m.
        llm_model: of its server; empty: the only one.
        llm_key: of its server.
        tts: the synthesiser, kokoro or espeak; empty: kokoro, unless it is slow here.
        tts_model: of its server; empty: the only one.
        tts_key: of its server.
        voice: of Kokoro, such as af_heart or bf_emma, or of espeak-ng, such as en-us; empty: af_heart.
        speed: of the voice, 0.5 to 2.
        language: that is spoken, ISO 639-1; empty: it is found out.

    Raises:
        ModelUnavailable: a package or the weights are missing, or the processor is too old.
        InvalidSetting: there is no such part or voice.
    """
    for part, chosen in (("stt", stt), ("llm", llm), ("tts", tts)):
        if not _is_address(chosen):
            _look_for_packages("espeak" if chosen == "espeak" else part)
    try:
        pace = float(speed)
    except ValueError:
        pace = 0.0
    if not SLOWEST <= pace <= QUICKEST:
        raise InvalidSetting(
            f"speed is a number from {SLOWEST:g} to {QUICKEST:g}, not {quoted(speed)}"
        )
    # Not above: the child processes, which import this package too, start faster without it.
    from duologue.models.cascade.pipeline import Cascade

    return Cascade(
        _recogniser(stt, stt_model, stt_key, language),
        _language_model(llm, llm_model, llm_key),
        _synthesiser(tts, tts_model, tts_key, voice, pace),
    )


def _is_address(chosen: str) -> bool:
    return "://" in chosen


def _look_for_packages(part: str) -> None:
    if part == "llm" and (missing := lacking(NEEDED)):
        raise ModelUnavailable(
            "the model 'cascade' cannot run here: its language model needs a processor with "
            f"{' and '.join(missing)}; take --model mini-omni, or --llm with the address of a server"
        )
    for package in _PACKAGES[part]:
        if importlib.util.find_spec(package) is None:
            raise ModelUnavailable(
                f"the model 'cascade' needs the package {package!r}; "
                "install it with: pip install 'duologue[cascade]'"
            )


def _recogniser(stt: str, model: str, key: str, language: str) -> Recogniser:
    if _is_address(stt):
        from duologue.models.cascade.remote import RemoteRecogniser

        return RemoteRecogniser(stt, model, key, language)
    if stt and stt not in RECOGNISERS:
        raise InvalidSetting(
            f"stt is one of {', '.join(RECOGNISERS)}, or an address, not {quoted(stt)}"
        )
    from duologue.models.cascade.whisper import Whisper

    return Whisper(stt, language)


def _language_model(llm: str, model: str, key: str) -> LanguageModel:
    if _is_address(llm):
        from duologue.models.cascade.chat import ChatServer

        return ChatServer(llm, model, key)
    from duologue.models.cascade import language

    if llm in ("", "smollm2-135m"):
        return language.LanguageModel(weights.locate("smollm2-135m"))
    path = expand(llm)
    if llm.endswith(".gguf") and path.is_file():
        return language.LanguageModel(path, path.stem)
    if gguf.is_name(llm):
        return language.LanguageModel(
            gguf.locate(llm), llm.rpartition("/")[2].removesuffix(".gguf")
        )
    if llm.endswith(".gguf"):
        raise InvalidSetting(f"there is no file {path} for llm")
    raise InvalidSetting(
        f"llm is smollm2-135m, {', '.join(gguf.KNOWN)}, a GGUF file, or an address such as "
        f"http://127.0.0.1:11434/v1, not {quoted(llm)}"
    )


def _synthesiser(tts: str, model: str, key: str, voice: str, speed: float) -> Synthesiser:
    if _is_address(tts):
        from duologue.models.cascade.remote import RemoteSynthesiser

        return RemoteSynthesiser(tts, model, key, voice, speed)
    from duologue.models.cascade.espeak import Espeak
    from duologue.models.cascade.kokoro import Kokoro, is_voice

    if tts not in ("", "kokoro", "espeak"):
        raise InvalidSetting(f"tts is kokoro, espeak, or an address, not {quoted(tts)}")
    if tts == "kokoro" or (not tts and (not voice or is_voice(voice))):
        return Kokoro(voice, speed)
    return Espeak(voice, speed)
