"""Who may come in, whichever way, and with what."""

import logging
import secrets
import socket
import time
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from duologue.errors import (
    DuologueError,
    HostNotAllowed,
    InvalidApiKey,
    OriginNotAllowed,
    quoted,
)
from duologue.transports.address import Address, address_of, is_ip, parse_origin, split_host

logger = logging.getLogger(__name__)

_SUBPROTOCOL = "openai-insecure-api-key."  # how the Realtime API takes a key from browsers

_AGAIN = 60.0  # seconds until the log tells of a refusal of the same kind once more


@dataclass(frozen=True, slots=True)
class Admission:
    """What is asked of a client (docs/adr/0010).

    Attributes:
        origins: web pages' origins that may connect, besides the server's own.
        message_bytes: the largest message; 15 MiB is the Realtime API's own limit.
        api_key: what a program must know; empty: nothing.
        page: the server serves a page, which talks without a key.
        hosts: names that the server answers to, besides IP addresses, localhost and the machine's
            own name; `*`: to all.
    """

    origins: tuple[str, ...] = ()
    message_bytes: int = 15 * 1024 * 1024
    api_key: str = field(default="", repr=False)
    page: bool = False
    hosts: tuple[str, ...] = ()
    _told: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check_host(self, host: str) -> None:
        """A page that had its own name pointed at this server (DNS rebinding) asks for that name.

        Args:
            host: a `Host` header.

        Raises:
            HostNotAllowed: it is no name of this server's.
        """
        name, _ = split_host(host) or ("", None)
        if not name:
            raise HostNotAllowed(f"a request names the server it is for, not {quoted(host)}")
        known = {named[0] for named in map(split_host, self.hosts) if named}
        if not (is_ip(name) or name in known | _own_names() or "*" in self.hosts):
            raise HostNotAllowed(
                f"this server does not answer to the name {name[:100]}; if that name is its own, "
                f"start it with --allow-host {name[:100]}"
            )

    def check_origin(self, connection: HTTPConnection) -> None:
        """Programs send no Origin; a browser does, and its page must be ours or an allowed one.

        Raises:
            OriginNotAllowed: it is neither.
        """
        text = connection.headers.get("origin")
        if text is None or text in self.origins or "*" in self.origins:
            return
        origin = parse_origin(text)
        if origin is None:
            raise OriginNotAllowed(
                f"this server lets in pages that came by http or https, not from {quoted(text)}"
            )
        if origin in map(parse_origin, self.origins) or address_of(connection).shows(origin):
            return
        shown = text if len(text) <= 100 else quoted(text)
        raise OriginNotAllowed(
            f"this server does not let in pages from {shown}; start it with --allow-origin {shown}"
            + _hint(origin, address_of(connection))
        )

    def check_key(self, connection: HTTPConnection) -> None:
        """The key stands in `Authorization: Bearer KEY`, or in a WebSocket's subprotocol.

        Raises:
            InvalidApiKey: it does not.
        """
        if not self.api_key:
            return
        right = self.api_key.encode()
        if not any(secrets.compare_digest(key.encode(), right) for key in keys_of(connection)):
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

    def note(self, error: DuologueError) -> None:
        """Tell the log that somebody was refused: each kind once a minute, whoever asks how often."""
        now = time.monotonic()
        if now - self._told.get(error.code, -_AGAIN) >= _AGAIN:
            self._told[error.code] = now
            logger.warning("refused (%s): %s", error.code, error)


def keys_of(connection: HTTPConnection) -> list[str]:
    """The keys that a client brings."""
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    keys = [key.strip()] if scheme.lower() == "bearer" else []
    offered = connection.scope.get("subprotocols", [])
    return keys + [
        name.removeprefix(_SUBPROTOCOL) for name in offered if name.startswith(_SUBPROTOCOL)
    ]


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return {"localhost", name, short, f"{short}.local"}


def _hint(origin: Address, here: Address) -> str:
    if origin.host != here.host or origin.scheme == here.scheme:
        return ""
    return (
        f". If this is its own page behind a proxy, let the proxy send X-Forwarded-Proto: "
        f"{origin.scheme}, and name the proxy's address in FORWARDED_ALLOW_IPS"
    )


def _is_ours(connection: HTTPConnection) -> bool:
    origin = parse_origin(connection.headers.get("origin", ""))
    return origin is not None and address_of(connection).shows(origin)
