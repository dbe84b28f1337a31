"""Serves the app below a path, as a reverse proxy shows it: https://host/duologue/."""

import re
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)


def is_path(text: str) -> bool:
    """Whether the app can be served below this: /duologue, /voice/duologue; no slash at the end."""
    return bool(_PATH.fullmatch(text))


class SubPath:
    """Tells the app, by ASGI's `root_path`, below which path its clients see it.

    It makes no difference whether the proxy cuts that path off or passes it on.

    Args:
        app: what is served there.
        proxies: addresses and networks that are believed, with commas; `*`: all.
        root_path: of all requests; empty: what a believed proxy names in X-Forwarded-Prefix.
    """

    def __init__(self, app: ASGIApp, *, proxies: str, root_path: str) -> None:
        self.app = app
        self._proxies = ProxyHeadersMiddleware(cast(Any, app), proxies).trusted_hosts
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "lifespan" and (prefix := self._root_path or self._told(scope)):
            scope = _below(scope, prefix)
        await self.app(scope, receive, send)

    def _told(self, scope: Scope) -> str:
        peer = (scope.get("client") or ("",))[0]
        if peer not in self._proxies:
            return ""
        prefix = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
        return prefix if is_path(prefix) else ""


def _below(scope: Scope, prefix: str) -> Scope:
    """As ASGI wants it: the path begins with the root path."""
    path: str = scope["path"]
    if path == prefix or path.startswith(f"{prefix}/"):
        return {**scope, "root_path": prefix}
    raw = prefix.encode() + scope.get("raw_path", path.encode())
    return {**scope, "root_path": prefix, "path": prefix + path, "raw_path": raw}
