"""Bodies that are larger than any route needs."""

import socket

import pytest

from attacks.doors import Door, ask, doors, port_of
from conftest import Serve
from duologue.server.app import Uvicorn

LIMIT = 2**20


def places(server: Uvicorn) -> list[Door]:
    """All but those for sound, which limit their bodies themselves."""
    own = ("/chat", "/v1/audio/transcriptions")
    return [door for door in doors(server) if door.method != "WS" and door.path not in own]


def exchange(server: Uvicorn, door: Door, headers: bytes, body: bytes) -> bytes:
    """The answer to a request whose body does not end."""
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=60) as plug:
        head = f"{door.method} {door.path} HTTP/1.1\r\nHost: localhost\r\n".encode()
        plug.sendall(head + headers + b"\r\n\r\n" + body)
        return plug.recv(4096)


def test_no_route_awaits_a_body_that_is_announced_as_too_long(page: Uvicorn) -> None:
    for door in places(page):
        answer = exchange(page, door, b"Content-Length: 1048577", b"")
        assert answer.startswith(b"HTTP/1.1 413 "), door


def test_no_route_takes_more_of_a_body_that_is_not(page: Uvicorn) -> None:
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    for door in places(page):
        answer = exchange(page, door, b"Transfer-Encoding: chunked", piece * 17)
        assert answer.startswith(b"HTTP/1.1 413 "), door


def test_the_longest_body_is_read_and_not_a_byte_more(page: Uvicorn) -> None:
    for length, status in ((LIMIT, 404), (LIMIT + 1, 413)):
        assert ask(page, "POST", "/health", b"x" * length)[0] == status


def test_a_body_that_does_not_come_is_not_awaited_for_ever(
    page: Uvicorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.transports.guard._PATIENCE", 0.01)
    for door in places(page):
        answer = exchange(page, door, b"Content-Length: 5", b"half")
        assert answer.startswith(b"HTTP/1.1 408 "), door


def test_the_routes_for_sound_have_a_limit_of_their_own(serve: Serve) -> None:
    server = serve()
    assert ask(server, "POST", "/chat", b'{"audio": 1}'.ljust(2 * LIMIT))[0] == 400
    for path, kind in (
        ("/chat", b"application/json"),
        ("/v1/audio/transcriptions", b"multipart/form-data; boundary=x"),
    ):
        door = Door("POST", path, gradio=False)
        head = b"Content-Type: " + kind + b"\r\nContent-Length: 99999999"
        assert exchange(server, door, head, b"").startswith(b"HTTP/1.1 413 "), path


@pytest.mark.parametrize(
    "target",
    ["OPTIONS *", "GET *", "CONNECT localhost:1", "GET http://evil.example/", "GET //a//b"],
)
def test_an_address_that_is_no_path_is_not_there(
    page: Uvicorn, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    with socket.create_connection(("127.0.0.1", port_of(page)), timeout=60) as plug:
        plug.sendall(f"{target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert plug.recv(4096)[9:12] in (b"400", b"404", b"405")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "0x10", "1, 2"])
def test_a_length_that_is_none_gets_no_traceback(
    serve: Serve, caplog: pytest.LogCaptureFixture, length: str
) -> None:
    server = serve()
    door = Door("POST", "/chat", gradio=False)
    answer = exchange(server, door, f"Content-Length: {length}".encode(), b"")
    assert answer[9:12] in (b"400", b"413", b"431")
    assert "Traceback" not in caplog.text
