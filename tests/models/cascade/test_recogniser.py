import numpy as np
import pytest

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")

from duologue.audio import INPUT_RATE, AudioChunk
from duologue.models.cascade.recogniser import Recogniser, written
from models.cascade.rig import together


def test_spoken_words_are_written_as_sentences() -> None:
    assert written("what did i say") == "What did I say?"
    assert written(" tell me a joke ") == "Tell me a joke."
    assert written("") == ""


@together
async def test_an_utterance_leaves_no_trace_in_the_next(speech: AudioChunk) -> None:
    recogniser = Recogniser(1)
    await recogniser.start()
    first = await recogniser.recognise(speech.pcm16())
    loud = AudioChunk(np.clip(speech.samples * 1.6, -1, 1), INPUT_RATE)
    await recogniser.recognise(loud.pcm16())
    assert first
    assert {await recogniser.recognise(speech.pcm16()) for _ in range(3)} == {first}
    await recogniser.close()
