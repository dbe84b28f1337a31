"""Cross-site requests: what another page makes a browser send."""

import pytest

from attacks.doors import ask, doors, line, port_of, refusal
from conftest import Serve
from duologue.server.app import Uvicorn

FOREIGN = (
    "http://evil.example",
    "http://localhost:1",
    "null",
    "file://",
    "//127.0.0.1",
    "",
    "http://user@127.0.0.1",
)


def test_no_route_that_may_change_something_takes_it_from_another_page(page: Uvicorn) -> None:
    here = f"127.0.0.1:{port_of(page)}"
    # The schemes and ports of our own host, too.
    origins = (*FOREIGN, f"https://{here}", f"http://{here}0", "http://127.0.0.1", f"//{here}")
    methods = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")
    for door in doors(page):
        for origin in origins:
            if door.method == "WS":
                code, sentence, closed, reason = refusal(page, door.path, origin=origin)
                assert (code, closed) == ("origin_not_allowed", 1008), (door, origin)
                assert sentence.startswith(reason)
        for method in {door.method, *methods} - {"WS", "GET", "HEAD"}:
            status, response, body = ask(page, method, door.path, origin=FOREIGN[0])
            assert status == 403, (method, door)
            assert b"--allow-origin http://evil.example" in body
            assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_refused_page_learns_who_it_is_taken_for(serve: Serve, origin: str) -> None:
    _, sentence, _, reason = refusal(serve(), origin=origin)
    assert origin in sentence
    assert reason
    assert len(reason.encode()) <= 123


def test_no_page_may_read_what_gradio_would_show_it(page: Uvicorn) -> None:
    for path in ("/", "/theme.css", "/gradio_api/app_id"):
        status, response, _ = ask(page, "GET", path, origin="http://localhost:9999")
        assert status == 200
        assert "access-control-allow-origin" not in response.headers
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_names_of_this_computer_are_one_origin(serve: Serve, name: str, host: str) -> None:
    server = serve(allow_origin="http://127.0.0.1:7861")
    port = port_of(server)
    for theirs in (f"http://{name}:{port}", f"http://{name}:7861", "http://LOCALHOST:7861/"):
        with line(server, host=f"{host}:{port}", origin=theirs) as socket:
            assert "session.created" in str(socket.recv(timeout=60))


def test_the_page_of_an_allowed_host_is_at_home(serve: Serve) -> None:
    server = serve(allow_host="pc.lan")
    with line(server, host="pc.lan:80", origin="http://pc.lan") as socket:
        assert "session.created" in str(socket.recv(timeout=60))


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        # As nginx is often configured: plain proxy_pass, $host, $http_host, X-Forwarded-Host alone.
        ("https://voice.example.com:8443", {"host": "voice.example.com"}),
        ("http://voice.example.com", {"host": "voice.example.com"}),
        ("https://voice.example.com:8443", {"host": "voice.example.com:8443"}),
        ("https://voice.example.com", {"x_forwarded_host": "voice.example.com"}),
        (
            "https://voice.example.com:8443",
            {"x_forwarded_host": "voice.example.com:8443", "x_forwarded_proto": "https"},
        ),
    ],
)
def test_the_page_behind_a_proxy_on_this_computer_is_at_home(
    serve: Serve, origin: str, headers: dict[str, str]
) -> None:
    server = serve(allow_host="voice.example.com")
    headers = {"host": "", **headers}
    with line(server, origin=origin, **headers) as socket:
        assert "session.created" in str(socket.recv(timeout=60))


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        ("https://evil.example", {"host": "voice.example.com"}),
        ("https://voice.example.com:1", {"host": "voice.example.com:8443"}),
        ("http://voice.example.com", {"host": "voice.example.com", "x_forwarded_proto": "https"}),
        ("https://evil.example", {"x_forwarded_host": "voice.example.com"}),
    ],
)
def test_another_page_behind_that_proxy_is_not(
    serve: Serve, origin: str, headers: dict[str, str]
) -> None:
    server = serve(allow_host="voice.example.com")
    headers = {"host": "", **headers}
    assert refusal(server, origin=origin, **headers)[0] == "origin_not_allowed"


def test_from_who_is_no_proxy_nothing_of_that_is_believed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.1")
    server = serve(allow_host="voice.example.com")
    for headers in (
        {"host": "voice.example.com"},
        {"host": "voice.example.com", "x_forwarded_proto": "https"},
        {"x_forwarded_host": "voice.example.com", "x_forwarded_proto": "https"},
    ):
        code, sentence, _, _ = refusal(server, origin="https://voice.example.com:8443", **headers)
        assert code == "origin_not_allowed"
        if "host" in headers:
            assert "FORWARDED_ALLOW_IPS" in sentence


def test_a_star_lets_every_page_in(serve: Serve) -> None:
    with line(serve(allow_origin="*"), origin="https://evil.example") as socket:
        assert "session.created" in str(socket.recv(timeout=60))


def test_the_log_names_the_origin_and_the_flag_once_a_minute(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    for _ in range(3):
        refusal(server, origin="http://app.example:7861")
    told = [record for record in caplog.records if "--allow-origin" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]
    assert "http://app.example:7861" in told[0].getMessage()
