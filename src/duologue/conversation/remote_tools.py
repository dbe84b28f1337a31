"""The tools of servers (MCP) in one session: which are known, and what becomes of their calls. Pure."""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from duologue.conversation.effects import CallTool, Effect, ListTools, Save, Send
from duologue.conversation.events import (
    ErrorOccurred,
    ToolAnswered,
    ToolCallBegun,
    ToolCallEnded,
    ToolListBegun,
    ToolListEnded,
    ToolsListed,
)
from duologue.conversation.items import Conversation, FunctionCall, Item, ToolUse, copy
from duologue.errors import InvalidField, quoted
from duologue.tools import Function, ToolFailure, Tools, ToolServer

_STOPPED = ToolFailure("tool_execution_error", "the response was stopped before the call")
_GONE = ToolFailure("tool_execution_error", "the session has no such server of tools any more")


class RemoteTools:
    """The servers of tools that a session names.

    The client is told what is in the conversation; what a model says out of band calls no server.
    """

    def __init__(self, conversation: Conversation, do: Callable[[Effect], None]) -> None:
        """`do`: takes what is to be done."""
        self._conversation = conversation
        self._do = do
        self._servers: dict[str, ToolServer] = {}
        self._functions: dict[
            str, tuple[Function, ...]
        ] = {}  # of the servers that have told theirs
        self._lists: dict[str, str] = {}  # id of a list that is awaited -> label of its server
        self._calls: dict[str, Item] = {}  # by id; that are under way
        self._before: dict[
            str, str | None
        ] = {}  # id of an item that is not done -> of the one before
        self._asked: dict[str, Item] = {}  # by id; questions that the client has not answered

    # What there is.

    def change(self, servers: Sequence[ToolServer]) -> None:
        """The session has these servers from now on; those that are new are asked for their tools."""
        wanted = {server.label: server for server in servers}
        for label in [
            label for label in self._servers if self._servers[label] != wanted.get(label)
        ]:
            del self._servers[label]
            self._functions.pop(label, None)
        for label in [label for label in wanted if label not in self._servers]:
            self._servers[label] = wanted[label]
            item = Item(_name("l"), "system", "mcp_list_tools", "[]", tool=ToolUse(label))
            self._lists[item.id] = label
            self._add(item)
            self._do(Send(ToolListBegun(copy(item), self._before[item.id])))
            self._do(ListTools(item.id, wanted[label]))

    def learn(self, event: ToolsListed) -> None:
        """A server has told its tools, or will not."""
        label = self._lists.pop(event.item_id)
        item = self._conversation.find(event.item_id)
        server = self._servers.get(label)
        functions = [
            replace(function, server=label)
            for function in event.functions
            if server and server.allowed.takes(function)
        ]
        if server and not event.error:
            self._functions[label] = tuple(functions)
        if not item:
            return
        item.status = "failed" if event.error else "completed"
        item.text = json.dumps([_shown(function) for function in functions])
        self._do(Save(item))
        self._do(Send(ToolListEnded(copy(item), self._before.pop(item.id))))
        if event.error:
            self._do(Send(ErrorOccurred(event.error)))

    def offer(self, tools: Tools) -> Tools:
        """The tools with the functions of their servers, as far as those are known.

        Of two functions of one name the first is taken: the client's own, then as the servers come.
        """
        functions = {function.name: function for function in tools.functions}
        for server in tools.servers:
            for function in self._functions.get(server.label, ()):
                functions.setdefault(function.name, function)
        if tools.only and tools.only not in functions:
            tools = replace(tools, choice="auto", only="")  # its server has not told it yet
        return replace(tools, functions=tuple(functions.values()), servers=())

    def check(self, tools: Tools) -> None:
        """See that a response names servers of the session.

        Raises:
            InvalidField: it names another.
        """
        for server in tools.servers:
            if server.label not in self._servers:
                raise InvalidField(
                    f"response.tools names the server {quoted(server.label)}, which session.tools has not; "
                    "name it there first",
                    "response.tools",
                )

    # Calls.

    def item_of(self, call: FunctionCall, tools: Tools) -> Item:
        """What a call becomes: one for the client, one for a server, or the question whether it may be."""
        function = next((one for one in tools.functions if one.name == call.name), None)
        server = self._servers.get(function.server) if function else None
        item = Item(_name("f"), "assistant", "function_call", call.arguments, name=call.name)
        item.status = "completed"
        if not function or not function.server:
            item.call_id = f"call_{secrets.token_hex(12)}"
            return item
        item.tool = ToolUse(function.server)
        if server and server.asks(function):
            item.kind = "mcp_approval_request"
            self._asked[item.id] = item
        else:
            item.kind, item.status = "mcp_call", "in_progress"
        return item

    def begin(self, items: Sequence[Item]) -> None:
        """Call the servers, where a response that is made has calls for them."""
        for item in items:
            if item.kind == "mcp_call" and item in self._conversation:
                self._call(item, approved=False)

    def give_up(self, items: Sequence[Item]) -> None:
        """The response that has these calls was stopped: no server is called."""
        for item in items:
            if item.kind == "mcp_call":
                self._end(item, None, _STOPPED)

    def answer(self, event: ToolAnswered) -> None:
        """A server has answered a call, or will not."""
        item = self._calls.pop(event.item_id)
        self._end(item, None if event.failure else event.output, event.failure)

    def request_of(self, item: Item) -> Item:
        """The question that an item of the client's answers.

        Raises:
            InvalidField: there is none, or it is answered.
        """
        request = self._asked.get(item.tool.request_id) if item.tool else None
        if not request:
            raise InvalidField(
                f"no call waits for approval under the id {quoted(item.tool and item.tool.request_id)}",
                "item.approval_request_id",
            )
        return request

    def decide(self, item: Item) -> None:
        """The client has approved a call, or has not."""
        request = self.request_of(item)
        assert item.tool
        assert request.tool
        del self._asked[request.id]
        if not item.tool.approved:
            return
        call = Item(_name("f"), "assistant", "mcp_call", request.text, name=request.name)
        call.tool = ToolUse(request.tool.server, request.id)
        self._add(call)
        self._call(call, approved=True)

    def _call(self, item: Item, *, approved: bool) -> None:
        assert item.tool
        previous_id = self._before.get(item.id)
        self._do(Send(ToolCallBegun(copy(item), previous_id, approved)))
        server = self._servers.get(item.tool.server)
        if not server:
            self._end(item, None, _GONE)
            return
        self._calls[item.id] = item
        self._do(CallTool(item.id, server, item.name, item.text))

    def _end(self, item: Item, output: str | None, failure: ToolFailure | None) -> None:
        assert item.tool
        item.tool = replace(item.tool, output=output, failure=failure)
        item.status = "failed" if failure else "completed"
        before = self._before.pop(item.id, None)
        if item in self._conversation:
            self._do(Save(item))
            self._do(Send(ToolCallEnded(copy(item), before)))

    def _add(self, item: Item) -> None:
        before = self._conversation.newest
        self._conversation.add(item)
        self._before[item.id] = before.id if before else None
        self._do(Save(item))


def _name(kind: str) -> str:
    return f"item_{kind}{secrets.token_hex(12)}"


def _shown(function: Function) -> dict[str, object]:
    """A function as the API's list of tools has it."""
    return {
        "name": function.name,
        "description": function.description,
        "input_schema": dict(function.parameters),
        "annotations": {"readOnlyHint": function.read_only},
    }
