"""Servers of tools (Model Context Protocol): this asks and calls them, with the `mcp` package.

Each question has a connection of its own: that a server was restarted, or a line broke, does no harm.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from duologue.errors import NotOffered, Unreachable, quoted
from duologue.tools import Function, ToolFailure, ToolServer

if TYPE_CHECKING:
    from mcp.client.client import Client

logger = logging.getLogger(__name__)

_LIST_SECONDS = 15.0  # that a server may take to tell its tools
_CALL_SECONDS = 60.0  # that it may take to carry out a call
_MOST = 128  # functions of one server
_LETTERS = 100_000  # of what a call gives


class McpServers:
    """The servers that the clients of one visitor may name."""

    def __init__(self, may_reach: Callable[[str], bool]) -> None:
        """`may_reach`: whether the server of this URL may be asked."""
        self._may_reach = may_reach

    async def list(self, server: ToolServer) -> tuple[Function, ...]:
        """The functions of a server; see `session.ToolServers`."""
        if not self._may_reach(server.url):
            raise NotOffered(
                f"the server of tools {quoted(server.label)} may not be reached from here; who runs this "
                f"server allows its host with --allow-mcp {urlsplit(server.url).hostname}"
            )
        try:
            async with asyncio.timeout(_LIST_SECONDS), _connected(server) as client:
                tools, cursor = [], None
                while True:
                    page = await client.list_tools(cursor=cursor)
                    tools += page.tools
                    cursor = page.next_cursor
                    if not cursor or len(tools) > _MOST:
                        break
        except ModuleNotFoundError as error:
            raise NotOffered(
                f"servers of tools need the package {error.name!r}; "
                "install it with: pip install 'duologue[mcp]'"
            ) from error
        except Exception as error:
            failure = _failure(error)
            raise Unreachable(
                f"the server of tools {quoted(server.label)} does not tell its tools: {failure.message}"
            ) from error
        functions = tuple(_function(tool) for tool in tools)
        if len([one for one in functions if server.allowed.takes(one)]) > _MOST:
            raise NotOffered(
                f"the server of tools {quoted(server.label)} has more than {_MOST} tools; name those that "
                "are wanted in allowed_tools"
            )
        return functions

    async def call(self, server: ToolServer, name: str, arguments: str) -> str | ToolFailure:
        """What a function of a server gives; see `session.ToolServers`."""
        try:
            given = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            return ToolFailure(
                "tool_execution_error", "the model wrote arguments that are no JSON object"
            )
        try:
            async with asyncio.timeout(_CALL_SECONDS), _connected(server) as client:
                result = await client.call_tool(name, given)
        except Exception as error:
            logger.info("a call of %s failed", quoted(name), exc_info=True)
            return _failure(error)
        parts = [getattr(part, "text", f"[{part.type}]") for part in result.content]
        output = "\n".join(parts)
        if result.structured_content is not None and not output:
            output = json.dumps(result.structured_content, ensure_ascii=False)
        if result.is_error:
            return ToolFailure("tool_execution_error", output[:_LETTERS] or "the tool failed")
        if len(output) > _LETTERS:
            return ToolFailure(
                "tool_execution_error",
                f"the tool gave more than {_LETTERS} letters, which is too much",
            )
        return output


@asynccontextmanager
async def _connected(server: ToolServer) -> AsyncIterator["Client"]:
    # The package takes half a second to import, and few sessions name a server of tools.
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    headers = dict(server.headers)
    if server.authorization:
        headers["Authorization"] = f"Bearer {server.authorization}"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=_CALL_SECONDS, trust_env=False) as http,
        Client(streamable_http_client(server.url, http_client=http)) as client,
    ):
        yield client


def _function(tool: Any) -> Function:
    notes = tool.annotations
    return Function(
        tool.name,
        tool.description or "",
        tool.input_schema,
        read_only=bool(notes and notes.read_only_hint),
    )


def _failure(error: BaseException) -> ToolFailure:
    """What went wrong, as the API has it. Groups of errors are looked into."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return ToolFailure("http_error", "it took too long", 504)
    response = getattr(error, "response", None)
    if response is not None:
        return ToolFailure(
            "http_error", f"it answers with {response.status_code}", response.status_code
        )
    code = getattr(getattr(error, "error", None), "code", None)
    if isinstance(code, int):
        return ToolFailure("protocol_error", str(error)[:500], code)
    return ToolFailure("http_error", str(error)[:500] or type(error).__name__, 502)


def may_reach(url: str, *, is_local: bool, allowed: tuple[str, ...]) -> bool:
    """Whether a client may name the server of this URL.

    Args:
        url: of the server.
        is_local: the client is on this computer, and could reach the server itself.
        allowed: hosts that everybody may name, with or without a port; `*`: all.
    """
    parts = urlsplit(url)
    return is_local or "*" in allowed or parts.hostname in allowed or parts.netloc in allowed
