"""What was overheard in a pause is what is answered, if nothing was said since."""

import numpy as np
import pytest

from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.conversation.prompt import Prompt
from duologue.models.mini_omni.hearing import Hearing
from duologue.testing import tone


def room(seconds: float, level: float) -> AudioChunk:
    noise = np.random.default_rng(0).standard_normal(round(seconds * INPUT_RATE))
    return AudioChunk((level * noise).astype(np.float32), INPUT_RATE)


def prompt(*sounds: AudioChunk, pause: int = 1, listener: str = "ann") -> Prompt:
    return Prompt(concatenate(sounds, INPUT_RATE), listener=listener, pause=pause)


SAID = (tone(1.0), silence(0.096, INPUT_RATE))


def test_silence_changes_nothing() -> None:
    hearing = Hearing(prompt(*SAID))
    assert hearing.is_of(prompt(*SAID))
    assert hearing.is_of(prompt(*SAID, silence(0.7, INPUT_RATE)))


@pytest.mark.parametrize("level", [1e-4, 3e-3])
def test_nor_does_the_room_that_was_there_before(level: float) -> None:
    said = (tone(1.0), room(0.096, level))
    hearing = Hearing(prompt(*said))
    assert hearing.is_of(prompt(*said, room(0.7, level)))


def test_a_soft_word_after_it_is_heard() -> None:
    hearing = Hearing(prompt(*SAID))
    word = tone(0.1, level=0.005)  # too soft for the detector
    quiet = silence(0.2, INPUT_RATE)
    assert not hearing.is_of(prompt(*SAID, quiet, word, quiet))
    noisy = (tone(1.0), room(0.096, 1e-3))
    hearing = Hearing(prompt(*noisy))
    assert not hearing.is_of(prompt(*noisy, tone(0.1, level=0.02), room(0.3, 1e-3)))


def test_another_pause_and_another_user_are_another_utterance() -> None:
    hearing = Hearing(prompt(*SAID))
    assert not hearing.is_of(prompt(*SAID, pause=2))
    assert not hearing.is_of(prompt(*SAID, pause=0))
    assert not hearing.is_of(prompt(*SAID, listener="bob"))
