"""How a client learns that it is not let onto the line, and why."""

import asyncio

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from duologue.conversation.events import ErrorOccurred
from duologue.errors import (
    DuologueError,
    SessionExpired,
    SessionIdle,
    ShuttingDown,
    TooManySessions,
)
from duologue.transports.realtime.encode import Encoder

_CLOSE_CODES = {
    SessionExpired: 1000,
    SessionIdle: 1000,
    ShuttingDown: 1012,
    TooManySessions: 1013,
}  # RFC 6455, IANA

_REASON = 123  # bytes that a close frame has for its reason (RFC 6455, 5.5)

_GOODBYE = 5.0  # seconds that a refused page may take to close its side


async def accept(socket: WebSocket) -> None:
    """Take the WebSocket, with the subprotocol that browsers offer beside their key."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept("realtime" if "realtime" in offered else None)


async def refuse(socket: WebSocket, error: DuologueError, status: int) -> None:
    """Turn somebody away before anything of theirs is read.

    To the script of a page every refused handshake looks alike, as if there were no server. So a page
    (it has an `Origin`) is accepted, gets an `error` event, and is closed with a code and the sentence.
    A program gets the sentence with an HTTP status, as it would from any API.
    """
    if "origin" not in socket.headers:
        await socket.send_denial_response(PlainTextResponse(str(error), status))
        return
    try:
        async with asyncio.timeout(_GOODBYE):
            await accept(socket)
            for message in Encoder("").encode(ErrorOccurred(error)):
                await socket.send_text(message)
            await close(socket, error)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        pass  # it has gone already, or does not listen


async def close(socket: WebSocket, error: DuologueError) -> None:
    """Hang up: the code says to programs why, the reason to people."""
    reason = str(error).encode()[:_REASON].decode(errors="ignore")
    await socket.close(_CLOSE_CODES.get(type(error), 1008), reason)
