"""Where a client sees this server: the address that it wrote, whatever a proxy made of it since."""

import ipaddress
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#@\\]+)")
_PORTS = {"http": 80, "https": 443}

# Three names of one place. Who opens one of them has the same server before them as at the others.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """What stands before the path in an address: a browser's `Origin`, or where a request went.

    Attributes:
        scheme: http or https; empty: not known.
        host: a name or an IP address, in lower case; `localhost` for each name of loopback.
        port: None: not known.
    """

    scheme: str
    host: str
    port: int | None

    @property
    def is_loopback(self) -> bool:
        """Whether it is on the client's own computer."""
        return self.host == _LOOPBACK[0]

    def shows(self, origin: "Address") -> bool:
        """Whether a page from `origin` is a page from here. What is not known may be anything."""
        return (
            self.scheme in ("", origin.scheme)
            and self.host == origin.host
            and self.port in (None, origin.port)
        )


def split_host(text: str) -> tuple[str, int | None] | None:
    """The name or IP address of a `Host` header, in lower case, and its port; None: it is malformed."""
    found = _HOST.fullmatch(text.strip().lower())
    if not found:
        return None
    name = found[1].strip("[]").removesuffix(".")
    return name, int(found[2]) if found[2] else None


def parse_origin(text: str) -> Address | None:
    """An `Origin` header; None for what is no page of the web: `null`, `file://`, nonsense."""
    found = _ORIGIN.fullmatch(text.strip().lower().removesuffix("/"))
    host = split_host(found[2]) if found else None
    if not found or not host:
        return None
    return _address(found[1], *host)


def is_ip(name: str) -> bool:
    """Whether a host is named by its IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def seen_address(scope: Scope, *, proxied: bool) -> Address:
    """Where a request went, by its `Host` header.

    Args:
        scope: of the request, with the scheme and the `Host` that the client saw, as far as a proxy
            tells them.
        proxied: a proxy that is believed may have passed it on. Then a port that is not this
            server's says that one did, and what the proxy left out is not known.
    """
    headers = Headers(scope=scope)
    name, port = split_host(headers.get("host", "")) or ("", None)
    scheme = scope.get("scheme", "http").replace("ws", "http")
    own = (scope.get("server") or ("", None))[1]
    if proxied and (port or _PORTS[scheme]) != own:
        told = "x-forwarded-proto" in headers
        return Address(scheme if told else "", _fold(name), port)
    return _address(scheme, name, port)


def address_of(connection: HTTPConnection) -> Address:
    """The address that the guard has found out, or else what stands in the request itself."""
    found = connection.scope.get("state", {}).get("address")
    if isinstance(found, Address):
        return found
    return seen_address(connection.scope, proxied=False)


def _address(scheme: str, name: str, port: int | None) -> Address:
    return Address(scheme, _fold(name), port or _PORTS[scheme])


def _fold(name: str) -> str:
    return _LOOPBACK[0] if name in _LOOPBACK else name
