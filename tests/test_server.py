"""The server over HTTP: who is who, recordings, health, a taken port, a calm end."""

import json
import socket
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

import pytest

from conftest import Serve
from duologue.audio import INPUT_RATE
from duologue.config import Config
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.history import History
from duologue.model import Turn
from duologue.server import Uvicorn, bind, running
from duologue.testing import LoudnessVad, ScriptedModel, say, tone


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


def history(server: Uvicorn) -> History:
    return server._server.history


def test_health_says_what_is_served_and_what_is_free(serve: Serve) -> None:
    with get(serve(sessions=3).url + "/health") as response:
        assert json.load(response) == {
            "status": "ok",
            "model": "echo",
            "note": "Echo: says back what it heard, to try the line and your microphone.",
            "sessions": 0,
            "free_slots": 3,
            "chats": 0,
        }


def test_a_visitor_gets_a_cookie_once(serve: Serve) -> None:
    url = serve().url + "/health"
    with get(url) as first:
        cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    with get(url, cookie=cookie.split(";")[0]) as second:
        assert second.headers["set-cookie"] is None


def test_both_recordings_of_a_turn_go_to_their_owner_only(serve: Serve) -> None:
    server = serve()
    turn = Turn("t1", tone(1, INPUT_RATE), reply=[say("Hi.", 2.0)], status="completed")
    history(server).conversation("ann", "c").save(turn)
    wav, mp3 = (f"{server.url}/v1/recordings/t1.{kind}" for kind in ("wav", "mp3"))
    with get(wav, cookie="duologue_user=ann") as response:
        assert response.headers["content-type"] == "audio/wav"
        assert len(response.read()) == 44 + 2 * INPUT_RATE
    with get(mp3, cookie="duologue_user=ann") as response:
        assert response.headers["content-type"] == "audio/mpeg"
        assert response.headers["cache-control"] == "private, no-store"
        assert len(response.read()) == pytest.approx(2 * 8_000, rel=0.1)
    for url in (wav, mp3):
        assert status(url, cookie="duologue_user=bob") == 404
        assert status(url) == 404
    assert status(f"{server.url}/v1/recordings/t2.wav", cookie="duologue_user=ann") == 404


def test_a_part_of_a_recording_can_be_had(serve: Serve) -> None:
    server = serve()
    history(server).conversation("ann", "c").save(Turn("t1", tone(1, INPUT_RATE)))
    url, ann = f"{server.url}/v1/recordings/t1.wav", "duologue_user=ann"
    with get(url, cookie=ann, range="bytes=0-3") as response:
        assert (response.status, response.read()) == (206, b"RIFF")
        assert response.headers["content-range"] == "bytes 0-3/32044"
    with get(url, cookie=ann, range="bytes=32000-") as response:
        assert len(response.read()) == 44
    assert status(url, cookie=ann, range="bytes=99999-") == 416
    assert status(url, cookie=ann, range="bytes=wrong") == 200


def test_a_turn_without_a_reply_has_no_mp3(serve: Serve) -> None:
    server = serve()
    history(server).conversation("ann", "c").save(Turn("t1", tone(1, INPUT_RATE)))
    assert status(f"{server.url}/v1/recordings/t1.mp3", cookie="duologue_user=ann") == 404


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
    history(server).conversation("ann", "c").save(Turn("t1", tone(1, INPUT_RATE)))
    status(f"{server.url}/v1/recordings/t1.wav", cookie="duologue_user=ann")
    assert list(tmp_path.iterdir()) == []
