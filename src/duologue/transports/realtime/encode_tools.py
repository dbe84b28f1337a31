"""What a client is told of calls: of its own functions, and of the tools of servers (MCP). Pure."""

from collections.abc import Iterator
from typing import Any

from openai.types import realtime as wire
from pydantic import BaseModel

from duologue.conversation import events
from duologue.conversation.items import Item
from duologue.tools import Function, ToolFilter, Tools, ToolServer
from duologue.transports.realtime.encode_items import any_item, event_of, whole

ToolEvent = (
    events.ToolListBegun | events.ToolListEnded | events.ToolCallBegun | events.ToolCallEnded
)


def encode_call(event: events.FunctionCalled, output: dict[str, Any]) -> Iterator[BaseModel]:
    """A call is told as a whole; `output`: which part of its response it is."""
    item, previous = event.item, event.previous_id
    shown = any_item(item)
    begun = {**shown, "arguments": ""}
    if "status" in shown:
        begun["status"] = "in_progress"
    yield event_of(wire.ResponseOutputItemAddedEvent, **output, item=begun)
    if event.asked.in_band:
        yield event_of(wire.ConversationItemAdded, item=begun, previous_item_id=previous)
    yield from _arguments(item, output)
    yield event_of(wire.ResponseOutputItemDoneEvent, **output, item=shown)
    if (
        event.asked.in_band and item.kind != "mcp_call"
    ):  # that one is done when its server has answered
        yield event_of(wire.ConversationItemDone, item=shown, previous_item_id=previous)


def _arguments(item: Item, output: dict[str, Any]) -> Iterator[BaseModel]:
    about, arguments = {**output, "item_id": item.id}, whole(item.text)
    if item.kind == "mcp_call":
        yield event_of(wire.ResponseMcpCallArgumentsDelta, **about, delta=arguments)
        yield event_of(wire.ResponseMcpCallArgumentsDone, **about, arguments=arguments)
    elif item.kind == "function_call":
        about["call_id"] = item.call_id
        yield event_of(wire.ResponseFunctionCallArgumentsDeltaEvent, **about, delta=arguments)
        yield event_of(
            wire.ResponseFunctionCallArgumentsDoneEvent,
            **about,
            name=item.name,
            arguments=arguments,
        )


def encode_tools(event: ToolEvent, index: int) -> Iterator[BaseModel]:
    """What is told of servers of tools; `index`: which part of its response a call was."""
    shown, previous = any_item(event.item), event.previous_id
    about = {"item_id": event.item.id}
    match event:
        case events.ToolListBegun():
            yield event_of(wire.ConversationItemAdded, item=shown, previous_item_id=previous)
            yield event_of(wire.McpListToolsInProgress, **about)
        case events.ToolListEnded():
            failed = event.item.status == "failed"
            yield event_of(
                wire.McpListToolsFailed if failed else wire.McpListToolsCompleted, **about
            )
            yield event_of(wire.ConversationItemDone, item=shown, previous_item_id=previous)
        case events.ToolCallBegun():
            if event.approved:
                yield event_of(wire.ConversationItemAdded, item=shown, previous_item_id=previous)
            yield event_of(wire.ResponseMcpCallInProgress, **about, output_index=index)
        case events.ToolCallEnded():
            failed = event.item.status == "failed"
            kind = wire.ResponseMcpCallFailed if failed else wire.ResponseMcpCallCompleted
            yield event_of(kind, **about, output_index=index)
            yield event_of(wire.ConversationItemDone, item=shown, previous_item_id=previous)


def tool_fields(tools: Tools) -> dict[str, Any]:
    """The tools of a session as the API shows them. What a server is sent of secrets is not shown."""
    return {
        "tools": [*map(_function, tools.functions), *map(_server, tools.servers)],
        "tool_choice": {"type": "function", "name": tools.only} if tools.only else tools.choice,
    }


def _function(function: Function) -> dict[str, Any]:
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": dict(function.parameters),
    }


def _server(server: ToolServer) -> dict[str, Any]:
    rules = {"always": server.asked, "never": server.unasked}
    filters = {name: _filter(rule) for name, rule in rules.items() if rule}
    everything = server.allowed == ToolFilter()
    return {
        "type": "mcp",
        "server_label": server.label,
        "server_url": server.url,
        "server_description": server.description or None,
        "allowed_tools": None if everything else _filter(server.allowed),
        "require_approval": filters or server.approval,
    }


def _filter(rule: ToolFilter) -> dict[str, Any]:
    named = {} if rule.names is None else {"tool_names": list(rule.names)}
    return named if rule.read_only is None else {**named, "read_only": rule.read_only}
