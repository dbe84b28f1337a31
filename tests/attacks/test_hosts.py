"""DNS rebinding: a page whose name was made to point at the server asks for that name."""

import socket

import pytest

from attacks.doors import ask, denial, doors, port_of, refusal
from conftest import Serve
from duologue.server.app import Uvicorn

EVIL = "evil.example:7860"


def test_no_route_answers_to_another_name(page: Uvicorn) -> None:
    for door in doors(page):
        if door.method == "WS":
            status, sentence = denial(page, door.path, host=EVIL)
        else:
            status, _, body = ask(page, door.method, door.path, host=EVIL)
            sentence = body.decode()
        assert status == 421, door
        if door.method != "HEAD":
            assert "--allow-host evil.example" in sentence, door


def test_a_page_of_another_name_is_told_on_every_websocket(page: Uvicorn) -> None:
    for door in doors(page):
        if door.method == "WS":
            code, sentence, closed, _ = refusal(page, door.path, host=EVIL, origin=f"http://{EVIL}")
            assert (code, closed) == ("host_not_allowed", 1008)
            assert "--allow-host evil.example" in sentence


@pytest.mark.parametrize(
    "host",
    ["", "*", "a b", "localhost.evil.example", "localhost@evil.example", "1.2.3.4.evil.example"],
)
def test_what_only_looks_like_the_server_is_none_of_its_names(serve: Serve, host: str) -> None:
    assert ask(serve(), "GET", "/health", host=host)[0] in (400, 421)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:7860",
        "localhost.",
        "127.0.0.1:1",
        "192.168.1.7:7860",
        "[::1]:7860",
        socket.gethostname(),
        f"{socket.gethostname().partition('.')[0]}.local:7860",
        "voice.example.com:7860",
    ],
)
def test_the_servers_own_names_are_welcome(serve: Serve, host: str) -> None:
    server = serve(allow_host=("voice.example.com",))
    assert ask(server, "GET", "/health", host=host)[0] == 200


def test_the_machines_full_name_is_looked_up_when_it_is_asked_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = f"{socket.gethostname().partition('.')[0]}.home.example"
    monkeypatch.setattr("duologue.transports.guard._full_name", lambda: full)
    server = serve()
    assert ask(server, "GET", "/health", host=full)[0] == 200
    assert ask(server, "GET", "/health", host=full.replace("home", "evil"))[0] == 421


def test_a_star_answers_to_all(serve: Serve) -> None:
    assert ask(serve(allow_host="*"), "GET", "/health", host=EVIL)[0] == 200


def test_the_name_that_is_served_on_is_the_servers_own(serve: Serve) -> None:
    server = serve(host="localhost", allow_host="pc.lan,")
    assert ask(server, "GET", "/health", host="localhost")[0] == 200
    assert ask(server, "GET", "/health", host="pc.lan")[0] == 200


def test_a_rebound_page_cannot_claim_to_come_through_a_proxy(serve: Serve) -> None:
    # It is same-origin to a browser, so it may send any header but Host.
    server = serve()
    forwarded = f"127.0.0.1:{port_of(server)}"
    assert ask(server, "GET", "/health", host=EVIL, x_forwarded_host=forwarded)[0] == 421


def test_a_proxys_name_has_to_be_the_servers_own_too(serve: Serve) -> None:
    server = serve(allow_host="voice.example.com")
    assert ask(server, "GET", "/health", x_forwarded_host="voice.example.com")[0] == 200
    assert ask(server, "GET", "/health", x_forwarded_host="evil.example")[0] == 421


def test_what_a_stranger_says_of_proxies_is_taken_away(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="the page's packages are not installed")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.1")
    server = serve(page=True, allow_host="voice.example.com")
    claims = {
        "x_forwarded_host": "evil.example",
        "x_forwarded_proto": "https",
        "x_gradio_server": "http://evil.example",
        "forwarded": "host=evil.example",
    }
    status, response, body = ask(server, "GET", "/", b"", **claims)
    assert status == 200
    assert b"evil.example" not in body
    assert b"https://127" not in body
    assert "Secure" not in str(response.headers["set-cookie"])


def test_a_person_reads_the_sentence_and_a_program_gets_its_code(serve: Serve) -> None:
    server = serve()
    _, _, body = ask(server, "GET", "/health", host=EVIL, accept="text/html,*/*")
    assert body.startswith(b"this server does not answer to the name evil.example; ")
    _, _, body = ask(server, "GET", "/health", host=EVIL)
    assert b'"code":"host_not_allowed"' in body


def test_a_program_that_speaks_http_1_0_and_names_no_host_is_served(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=60) as client:
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
