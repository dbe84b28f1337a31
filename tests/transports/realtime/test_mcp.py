"""Tools of servers (MCP): a real server of them, a real line, and a model that calls what it is offered."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from conftest import Serve
from duologue.check.order import Order
from duologue.errors import Unreachable
from duologue.server.mcp_servers import McpServers, may_reach
from duologue.tools import ToolFailure, ToolServer
from transports.realtime.messages import message
from transports.realtime.test_endpoint import line
from transports.realtime.test_tools import WEATHER, session
from transports.realtime.tool_server import Caller, Tools


class Reader:
    """Reads what the client is told, and that all of it is as the API has it, in its order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.order, self.seen, self._socket = Order(), list[dict[str, Any]](), socket
        self.order.read({"type": "session.created", "event_id": "first", "session": {}})

    async def to(self, kind: str, item: str = "") -> dict[str, Any]:
        """The next event of this kind (about an item of this kind)."""
        while True:
            event: dict[str, Any] = json.loads(await self._socket.recv())
            self.order.read(event)
            assert self.order.violations == []
            self.seen.append(event)
            if event["type"] == kind and item in ("", event.get("item", {}).get("type")):
                return event

    def kinds(self, since: str) -> list[str]:
        kinds = [event["type"] for event in self.seen]
        return kinds[kinds.index(since) :]


async def test_a_tool_is_listed_called_and_answered(serve: Serve, tools: Tools) -> None:
    model = Caller()
    server = serve(model)
    async with line(server) as socket:
        reader = Reader(socket)
        secret = {"authorization": "s3cret", "headers": {"x-team": "blue"}}
        await socket.send(session(tools=[WEATHER, tools.named(require_approval="never", **secret)]))
        told = (await reader.to("session.updated"))["session"]["tools"]
        assert [tool["type"] for tool in told] == ["function", "mcp"]
        assert "s3cret" not in json.dumps(told)
        listed = (await reader.to("conversation.item.done", "mcp_list_tools"))["item"]
        assert reader.kinds("session.updated")[1:] == [
            "conversation.item.added",
            "mcp_list_tools.in_progress",
            "mcp_list_tools.completed",
            "conversation.item.done",
        ]
        assert listed["server_label"] == "sums"
        assert [tool["name"] for tool in listed["tools"]] == ["add", "fail", "long", "wait"]
        assert tools.headers["authorization"] == "Bearer s3cret"
        assert tools.headers["x-team"] == "blue"

        await socket.send(message("response.create"))
        response = (await reader.to("response.done"))["response"]
        [call] = response["output"]
        assert (call["type"], call["name"], call["output"]) == ("mcp_call", "add", None)
        assert json.loads(call["arguments"]) == {"a": 2, "b": 3}
        done = (await reader.to("conversation.item.done", "mcp_call"))["item"]
        assert reader.kinds("response.created")[1:] == [
            "response.output_item.added",
            "conversation.item.added",
            "response.mcp_call_arguments.delta",
            "response.mcp_call_arguments.done",
            "response.output_item.done",
            "response.done",
            "response.mcp_call.in_progress",
            "response.mcp_call.completed",
            "conversation.item.done",
        ]
        assert (done["id"], done["output"], done["error"]) == (call["id"], "5", None)

        await socket.send(message("response.create"))
        response = (await reader.to("response.done"))["response"]
        assert response["output"][0]["content"][0]["transcript"] == "It gave 5."
        await socket.send(message("conversation.item.retrieve", item_id=call["id"]))
        assert (await reader.to("conversation.item.retrieved"))["item"]["output"] == "5"
    first, second = model.prompts
    offered = {function.name: function.server for function in first.tools.offered}
    assert offered == {"weather": "", **dict.fromkeys(["add", "fail", "long", "wait"], "sums")}
    assert [item.kind for item in second.items] == ["function_call", "function_call_output"]
    assert tools.called == 1


