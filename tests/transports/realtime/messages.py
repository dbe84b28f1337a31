"""Messages as clients send them, and some that are none."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

from duologue.audio import AudioChunk


def message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def append(chunk: AudioChunk, **more: Any) -> str:
    sound = base64.b64encode(chunk.pcm16()).decode()
    return message("input_audio_buffer.append", audio=sound, **more)


def update(kind: Any = "server_vad", **turn_detection: Any) -> str:
    detection = {"type": kind, **turn_detection}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    return message("session.update", session=session)


def tools(*functions: Any) -> str:
    return message("session.update", session={"type": "realtime", "tools": functions})


def item(**fields: Any) -> str:
    return message("conversation.item.create", item={"type": "message", **fields})


BAD = [
    ("", "no JSON"),
    ("{", "no JSON"),
    ("[" * 60_000, "no JSON"),
    ("[" * 200_000, "65536 characters besides its sound"),
    ("[]", "not a JSON list"),
    ("{}", "event type None is not known"),
    (message("make.coffee"), "'make.coffee' is not known here; known are session.update"),
    (message("input_audio_buffer.append"), "audio: Field required"),
    (message("input_audio_buffer.append", audio=7), "audio: Input should be a valid string"),
    (message("input_audio_buffer.append", audio="!!!"), "is not valid base64"),
    (message("input_audio_buffer.append", audio=""), "audio is empty"),
    (message("input_audio_buffer.append", audio="QUJD"), "3 bytes"),
    (update(threshold="high"), "audio.input.turn_detection.threshold"),
    (update(threshold=2), "threshold goes from 0 to 1, not 2"),
    (update("semantic_vad", eagerness="keen"), "audio.input.turn_detection.eagerness"),
    (update("semantic_vad", threshold="high"), "threshold is a number, not 'high'"),
    (update("semantic_vad", idle_timeout_ms=True), "idle_timeout_ms is a number, not True"),
    (message("duologue.playback.started", item_id=1, ago_ms=1), "item_id: Input should"),
    (message("duologue.reply.resume", item_id=1), "item_id: Input should"),
    (message("duologue.reply.resume", item_id="i" * 65), "item_id: String should"),
    (message("duologue.playback.started", item_id="item_a1", ago_ms=-1), "ago_ms: Input should"),
    (message("duologue.playback.started", item_id="item_a1", ago_ms="1"), "ago_ms: Input should"),
    ('{"type": "duologue.playback.started", "item_id": "item_a1", "ago_ms": NaN}', "ago_ms: Input"),
    (message("duologue.playback.started"), "Field required"),
    (message("input_audio_buffer.append", audio="QUJD", echo="yes"), "echo: Input should be"),
    (update(silence_duration_ms=-5), "silence_duration_ms goes from 100 to 10000, not -5"),
    (message("session.update"), "session.update"),
    (message("session.update", session={"type": "coffee"}), "session.update: type"),
    (
        message("session.update", session={"type": "realtime", "tools": {}}),
        "session.tools is a list",
    ),
    (tools("make coffee"), "session.tools[0] is no function"),
    (tools({"type": "web_search"}), "session.tools[0] is no function"),
    (
        tools({"type": "function", "name": "make coffee"}),
        "letters, digits, _ or -, and is not 'make",
    ),
    (tools({"type": "function"}), "session.tools[0].name has up to 64"),
    (tools({"type": "function", "name": "a", "description": 1}), "tools[0].description is a text"),
    (tools({"type": "function", "name": "a", "parameters": []}), "is a JSON Schema"),
    (
        tools({"type": "function", "name": "a", "description": "\ud800"}),
        "cannot be sent on as JSON",
    ),
    (tools(*[{"type": "function", "name": "a"}] * 2), "two functions of one name"),
    (tools(*[{"type": "function", "name": "a"}] * 129), "a list of at most 128 tools"),
    (tools({"type": "mcp"}), "server_label: Field required"),
    (tools({"type": "mcp", "server_label": "a b"}), "server_label: String should match"),
    (
        tools({"type": "mcp", "server_label": "a"}),
        "tools[0].server_url is the http or https address",
    ),
    (
        tools({"type": "mcp", "server_label": "a", "server_url": "file:///etc/passwd"}),
        "tools[0].server_url is the http or https address",
    ),
    (
        tools({"type": "mcp", "server_label": "a", "server_url": "http://[::1"}),
        "tools[0].server_url is the http or https address",
    ),
    (
        tools({"type": "mcp", "server_label": "a", "connector_id": "connector_gmail"}),
        "there are no connectors or tunnels here",
    ),
    (
        tools(
            {
                "type": "mcp",
                "server_label": "a",
                "server_url": "http://b",
                "headers": {"x": "a\r\nHost: c"},
            }
        ),
        "tools[0] has a header that HTTP does not carry",
    ),
    (
        tools(*[{"type": "mcp", "server_label": "a", "server_url": "http://b"}] * 2),
        "two servers of one server_label",
    ),
    (
        message(
            "conversation.item.create",
            item={"type": "mcp_approval_response", "approval_request_id": "a", "approve": "yes"},
        ),
        "approve: Input should be a valid boolean",
    ),
    (message("response.create", response={"tools": "all"}), "response.tools is a list"),
    (
        message("response.create", response={"tool_choice": "some"}),
        "auto, none, required or one of",
    ),
    (
        message("response.create", response={"tool_choice": {"type": "function", "name": "fly"}}),
        "one of the tools, not {'type': 'function', 'name': 'fly'}",
    ),
    (
        message(
            "session.update",
            session={"type": "realtime", "audio": {"input": {"format": {"type": "audio/opus"}}}},
        ),
        "audio/pcmu or audio/pcma, not as 'audio/opus' at None Hz",
    ),
    (
        message("conversation.item.truncate", item_id=1, content_index=0, audio_end_ms=1),
        "item_id: Input should be a valid string",
    ),
    (message("conversation.item.retrieve"), "item_id: Field required"),
    (message("conversation.item.delete", item_id=None), "item_id: Input should be a valid string"),
    (message("conversation.item.create"), "item: Field required"),
    (message("conversation.item.create", item={"type": "coffee"}), "item: Input tag 'coffee'"),
    (item(role="robot", content=[]), "item.message.role: Input should be 'user'"),
    (item(role="user", content="hi"), "item.message.content: Input should be a valid list"),
    (item(id="", role="user", content=[]), "item.message.id: String should have at least 1"),
    (
        item(role="user", content=[{"type": "input_image", "image_url": "data:,"}]),
        "the role user has no content of the type 'input_image' here",
    ),
    (
        item(role="system", content=[{"type": "input_audio", "audio": "QUJDRA=="}]),
        "the role system has no content of the type 'input_audio' here",
    ),
    (item(role="user", content=[{"type": "input_audio"}]), "base64 in `audio`"),
    (item(role="user", content=[{"type": "input_audio", "audio": "!!!"}]), "not valid base64"),
    (
        message("conversation.item.create", item={"type": "function_call_output", "output": "1"}),
        "item.function_call_output.call_id: Field required",
    ),
    (item(role="user", content=[{"type": "input_text", "text": "\ud800"}]), "valid string"),
    (item(id="\ud800", role="user", content=[]), "valid string"),
    (message("response.create", response={"metadata": {"a": "\ud800"}}), "valid string"),
    (message("response.create", response={"instructions": "\ud800"}), "valid string"),
    (message("response.create", response=[]), "response: Input should be"),
    (message("response.create", response={"metadata": {"a": 1}}), "response.metadata.a: Input"),
    (message("response.create", response={"metadata": {"a": "b" * 513}}), "at most 512 characters"),
    (message("response.create", response={"conversation": "both"}), "'auto' or 'none'"),
    (message("response.create", response={"input": [{"type": "item_reference"}]}), "id: Field"),
    (message("response.create", response={"output_modalities": ["smell"]}), "'text' or 'audio'"),
    (
        message("conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=-1),
        "to 0 to 3600000 ms",
    ),
    (
        message(
            "conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=10**400
        ),
        "to 0 to 3600000 ms",
    ),
    (update("semantic_vad", threshold=2), "threshold goes from 0 to 1, not 2"),
    (update("semantic_vad", threshold=float("nan")), "threshold goes from 0 to 1, not nan"),
    (update("semantic_vad", prefix_padding_ms=5001), "prefix_padding_ms goes from 0 to 5000"),
    (update("semantic_vad", idle_timeout_ms=10), "idle_timeout_ms goes from 1000 to 3600000"),
    (update("semantic_vad", eagerness=["low"]), "audio.input.turn_detection.eagerness"),
    (update("semantic_vad", create_response="maybe"), "turn_detection.create_response"),
    (message("duologue.playback.started", item_id="item_a1", ago_ms=True), "ago_ms: Input should"),
    (
        message("duologue.playback.started", item_id="item_a1", ago_ms=60_001),
        "ago_ms: Input should be less than or equal to 60000",
    ),
    (message("duologue.playback.started", item_id=7, ago_ms=1), "item_id: Input should be a valid"),
    (message("input_audio_buffer.append", audio="QUJD", echo=1), "echo: Input should be"),
    (message("input_audio_buffer.append", audio="QUJD", echo=None), "echo: Input should be"),
]
"""(what is no event, of the sentence that is said about it)"""


def _session(**fields: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **fields}}


def _detection(**fields: Any) -> dict[str, Any]:
    return _session(audio={"input": {"turn_detection": {"type": "server_vad", **fields}}})


GROWING: dict[str, Callable[[list[Any]], dict[str, Any]]] = {
    "input": lambda many: {"type": "response.create", "response": {"input": many}},
    "tools": lambda many: _session(tools=many),
    "tools of a response": lambda many: {"type": "response.create", "response": {"tools": many}},
    "include": lambda many: _session(include=many),
    "modalities": lambda many: _session(output_modalities=many),
    "variables": lambda many: _session(prompt={"id": "p", "variables": dict(enumerate(many))}),
    "metadata": lambda many: {
        "type": "response.create",
        "response": {"metadata": dict(enumerate(many))},
    },
    "instructions": lambda many: _session(instructions=many),
    "format": lambda many: _session(audio={"input": {"format": many}}),
    "formats": lambda many: _session(audio={"output": {"format": {"type": many, "rate": many}}}),
    "eagerness": lambda many: _detection(eagerness=many),
    "threshold": lambda many: _detection(threshold=many),
    "turn detection": lambda many: _detection(**{f"x{i}": value for i, value in enumerate(many)}),
    "session": lambda many: {"type": "session.update", "session": many},
    "item": lambda many: {"type": "conversation.item.truncate", "item_id": many},
    "ago": lambda many: {"type": "duologue.playback.started", "item_id": "item_a", "ago_ms": many},
    "type": lambda many: {"type": many},
    "audio": lambda many: {"type": "input_audio_buffer.append", "audio": many},
    "echo": lambda many: {"type": "input_audio_buffer.append", "audio": "QUJD", "echo": many},
    "event_id": lambda many: {"type": "input_audio_buffer.append", "event_id": many},
    "nothing known": lambda many: {"type": "input_audio_buffer.append", "x": many},
}
"""Messages that are as long as the list that they are made of."""


def grown(name: str, value: str, length: int) -> str:
    """A message of this kind and length; `value` is the JSON that it has again and again."""
    text, count = json.dumps(GROWING[name](["@"])), length // (len(value) + 12)
    if found := re.search(r'"(x?)0": "@"', text):
        many = ", ".join(f'"{found[1]}{number}": {value}' for number in range(count))
        return text.replace(found[0], many)
    return text.replace('"@"', ", ".join([value] * (length // (len(value) + 2))))
