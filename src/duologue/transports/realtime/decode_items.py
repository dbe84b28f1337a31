"""Items and requests for a response, as clients send them, to the program's own. Pure."""

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool

from duologue.audio import AudioChunk
from duologue.conversation.events import ItemCreated, ReplyRequested
from duologue.conversation.items import Item, ToolUse
from duologue.errors import InvalidEvent, quoted
from duologue.tools import Tools
from duologue.transports.realtime.decode_output import decode_output
from duologue.transports.realtime.decode_tools import decode_tools
from duologue.transports.realtime.fields import Listed, Shape, validate

_NAME = Annotated[str, Field(min_length=1, max_length=64)]
_TEXT = Annotated[str, Field(max_length=160 * 1024)]

_IN_WORDS = ("input_text", "output_text", "text")
_SPOKEN = ("output_audio", "audio")


class _Content(BaseModel):
    type: _TEXT
    text: _TEXT | None = None
    transcript: _TEXT | None = None
    audio: _TEXT | None = None


class _Message(BaseModel):
    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: list[_Content]
    id: _NAME | None = None


class _Call(BaseModel):
    type: Literal["function_call"]
    name: _NAME
    arguments: _TEXT
    call_id: _NAME | None = None
    id: _NAME | None = None


class _Output(BaseModel):
    type: Literal["function_call_output"]
    call_id: _NAME
    output: _TEXT
    id: _NAME | None = None


class _Approval(BaseModel):
    type: Literal["mcp_approval_response"]
    approval_request_id: _NAME
    approve: StrictBool
    reason: _TEXT | None = None
    id: _NAME | None = None


class _Reference(BaseModel):
    type: Literal["item_reference"]
    id: _NAME


_AnyItem = Annotated[_Message | _Call | _Output | _Approval, Field(discriminator="type")]
_Input = Annotated[_Message | _Call | _Output | _Reference, Field(discriminator="type")]


class _Create(BaseModel):
    item: _AnyItem
    previous_item_id: _NAME | None = None


class _Asked(BaseModel):
    instructions: _TEXT | None = None
    conversation: Literal["auto", "none"] | None = None
    metadata: (
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None
    ) = None
    output_modalities: list[Literal["text", "audio"]] | None = None
    input: list[_Input] | None = None


class _Request(BaseModel):
    response: _Asked | None = None


Read = Callable[[str], AudioChunk]
"""Base64 to sound at `INPUT_RATE`."""

_CONTENT_SHAPE: Shape = dict.fromkeys(["type", "text", "transcript", "audio"])
_ITEM_SHAPE: Shape = {
    **dict.fromkeys(["type", "role", "id", "name", "arguments", "call_id", "output"]),
    **dict.fromkeys(["approval_request_id", "approve", "reason"]),
    "content": Listed(16, _CONTENT_SHAPE),
}
_CREATE_SHAPE: Shape = {"item": _ITEM_SHAPE, "previous_item_id": None}
_REQUEST_SHAPE: Shape = {
    "response": {
        "instructions": None,
        "conversation": None,
        "metadata": Listed(16),
        "output_modalities": Listed(2),
        "input": Listed(64, _ITEM_SHAPE),
    }
}


def decode_item(fields: dict[str, Any], read: Read) -> ItemCreated:
    """A `conversation.item.create`.

    Args:
        fields: of the event.
        read: the sound of an `input_audio`.

    Raises:
        InvalidEvent: it is no item, or one that is not taken here; says why.
    """
    created = validate(_Create, fields, "conversation.item.create", _CREATE_SHAPE)
    return ItemCreated(_item(created.item, read), created.previous_item_id)


def decode_request(fields: dict[str, Any], tools: Tools, read: Read) -> ReplyRequested:
    """A `response.create`.

    Args:
        fields: of the event.
        tools: of the session.
        read: the sound of an `input_audio`.

    Raises:
        InvalidEvent: one of its fields is wrong, or holds what is not taken here; says why.
    """
    asked = validate(_Request, fields, "response.create", _REQUEST_SHAPE).response or _Asked()
    given = fields.get("response")
    named = isinstance(given, dict) and ("tools" in given or "tool_choice" in given)
    aloud = None if asked.output_modalities is None else "audio" in asked.output_modalities
    return ReplyRequested(
        instructions=asked.instructions,
        metadata=asked.metadata or {},
        aloud=aloud,
        in_band=asked.conversation != "none",
        input=None if asked.input is None else tuple(_part(part, read) for part in asked.input),
        tools=decode_tools(given, tools, "response") if named and given else None,
        **decode_output(given, "response"),
    )


def _part(part: _Message | _Call | _Output | _Reference, read: Read) -> Item | str:
    return part.id if isinstance(part, _Reference) else _item(part, read)


def _item(item: _Message | _Call | _Output | _Approval, read: Read) -> Item:
    name = item.id or f"item_{secrets.token_hex(12)}"
    match item:
        case _Call():
            return Item(
                name,
                "assistant",
                "function_call",
                item.arguments,
                status="completed",
                name=item.name,
                call_id=item.call_id or f"call_{secrets.token_hex(8)}",
            )
        case _Output():
            return Item(
                name,
                "user",
                "function_call_output",
                item.output,
                status="completed",
                call_id=item.call_id,
            )
        case _Approval():
            return Item(
                name,
                "user",
                "mcp_approval_response",
                item.reason or "",
                status="completed",
                tool=ToolUse(request_id=item.approval_request_id, approved=item.approve),
            )
    texts, heard = [], None
    for part in item.content:
        if part.type in _IN_WORDS:
            texts.append(part.text or "")
        elif part.type in _SPOKEN:
            texts.append(part.transcript or part.text or "")
        elif part.type == "input_audio" and item.role == "user":
            if part.audio is None:
                raise InvalidEvent(
                    "the input_audio of an item holds its sound as base64 in `audio`"
                )
            heard = read(part.audio)
        else:
            raise InvalidEvent(
                f"a message of the role {item.role} has no content of the type {quoted(part.type)} here; "
                "it has text, and of the user input_audio"
            )
    if heard:
        return Item(name, "user", sound=heard, words=" ".join(texts) or None)
    return Item(name, item.role, text="\n".join(texts), status="completed")
