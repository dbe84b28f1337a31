"""Who may come in: origins and the API key."""

import json

import pytest
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from conftest import Serve
from duologue.errors import InvalidApiKey, OriginNotAllowed
from duologue.server.app import Uvicorn
from duologue.transports.admission import Admission


def client(*subprotocols: str, **headers: str) -> HTTPConnection:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"host", b"here:7860"))
    return HTTPConnection({"type": "websocket", "headers": raw, "subprotocols": subprotocols})


@pytest.mark.parametrize(
    "origin",
    [
        "http://here:7860",
        "http://HERE:7860",
        "https://friend.example",
        "https://friend.example:443",
        None,
    ],
)
def test_programs_our_page_and_allowed_ones_are_welcome(origin: str | None) -> None:
    headers = {"origin": origin} if origin else {}
    Admission(origins=("https://friend.example/",)).check_origin(client(**headers))


@pytest.mark.parametrize(
    "origin",
    [
        "http://here",
        "https://here:7860",
        "https://evil.example",
        "http://friend.example",
        "//here:7860",
    ],
)
def test_other_pages_are_told_the_flag(origin: str) -> None:
    with pytest.raises(OriginNotAllowed) as refused:
        Admission(origins=("https://friend.example",)).check_origin(client(origin=origin))
    assert origin in str(refused.value)
    assert ("--allow-origin" in str(refused.value)) is not origin.startswith("//")


@pytest.mark.parametrize("origin", ["null", "", "file://", "x" * 9999, "http://a b", "http://a/b"])
def test_what_is_no_page_of_the_web_is_refused_in_short(origin: str) -> None:
    with pytest.raises(OriginNotAllowed, match="by http or https") as refused:
        Admission(origins=("https://friend.example",)).check_origin(client(origin=origin))
    assert len(str(refused.value)) < 300


def test_a_star_allows_every_page() -> None:
    Admission(origins=("*",)).check_origin(client(origin="https://evil.example"))


def test_without_a_key_nobody_needs_one() -> None:
    Admission().check_key(client())
    Admission().check_key_of_program(client(authorization="Bearer anything"))


@pytest.mark.parametrize(
    "known",
    [
        client(authorization="Bearer sesame"),
        client(authorization="bearer  sesame "),
        client("realtime", "openai-insecure-api-key.sesame"),
    ],
    ids=["header", "spaces", "subprotocol"],
)
def test_who_knows_the_key_comes_in(known: HTTPConnection) -> None:
    Admission(api_key="sesame").check_key(known)


@pytest.mark.parametrize(
    "stranger",
    [
        client(),
        client(authorization="Bearer"),
        client(authorization="Bearer sesam"),
        client(authorization="Bearer sésame"),
        client(authorization="Basic sesame"),
        client(authorization="sesame"),
        client("openai-insecure-api-key.", "sesame"),
    ],
)
def test_who_does_not_know_the_key_stays_out(stranger: HTTPConnection) -> None:
    with pytest.raises(InvalidApiKey) as refused:
        Admission(api_key="sesame").check_key(stranger)
    assert "sesame" not in str(refused.value)


def test_the_page_needs_no_key_as_long_as_it_is_served() -> None:
    ours, theirs = (client(origin=f"http://{host}") for host in ("here:7860", "friend.example"))
    Admission(api_key="sesame", page=True).check_key_of_program(ours)
    for admission, page in (
        (Admission(api_key="sesame", page=False), ours),
        (Admission(("http://friend.example",), api_key="sesame", page=True), theirs),
    ):
        with pytest.raises(InvalidApiKey):
            admission.check_key_of_program(page)


def test_the_key_is_not_in_what_is_printed() -> None:
    assert "sesame" not in repr(Admission(api_key="sesame"))


async def open_line(server: Uvicorn, **headers: str) -> str:
    url = server.url.replace("http", "ws") + "/v1/realtime"
    async with connect(url, additional_headers=headers, open_timeout=60) as line:
        return str(await line.recv())


async def test_the_realtime_line_asks_programs_for_the_key(serve: Serve) -> None:
    server = serve(api_key="sesame")
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(InvalidStatus) as refused:
            await open_line(server, **headers)
        assert refused.value.response.status_code == 401
        assert b"Authorization: Bearer KEY" in refused.value.response.body
    assert "session.created" in await open_line(server, Authorization="Bearer sesame")


async def test_an_allowed_page_that_does_not_know_the_key_is_told_so(serve: Serve) -> None:
    origin = "https://friend.example"
    server = serve(api_key="sesame", allow_origin=origin)
    told = json.loads(await open_line(server, Origin=origin))["error"]
    assert told["code"] == "invalid_api_key"
    key = {"Origin": origin, "Authorization": "Bearer sesame"}
    assert "session.created" in await open_line(server, **key)


async def test_the_page_talks_over_the_line_without_a_key(serve: Serve) -> None:
    pytest.importorskip("gradio", reason="the page's packages are not installed")
    server = serve(api_key="sesame", page=True)
    assert "session.created" in await open_line(server, Origin=server.url)
    with pytest.raises(InvalidStatus):
        await open_line(server)
