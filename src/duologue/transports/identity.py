"""Visitors: known again by a signed cookie, for a year."""

import base64
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from contextvars import ContextVar
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duologue.transports.address import address_of, split_host

logger = logging.getLogger(__name__)

_SECRET = 32  # bytes

_YEAR = 365 * 24 * 3600  # seconds; Chromium keeps no cookie for longer than 400 days

# This computer's own addresses. A proxy that has one of them is believed where its clients are.
OWN = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose a connection is.

    Attributes:
        owner: as the cookie says.
        address: of the client.
    """

    owner: str
    address: str

    @property
    def is_local(self) -> bool:
        """Whether the client is on this computer."""
        return self.address in OWN

    def is_like(self, other: "Visitor") -> bool:
        """Whether both may be one: a cookie can be thrown away, so the address counts, too."""
        return self.owner == other.owner or (self.address == other.address and not self.is_local)


visitor: ContextVar[Visitor] = ContextVar("visitor")
"""Whose the connection is that is being served."""

_FRAMES = ("iframe", "frame", "embed", "object")  # as `Sec-Fetch-Dest` calls them


def read_secret(path: Path) -> bytes:
    """What this server's cookies are signed with: the content of a file, which is made if need be.

    When the file cannot be used, the log says so, and visitors are known until the server ends.
    """
    try:
        if not path.exists():
            _make(path)
        secret = path.read_bytes()
        if len(secret) != _SECRET:
            raise ValueError(f"it has {len(secret)} bytes and not {_SECRET}")  # noqa: TRY301
    except (OSError, ValueError) as error:
        logger.warning(
            "visitors are known again until this server ends only, because %s cannot be used (%s); "
            "remove it, or choose another folder with --data",
            path,
            error,
        )
        return secrets.token_bytes(_SECRET)
    return secret


def _make(path: Path) -> None:
    """All of it or nothing, and only once: another server may be at it, too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # of mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SECRET))
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)


class Identity:
    """Knows every visitor again, and tells the app: `request.state.user`, `visitor`.

    The cookie is given with the page and with the handshake of a WebSocket, which is all that other
    sites' pages have of this server; not with scripts, figures or errors. Its name has the port,
    because browsers send a computer's cookies to all of its ports. A value that is not signed by this
    server makes a new visitor.
    """

    def __init__(self, app: ASGIApp, secret: bytes) -> None:
        self.app = app
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its visitor."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        name = _name(connection)
        user = self._user(connection.cookies.get(name, "")) or secrets.token_urlsafe(24)
        scope.setdefault("state", {})["user"] = user
        visitor.set(Visitor(user, (scope.get("client") or ("",))[0]))

        async def send_with_cookie(message: Message) -> None:
            if _is_visit(message):
                message.setdefault("headers", [])
                cookie = _bake(name, f"{user}.{self._sign(user)}", connection)
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    def _user(self, value: str) -> str:
        """Whose cookie it is; empty: nobody's."""
        user, _, signature = value.rpartition(".")
        right = hmac.compare_digest(signature.encode(), self._sign(user).encode())
        return user if right else ""

    def _sign(self, user: str) -> str:
        digest = hmac.digest(self._secret, user.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _name(connection: HTTPConnection) -> str:
    port = address_of(connection).port
    return f"duologue_user_{port}" if port else "duologue_user"


def _is_visit(message: Message) -> bool:
    if message["type"] == "websocket.accept":
        return True
    if message["type"] != "http.response.start" or message["status"] != 200:
        return False
    return MutableHeaders(scope=message).get("content-type", "").startswith("text/html")


def _bake(name: str, value: str, connection: HTTPConnection) -> str:
    secure = connection.scope["scheme"] in ("https", "wss")
    cookie: SimpleCookie = SimpleCookie({name: value})
    morsel = cookie[name]
    for key, setting in (("path", "/"), ("httponly", True), ("max-age", _YEAR)):
        morsel[key] = setting
    # Browsers take what other sites' pages may send only if it is Secure, as the loopback counts, too.
    foreign = (secure or address_of(connection).is_loopback) and _is_foreign(connection)
    morsel["samesite"] = "None" if foreign else "Lax"
    morsel["secure"] = secure or foreign
    # `Partitioned`: one for each site that has us in its pages. SimpleCookie knows it from 3.14 on.
    return morsel.OutputString() + ("; Partitioned" if foreign else "")


def _is_foreign(connection: HTTPConnection) -> bool:
    """Whether another site's page asks: by its script, or because it shows ours in a frame."""
    headers = connection.headers
    if "origin" in headers:
        # As they are written: to a browser, localhost and 127.0.0.1 are two sites.
        theirs = split_host(headers["origin"].partition("://")[2])
        ours = split_host(headers.get("host", ""))
        return theirs is not None and ours is not None and theirs[0] != ours[0]
    frame = headers.get("sec-fetch-dest", "") in _FRAMES
    return frame and headers.get("sec-fetch-site", "") == "cross-site"
