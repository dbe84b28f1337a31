"""A question to ask where nobody has recorded one."""

import importlib.util

from duologue.audio import REPLY_RATE, AudioChunk, concatenate, silence
from duologue.errors import ModelUnavailable

_QUESTION = "What is the capital of France?"


async def speak_question() -> AudioChunk:
    """Spoken by espeak-ng, at `REPLY_RATE`.

    Raises:
        ModelUnavailable: it is not installed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ModelUnavailable(
            "the check needs a question: give one with --question FILE, or install espeak-ng's: "
            "pip install 'duologue[cascade]'"
        )
    # Not above: it cannot be imported without that package.
    from duologue.models.cascade.espeak import Espeak

    voice = Espeak()
    await voice.start()
    try:
        pieces = [piece async for piece in voice.speak(_QUESTION)]
    finally:
        await voice.close()
    around = silence(0.2, REPLY_RATE)
    return concatenate([around, *pieces], REPLY_RATE)
