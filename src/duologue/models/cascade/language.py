"""Conversations to answers: a GGUF file in llama.cpp's server, a process of its own."""

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.chat_completion_chunk import Choice

from duologue.conversation.items import FunctionCall, Item, Usage
from duologue.errors import DuologueError, ModelFailed
from duologue.models.cascade.calls import Bare, Calls, offer, usage_of
from duologue.models.cascade.llama_child import KEY, PATIENT, SLOTS
from duologue.models.cascade.parts import AnswerCut, LimitReached
from duologue.models.cascade.prompt import LARGE, SMALL, messages
from duologue.models.cascade.servers import closing
from duologue.system.child import Child, Kept
from duologue.tools import NO_TOOLS, Tools

_log = logging.getLogger(__name__)

_LONGEST_ANSWER = 80  # tokens, about 25 s of speech
_LONGEST_CALL = 400  # tokens, where functions may be called: their arguments are not spoken
# Seconds in which it neither gives anybody anything nor computes. It tells of each 32 tokens that it
# reads, which take 0.25 s on a machine with nothing else to do.
_PATIENCE = 5.0
_LOOK = 1.0  # seconds

# Seconds in which one is given nothing while it computes: prompts are read one after the other. Less
# than `model_timeout`, which would end the reply and leave the process.
_BUSY = 45.0

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)

_Given = TypeVar("_Given")

_SAMPLING = {
    "dry_multiplier": 0.8,  # against going round in circles ...
    "dry_allowed_length": 8,  # tokens: ... but what was said before may be said again
    # A paragraph breaks a circle. For each such mark the server reads its whole vocabulary, in each answer.
    "dry_sequence_breakers": ["\n"],
    # Only who is written to while reading is seen to have hung up; and who reads is seen to be alive.
    "return_progress": True,
}


class _Broken(ModelFailed):
    """The process failed, not the conversation: another one may do better."""


