"""`POST /chat`: one utterance in, its reply streamed out, as the original Mini-Omni server does."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.routing import Route

from duologue.audio import REPLY_RATE, AudioChunk
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.errors import DuologueError, ModelFailed
from duologue.models import SpeechModel
from duologue.transports.admission import Admission
from duologue.transports.answering import Admit, Answering, Reply
from duologue.transports.question import Body, Question, Questions

logger = logging.getLogger(__name__)


def routes(admit: Admit, admission: Admission, questions: Questions) -> list[Route]:
    """The route `/chat`, for any model.

    The body is JSON: `audio`, base64 of a sound file; `max_tokens` (2048), after how many frames of
    85.3 ms (2,048 samples) the reply is cut, where the original also counts the prompt;
    `stream_stride` (4), how many frames are written at once at most. More than 2,048 of either are
    2,048, and a `stream_stride` of 0 is 1. Nothing is held back to fill a write: the first sound goes
    out as soon as it is made. Other fields are ignored.

    The answer is the reply's sound, streamed while it is made: PCM16, little-endian, mono, 24 kHz,
    without a header. A client that says `Accept: audio/wav` or `audio/mpeg` gets such a file.

    What is refused, and a model that fails before its first sound, is told as
    `{"error": {"message", "type", "code", "param"}}`. When it fails later the connection is cut, so
    that nobody takes the half for the whole. A reply is abandoned when its client leaves.

    Nothing is kept: a chat has no turns before it, and none of it is in the history.

    CORS headers go to the origins that may connect, and to no other. A body that is not labelled as
    JSON is refused, so a browser asks first (OPTIONS) and lets no other page in.
    """
    return [_Chat(admit, admission, questions).at("/chat")]


class _Chat(Answering):
    async def answer(self, request: Request, body: Body, reply: Reply) -> None:  # noqa: ARG002
        start = time.monotonic()
        question = await self._questions.read(body)
        # A place is for a question that is known: slow clients and slow files hold none.
        with self._admit() as model:
            async with aclosing(_sound(model, question)) as sound:
                async for chunk in sound:
                    await reply.write(chunk)
                    await asyncio.sleep(0)  # a model that never waits must not hold the others up
        await reply.end()
        logger.info(
            "a chat: %.2f s heard, first sound after %.0f ms, %.2f s said",
            question.utterance.duration,
            1000 * (reply.begun_at - start),
            reply.said,
        )


async def _sound(model: SpeechModel, question: Question) -> AsyncGenerator[AudioChunk, None]:
    """The sound of a reply, cut to size."""
    left = question.most
    async with aclosing(_reply(model, question.utterance)) as chunks:
        async for chunk in chunks:
            if not chunk.audio:
                continue
            samples = chunk.audio.samples[:left]
            left -= len(samples)
            for start in range(0, len(samples), question.piece):
                yield AudioChunk(samples[start : start + question.piece], REPLY_RATE)
            if not left:
                return


async def _reply(model: SpeechModel, utterance: AudioChunk) -> AsyncGenerator[ReplyChunk, None]:
    async with aclosing(model.reply(Prompt(utterance))) as chunks:
        try:
            async for chunk in chunks:
                yield chunk
        except DuologueError:
            raise
        except Exception as error:
            raise ModelFailed(f"the model failed: {error or type(error).__name__}") from error
