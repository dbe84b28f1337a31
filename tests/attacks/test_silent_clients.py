"""Clients that say nothing, or that read nothing, cost a connection for seconds only."""

import base64
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect

from conftest import Serve
from duologue.audio import to_wav
from duologue.server import connections
from duologue.server.app import Uvicorn
from duologue.testing import ScriptedModel, say, tone

_HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_WAIT = 60.0  # seconds: only a server that never does it is late


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it to shorten limits of the servers that are started after it."""

    def shorten(**limits: Any) -> None:
        monkeypatch.setattr(connections, "LIMITS", replace(connections.LIMITS, **limits))

    return shorten


def _open(server: Uvicorn, sent: bytes = b"") -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    client = socket.create_connection((host, int(port)), timeout=_WAIT)
    client.sendall(sent)
    return client


def _is_served(server: Uvicorn) -> bool:
    with urlopen(f"{server.url}/health", timeout=_WAIT) as response:
        return bool(response.status == 200)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        _HEAD,
        b"GET /hea",
        _HEAD + b"\r\n" + _HEAD,  # a second request that is never complete
        b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 9999\r\n\r\n{",
        b"POST /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\n" + _UPGRADE + b"\r\n",
        b"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
        + _UPGRADE
        + b"\r\n",
    ],
)
def test_a_request_that_is_never_complete_ends_its_connection(
    sent: bytes, serve: Serve, limit: Callable[..., None]
) -> None:
    limit(head=0.2, body=0.2)
    server = serve()
    with _open(server, sent) as client:
        while client.recv(65536):  # an answer to what was complete, and then the end
            pass
    assert _is_served(server)


def test_a_request_that_drips_ends_its_connection(serve: Serve, limit: Callable[..., None]) -> None:
    limit(head=0.2)
    with _open(serve(), _HEAD) as client, pytest.raises(ConnectionError):
        _drip(client)


def _drip(client: socket.socket) -> None:
    ends = time.monotonic() + _WAIT
    while time.monotonic() < ends:
        client.sendall(b"X")
        time.sleep(0.02)


def test_handshakes_that_never_come_make_room_and_end_with_the_server(
    serve: Serve, limit: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    limit(silent=10)
    server = serve()
    broken = b"POST /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\n" + _UPGRADE + b"\r\n"
    with ExitStack() as stack:
        clients = [stack.enter_context(_open(server, broken)) for _ in range(15)]
        for _ in range(15):
            assert _is_served(server)
        assert len(server.server_state.connections) <= 11
        server.should_exit = True
        for client in clients:
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""
    assert "Traceback" not in caplog.text


def test_who_reads_a_reply_as_fast_as_it_is_played_hears_all_of_it(
    serve: Serve, limit: Callable[..., None]
) -> None:
    limit(stalled=3)
    sound = (
        3_000_000  # bytes: a minute; what the system took at once, it would ask for after 20 s only
    )
    server = serve(ScriptedModel([say("La. ", 62.5)]), time_limit=120)
    question = json.dumps({"audio": base64.b64encode(to_wav(tone(1))).decode()}).encode()
    head = b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(_WAIT)
        host, _, port = server.url.removeprefix("http://").partition(":")
        client.connect((host, int(port)))
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(question) + question)
        heard = 0
        while heard < sound and (piece := client.recv(10_000)):
            heard += len(piece)
            time.sleep(len(piece) / 200_000)
    assert heard >= sound


def test_a_request_that_takes_long_to_answer_keeps_its_connection(
    serve: Serve, limit: Callable[..., None]
) -> None:
    limit(head=0.2)
    with connect(serve().url.replace("http", "ws") + "/v1/realtime") as line:
        line.recv(_WAIT)
        time.sleep(0.5)
        line.send("{}")
        assert "error" in line.recv(_WAIT)


def test_the_connections_that_were_silent_longest_make_room(
    serve: Serve, limit: Callable[..., None]
) -> None:
    limit(silent=10)
    server = serve()
    with ExitStack() as stack:
        clients = [stack.enter_context(_open(server)) for _ in range(15)]
        for client in clients[:5]:
            assert client.recv(1) == b""
        assert _is_served(server)  # which closes a sixth
        for client in clients[6:]:
            client.sendall(_HEAD + b"Connection: close\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")


_SERVER = """
import asyncio, logging, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from duologue.server.config import load_config
from duologue.models import load_model
from duologue.server.app import running
from duologue.testing import LoudnessVad
logging.basicConfig(level="WARNING")

async def main():
    config = load_config({"model": "echo", "port": 0, "page": False}, environ={})
    async with running(config, load_model("echo"), LoudnessVad) as server:
        print(server.url, flush=True)
        await server.run_until_stopped()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are counted otherwise there")
def test_silent_connections_leave_descriptors_for_those_who_ask() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
    try:
        with ExitStack() as stack:
            for _ in range(200):
                client = socket.create_connection((host, int(port)), timeout=_WAIT)
                stack.enter_context(client)
            for _ in range(20):
                with urlopen(f"http://{host}:{port}/health", timeout=_WAIT) as response:
                    assert response.status == 200
    finally:
        process.terminate()
        _, log = process.communicate(timeout=_WAIT)
    assert "too many connections are open" in log
    assert log.count("\n") <= 2, log  # once for that, and perhaps once that none was left


def _wait_until_nobody_is_there(server: Uvicorn) -> None:
    ends = time.monotonic() + _WAIT
    while server.server_state.connections:
        assert time.monotonic() < ends, "the connection is still open"
        time.sleep(0.05)


def _deaf(server: Uvicorn) -> socket.socket:
    """A WebSocket client that has shaken hands, and reads nothing."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(_WAIT)
    client.connect((host, int(port)))
    client.sendall(b"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\n" + _UPGRADE + b"\r\n")
    assert client.recv(100).startswith(b"HTTP/1.1 101")
    return client


def _frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame, whose mask is zero."""
    size = len(payload)
    head = bytes([0x80 | opcode])
    head += bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return head + bytes(4) + payload


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(_frame(9, b"x" * 125), id="pings"),
        pytest.param(
            _frame(
                1,
                b'{"type":"session.update","session":{"type":"realtime","instructions":"'
                + b"x" * 9_000
                + b'"}}',
            ),
            id="settings",
        ),
    ],
)
def test_who_reads_nothing_is_let_go_of_and_little_waits_for_them(
    frame: bytes, serve: Serve, limit: Callable[..., None]
) -> None:
    limit(stalled=0.3, farewell=0.3)
    server = serve()
    most = 0
    frames = frame * (50_000 // len(frame))
    with _deaf(server) as client:
        (connection,) = server.server_state.connections
        with contextlib.suppress(ConnectionError):
            for _ in range(2_000):
                client.sendall(frames)
                most = max(most, connection.transport.get_write_buffer_size())
        _wait_until_nobody_is_there(server)
    assert 0 < most < 2**20
    assert _is_served(server)


def test_who_does_not_read_the_farewell_loses_the_connection(
    serve: Serve, limit: Callable[..., None]
) -> None:
    limit(farewell=0.3)
    server = serve(session_length=1)
    with _deaf(server):
        _wait_until_nobody_is_there(server)
