"""A language model on a server with OpenAI's `/chat/completions`: Ollama, vLLM, Groq and so on."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence

from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from duologue.conversation.items import FunctionCall, Item
from duologue.models.cascade.calls import Calls, offer
from duologue.models.cascade.parts import AnswerCut
from duologue.models.cascade.prompt import messages
from duologue.models.cascade.servers import FAILURES, Failed, ServerPart
from duologue.tools import NO_TOOLS, Tools

_log = logging.getLogger(__name__)

_SILENT = 30.0  # seconds: a model that is loaded first takes that long
_TRIES = 3  # before the first word
_WAIT = 3.0  # seconds: who asks to be left alone for longer is not waited for
_LONGEST = 1_500  # characters of an answer, about 100 s of speech
_FIRST, _LAST = "<think>", "</think>"


class ChatServer(ServerPart):
    """Writes as many answers at once as the server does."""

    _part, _flag, _silent = "language model", "llm", _SILENT
    writes = advice = ""
    calls = True

    def read_ahead(
        self,
        items: Sequence[Item],
        instructions: str = "",
        language: str = "",
        tools: Tools = NO_TOOLS,
    ) -> None:
        """Nothing: a server may ask for money."""

    def held(self) -> contextlib.AbstractContextManager[None]:
        """It computes elsewhere."""
        return contextlib.nullcontext()

    async def answer(
        self,
        question: str | None,
        items: Sequence[Item] = (),
        instructions: str = "",
        language: str = "",
        tools: Tools = NO_TOOLS,
    ) -> AsyncGenerator[str | FunctionCall, None]:
        """The answer as it is written, then the functions that it calls.

        Raises:
            AnswerCut: it grew too long.
            ModelFailed: the server failed; says what to do.
        """
        conversation = messages(question, items, instructions, language, calls=True, tools=tools)
        thoughts, length = Thoughts(), 0
        async with contextlib.aclosing(self._tried(conversation, tools)) as pieces:
            async for piece in pieces:
                if isinstance(piece, FunctionCall):
                    yield piece
                elif spoken := thoughts.push(piece):
                    length += len(spoken)
                    yield spoken
                if length > _LONGEST:
                    raise AnswerCut(f"the answer has more than {_LONGEST} characters")
        if rest := thoughts.flush():
            yield rest

    async def _tried(
        self, conversation: list[ChatCompletionMessageParam], tools: Tools
    ) -> AsyncGenerator[str | FunctionCall, None]:
        """Ask again where it fails before the first word, and that may help."""
        for left in reversed(range(_TRIES)):
            begun = False
            try:
                async with contextlib.aclosing(self._write(conversation, tools)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except Failed as failed:
                if begun or not left or failed.again is None or failed.again > _WAIT:
                    raise
                _log.warning("%s; it is asked again", failed)
                await asyncio.sleep(failed.again)
            else:
                self.trouble = ""
                return

    async def _write(
        self, conversation: list[ChatCompletionMessageParam], tools: Tools
    ) -> AsyncGenerator[str | FunctionCall, None]:
        written, calls = False, Calls(tools)
        ended = ""
        try:
            stream: AsyncStream[ChatCompletionChunk] = await self.client.chat.completions.create(
                model=self._model, messages=conversation, stream=True, **offer(tools)
            )
            async with stream:
                async for chunk in stream:
                    for choice in chunk.choices or ():
                        calls.push(choice)
                        ended = choice.finish_reason or ended
                        if choice.delta and choice.delta.content:
                            written = True
                            yield choice.delta.content
        except FAILURES as error:
            raise self.failure(error) from error
        if calls.unknown and not written:
            raise self.failed("called a tool that nobody offered; take another --llm-model")
        if not ended and (written or calls.whole):
            raise self.failed("broke off in the middle of an answer; see what it logs")
        if not ended:
            raise self.failed(
                "answers, but not as OpenAI's API does; see whether --llm ends in /v1"
            )
        for call in calls.whole:
            yield call


class Thoughts:
    """Takes what a model thinks, between <think> and </think>, out of what it says."""

    def __init__(self) -> None:
        self._held = ""
        self._thinks = False

    def push(self, text: str) -> str:
        """What is to be said of it; a piece of a mark is held back until it is known to be one."""
        self._held += text
        spoken = ""
        while True:
            mark = _LAST if self._thinks else _FIRST
            before, found, after = self._held.partition(mark)
            if not found:
                break
            spoken += "" if self._thinks else before
            self._held, self._thinks = after, not self._thinks
        keep = next(
            (size for size in range(len(mark) - 1, 0, -1) if self._held.endswith(mark[:size])), 0
        )
        cut = len(self._held) - keep
        spoken += "" if self._thinks else self._held[:cut]
        self._held = self._held[cut:]
        return spoken

    def flush(self) -> str:
        """What is left at the end."""
        rest, self._held = "" if self._thinks else self._held, ""
        return rest