class LanguageModel:
    """Writes a few answers at once; more wait in a queue, first come, first served."""

    def __init__(self, weights: Path, name: str = "") -> None:
        """Run these weights; without a name, they are SmolLM2's, which is spoken to in a way of its own."""
        self.name = f"{name} (here)" if name else "SmolLM2 135M (here; small, often wrong)"
        self._weights, self._style = weights, LARGE if name else SMALL
        self._key = secrets.token_urlsafe()  # llama.cpp serves whoever brings it
        self._slots = asyncio.Semaphore(SLOTS)
        self._kept = Kept("language model", self._start_child)
        self._waits: set[asyncio.Timeout] = set()  # each ends when there is no sign of life
        self._gave = 0.0  # when anybody was last given anything
        self._computed = b""
        self.calls = False  # as its template tells, once the process runs
        self._read: deque[str] = deque(maxlen=SLOTS)  # conversations without their questions
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url="http://127.0.0.1/v1",  # its port is known when the process runs
            # No proxy of the environment between this machine and itself.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False, timeout=_BUSY),
            timeout=_BUSY,
            max_retries=0,
            # The server drops connections that are kept, so 1 in 15 requests on them failed.
            default_headers={"Connection": "close"},
        )

    @property
    def writes(self) -> str:
        """The language of its answers; empty: the user's. SmolLM2 answers in English, whatever it reads."""
        return "en" if self._style is SMALL else ""

    @property
    def advice(self) -> str:
        """How to get a better one; empty: this one will do."""
        if self._style is not SMALL:
            return ""
        return "A larger one answers better: --llm takes the address of Ollama and the like, or a GGUF."

    @property
    def trouble(self) -> str:
        """What is wrong with the process at this moment; empty: nothing."""
        return self._kept.trouble

    async def start(self) -> None:
        """Start the process, and let it read what all conversations begin with.

        Raises:
            ModelUnavailable: it cannot be started; says why.
        """
        await self._kept.start()
        await asyncio.gather(*(self._warm_up() for _ in range(SLOTS)))

    async def answer(
        self,
        question: str | None,
        items: Sequence[Item] = (),
        instructions: str = "",
        language: str = "",
        tools: Tools = NO_TOOLS,
        limit: int = 0,
    ) -> AsyncGenerator[str | FunctionCall | Usage, None]:
        """The answer as it is written, then the functions that it calls.

        Raises:
            LimitReached: it has as many tokens as it may have.
            AnswerCut: it grew too long.
            ModelFailed: the language model broke down or hung; a new one starts.
        """
        whole, calls, bare = True, Calls(tools), Bare(tools)
        conversation = self._messages(question, items, instructions, language, tools)
        before = _key(conversation, tools)
        if reading := self._reading.get(before):
            await asyncio.wait([reading])
        self._note(before)
        longest = _LONGEST_CALL if tools.offered else _LONGEST_ANSWER
        limited = 0 < limit <= longest
        writing = self._pieces(conversation, tools, limit if limited else longest)
        async with self._slots, contextlib.aclosing(writing) as choices:
            async for choice in choices:
                if isinstance(choice, Usage):
                    yield choice
                    continue
                calls.push(choice)
                whole = choice.finish_reason in ("stop", "tool_calls")
                said = bare.push(choice.delta.content or "")
                if said:
                    yield said
                if isinstance(said, FunctionCall):
                    return
        if not whole and limited:
            raise LimitReached(f"the answer has {limit} tokens")
        if held := bare.flush():
            yield held
        if not whole:
            raise AnswerCut(f"the answer has more than {longest} tokens")
        for call in calls.whole:
            yield call

    def _messages(
        self,
        question: str | None,
        items: Sequence[Item],
        instructions: str,
        language: str,
        tools: Tools,
    ) -> list[ChatCompletionMessageParam]:
        return messages(
            question, items, instructions, language, self._style, calls=self.calls, tools=tools
        )

    def read_ahead(
        self,
        items: Sequence[Item],
        instructions: str = "",
        language: str = "",
        tools: Tools = NO_TOOLS,
    ) -> None:
        """Begin to read what was said before the next question.

        To read an answer again that was broken off, or to forget old turns, takes as long as 100 words.
        """
        if self._style is not SMALL and not language:
            return  # what it reads begins with the language
        conversation = self._messages("", items, instructions, language, tools)
        before = _key(conversation, tools)
        if before in self._read or before in self._reading or self._slots.locked():
            return
        task = self._reading[before] = asyncio.create_task(
            self._read_through(before, conversation, tools)
        )
        task.add_done_callback(lambda _: self._reading.pop(before))

    def held(self) -> contextlib.AbstractContextManager[None]:
        """While inside, the process stands still."""
        return self._kept.held()

    async def close(self) -> None:
        """End the process."""
        for task in list(self._reading.values()):
            task.cancel()
        await self._kept.close()
        await self._client.close()

    async def _warm_up(self) -> None:
        async with contextlib.aclosing(self.answer("Hello.")) as answer:
            await anext(answer)

    async def _read_through(
        self, before: str, conversation: list[ChatCompletionMessageParam], tools: Tools
    ) -> None:
        try:
            reading = self._write(conversation, tools, 0)
            async with self._slots, contextlib.aclosing(reading) as pieces:
                async for _ in pieces:
                    pass
        except DuologueError as error:
            _log.warning("%s; it only read ahead", error)
        else:
            self._note(before)

    def _note(self, before: str) -> None:
        """This is what was read last."""
        with contextlib.suppress(ValueError):
            self._read.remove(before)
        self._read.append(before)

    async def _pieces(
        self, conversation: list[ChatCompletionMessageParam], tools: Tools, longest: int
    ) -> AsyncGenerator[Choice | Usage, None]:
        """The answer as it is written: a few letters at a time.

        Where the process fails before the first letter, the next one is asked once again.
        """
        for last in (False, True):
            begun = False
            try:
                writing = self._write(conversation, tools, longest)
                async with contextlib.aclosing(writing) as choices:
                    async for choice in choices:
                        begun = begun or isinstance(choice, Usage) or bool(choice.delta.content)
                        yield choice
            except _Broken as error:
                if begun or last:
                    raise
                _log.warning("%s; the conversation is answered once again", error)
            else:
                return

    async def _write(
        self, conversation: list[ChatCompletionMessageParam], tools: Tools, longest: int
    ) -> AsyncGenerator[Choice | Usage, None]:
        child = await self._kept.ready()
        ended = False
        try:
            stream = await self._in_time(
                child,
                self._client.chat.completions.create(
                    model="here",
                    messages=conversation,
                    stream=True,
                    stream_options={"include_usage": True},
                    max_tokens=longest,
                    temperature=0,
                    extra_body=_SAMPLING,
                    **offer(tools),
                ),
            )
            async with closing(stream):
                while chunk := await self._in_time(child, anext(stream, None)):
                    for choice in chunk.choices:
                        ended = choice.finish_reason is not None
                        yield choice
                    if usage := usage_of(chunk):
                        yield usage
        except openai.APIStatusError as error:
            raise ModelFailed(f"the language model refused the conversation: {error}") from error
        except TimeoutError as error:
            raise await self._hung(child, _PATIENCE) from error
        except openai.APIError as error:
            raise await self._sentence(child, error) from error
        if not ended:
            await child.close()
            raise _Broken("the language model stopped in the middle of an answer")

    async def _sentence(self, child: Child, error: openai.APIError) -> ModelFailed:
        """What a failure means; a process that is to blame is ended, so that another one starts."""
        if short := _shortage(error):
            return ModelFailed(
                f"this server has no room for one more answer ({short}); try again later"
            )
        if isinstance(error, openai.APITimeoutError):
            if time.monotonic() - self._gave > _BUSY / 2:
                return await self._hung(child, _BUSY)
            return ModelFailed(
                f"the language model was busy with other answers for {_BUSY:g} s; try again later"
            )
        await child.close()
        return _Broken("the language model broke down; it is being started again")

    async def _hung(self, child: Child, seconds: float) -> _Broken:
        await child.close()
        return _Broken(
            f"the language model hung: it gave nothing for {seconds:g} s; it is being started again"
        )

    async def _in_time(self, child: Child, given: Awaitable[_Given]) -> _Given:
        """Wait for something, as long as the process gives signs of life, to whomever.

        Raises:
            TimeoutError: it hangs.
        """
        async with asyncio.timeout(_PATIENCE) as wait:
            self._waits.add(wait)
            self._look(child, wait)
            try:
                result = await given
            finally:
                self._waits.discard(wait)
        self._gave = time.monotonic()
        self._prolong()
        return result

    def _look(self, child: Child, wait: asyncio.Timeout) -> None:
        """Look now and then, while somebody waits, whether the process computes."""
        if wait in self._waits:
            computed = child.computed()
            if computed != self._computed or child.on_hold:
                self._computed = computed
                self._prolong()
            asyncio.get_running_loop().call_later(_LOOK, self._look, child, wait)

    def _prolong(self) -> None:
        """All go on waiting: the process is alive."""
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(asyncio.get_running_loop().time() + _PATIENCE)

    async def _start_child(self) -> Child:
        self._read.clear()
        child = await Child.start(
            "language model",
            "duologue.models.cascade.llama_child",
            str(self._weights),
            str(2048 if self._style is SMALL else 4096),
            environment={KEY: self._key, **PATIENT},
        )
        self._client.base_url = f"{child.greeting}/v1"
        self.calls = await self._knows_functions(str(child.greeting))
        return child

    async def _knows_functions(self, address: str) -> bool:
        """Whether the template of its weights has a place for functions."""
        try:
            told = await self._client.get(f"{address}/props", cast_to=httpx2.Response)
            can = told.json().get("chat_template_caps", {})
        except (openai.APIError, ValueError) as error:
            _log.warning("whether the language model calls functions is not known: %s", error)
            return False
        return bool(can.get("supports_tools") and can.get("supports_tool_calls"))


def _key(conversation: list[ChatCompletionMessageParam], tools: Tools) -> str:
    """What tells whether the same was read before: all but the question."""
    return f"{conversation[:-1]}{tools.offered or ''}"


def _shortage(error: BaseException | None) -> str:
    """What this process, not the child, has too little of; empty: it has enough."""
    while error:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return os.strerror(error.errno)
        error = error.__cause__ or error.__context__
    return ""
