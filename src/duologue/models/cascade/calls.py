"""Functions and tokens in OpenAI's `/chat/completions`: how they are offered, called and counted."""

import json
from typing import Any

from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice

from duologue.conversation.items import FunctionCall, Usage
from duologue.tools import Tools

_MOST = 16  # calls in one answer
_LONGEST = 65_536  # characters of arguments


def offer(tools: Tools) -> dict[str, Any]:
    """What a request says of them; nothing, where none may be called."""
    if not tools.offered:
        return {}
    only = {"type": "function", "function": {"name": tools.only}}
    return {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": function.name,
                    "description": function.description,
                    "parameters": function.parameters or {"type": "object", "properties": {}},
                },
            }
            for function in tools.offered
        ],
        "tool_choice": only if tools.only else tools.choice,
    }


def usage_of(chunk: ChatCompletionChunk) -> Usage | None:
    """How many tokens a server says it has read and written; None: it does not say so here."""
    told = getattr(chunk, "usage", None)  # whatever a server sends is taken for a chunk
    read, written = getattr(told, "prompt_tokens", None), getattr(told, "completion_tokens", None)
    if not isinstance(read, int) or not isinstance(written, int):
        return None
    return Usage(max(0, read), max(0, written))


class Calls:
    """The calls of one answer, put together from the pieces in which they come."""

    def __init__(self, tools: Tools) -> None:
        """Of these functions; others are not called."""
        self._names = {function.name for function in tools.offered}
        self._made: dict[int, tuple[str, str]] = {}

    @property
    def whole(self) -> list[FunctionCall]:
        """Those of functions that were offered."""
        return [
            FunctionCall(name, arguments or "{}")
            for _, (name, arguments) in sorted(self._made.items())
            if name in self._names
        ]

    @property
    def unknown(self) -> bool:
        """Whether only functions were called that nobody has offered."""
        return bool(self._made) and not self.whole

    def push(self, choice: Choice) -> None:
        """More of an answer has come."""
        for piece in (choice.delta and choice.delta.tool_calls) or ():
            if piece.index not in self._made and len(self._made) >= _MOST:
                continue
            name, arguments = self._made.get(piece.index, ("", ""))
            if function := piece.function:
                name += function.name or ""
                arguments += function.arguments or ""
            self._made[piece.index] = name[:_LONGEST], arguments[:_LONGEST]


class Bare:
    """Tells a call that a small model writes as bare JSON, without the marks that its template asks for.

    What begins with `{` is held back until it is known to be a call, or to be none.
    """

    def __init__(self, tools: Tools) -> None:
        """Of these functions."""
        self._names = {function.name for function in tools.offered}
        self._held = ""
        self._watches = bool(self._names)

    def push(self, text: str) -> str | FunctionCall:
        """What is to be said of the answer; or the call that it is, and then nothing else of it counts."""
        if not self._watches:
            return text
        self._held += text
        begun = self._held.lstrip()
        if begun and not begun.startswith("{"):
            return self.flush()
        try:
            value, _ = json.JSONDecoder().raw_decode(begun)
        except (ValueError, RecursionError):
            return "" if len(begun) < _LONGEST else self.flush()
        name, arguments = value.get("name"), value.get("arguments", value.get("parameters", {}))
        if name not in self._names or not isinstance(arguments, dict):
            return self.flush()
        return FunctionCall(name, json.dumps(arguments, ensure_ascii=False))

    def flush(self) -> str:
        """What was held back, and is no call."""
        held, self._held, self._watches = self._held, "", False
        return held
