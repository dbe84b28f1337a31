"""An utterance on its way through the encoder, for a reply or ahead of one."""

import logging

import numpy as np

from duologue.audio import INPUT_RATE
from duologue.audio.log_mel import frames_of, log_mel
from duologue.conversation.prompt import Prompt
from duologue.errors import InvalidAudio
from duologue.models.mini_omni.runtime import Floats

logger = logging.getLogger(__name__)

_LONGEST = 30  # seconds that the encoder hears
_WINDOW = 512  # samples
_PAUSE = 2 * _WINDOW  # the end of a pause that was overheard: surely without speech
_RISE, _STILL = 4.0, 1e-3  # silence may become louder by so much (12 dB), or to so much (-60 dB)


class Hearing:
    """What somebody said, and what the encoder makes of it.

    Attributes:
        samples: of the utterance, at `INPUT_RATE`, at most 30 s.
        mel: what the encoder takes.
        count: features that it shall give.
        features: [count, D], or None until it has.
    """

    def __init__(self, prompt: Prompt) -> None:
        """Take the utterance of a prompt.

        Raises:
            InvalidAudio: it holds samples that are not numbers.
        """
        samples = prompt.utterance.at(INPUT_RATE).samples
        if not np.isfinite(samples).all():
            raise InvalidAudio("the utterance holds samples that are not numbers (NaN or infinity)")
        if len(samples) > _LONGEST * INPUT_RATE:
            said = len(samples) / INPUT_RATE
            logger.warning("%.1f s were said; the model hears the first %d s", said, _LONGEST)
        self.samples = samples[: _LONGEST * INPUT_RATE]
        self.mel = log_mel(self.samples)
        self.count = frames_of(self.samples)
        self.features: Floats | None = None
        self._pause = prompt.listener, prompt.pause

    def is_of(self, prompt: Prompt) -> bool:
        """Whether the prompt's utterance differs from this one by silence at its end.

        What is too soft for the detector is no silence: a last word may fall off.
        """
        if not prompt.pause or self._pause != (prompt.listener, prompt.pause):
            return False
        samples = prompt.utterance.at(INPUT_RATE).samples[: _LONGEST * INPUT_RATE]
        room = max(_levels(self.samples[-_PAUSE:]), default=0.0)
        return max(_levels(samples[len(self.samples) :]), default=0.0) <= max(_RISE * room, _STILL)


def _levels(samples: Floats) -> list[float]:
    """RMS of each window; of what is shorter than one, nothing."""
    windows = samples[: len(samples) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
    return [float(level) for level in np.sqrt(np.mean(np.square(windows), axis=1))]
