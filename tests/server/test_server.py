"""The server over HTTP: recordings and whose, who is where, health, metrics, a taken port, a calm end."""

import base64
import json
import re
import socket
import time
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

import pytest
from websockets.sync.client import connect

from attacks.doors import cookie_of
from conftest import Serve
from duologue.audio import INPUT_RATE
from duologue.conversation.items import Item
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.server.app import Uvicorn, bind, running
from duologue.server.config import Config
from duologue.store.figures import Row, read
from duologue.store.memory import History
from duologue.testing import LoudnessVad, ScriptedModel, say, tone, turn_items


def get(url: str, **headers: str) -> HTTPResponse:
    request = urllib.request.Request(url, headers=headers)
    response = urllib.request.urlopen(request)
    assert isinstance(response, HTTPResponse)
    return response


def status(url: str, **headers: str) -> int:
    try:
        with get(url, **headers) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def talk(server: Uvicorn, source: str = "", **headers: str) -> Row:
    """One turn by push to talk, from an address of this computer's, and what is kept of it."""
    sound = base64.b64encode(tone(0.5, 24_000).pcm16()).decode()
    url = server.url.replace("http", "ws") + "/v1/realtime"
    address = (source, 0) if source else None
    with connect(url, additional_headers=headers, source_address=address, open_timeout=60) as line:
        session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        for message in (
            {"type": "session.update", "session": session},
            {"type": "input_audio_buffer.append", "audio": sound},
            {"type": "input_audio_buffer.commit"},
            {"type": "response.create"},
        ):
            line.send(json.dumps(message))
        while json.loads(line.recv(timeout=60))["type"] != "response.done":
            pass
    for _ in range(1200):
        if rows := read(server._server.config.turn_log):
            return rows[-1]
        time.sleep(0.05)
    raise AssertionError("no turn was kept")


def history(server: Uvicorn) -> History:
    return server._server.history


def test_health_says_what_is_served_and_what_is_free(serve: Serve) -> None:
    with get(serve(sessions=3).url + "/health") as response:
        assert json.load(response) == {
            "status": "ok",
            "model": "echo",
            "note": "Echo: says back what it heard, to try the line and your microphone.",
            "sessions": 0,
            "free_sessions": 3,
            "chats": 0,
        }


def test_both_recordings_of_a_turn_go_to_their_owner_only(serve: Serve) -> None:
    server = serve()
    record = history(server).conversation("ann", "c")
    for item in turn_items("t1", tone(1, INPUT_RATE), reply=[say("Hi.", 2.0)]):
        record.save(item)
    wav, mp3 = (f"{server.url}/v1/recordings/t1.{kind}" for kind in ("wav", "mp3"))
    ann, bob = (cookie_of(server, user) for user in ("ann", "bob"))
    with get(wav, cookie=ann) as response:
        assert response.headers["content-type"] == "audio/wav"
        assert len(response.read()) == 44 + 2 * INPUT_RATE
    with get(mp3, cookie=ann) as response:
        assert response.headers["content-type"] == "audio/mpeg"
        assert response.headers["cache-control"] == "private, no-store"
        assert len(response.read()) == pytest.approx(2 * 8_000, rel=0.1)
    for url in (wav, mp3):
        assert status(url, cookie=bob) == 404
        assert status(url) == 404
    assert status(f"{server.url}/v1/recordings/t2.wav", cookie=ann) == 404


def test_a_part_of_a_recording_can_be_had(serve: Serve) -> None:
    server = serve()
    history(server).conversation("ann", "c").save(Item("item_ut1", sound=tone(1, INPUT_RATE)))
    url, ann = f"{server.url}/v1/recordings/t1.wav", cookie_of(server, "ann")
    with get(url, cookie=ann, range="bytes=0-3") as response:
        assert (response.status, response.read()) == (206, b"RIFF")
        assert response.headers["content-range"] == "bytes 0-3/32044"
    with get(url, cookie=ann, range="bytes=32000-") as response:
        assert len(response.read()) == 44
    assert status(url, cookie=ann, range="bytes=99999-") == 416
    assert status(url, cookie=ann, range="bytes=wrong") == 200


def test_a_turn_without_a_reply_has_no_mp3(serve: Serve) -> None:
    server = serve()
    history(server).conversation("ann", "c").save(Item("item_ut1", sound=tone(1, INPUT_RATE)))
    assert status(f"{server.url}/v1/recordings/t1.mp3", cookie=cookie_of(server, "ann")) == 404


