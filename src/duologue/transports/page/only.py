"""Of what Gradio serves, only what the page asks for."""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# Seen in Chromium: at the start, in a call, and until a page finds a server again that had gone.
_FILES = (
    "/",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/robots.txt",
    "/gradio_api/app_id",
)
_FOLDERS = ("/assets/", "/static/")


class OnlyThePage:
    """Gradio without its spare routes: calls, uploads, a proxy, ffmpeg, logins; they are not there.

    Its CORS headers let in pages of every other app on the same computer, and where the server has a
    name, everybody's. Gradio sends them to who has an Origin, so it is shown none; whose page may
    ask is known before (`Guard`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what the page asks for."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "http" and not _is_file(scope):
            await PlainTextResponse("Not Found", 404)(scope, receive, send)
        else:
            kept = [(name, value) for name, value in scope["headers"] if name != b"origin"]
            await self.app({**scope, "headers": kept}, receive, send)


def _is_file(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return scope["method"] in ("GET", "HEAD") and (path in _FILES or path.startswith(_FOLDERS))
