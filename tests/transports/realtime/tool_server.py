"""A server of tools (MCP) that really serves, and a model that calls what it is offered."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from duologue.conversation.items import FunctionCall, ReplyChunk
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.server.app import bind
from duologue.system.addresses import url_of
from duologue.testing import say


class Caller:
    """Calls the function `name`, and says what it gave."""

    capabilities = Capabilities(True, True, True, "", reads=True, calls=True)

    def __init__(
        self, name: str = "add", arguments: str = '{"a": 2, "b": 3}', after: float = 0
    ) -> None:
        self.call, self.prompts = FunctionCall(name, arguments), list[Prompt]()
        self.after = after  # seconds for which it still speaks

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        self.prompts.append(prompt)
        newest = prompt.items[-1] if prompt.items else None
        if newest and newest.kind == "function_call_output":
            yield say(f"It gave {newest.text}.")
        elif self.call.name in [function.name for function in prompt.tools.offered]:
            yield ReplyChunk(call=self.call)
            while self.after:
                yield say("Well. ", 0.2)
                await asyncio.sleep(0.05)
        else:
            yield say("I have no such function.")


class Tools:
    """A server of tools.

    Attributes:
        url: of it.
        headers: of the newest request.
        called: how often `add` was.
    """

    def __init__(self) -> None:
        self.called = 0
        self.headers: dict[str, str] = {}
        self.go = threading.Event()
        mcp = MCPServer("sums")
        harmless = ToolAnnotations(read_only_hint=True)

        @mcp.tool(annotations=harmless)
        def add(a: int, b: int) -> str:
            """Two numbers together."""
            self.called += 1
            return f"{a + b}"

        @mcp.tool()
        def fail() -> str:
            """Nothing good."""
            raise ToolError("out of order")

        @mcp.tool()
        def long() -> str:
            """Too much."""
            return "a" * 200_000

        @mcp.tool()
        async def wait() -> str:
            """Until it may go."""
            await asyncio.to_thread(self.go.wait, 20)
            return "done"

        served = mcp.streamable_http_app()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            await served(scope, receive, send)

        self._socket = bind("127.0.0.1", 0)
        self.url = f"{url_of(self._socket)}/mcp"
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[self._socket]))
        )
        self._thread.start()

    def close(self) -> None:
        self.go.set()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def named(self, **fields: Any) -> dict[str, Any]:
        return {"type": "mcp", "server_label": "sums", "server_url": self.url, **fields}
