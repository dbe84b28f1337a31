"""A language model on a server with OpenAI's `/chat/completions`: Ollama, vLLM, Groq and so on."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from duologue.conversation.items import FunctionCall, Item, Usage
from duologue.models.cascade.calls import Calls, offer, usage_of
from duologue.models.cascade.parts import AnswerCut, LimitReached
from duologue.models.cascade.prompt import messages
from duologue.models.cascade.servers import FAILURES, Failed, ServerPart, closing
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
    _tells_usage = True  # as long as it has not refused to
    _limits = "max_tokens"  # what a limit is called; newer models of OpenAI know only another name

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
        limit: int = 0,
    ) -> AsyncGenerator[str | FunctionCall | Usage, None]:
        """The answer as it is written, then the functions that it calls.

        Raises:
            LimitReached: it has as many tokens as it may have.
            AnswerCut: it grew too long.
            ModelFailed: the server failed; says what to do.
        """
        conversation = messages(question, items, instructions, language, calls=True, tools=tools)
        thoughts, length, reached = Thoughts(), 0, None
        try:
            async with contextlib.aclosing(self._tried(conversation, tools, limit)) as pieces:
                async for piece in pieces:
                    if not isinstance(piece, str):
                        yield piece
                    elif spoken := thoughts.push(piece):
                        length += len(spoken)
                        yield spoken
                    if length > _LONGEST:
                        raise AnswerCut(f"the answer has more than {_LONGEST} characters")
        except LimitReached as error:
            reached = error
        if rest := thoughts.flush():
            yield rest
        if reached:
            raise reached

    async def _tried(
        self, conversation: list[ChatCompletionMessageParam], tools: Tools, limit: int
    ) -> AsyncGenerator[str | FunctionCall | Usage, None]:
        """Ask again where it fails before the first word, and that may help."""
        for left in reversed(range(_TRIES)):
            begun, counting = False, self._counting(limit)
            writing = self._write(conversation, tools, limit, counting)
            try:
                async with contextlib.aclosing(writing) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except LimitReached:
                self.trouble = ""
                raise
            except Failed as failed:
                if not begun and left and self._gives_in(str(failed), counting):
                    continue
                if begun or not left or failed.again is None or failed.again > _WAIT:
                    raise
                _log.warning("%s; it is asked again", failed)
                await asyncio.sleep(failed.again)
            else:
                self.trouble = ""
                return

    def _gives_in(self, refusal: str, counting: Mapping[str, Any]) -> bool:
        """Do without what the server refuses, if that can be: the next request is another one then."""
        if "stream_options" in counting and "stream_options" in refusal:
            self._tells_usage = False
        elif "max_tokens" in counting and "max_completion_tokens" in refusal:
            self._limits = "max_completion_tokens"
        else:
            return False
        return True

    def _counting(self, limit: int) -> dict[str, Any]:
        """What a request says of tokens."""
        told = {"stream_options": {"include_usage": True}} if self._tells_usage else {}
        return {**told, **({self._limits: limit} if limit else {})}

    async def _write(
        self,
        conversation: list[ChatCompletionMessageParam],
        tools: Tools,
        limit: int,
        counting: Mapping[str, Any],
    ) -> AsyncGenerator[str | FunctionCall | Usage, None]:
        written, calls, usage = False, Calls(tools), None
        ended = ""
        try:
            stream: AsyncStream[ChatCompletionChunk] = await self.client.chat.completions.create(
                model=self._model,
                messages=conversation,
                stream=True,
                **counting,
                **offer(tools),
            )
            async with closing(stream):
                async for chunk in stream:
                    usage = usage_of(chunk) or usage
                    for choice in chunk.choices or ():
                        calls.push(choice)
                        ended = choice.finish_reason or ended
                        if choice.delta and choice.delta.content:
                            written = True
                            yield choice.delta.content
        except FAILURES as error:
            raise self.failure(error) from error
        reached = bool(limit) and ended == "length"
        if not reached:
            self._check_end(calls, ended, written=written)
        if usage:
            yield usage
        if reached:  # the last call may be half of one
            raise LimitReached(f"the answer has {limit} tokens")
        for call in calls.whole:
            yield call

    def _check_end(self, calls: Calls, ended: str, *, written: bool) -> None:
        """See whether it is the end of an answer.

        Raises:
            Failed: it is not; says what to do.
        """
        if calls.unknown and not written:
            raise self.failed("called a tool that nobody offered; take another --llm-model")
        if not ended and (written or calls.whole):
            raise self.failed("broke off in the middle of an answer; see what it logs")
        if not ended:
            raise self.failed(
                "answers, but not as OpenAI's API does; see whether --llm ends in /v1"
            )


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
