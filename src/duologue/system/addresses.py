"""Where a server can be talked with, and what browsers ask for there."""

import contextlib
import ipaddress
import socket


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """The address of a server on this computer itself."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"  # browsers give http://0.0.0.0 no microphone
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def microphone_hint(listener: socket.socket, *, tls: bool = False) -> str:
    """What to tell of the microphone where other computers reach the server; else empty."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_loopback or tls:
        return ""
    rule = "Browsers give the microphone only to pages on localhost or https"
    tunnel = "ssh -N -L {port}:{to}:{port} {name}, and open http://localhost:{port} there"
    if not address.is_unspecified:
        there = f"[{host}]" if address.version == 6 else host
        run = tunnel.format(port=port, to=there, name=host)
        return (
            f"{rule}, so not to this one. On this computer: --host 0.0.0.0, and open "
            f"http://localhost:{port}. On others: {run}; or put a proxy with https in front."
        )
    others = _own_addresses(both=address.version == 6)
    urls = " or ".join(f"http://{f'[{own}]' if ':' in own else own}:{port}" for own in others)
    run = tunnel.format(port=port, to="localhost", name=others[0] if others else "THIS_COMPUTER")
    return (
        f"Other computers reach it on {urls or 'the addresses of this computer'}. "
        f"{rule}. So there: {run}; or put a proxy with https in front."
    )


def _own_addresses(*, both: bool) -> list[str]:
    """Of this computer, as others see it; no packet is sent to find out."""
    found = []
    targets = [(socket.AF_INET, "192.0.2.1")] + [(socket.AF_INET6, "2001:db8::1")] * both
    for family, far in targets:  # addresses of documentation: only the way to them is looked up
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((far, 9))
            found.append(str(asking.getsockname()[0]))
    return found
