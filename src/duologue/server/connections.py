"""What one connection may take of the server: time for a request, time without reading, a descriptor.

uvicorn has no limit for a client that says nothing, or that does not read. These are its two protocols
with such limits.
"""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

logger = logging.getLogger(__name__)

_DESCRIPTORS = 65_536  # more are not asked for: no session needs them, and the kernel keeps a table
_RESERVE = 256  # descriptors that no client gets: files, children, and the sockets to them
_AT_ONCE = 8  # connections that asyncio accepts before one of them can be refused
# Bytes that the system may keep for a reader. It asks for more when a third of its room is free: of the
# megabytes that it would take, a client that reads as it plays frees a third in a minute only.
_UNREAD = 128 * 1024
_REPORT_EVERY = 60.0  # seconds between two lines of the log about the same trouble

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n"
    b"retry-after: 5\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection may keep the server waiting.

    Attributes:
        head: seconds until a request's head is complete.
        body: seconds until its body is; 15 MiB at 64 kB a second, which `/chat` asks for itself, take 240.
        stalled: seconds that a client may take nothing of what is sent to it.
        farewell: seconds that a client may take to read the last words.
        silent: connections that may be open without a request; the oldest is closed for a newer one.
    """

    head: float = 10.0
    body: float = 300.0
    stalled: float = 10.0
    farewell: float = 2.0
    silent: int = 200


LIMITS = Limits()


class Connections:
    """The connections of one server.

    Attributes:
        limits: of each.
        most: how many there may be.
    """

    def __init__(self, descriptors: int, limits: Limits | None = None) -> None:
        """`descriptors`: that the process may have open."""
        self.limits = limits or LIMITS
        self.most = descriptors - min(_RESERVE, descriptors // 2)
        self._silent: dict[_Timed, None] = {}  # without a request, oldest first
        self._told = -_REPORT_EVERY

    def wait_for_request(self, connection: "Http", others: int) -> None:
        """Count a connection as silent, and make room for it among `others`."""
        self._silent.pop(connection, None)
        self._silent[connection] = None
        if len(self._silent) > self.limits.silent or others >= self.most:
            oldest = next(iter(self._silent))
            self.forget(oldest)
            self._report("too many connections are open: the one that was silent longest is closed")
            if oldest is connection:  # all others are busy
                connection.refuse()
            else:
                oldest.abort()

    def wait_for_handshake(self, connection: "WebSocket") -> None:
        """Count a connection as silent that is becoming a WebSocket; room was made for it before."""
        self._silent[connection] = None

    def forget(self, connection: "_Timed") -> None:
        """Count a connection as silent no longer."""
        self._silent.pop(connection, None)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's exception handler: asyncio reports a lack of descriptors thousands of times."""
        if "out of system resource" in str(context.get("message")):
            self._report("no new connection can be accepted: the process has no descriptor left")
        else:
            loop.default_exception_handler(context)

    def _report(self, sentence: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told >= _REPORT_EVERY:
            self._told = now
            logger.warning("%s (said once a minute)", sentence)


class Config(uvicorn.Config):
    """uvicorn's settings, with the server's connections."""

    def __init__(self, app: Any, connections: Connections, **settings: Any) -> None:
        super().__init__(app, http=Http, ws=WebSocket, backlog=_AT_ONCE, **settings)
        self.connections = connections


class _Timed(asyncio.Protocol):
    """A protocol with one deadline for what the client has to do next, and one for its reading."""

    config: uvicorn.Config
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    client: tuple[str, int] | None
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def _meet(self) -> None:
        """A client has connected."""
        if self.client:
            self.client = (_plain(self.client[0]), self.client[1])
        with contextlib.suppress(OSError):  # it has gone already
            channel = self.transport.get_extra_info("socket")
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD)

    @property
    def _registry(self) -> Connections:
        return cast(Config, self.config).connections

    def abort(self) -> None:
        """Close the connection at once, whatever waits to be read."""
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._stall:
            self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stall)
        self._stall = None

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._deadline)
        _cancel(self._stall)
        super().connection_lost(exc)

    def _watch_reader(self) -> None:
        before = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() >= before:
                logger.info("a client has read nothing for a while: its connection is closed")
                self.abort()
            else:
                self._watch_reader()

        self._stall = self.loop.call_later(self._registry.limits.stalled, look)

    def _expect(self, seconds: float, then: Callable[[], None]) -> None:
        _cancel(self._deadline)
        self._deadline = self.loop.call_later(seconds, then)


class Http(_Timed, H11Protocol):
    """uvicorn's HTTP/1.1, which waits for a request and its body only so long."""

    _waits_for = ""  # "head", "body" or nothing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: its request is waited for."""
        super().connection_made(transport)
        self._meet()
        self._wait("head")
        self._registry.wait_for_request(self, len(self.connections))

    def data_received(self, data: bytes) -> None:
        """Bytes have come: a request, or a part of one."""
        super().data_received(data)
        if self.transport.get_protocol() is self and not self.transport.is_closing():
            self._update()

    def on_response_complete(self) -> None:
        """A response is sent: the next request is waited for."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._update()
            if self._waits_for == "head":
                self._registry.wait_for_request(self, len(self.connections))

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The connection becomes a WebSocket, which has limits of its own."""
        self._wait("")
        self._registry.forget(self)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._registry.forget(self)
        super().connection_lost(exc)

    def refuse(self) -> None:
        """There is no room for this connection."""
        self.transport.write(_FULL)
        self.transport.close()

    def _update(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._wait("head")
        else:
            self._registry.forget(self)
            self._wait("body" if self.cycle.more_body else "")

    def _wait(self, what: str) -> None:
        if what == self._waits_for:
            return
        self._waits_for = what
        _cancel(self._deadline)
        if what:
            limits = self._registry.limits
            self._expect(limits.head if what == "head" else limits.body, self.abort)


class WebSocket(_Timed, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which ends with its session, whether the client reads that or not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A request has asked for a WebSocket: the handshake is waited for."""
        super().connection_made(transport)
        self._meet()
        self._registry.wait_for_handshake(self)
        self._expect(self._registry.limits.head, self.abort)

    def start_keepalive(self) -> None:
        """Hands were shaken."""
        self._registry.forget(self)
        _cancel(self._deadline)
        super().start_keepalive()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._registry.forget(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server ends."""
        if self.handshake_complete:
            super().shutdown()
        else:  # uvicorn would answer a request that may be none
            self.abort()

    def handle_ping(self) -> None:
        """The client asks whether the server is there."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():  # who reads no answers gets none, or they would pile up here
            self.transport.write(pong)

    def keepalive_timeout(self) -> None:
        """The client has not answered a ping: it is gone."""
        super().keepalive_timeout()
        self._expect(self._registry.limits.farewell, self.abort)

    async def send(self, message: Any) -> None:
        """Send what the app says; a handshake that it has refused is over, and no error of the app."""
        await super().send(message)
        refusal = message["type"] == "websocket.http.response.body"
        if refusal and not message.get("more_body", False):
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        """Serve the session, and close the connection soon after it has ended."""
        try:
            await super().run_asgi()
        finally:
            if not self.disconnected:
                self._expect(self._registry.limits.farewell, self.abort)


def raise_descriptor_limit() -> int:
    """Let this process open as many files and sockets as the system allows it, and tell how many."""
    if sys.platform == "win32":
        return _DESCRIPTORS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer:
        timer.cancel()


def _plain(address: str) -> str:
    """An IPv4 address as such: a socket for IPv6 that takes both writes ::ffff:127.0.0.1."""
    return address.removeprefix("::ffff:") if "." in address else address
