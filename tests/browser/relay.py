"""A network between a browser and a server, with the faults of real ones."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from urllib.parse import urlsplit

_PIECE = 2048  # bytes
_HEAD = 16_384  # bytes: the head of a request; also what waits in here, so little that senders soon notice


class Relay:
    """Forwards TCP connections to a server.

    Attributes:
        url: of the server, by way of here.
        line: where lines go; None: to the server, as all else.
        opened: set: lines reach the server; a line that is asked for before waits.
        rate: bytes a second that a line forwards to the server; None: as many as come.
    """

    def __init__(self, server: str) -> None:
        self.url = ""
        self.line: tuple[str, int] | None = None
        self.opened = asyncio.Event()
        self.opened.set()
        self.rate: int | None = None
        parts = urlsplit(server)
        self._server = (parts.hostname, parts.port)
        self._flows: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        """Forward nothing more of the connections that there are; neither end is told."""
        for flow in self._flows:
            flow.clear()

    def thaw(self) -> None:
        """Go on where they were frozen."""
        for flow in self._flows:
            flow.set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        flow = asyncio.Event()
        flow.set()
        self._flows.add(flow)
        # Not in the task that runs this: asyncio complains when that one is cancelled.
        task = asyncio.create_task(self._connect(reader, writer, flow))
        self._tasks.add(task)
        await asyncio.wait([task])
        self._tasks.discard(task)
        self._flows.discard(flow)

    async def end(self) -> None:
        """Drop all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event
    ) -> None:
        with closing(writer), suppress(OSError, EOFError):  # one of the two ends is gone
            head = await reader.readuntil(b"\r\n\r\n")
            host, port, rate = *self._server, None
            if head.startswith(b"GET /v1/realtime?"):
                await self.opened.wait()
                (host, port), rate = self.line or self._server, self.rate
            there, back = await asyncio.open_connection(host, port)
            with closing(back):
                back.write(head)
                answers = asyncio.create_task(self._pump(there, writer, flow))
                try:
                    await self._pump(reader, back, flow, rate)
                    await answers
                finally:
                    answers.cancel()
                    await asyncio.wait([answers])

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flow: asyncio.Event,
        rate: int | None = None,
    ) -> None:
        while piece := await reader.read(_PIECE):
            await flow.wait()
            if rate:
                await asyncio.sleep(len(piece) / rate)
            if writer.is_closing():
                return
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def relaying(server: str) -> AsyncIterator[Relay]:
    """A relay in front of the server at this URL."""
    relay = Relay(server)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    relay.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with await asyncio.start_server(relay.take, sock=listener, limit=_HEAD):
        yield relay
        await relay.end()
