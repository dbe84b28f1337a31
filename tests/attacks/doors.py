"""Every door of a server, from its own list of routes: so that a new one is attacked by itself."""

import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from duologue.server.app import Uvicorn
from duologue.transports.identity import Identity


@dataclass(frozen=True, slots=True)
class Door:
    """A route. Attributes: method (WS: a WebSocket); path, its parameters filled in; gradio's or ours."""

    method: str
    path: str
    gradio: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def doors(server: Uvicorn) -> list[Door]:
    """All of them."""
    found = list(_walk(_find(server, Starlette).routes, "", gradio=False))
    assert len(found) > 5
    return found


def _walk(routes: Sequence[BaseRoute], prefix: str, *, gradio: bool) -> Iterator[Door]:
    for route in routes:
        fields: Any = route
        if hasattr(route, "original_router"):  # how FastAPI keeps an included one
            yield from _walk(fields.original_router.routes, prefix, gradio=gradio)
            continue
        path = prefix + re.sub(r"\{[^}]*\}", "x", fields.path)
        if getattr(route, "routes", None):
            yield from _walk(fields.routes, path, gradio=gradio or not path)
        elif hasattr(route, "methods"):
            yield from (Door(method, path, gradio) for method in sorted(fields.methods))
        else:
            yield Door("WS" if "WebSocket" in type(route).__name__ else "GET", path, gradio)


def _find(server: Uvicorn, kind: type) -> Any:
    app: Any = server._server.app
    while not isinstance(app, kind):
        app = app.app
    return app


def port_of(server: Uvicorn) -> int:
    return int(server.url.rsplit(":", 1)[1])


def ask(
    server: Uvicorn, method: str, path: str, body: bytes = b"", /, **headers: str
) -> tuple[int, HTTPResponse, bytes]:
    """One request with just these headers (`x_y` for `x-y`); `Host` is the server's, if none is given."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("host", server.url.removeprefix("http://"))
    if body:
        named.setdefault("content-length", str(len(body)))
        named.setdefault("content-type", "application/json")
    connection = HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        return response.status, response, response.read()
    finally:
        connection.close()


def line(
    server: Uvicorn, path: str = "/v1/realtime", host: str = "", **headers: str
) -> ClientConnection:
    """A WebSocket to the server, by whatever name."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    where = host or server.url.removeprefix("http://")
    # Opened here, so that the name need not be known to any resolver.
    plug = socket.create_connection(("127.0.0.1", port_of(server)))
    try:
        return connect(f"ws://{where}{path}", sock=plug, additional_headers=named, open_timeout=60)
    except BaseException:
        plug.close()
        raise


def refusal(server: Uvicorn, path: str = "/v1/realtime", **how: str) -> tuple[str, str, int, str]:
    """How a page is turned away: code and sentence of the event; code and reason of the end."""
    with line(server, path, **how) as socket_:
        event = json.loads(socket_.recv(timeout=60))
        assert event["type"] == "error", event
        with suppress(ConnectionClosed):
            socket_.recv(timeout=60)
        assert socket_.close_code
        reason = socket_.close_reason or ""
        return event["error"]["code"], event["error"]["message"], socket_.close_code, reason


def denial(server: Uvicorn, path: str = "/v1/realtime", **how: str) -> tuple[int, str]:
    """How a program is turned away: status and sentence."""
    try:
        with line(server, path, **how):
            raise AssertionError("it was let in")
    except InvalidStatus as error:
        return error.response.status_code, error.response.body.decode()


def cookie_of(server: Uvicorn, user: str, port: int | None = None) -> str:
    """The cookie that this visitor would have been given."""
    signature = _find(server, Identity)._sign(user)
    return f"duologue_user_{port or port_of(server)}={user}.{signature}"
