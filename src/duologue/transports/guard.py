"""What every request has to pass, and what every answer carries, whichever route it is for."""

import asyncio
import functools
import socket
from collections.abc import Collection
from typing import Any, cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from duologue.errors import (
    ClientTooSlow,
    DuologueError,
    HostNotAllowed,
    MessageTooBig,
    OriginNotAllowed,
)
from duologue.transports.address import seen_address, split_host
from duologue.transports.admission import Admission
from duologue.transports.realtime.refusal import refuse

_BODY = 2**20  # bytes: the page's own requests have less than 1,000

_PATIENCE = 10.0  # seconds that a body may take

_STATUS = {OriginNotAllowed: 403, ClientTooSlow: 408, MessageTooBig: 413, HostNotAllowed: 421}

# Gradio writes scripts and styles into its page, and makes functions of text. With that, `blob:` opens
# nothing more; worklets that a page makes of text need it.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)


class Guard:
    """Refuses what a browser may have been made to send, and keeps what is sent to it harmless.

    - The `Host` is one of the server's names (`Admission.check_host`), so that no other page can
      have its own name point here.
    - What may change something (all but GET and HEAD), and each WebSocket, comes from a program, from
      the server's own page or from an allowed one (`Admission.check_origin`).
    - A body has 1 MB and 10 s at most, but where the route itself sets limits.
    - `X-Forwarded-*` is believed from the proxies that are named, and taken away in any case: below,
      the request is as its client sent it, and `address_of` says where to.
    """

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        *,
        proxies: str,
        frames: tuple[str, ...] = (),
        large: Collection[str] = (),
    ) -> None:
        """Put the guard in front of an app.

        Args:
            app: what is guarded.
            admission: what is asked of a client.
            proxies: addresses and networks that are believed, with commas; `*`: all.
            frames: origins of pages that may show ours in a frame; `*`: all.
            large: paths of routes that limit their bodies themselves.
        """
        self.app = app
        self._admission = admission
        self._large = large
        self._proxies = ProxyHeadersMiddleware(cast(Any, self._enter), proxies)
        self._frames = " ".join(("frame-ancestors 'self'", *frames))
        self._headers = {
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            # It knows no list of origins; browsers that know frame-ancestors do not look at it.
            **({} if frames else {"x-frame-options": "SAMEORIGIN"}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        client = (scope.get("client") or ("",))[0]
        # Noted here: afterwards, `client` is what the proxy says.
        scope.setdefault("state", {})["proxied"] = client in self._proxies.trusted_hosts
        await self._proxies(cast(Any, scope), cast(Any, receive), cast(Any, send))

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            send = self._dressing(scope, send)
        try:
            await self._check(scope)
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            limited = scope["type"] == "http" and path not in self._large
            body = await _read(scope, receive) if limited else None
        except DuologueError as error:
            await self._refuse(scope, receive, send, error)
        except ClientDisconnect:
            pass  # in the middle of its body: there is nobody to tell
        else:
            receive = receive if body is None else _replay(body, receive)
            await self.app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        proxied = scope["state"].pop("proxied")
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")  # none: HTTP/1.0, which no browser speaks
        # A page that rebinds its name can send any header here, but not another Host.
        if proxied and (told := headers.get("x-forwarded-host", "").split(",")[0].strip()):
            hosts.append(told)
        for host in hosts:
            await self._check_host(host)
        kept = [(name, value) for name, value in scope["headers"] if name != b"host"]
        named = [(b"host", host.encode("latin-1")) for host in hosts[-1:]]
        scope["headers"] = [*named, *kept]
        scope["state"]["address"] = seen_address(scope, proxied=proxied)
        scope["headers"] = [
            pair for pair in scope["headers"] if not _is_forwarded(pair[0], keep_prefix=proxied)
        ]
        if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD"):
            self._admission.check_origin(HTTPConnection(scope))

    async def _check_host(self, host: str) -> None:
        try:
            self._admission.check_host(host)
        except HostNotAllowed:
            if not await _is_full_name(host):
                raise

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, error: DuologueError
    ) -> None:
        self._admission.note(error)
        status = _STATUS[type(error)]
        if scope["type"] == "websocket":
            await refuse(WebSocket(scope, receive, send), error, status)
        else:
            await _answer(error, status, HTTPConnection(scope))(scope, receive, send)

    def _dressing(self, scope: Scope, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if headers.get("content-type", "").startswith("text/html"):
                    host = Headers(scope=scope).get("host", "")  # checked: a refusal is no HTML
                    # Not to every browser is a WebSocket to the same server 'self'.
                    line = f"connect-src 'self' ws://{host} wss://{host}"
                    headers.setdefault(
                        "content-security-policy", f"{_POLICY}; {line}; {self._frames}"
                    )
            await send(message)

        return dressed


def _answer(error: DuologueError, status: int, connection: HTTPConnection) -> Response:
    """As JSON, in the form of the OpenAI API; but a person reads the sentence alone."""
    if "text/html" in connection.headers.get("accept", ""):
        return PlainTextResponse(str(error), status)
    reason = {"message": str(error), "type": error.type, "code": error.code, "param": None}
    return JSONResponse({"error": reason}, status)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The body, if one is announced.

    Raises:
        MessageTooBig: it is longer than `_BODY`; of what comes on, nothing is read.
        ClientTooSlow: it is not there after `_PATIENCE`.
        ClientDisconnect: it does not come to its end.
    """
    headers = Headers(scope=scope)
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return None
    too_big = MessageTooBig(f"a request to {scope['path'][:100]} may have {_BODY / 2**20:g} MiB")
    if int(headers.get("content-length", 0)) > _BODY:
        raise too_big
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > _BODY:
                    raise too_big
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise ClientTooSlow(f"the request was not complete after {_PATIENCE:g} s") from error


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and then what comes after it."""
    pending: list[Message] = [{"type": "http.request", "body": body}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def _is_forwarded(header: bytes, *, keep_prefix: bool) -> bool:
    """Whether it says what a proxy saw; the path that it took away is known from there alone."""
    if header == b"x-forwarded-prefix":
        return not keep_prefix
    return header.startswith(b"x-forwarded-") or header in (b"forwarded", b"x-gradio-server")


async def _is_full_name(host: str) -> bool:
    """Whether this is the machine's name with its domain, for which the resolver has to be asked."""
    name, _ = split_host(host) or ("", None)
    if name.partition(".")[0] != socket.gethostname().partition(".")[0].lower():
        return False
    return name == await asyncio.to_thread(_full_name)


@functools.cache
def _full_name() -> str:
    return socket.getfqdn().lower()
