"""What a Realtime server says, as pieces of a reply; and what it is told. Pure."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16
from duologue.conversation.items import FunctionCall, Item, ReplyChunk, Usage
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.tools import Function, Tools

Event = dict[str, Any]

UNHEARD = "conversation.item.input_audio_transcription.failed"
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"

_TRIED_LIMIT, _TRIED_SPEED = 4096, 1.5  # what no server has unless it was told
_SPEEDS = (0.25, 1.5)  # of the API
_VOICES = {
    "api.openai.com": (
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse"),
    )
}
"""Those of servers that list them in their documentation alone, by the server."""


class Reading:
    """One reply.

    Attributes:
        heard: what the user said was told, or will not be.
    """

    def __init__(self, prompt: Prompt) -> None:
        """The reply to this."""
        self.heard = not prompt.spoken
        self._aloud = prompt.aloud
        self._words = ""  # that wait for their sound
        self._names: dict[str, str] = {}  # of functions, by the items that call them

    def read(self, event: Event) -> ReplyChunk | None:
        """What an event adds to the reply; None: nothing."""
        reader = _READERS.get(text(event, "type"))
        return reader(self, event) if reader else None

    def end(self) -> ReplyChunk | None:
        """What is left when all has come."""
        words, self._words = self._words, ""
        return ReplyChunk(text=words) if words else None

    def _sound(self, event: Event) -> ReplyChunk | None:
        sound = _sound_of(event)
        if not sound or not self._aloud:
            return None
        words, self._words = self._words, ""
        return ReplyChunk(sound, words)

    def _spoken(self, event: Event) -> None:
        self._words += text(event, "delta")

    def _written(self, event: Event) -> ReplyChunk | None:
        return None if self._aloud else ReplyChunk(text=text(event, "delta"))

    def _transcribed(self, event: Event) -> ReplyChunk | None:
        if self.heard:
            return None
        self.heard = True
        return ReplyChunk(user_text=text(event, "transcript").strip())

    def _unheard(self, _: Event) -> None:
        self.heard = True

    def _named(self, event: Event) -> None:
        item = fields(event, "item")
        self._names[text(item, "id")] = text(item, "name")

    def _called(self, event: Event) -> ReplyChunk:
        name = text(event, "name") or self._names.get(text(event, "item_id"), "")
        return ReplyChunk(call=FunctionCall(name, text(event, "arguments")))


# The second name of each is that of the API's beta, which some servers still use.
_READERS: dict[str, Callable[[Reading, Event], ReplyChunk | None]] = {
    "response.output_audio.delta": Reading._sound,
    "response.audio.delta": Reading._sound,
    "response.output_audio_transcript.delta": Reading._spoken,
    "response.audio_transcript.delta": Reading._spoken,
    "response.output_text.delta": Reading._written,
    "response.text.delta": Reading._written,
    TRANSCRIBED: Reading._transcribed,
    UNHEARD: Reading._unheard,
    "response.output_item.added": Reading._named,
    "response.function_call_arguments.done": Reading._called,
}


def trial(voice: str) -> Event:
    """A session's fields that ask for all that a server may not be able to do."""
    output = {"speed": _TRIED_SPEED, **({"voice": voice} if voice else {})}
    return {
        "type": "realtime",
        "max_output_tokens": _TRIED_LIMIT,
        "audio": {"output": output},
    }


def able(can: Capabilities, session: Event, host: str, voice: str) -> Capabilities:
    """What a server can do that has told this session when it was asked for `trial`.

    Args:
        can: as far as it is known.
        session: that it told; empty: none.
        host: of the server.
        voice: that it was asked for; empty: the usual one.
    """
    output = fields(fields(session, "audio"), "output")
    usual = text(output, "voice") or voice
    others = [name for name in _VOICES.get(host, ()) if name != usual]
    return replace(
        can,
        counts=session.get("max_output_tokens") == _TRIED_LIMIT,
        speeds=_SPEEDS if output.get("speed") == _TRIED_SPEED else (1.0, 1.0),
        voices=(usual, *others) if usual else (),
    )


def session_of(prompt: Prompt, voice: str, transcriber: str) -> Event:
    """How a prompt is to be answered, as a session's fields."""
    sound = {"type": "audio/pcm", "rate": REPLY_RATE}
    session: Event = {
        "type": "realtime",
        "output_modalities": ["audio" if prompt.aloud else "text"],
        "audio": {
            "input": {
                "format": sound,
                "transcription": {"model": transcriber},
                "turn_detection": None,
            },
            "output": {
                "format": sound,
                **({"voice": prompt.voice or voice} if prompt.voice or voice else {}),
                **({"speed": prompt.speed} if prompt.speed != 1.0 else {}),
            },
        },
    }
    if prompt.max_output_tokens:
        session["max_output_tokens"] = prompt.max_output_tokens
    if prompt.instructions:
        session["instructions"] = prompt.instructions
    return {**session, **_offer(prompt.tools)}


def end_of(response: Event) -> ReplyChunk | None:
    """What a response that is over tells of itself: the text that it has used, and whether it was cut."""
    usage = fields(response, "usage")
    read, written = (
        fields(usage, f"{way}_token_details").get("text_tokens") for way in ("input", "output")
    )
    counted = None
    if isinstance(read, int) and isinstance(written, int):
        counted = Usage(max(0, read), max(0, written))
    details = fields(response, "status_details")
    incomplete = text(response, "status") == "incomplete"
    incomplete = incomplete and text(details, "reason") == "max_output_tokens"
    return ReplyChunk(usage=counted, incomplete=incomplete) if counted or incomplete else None


def told(item: Item) -> Sequence[Event]:
    """An item as the API has it; nothing, where it says nothing."""
    if item.kind == "function_call":
        called = {"call_id": item.call_id, "name": item.name, "arguments": item.text}
        return [{"type": "function_call", **called}]
    if item.kind == "function_call_output":
        return [{"type": "function_call_output", "call_id": item.call_id, "output": item.text}]
    if not item.said:
        return []
    kind = "output_text" if item.role == "assistant" else "input_text"
    content = [{"type": kind, "text": item.said}]
    return [{"type": "message", "role": item.role, "content": content}]


def text(event: Event, name: str) -> str:
    """A field that should be a text; empty where it is none."""
    value = event.get(name)
    return value if isinstance(value, str) else ""


def fields(event: Event, name: str) -> Event:
    """A field that should be an object; empty where it is none."""
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _offer(tools: Tools) -> Event:
    if not tools.offered:
        return {}
    only = {"type": "function", "name": tools.only}
    return {
        "tools": [_function(function) for function in tools.offered],
        "tool_choice": only if tools.only else tools.choice,
    }


def _function(function: Function) -> Event:
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": dict(function.parameters),
    }


def _sound_of(event: Event) -> AudioChunk | None:
    """A delta's sound; None where it is none."""
    try:
        raw = base64.b64decode(text(event, "delta"), validate=True)
    except ValueError:
        return None
    return from_pcm16(raw[: len(raw) // 2 * 2], REPLY_RATE) if len(raw) > 1 else None
