"""Items and events as the Realtime API has them. Pure."""

import json
import secrets
from typing import Any, TypeVar

from pydantic import BaseModel

from duologue.conversation.items import Item, ToolUse
from duologue.tools import ToolFailure

_Model = TypeVar("_Model", bound=BaseModel)


def message(item_id: str, role: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """A message of somebody."""
    return {
        "type": "message",
        "object": "realtime.item",
        "id": item_id,
        "role": role,
        "status": status,
        "content": content,
    }


def assistant_item(
    item_id: str, status: str, text: str | None = None, *, aloud: bool | None = True
) -> dict[str, Any]:
    """A message of the model; `text`: its words; None: it has none yet."""
    content = []
    if text is not None:
        spoken = {"type": "output_audio", "transcript": text}
        content = [{"type": "output_text", "text": text} if aloud is False else spoken]
    return message(item_id, "assistant", status, content)


def any_item(item: Item) -> dict[str, Any]:
    """An item as it is now."""
    status = "in_progress" if item.status == "in_progress" else "completed"
    if item.status in ("interrupted", "failed"):
        status = "incomplete"
    if item.tool:
        return _tool_item(item, item.tool)
    if item.kind != "message":
        call = {"name": item.name, "arguments": item.text}
        fields = call if item.kind == "function_call" else {"output": item.text}
        return {
            "type": item.kind,
            "object": "realtime.item",
            "id": item.id,
            "status": "completed",
            "call_id": item.call_id,
            **fields,
        }
    if item.role == "assistant":
        # What was cut to nothing was spoken; what the client wrote was not.
        aloud = any(chunk.audio for chunk in item.spoken) or not (item.spoken or item.text)
        return assistant_item(item.id, status, whole(item.said), aloud=aloud)
    if item.sound:
        content = {"type": "input_audio", "transcript": item.words}
    else:
        content = {"type": "input_text", "text": item.text}
    return message(item.id, item.role, "completed", [content])


def _tool_item(item: Item, tool: ToolUse) -> dict[str, Any]:
    """An item about the tools of a server; the API has no status for these."""
    called = {"server_label": tool.server, "name": item.name, "arguments": whole(item.text)}
    fields: dict[str, Any] = called
    match item.kind:
        case "mcp_list_tools":
            fields = {"server_label": tool.server, "tools": json.loads(item.text)}
        case "mcp_call":
            fields = {
                **called,
                "approval_request_id": tool.request_id or None,
                "output": None if tool.output is None else whole(tool.output),
                "error": _failure(tool.failure) if tool.failure else None,
            }
        case "mcp_approval_response":
            fields = {
                "approval_request_id": tool.request_id,
                "approve": tool.approved,
                "reason": item.text or None,
            }
    return {"type": item.kind, "object": "realtime.item", "id": item.id, **fields}


def _failure(failure: ToolFailure) -> dict[str, Any]:
    coded = {} if failure.kind == "tool_execution_error" else {"code": failure.code}
    return {"type": failure.kind, "message": whole(failure.message), **coded}


def event_of(model: type[_Model], **fields: Any) -> _Model:
    """An event of this kind, with an id of its own."""
    (kind,) = model.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
    return model.model_validate({"type": kind, "event_id": event_id(), **fields})


def event_id() -> str:
    """The id of a new event."""
    return f"event_{secrets.token_hex(8)}"


def whole(text: str) -> str:
    """The text without halves of characters (lone surrogates), which cannot be sent."""
    return text.encode(errors="replace").decode()
