"""What Mini-Omni is asked with: eight streams of ids, [8, T], seven of audio and one of text.

Source: the specification of Mini-Omni's inference, arXiv:2408.16725, section 3.
"""

from collections.abc import Sequence
from enum import Enum

import numpy as np

from duologue.models.mini_omni.nets.shapes import CODEBOOKS
from duologue.models.mini_omni.runtime import Ids
from duologue.models.mini_omni.vocabulary import Vocabulary


class Task(Enum):
    """What is made of what: audio (A) or text (T) in, answered (2) or repeated (1), in A or T.

    An answer in audio has its text beside it. The last position of a prompt says which is wanted, and
    nothing else does: so a spoken prompt can be read once for several tasks.
    """

    A1A2 = "speech to speech and text"
    A1T2 = "speech to a written answer"
    A1T1 = "speech to its transcript"
    T1A2 = "text to speech and text"
    T1T2 = "text to a written answer"

    @property
    def speaks(self) -> bool:
        """Audio tokens come out, too."""
        return self in (Task.A1A2, Task.T1A2)


def speech_prompt(vocabulary: Vocabulary, frames: int) -> Ids:
    """[8, frames + 2]: an utterance of so many features, all but the last position of the prompt."""
    v = vocabulary
    audio = [v.input_audio, *[v.pad_audio] * frames, v.end_of_audio]
    return _streams(v, audio, [v.input_text, *[v.pad_text] * frames, v.end_of_text])


def text_prompt(vocabulary: Vocabulary, tokens: Sequence[int]) -> Ids:
    """[8, len(tokens) + 2]: a text, all but the last position of the prompt."""
    v = vocabulary
    audio = [v.pad_audio] * (len(tokens) + 2)
    return _streams(v, audio, [v.input_text, *tokens, v.end_of_text])


def question(vocabulary: Vocabulary, task: Task) -> Ids:
    """[8, 1]: the last position of a prompt, where the reply begins."""
    v = vocabulary
    audio = v.answer_audio if task.speaks else v.pad_audio
    return _streams(v, [audio], [v.transcribe if task is Task.A1T1 else v.answer_text])


def _streams(vocabulary: Vocabulary, audio: Sequence[int], text: Sequence[int]) -> Ids:
    """The same local audio ids in all layers, shifted to where each layer's lie; then the text."""
    layers = [[vocabulary.shift(token, layer) for token in audio] for layer in range(CODEBOOKS)]
    return np.array([*layers, list(text)], np.int64)
