"""Conversations to answers: SmolLM2 135M in llama.cpp's server, a process of its own."""

import asyncio
import contextlib
import logging
import math
import secrets
import string
from collections.abc import AsyncGenerator, Sequence
from itertools import accumulate
from pathlib import Path

import openai
from openai.types.chat import ChatCompletionMessageParam

from duologue.child import Child
from duologue.errors import DuologueError, ModelFailed
from duologue.model import Turn
from duologue.models.cascade.clauses import Clauses
from duologue.models.cascade.llama_child import KEY, SLOTS

_log = logging.getLogger(__name__)

_LONGEST_ANSWER = 80  # tokens, about 25 s of speech
_PATIENCE = 30.0  # seconds without a sign of life

# In tokens; together with the answer they stay below llama_child.SLOT_TOKENS even where the estimate
# is off by a half. One thread reads 130 tokens a second, so what is new in them delays the answer.
_INSTRUCTIONS = 600
_HISTORY = 300
_QUESTION = 150

_LETTERS = f"{string.ascii_letters} ".encode()

_CHARACTER = "You are a helpful voice assistant. Answer in one short sentence."
# An example does more than instructions to keep the answers of so small a model short.
_EXAMPLE = (("Good morning.", "Good morning! How can I help you?"),)

_SAMPLING = {
    "dry_multiplier": 0.8,  # against going round in circles ...
    "dry_allowed_length": 8,  # tokens: ... but what was said before may be said again
    "return_progress": True,  # only who is written to while reading is seen to have hung up
}


class LanguageModel:
    """Writes a few answers at once; more wait in a queue, first come, first served."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._key = secrets.token_urlsafe()  # llama.cpp serves whoever brings it
        self._slots = asyncio.Semaphore(SLOTS)
        self._starting = asyncio.Lock()
        self._child: Child | None = None
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url="http://127.0.0.1/v1",  # its port is known when the process runs
            # No proxy of the environment between this machine and itself.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False, timeout=_PATIENCE),
            timeout=_PATIENCE,
            max_retries=0,
            # The server drops connections that are kept, so 1 in 15 requests on them failed.
            default_headers={"Connection": "close"},
        )
        self._repairs: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the process, and let it read what all conversations begin with.

        Raises:
            ModelUnavailable: it cannot be started; says why.
        """
        await self._ready()
        await asyncio.gather(*(self._warm_up() for _ in range(SLOTS)))

    async def answer(
        self, question: str, turns: Sequence[Turn] = (), instructions: str = ""
    ) -> AsyncGenerator[str, None]:
        """The answer, clause by clause; joined, the clauses are the whole text.

        An answer that grows too long ends with its last whole clause.

        Raises:
            ModelFailed: the language model broke down; a new one starts.
        """
        clauses, said, whole = Clauses(), False, True
        async with (
            self._slots,
            contextlib.aclosing(self._pieces(messages(question, turns, instructions))) as pieces,
        ):
            async for piece, whole in pieces:  # noqa: B007  (the last one's is looked at below)
                for clause in clauses.push(piece):
                    said = True
                    yield clause
        rest = clauses.flush()
        if rest and (whole or not said):
            yield rest

    async def close(self) -> None:
        """End the process."""
        for task in self._repairs:
            task.cancel()
        await asyncio.gather(*self._repairs, return_exceptions=True)
        await self._stop()
        await self._client.close()

    async def _warm_up(self) -> None:
        async with contextlib.aclosing(self.answer("Hello.")) as answer:
            await anext(answer)

    async def _pieces(
        self, conversation: list[ChatCompletionMessageParam]
    ) -> AsyncGenerator[tuple[str, bool], None]:
        """The answer as it is written: a few letters, and whether the answer is whole by now."""
        await self._ready()
        child = self._child
        ended = False
        try:
            stream = await self._client.chat.completions.create(
                model="smollm2",
                messages=conversation,
                stream=True,
                max_tokens=_LONGEST_ANSWER,
                temperature=0,
                extra_body=_SAMPLING,
            )
            async with stream:  # closing it is what stops the server
                async for chunk in stream:
                    for choice in chunk.choices:
                        ended = choice.finish_reason is not None
                        yield choice.delta.content or "", choice.finish_reason == "stop"
        except openai.APIStatusError as error:
            raise ModelFailed(f"the language model refused the conversation: {error}") from error
        except openai.APIError as error:
            self._in_background(child)
            raise ModelFailed("the language model broke down; it is being started again") from error
        if not ended:
            self._in_background(child)
            raise ModelFailed("the language model stopped in the middle of an answer")

    async def _ready(self, broken: Child | None = None) -> None:
        """Start the process, unless it runs and is not the `broken` one."""
        async with self._starting:
            if self._child and self._child.alive and self._child is not broken:
                return
            await self._stop()
            self._child = await Child.start(
                "language model",
                "duologue.models.cascade.llama_child",
                str(self._weights),
                environment={KEY: self._key},
            )
            self._client.base_url = f"{self._child.greeting}/v1"

    async def _stop(self) -> None:
        if self._child:
            await self._child.close()
        self._child = None

    def _in_background(self, broken: Child | None) -> None:
        """Replace a process that broke down, so that the next answer need not wait for it."""
        task = asyncio.create_task(self._repair(broken))
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _repair(self, broken: Child | None) -> None:
        try:
            await self._ready(broken)
        except DuologueError as error:
            _log.warning("%s", error)


def messages(
    question: str, turns: Sequence[Turn], instructions: str
) -> list[ChatCompletionMessageParam]:
    """What the language model reads: who it is, an example, the last turns that fit, the question."""
    character = f"{_CHARACTER} {_fitting(instructions, _INSTRUCTIONS)}".strip()
    conversation: list[ChatCompletionMessageParam] = [{"role": "system", "content": character}]
    said = [(turn.user_text or "", turn.reply_text) for turn in turns]
    for user, reply in (*_EXAMPLE, *_last([turn for turn in said if all(turn)])):
        conversation.append({"role": "user", "content": _fitting(user, _HISTORY / 2)})
        conversation.append({"role": "assistant", "content": _fitting(reply, _HISTORY / 2)})
    conversation.append({"role": "user", "content": _fitting(question, _QUESTION)})
    return conversation


def _last(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The last turns, at least one.

    They are forgotten half of `_HISTORY` at a time: from one turn to the next the conversation
    mostly begins as before, and the language model finds that beginning in its cache.
    """
    lengths = (_tokens(user) + _tokens(reply) for user, reply in turns)
    *starts, end = accumulate(lengths, initial=0.0)
    step = _HISTORY / 2
    forgotten = math.ceil((end - _HISTORY) / step) * step
    kept = sum(start >= forgotten for start in starts)
    return turns[-max(1, kept) :]


def _fitting(text: str, tokens: float) -> str:
    """The beginning of a text, cut between words where it is too long."""
    text = text.encode(errors="replace").decode()  # half a surrogate pair cannot be sent
    while _tokens(text) > tokens:
        shorter = text[: int(len(text) * 0.9)]
        text = shorter.rpartition(" ")[0] or shorter
    return text


def _tokens(text: str) -> float:
    """About how many tokens a text has: three letters each in English, else up to a byte each."""
    data = text.encode(errors="replace")
    others = len(data.translate(None, _LETTERS))
    return (len(data) - others) / 3 + others
