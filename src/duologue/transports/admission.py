"""Who may come in, whichever way, and with what."""

import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from duologue.errors import InvalidApiKey, OriginNotAllowed

_SUBPROTOCOL = "openai-insecure-api-key."  # how the Realtime API takes a key from browsers


@dataclass(frozen=True, slots=True)
class Admission:
    """What is asked of a client.

    Attributes:
        origins: web pages' origins that may connect, besides the server's own.
        message_bytes: the largest message; 15 MiB is the Realtime API's own limit.
        api_key: what a program must know; empty: nothing.
        page: the server serves a page, which talks without a key.
    """

    origins: tuple[str, ...] = ()
    message_bytes: int = 15 * 1024 * 1024
    api_key: str = field(default="", repr=False)
    page: bool = False

    def check_origin(self, connection: HTTPConnection) -> None:
        """Programs send no Origin; a browser does, and its page must be ours or an allowed one.

        Raises:
            OriginNotAllowed: it is neither.
        """
        origin = connection.headers.get("origin")
        allowed = origin is None or origin in self.origins or "*" in self.origins
        if not (allowed or _is_ours(connection)):
            raise OriginNotAllowed("this page's origin may not connect; see --allow-origin")

    def check_key(self, connection: HTTPConnection) -> None:
        """The key stands in `Authorization: Bearer KEY`, or in a WebSocket's subprotocol.

        Raises:
            InvalidApiKey: it does not.
        """
        if not self.api_key:
            return
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        keys = [key.strip()] if scheme.lower() == "bearer" else []
        offered = connection.scope.get("subprotocols", [])
        keys += [
            name.removeprefix(_SUBPROTOCOL) for name in offered if name.startswith(_SUBPROTOCOL)
        ]
        right = self.api_key.encode()
        if not any(secrets.compare_digest(key.encode(), right) for key in keys):
            raise InvalidApiKey(
                "this server asks for its API key, as in: Authorization: Bearer KEY"
            )

    def check_key_of_program(self, connection: HTTPConnection) -> None:
        """As `check_key`, but the server's own page needs none.

        A program can claim to be that page. So the key keeps nobody out who may open the page; to
        keep people out, serve without it.

        Raises:
            InvalidApiKey: it is not the page, and does not know the key.
        """
        if not (self.page and _is_ours(connection)):
            self.check_key(connection)


def _is_ours(connection: HTTPConnection) -> bool:
    origin = connection.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == connection.headers.get("host")
