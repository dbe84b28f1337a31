"""Cookies: made up, somebody else's, from another port; and that none is given where none is needed."""

import json
import re
import stat
from pathlib import Path

import pytest

from attacks.doors import ask, cookie_of, doors, line, port_of
from conftest import Serve
from duologue.audio import INPUT_RATE
from duologue.conversation.items import Item
from duologue.server.app import Uvicorn
from duologue.testing import tone
from duologue.transports.identity import read_secret


def given(header: str) -> tuple[str, str, set[str]]:
    """Name, value and attributes of a cookie."""
    first, *attributes = header.split("; ")
    name, _, value = first.partition("=")
    return name, value, set(attributes)


def greet(server: Uvicorn, **headers: str) -> str | None:
    with line(server, **headers) as socket:
        assert json.loads(socket.recv(timeout=20))["type"] == "session.created"
        assert socket.response
        return socket.response.headers.get("set-cookie")


def owns(server: Uvicorn, user: str, **headers: str) -> bool:
    """Whether this client is that visitor: it gets the recording."""
    server._server.history.conversation(user, "c").save(Item("item_ut1", sound=tone(1, INPUT_RATE)))
    return ask(server, "GET", "/v1/recordings/t1.wav", b"", **headers)[0] == 200


def test_the_page_and_the_line_give_a_cookie_for_a_year(page: Uvicorn) -> None:
    _, response, _ = ask(page, "GET", "/")
    for header in (response.headers["set-cookie"], greet(page)):
        name, value, attributes = given(str(header))
        assert name == f"duologue_user_{port_of(page)}"
        assert re.fullmatch(r"[\w-]{32}\.[\w-]{43}", value)
        assert attributes == {"HttpOnly", "Max-Age=31536000", "Path=/", "SameSite=Lax"}


def test_nothing_else_gives_one(page: Uvicorn) -> None:
    for door in doors(page):
        if door.method != "WS" and door.path != "/":
            _, response, _ = ask(page, door.method, door.path)
            assert "set-cookie" not in response.headers, door
    for path in ("/voice/voice.js", "/nothing", "/v1/recordings/t9.wav"):
        assert "set-cookie" not in ask(page, "GET", path)[1].headers


def test_a_visitor_stays_the_same_on_the_page_on_the_line_and_after_a_restart(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(data=str(tmp_path))
    header = greet(server)
    name, value, _ = given(str(header))
    cookie, user = f"{name}={value}", value.partition(".")[0]
    assert given(str(greet(server, cookie=cookie)))[1] == value
    assert owns(server, user, cookie=cookie)
    port = port_of(server)
    server.should_exit = True
    again = serve(data=str(tmp_path))
    assert owns(again, user, cookie=f"duologue_user_{port_of(again)}={value}")
    assert port_of(again) != port


@pytest.mark.parametrize(
    "forge",
    [
        lambda good: good.partition(".")[0],
        lambda good: good.partition(".")[0] + ".",
        lambda good: "bob." + good.partition(".")[2],
        lambda good: good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        lambda good: good + "=",
        lambda good: "ann",
        lambda good: ".",
        lambda good: "",
        lambda good: "é.é",
        lambda good: "x" * 4000,
    ],
)
def test_a_value_that_the_server_has_not_signed_makes_a_new_visitor(
    serve: Serve, forge: object
) -> None:
    assert callable(forge)
    server = serve()
    name, _, good = cookie_of(server, "ann").partition("=")
    assert owns(server, "ann", cookie=f"{name}={good}")
    bad = str(forge(good))
    assert not owns(server, bad.rpartition(".")[0] or bad, cookie=f"{name}={bad}")
    assert not owns(server, "ann", cookie=f"{name}={bad}")
    assert given(str(greet(server, cookie=f"{name}={bad}")))[1] not in (good, bad)


def test_the_cookie_of_another_port_and_the_one_of_old_are_nobodys(serve: Serve) -> None:
    server = serve()
    assert not owns(server, "ann", cookie=cookie_of(server, "ann", port=1))
    assert not owns(server, "ann", cookie="duologue_user=ann")


def test_the_cookie_of_a_server_with_another_secret_is_nobodys(
    serve: Serve, tmp_path: Path
) -> None:
    one, other = (serve(data=str(tmp_path / name)) for name in "ab")
    assert not owns(other, "ann", cookie=cookie_of(one, "ann", port=port_of(other)))


def test_a_proxy_that_serves_https_makes_it_secure_and_gives_it_its_port(page: Uvicorn) -> None:
    server = page
    told = {"x_forwarded_proto": "https", "x_forwarded_host": "127.0.0.1:8443"}
    _, response, _ = ask(server, "GET", "/", b"", **told)
    name, _, attributes = given(response.headers["set-cookie"])
    assert name == "duologue_user_8443"
    assert {"Secure", "SameSite=Lax"} <= attributes
    assert name in str(greet(server, **told))


@pytest.mark.parametrize(
    ("origin", "headers", "kept"),
    [
        ("https://app.example", {"x_forwarded_proto": "https"}, True),
        ("http://localhost:7861", {}, True),  # to Chromium and Firefox, the loopback is secure
        ("http://app.example", {"host": "pc.lan"}, False),  # no browser would keep it
        ("http://127.0.0.1:7861", {}, False),  # the same site: Lax is enough
    ],
)
def test_the_component_in_another_sites_app_gets_one_that_is_sent_from_there(
    serve: Serve, origin: str, headers: dict[str, str], kept: bool
) -> None:
    server = serve(allow_origin=origin, allow_host="pc.lan")
    _, _, attributes = given(str(greet(server, origin=origin, **{"host": "", **headers})))
    assert ({"SameSite=None", "Secure", "Partitioned"} <= attributes) is kept
    assert ("SameSite=Lax" in attributes) is not kept


@pytest.mark.parametrize(("what", "kept"), [("iframe", True), ("document", False)])
def test_so_does_the_page_in_another_sites_frame(page: Uvicorn, what: str, kept: bool) -> None:
    told = {"sec_fetch_dest": what, "sec_fetch_site": "cross-site"}
    attributes = given(ask(page, "GET", "/", b"", **told)[1].headers["set-cookie"])[2]
    assert ("Partitioned" in attributes) is kept


def test_a_refused_page_gets_none(serve: Serve) -> None:
    with line(serve(), origin="http://evil.example") as socket:
        assert socket.response
        assert "set-cookie" not in socket.response.headers


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data/visitors.key"
    secret = read_secret(path)
    assert len(secret) == 32
    assert read_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["visitors.key"]


@pytest.mark.parametrize("damage", ["no folder", "empty", "too long", "a folder"])
def test_without_it_visitors_are_known_for_this_run_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / "visitors.key"
    if damage == "no folder":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file/visitors.key"
    elif damage == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if damage == "empty" else bytes(33))
    one, other = read_secret(path), read_secret(path)
    assert len(one) == len(other) == 32
    assert one != other
    assert "choose another folder with --data" in caplog.text


def test_two_servers_that_make_it_at_once_have_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "visitors.key"
    first = read_secret(path)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # looked just before the other made it
    assert read_secret(path) == first
    assert [file.name for file in tmp_path.iterdir()] == ["visitors.key"]
