"""A reverse proxy in small, as nginx with `location /duologue/ { proxy_pass http://there/; }`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


@asynccontextmanager
async def proxy(
    there: str, prefix: str, *, strips: bool = True, headers: tuple[str, ...] = ()
) -> AsyncIterator[str]:
    """Pass on what is asked for below `prefix`, and refuse the rest with 404.

    Args:
        there: address of the server behind.
        prefix: as /duologue.
        strips: it is cut off.
        headers: lines that are added to each request.

    Yields:
        The proxy's own address.
    """
    behind = urlsplit(there)
    wires: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wires.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
            first, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
            method, path, version = first.split(" ")
            if not path.startswith(f"{prefix}/"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            path = path.removeprefix(prefix) if strips else path
            if "upgrade: websocket" not in head.lower():  # one request a connection
                fields = [line for line in fields if not line.lower().startswith("connection:")]
                fields.append("Connection: close")
            lines = [f"{method} {path} {version}", *fields, *headers, "", ""]
            up, down = await asyncio.open_connection(behind.hostname, behind.port)
            wires.add(down)
            down.write("\r\n".join(lines).encode("latin1"))
            await asyncio.gather(_pass(reader, down), _pass(up, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side has hung up
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for wire in wires:
            wire.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