@pytest.mark.parametrize("approve", [True, False])
async def test_a_client_is_asked_before_a_call(serve: Serve, tools: Tools, approve: bool) -> None:
    model = Caller()
    server = serve(model)
    async with line(server) as socket:
        reader = Reader(socket)
        await socket.send(session(tools=[tools.named()]))
        await reader.to("conversation.item.done", "mcp_list_tools")
        await socket.send(message("response.create"))
        response = (await reader.to("response.done"))["response"]
        [request] = response["output"]
        assert (request["type"], request["name"]) == ("mcp_approval_request", "add")
        assert tools.called == 0
        answer = {
            "type": "mcp_approval_response",
            "approval_request_id": request["id"],
            "approve": approve,
            "reason": "Not today.",
        }
        add = message("conversation.item.create", previous_item_id=request["id"], item=answer)
        await socket.send(add)
        told = (await reader.to("conversation.item.done", "mcp_approval_response"))["item"]
        assert (told["approve"], told["reason"]) == (approve, "Not today.")
        if approve:
            call = (await reader.to("conversation.item.done", "mcp_call"))["item"]
            assert (call["output"], call["approval_request_id"]) == ("5", request["id"])
        await socket.send(message("conversation.item.create", event_id="again", item=answer))
        error = (await reader.to("error"))["error"]
        assert (error["param"], error["event_id"]) == ("item.approval_request_id", "again")
        await socket.send(message("response.create"))
        await reader.to("response.done")
    newest = model.prompts[-1].items[-1]
    refused = "The user does not allow this call. Not today."
    assert newest.text == ("5" if approve else refused)
    assert tools.called == approve


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "words"),
    [
        ("fail", "{}", "tool_execution_error", "out of order"),
        ("long", "{}", "tool_execution_error", "more than 100000 letters"),
        ("add", "not json", "tool_execution_error", "no JSON object"),
        ("add", '{"a": "x", "b": 1}', "tool_execution_error", "valid integer"),
    ],
)
async def test_a_call_that_fails_is_told_to_the_client_and_the_model(
    serve: Serve, tools: Tools, name: str, arguments: str, kind: str, words: str
) -> None:
    model = Caller(name, arguments)
    server = serve(model)
    async with line(server) as socket:
        reader = Reader(socket)
        await socket.send(session(tools=[tools.named(require_approval="never")]))
        await reader.to("conversation.item.done", "mcp_list_tools")
        await socket.send(message("response.create"))
        await reader.to("response.mcp_call.failed")
        item = (await reader.to("conversation.item.done", "mcp_call"))["item"]
        assert item["error"]["type"] == kind
        assert words in item["error"]["message"]
        assert item["output"] is None
        await socket.send(message("response.create"))
        await reader.to("response.done")
    assert words in model.prompts[-1].items[-1].text


async def test_a_response_that_is_stopped_calls_nobody(serve: Serve, tools: Tools) -> None:
    server = serve(Caller(after=9))
    async with line(server) as socket:
        reader = Reader(socket)
        await socket.send(session(tools=[tools.named(require_approval="never")]))
        await reader.to("conversation.item.done", "mcp_list_tools")
        await socket.send(message("response.create"))
        await reader.to("response.output_audio.delta")
        await socket.send(message("response.cancel"))
        assert (await reader.to("response.done"))["response"]["status"] == "cancelled"
        item = (await reader.to("conversation.item.done", "mcp_call"))["item"]
        assert "was stopped before" in item["error"]["message"]
    assert tools.called == 0


async def test_the_user_goes_on_while_a_tool_works(serve: Serve, tools: Tools) -> None:
    server = serve(Caller("wait", "{}"))
    async with line(server) as socket:
        reader = Reader(socket)
        await socket.send(session(tools=[tools.named(require_approval="never")]))
        await reader.to("conversation.item.done", "mcp_list_tools")
        await socket.send(message("response.create"))
        await reader.to("response.mcp_call.in_progress")
        written = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hm"}],
        }
        await socket.send(message("conversation.item.create", item=written))
        await reader.to("conversation.item.done", "message")
        tools.go.set()
        assert (await reader.to("conversation.item.done", "mcp_call"))["item"]["output"] == "done"