def test_a_taken_port_gets_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidSetting, match="choose another with --port"):
            bind("127.0.0.1", taken.getsockname()[1])


def test_an_address_that_is_not_ours_gets_a_sentence() -> None:
    with pytest.raises(InvalidSetting, match=r"cannot serve on 192\.0\.2\.1:0"):
        bind("192.0.2.1", 0)


async def test_a_model_that_cannot_start_leaves_no_port_behind() -> None:
    class Broken(ScriptedModel):
        async def start(self) -> None:
            raise ModelUnavailable("its weights are missing")

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ModelUnavailable):
        async with running(Config(port=port, page=False), Broken(), LoudnessVad):
            pass
    bind("127.0.0.1", port).close()


def test_nothing_is_left_in_the_temporary_folder(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = serve()
    history(server).conversation("ann", "c").save(Item("item_ut1", sound=tone(1, INPUT_RATE)))
    status(f"{server.url}/v1/recordings/t1.wav", cookie=cookie_of(server, "ann"))
    assert list(tmp_path.iterdir()) == []


def test_the_figures_of_a_turn_are_kept_under_no_cookie(serve: Serve, tmp_path: Path) -> None:
    server = serve(data=str(tmp_path))
    kept = talk(server, cookie=cookie_of(server, "ann"))
    assert kept.is_local
    assert kept.timings.sent is not None
    assert re.fullmatch(r"[0-9a-f]{64}", kept.owner)


@pytest.mark.parametrize(
    ("forwarded", "is_local"),
    [
        ("203.0.113.7", False),
        ("127.0.0.1, 203.0.113.7", False),  # the first is what a client says of itself
        ("2001:db8::7", False),
        ("127.0.0.1", True),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_comes_through_a_proxy_on_this_computer_is_not_here_for_that(
    serve: Serve, tmp_path: Path, host: str, forwarded: str, is_local: bool
) -> None:
    server = serve(host=host, data=str(tmp_path))
    assert talk(server, **{"x-forwarded-for": forwarded}).is_local is is_local


def test_who_is_elsewhere_cannot_claim_to_be_here(serve: Serve, tmp_path: Path) -> None:
    # This computer's, too, but none of the addresses that are believed.
    server = serve(host="127.0.0.2", data=str(tmp_path))
    assert not talk(server, "127.0.0.3", **{"x-forwarded-for": "127.0.0.1"}).is_local


def metric(server: Uvicorn, name: str) -> float:
    with get(server.url + "/metrics") as response:
        assert response.headers["content-type"].startswith("text/plain")
        found = re.search(rf"^{re.escape(name)} (\S+)$", response.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def test_metrics_count_turns(serve: Serve, tmp_path: Path) -> None:
    server = serve(data=str(tmp_path))

    def counts() -> tuple[float, float]:
        # The client hangs up at the last word, and the reply may or may not count as heard then.
        ends = (f'duologue_turns_total{{outcome="{end}"}}' for end in ("completed", "interrupted"))
        return sum(metric(server, end) for end in ends), metric(
            server, "duologue_response_delay_seconds_count"
        )

    turns, delays = counts()
    talk(server)
    assert counts() == (turns + 1, delays + 1)


def test_metrics_count_sessions_and_ask_for_no_key(serve: Serve) -> None:
    server = serve(api_key="sesame")
    before = metric(server, "duologue_sessions")
    url = server.url.replace("http", "ws") + "/v1/realtime"
    with connect(
        url, additional_headers={"authorization": "Bearer sesame"}, open_timeout=60
    ) as line:
        line.recv(timeout=60)
        assert metric(server, "duologue_sessions") == before + 1


def test_a_damaged_file_of_figures_stops_no_server(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "turns.sqlite3").write_text("damaged" * 1000)
    assert status(serve(data=str(tmp_path)).url + "/health") == 200
    assert "move it away, or choose another folder with --data" in caplog.text


def test_no_message_waits_for_the_client_to_confirm_the_one_before(serve: Serve) -> None:
    server = serve()
    with connect(server.url.replace("http", "ws") + "/v1/realtime") as line:
        line.recv(timeout=20)
        (connection,) = server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
