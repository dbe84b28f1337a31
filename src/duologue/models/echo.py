"""Says back what it heard, at once: the yardstick for everything but the model."""

from collections.abc import AsyncGenerator

import numpy as np

from duologue.audio import REPLY_RATE, AudioChunk
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Capabilities, Prompt

_CHUNK = REPLY_RATE * 2 // 25  # 80 ms: about one frame of a speech model
_QUIET = 0.03  # of the peak, -30 dB: below it, the edges of an utterance count as silence


class Echo:
    """A model without a mind. The silence around the utterance is left out of the reply."""

    capabilities = Capabilities(
        history=False,
        instructions=False,
        transcribes=False,
        note="Echo: says back what it heard, to try the line and your microphone.",
    )

    async def start(self) -> None:
        """Nothing to load."""

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """The utterance, in chunks of 80 ms."""
        samples = prompt.utterance.at(REPLY_RATE).samples
        loud = np.flatnonzero(np.abs(samples) > _QUIET * np.abs(samples).max(initial=0))
        if len(loud):
            samples = samples[loud[0] : loud[-1] + 1]
        for start in range(0, len(samples), _CHUNK):
            yield ReplyChunk(AudioChunk(samples[start : start + _CHUNK], REPLY_RATE))

    async def close(self) -> None:
        """Nothing to let go."""


def load() -> Echo:
    """The model for `--model echo`."""
    return Echo()