async def test_only_what_is_allowed_is_offered(serve: Serve, tools: Tools) -> None:
    model = Caller()
    server = serve(model)
    async with line(server) as socket:
        reader = Reader(socket)
        allowed = {"read_only": True}
        await socket.send(
            session(tools=[tools.named(allowed_tools=allowed)], tool_choice="required")
        )
        listed = (await reader.to("conversation.item.done", "mcp_list_tools"))["item"]
        assert [tool["name"] for tool in listed["tools"]] == ["add"]
        own = {"conversation": "none", "input": []}
        await socket.send(message("response.create", response=own))
        await reader.to("response.done")
        other = [{"type": "mcp", "server_label": "other"}]
        await socket.send(message("response.create", response={"tools": other}))
        error = (await reader.to("error"))["error"]
        assert error["param"] == "response.tools"
        assert "'other', which session.tools has not" in error["message"]
        same = [{"type": "mcp", "server_label": "sums"}]
        await socket.send(message("response.create", response={"tools": same}))
        await reader.to("response.done")
        await socket.send(session(tools=[]))
        await reader.to("session.updated")
        await socket.send(message("response.create", response={"input": []}))
        await reader.to("response.done")
    out_of_band, named, gone = model.prompts
    assert [out_of_band.tools.offered, gone.tools.offered] == [(), ()]
    assert [function.name for function in named.tools.offered] == ["add"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/mcp", "does not tell its tools"),
        ("{url}/nothing", "Not Found"),
    ],
)
async def test_a_server_that_cannot_be_asked_ends_nothing(
    serve: Serve, tools: Tools, url: str, words: str
) -> None:
    server = serve(Caller())
    async with line(server) as socket:
        reader = Reader(socket)
        named = tools.named(server_url=url.format(url=tools.url))
        await socket.send(session(tools=[named]))
        await reader.to("mcp_list_tools.failed")
        error = (await reader.to("error"))["error"]
        assert words in error["message"]
        assert error["code"] == "unreachable"
        await socket.send(message("response.create"))
        assert (await reader.to("response.done"))["response"]["status"] == "completed"


def test_other_computers_reach_only_what_the_server_allows() -> None:
    url = "http://192.168.1.9:8000/mcp"
    assert may_reach(url, is_local=True, allowed=())
    assert not may_reach(url, is_local=False, allowed=("tools.example.com",))
    assert may_reach(url, is_local=False, allowed=("192.168.1.9",))
    assert may_reach(url, is_local=False, allowed=("192.168.1.9:8000",))
    assert may_reach(url, is_local=False, allowed=("*",))


async def test_a_server_that_may_not_be_reached_is_not_asked(tools: Tools) -> None:
    servers = McpServers(lambda url: False)
    with pytest.raises(Exception, match=r"--allow-mcp 127\.0\.0\.1"):
        await servers.list(ToolServer("sums", tools.url))
    assert tools.headers == {}


async def test_a_server_sends_nobody_on_to_another_one(tools: Tools) -> None:
    class Redirect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(307)
            self.send_header("Location", tools.url)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        named = ToolServer("sums", f"http://127.0.0.1:{other.server_port}", authorization="secret")
        try:
            with pytest.raises(Unreachable, match="does not tell its tools"):
                await McpServers(lambda url: True).list(named)
        finally:
            other.shutdown()
            thread.join()
    assert tools.headers == {}


async def test_a_call_to_a_server_that_is_gone_fails() -> None:
    servers = McpServers(lambda url: True)
    answer = await servers.call(ToolServer("sums", "http://127.0.0.1:9/mcp"), "add", "{}")
    assert isinstance(answer, ToolFailure)
    assert answer.kind == "http_error"


async def test_so_many_servers_are_asked_at_once(serve: Serve, tools: Tools) -> None:
    server = serve(Caller())
    named = [{**tools.named(), "server_label": f"s{number}"} for number in range(21)]
    async with line(server) as socket:
        reader = Reader(socket)
        await socket.send(session(tools=named))
        error = (await reader.to("error"))["error"]
        assert "20 servers of tools are asked already" in error["message"]
        for _ in range(20):
            await reader.to("mcp_list_tools.completed")
