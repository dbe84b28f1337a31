"""One visitor cannot keep the server from the others by holding its sessions."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.sync.client import ClientConnection, connect

from conftest import Serve
from duologue.errors import InvalidSetting
from duologue.server import app as server_module
from duologue.server.app import Uvicorn, bind
from duologue.testing import ScriptedModel, say, tone
from duologue.transports import identity
from transports.realtime.messages import append, message

PUSH_TO_TALK = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}

_WAIT = 60.0


@pytest.fixture
def lines() -> Iterator[ExitStack]:
    """Connections that are closed at the end of the test."""
    with ExitStack() as stack:
        yield stack


def _connect(server: Uvicorn, lines: ExitStack, cookie: str = "") -> ClientConnection:
    headers = {"Cookie": cookie} if cookie else {}
    url = server.url.replace("http", "ws") + "/v1/realtime"
    line = connect(url, additional_headers=headers, max_size=None)
    lines.callback(line.close)
    return line


def _next(line: ClientConnection) -> str:
    event = json.loads(line.recv(_WAIT))
    return str(event["error"]["code"] if event["type"] == "error" else event["type"])


def test_a_session_that_is_silent_makes_room_for_a_newcomer(
    serve: Serve, lines: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(sessions=2)
    talking, silent = _connect(server, lines), _connect(server, lines)
    assert _next(talking) == _next(silent) == "session.created"
    talking.send('{"type": "input_audio_buffer.clear"}')
    assert _next(talking) == "input_audio_buffer.cleared"
    monkeypatch.setattr(server_module, "_SILENT", 0.0)
    assert _next(_connect(server, lines)) == "session.created"
    assert _next(silent) == "session_idle"
    talking.send('{"type": "input_audio_buffer.clear"}')
    assert _next(talking) == "input_audio_buffer.cleared"


def test_who_is_being_answered_is_not_silent(
    serve: Serve, lines: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(ScriptedModel([say("La. ", 60.0)]), sessions=1)
    listening = _connect(server, lines)
    listening.send(message("session.update", session=PUSH_TO_TALK))
    listening.send(append(tone(1, 24_000)))
    listening.send(message("input_audio_buffer.commit"))
    listening.send(message("response.create"))
    while _next(listening) != "response.output_audio.delta":
        pass
    monkeypatch.setattr(server_module, "_SILENT", 1e-6)
    assert _next(_connect(server, lines)) == "too_many_sessions"


def test_sessions_that_talk_are_not_ended_for_a_newcomer(serve: Serve, lines: ExitStack) -> None:
    server = serve(sessions=1)
    talking = _connect(server, lines)
    assert _next(talking) == "session.created"
    assert _next(_connect(server, lines)) == "too_many_sessions"


def test_one_visitor_gets_only_a_share_of_the_sessions(serve: Serve, lines: ExitStack) -> None:
    server = serve(sessions=3, visitor_sessions=2)
    first = _connect(server, lines)
    assert _next(first) == "session.created"
    assert first.response
    cookie = first.response.headers["Set-Cookie"].partition(";")[0]
    assert _next(_connect(server, lines, cookie)) == "session.created"
    assert _next(_connect(server, lines, cookie)) == "too_many_sessions"
    assert _next(_connect(server, lines)) == "session.created"


def test_one_address_gets_only_a_share_of_the_sessions(
    serve: Serve, lines: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "OWN", ())  # so that this computer's counts like any other
    server = serve(sessions=3, visitor_sessions=2)
    for _ in range(2):
        assert _next(_connect(server, lines)) == "session.created"
    assert _next(_connect(server, lines)) == "too_many_sessions"


def test_this_computer_is_no_stranger_where_it_is_served_by_ipv6_too(
    serve: Serve, lines: ExitStack
) -> None:
    try:
        bind("::", 0).close()
    except InvalidSetting:
        pytest.skip("there is no IPv6 here")
    server = serve(host="::", sessions=3, visitor_sessions=1)
    port = server.url.rpartition(":")[2]
    for _ in range(2):
        line = connect(f"ws://127.0.0.1:{port}/v1/realtime")
        lines.callback(line.close)
        assert _next(line) == "session.created"
