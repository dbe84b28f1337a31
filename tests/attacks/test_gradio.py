"""What Gradio would serve besides the page: uploads, a fetch proxy, ffmpeg, queues, logins."""

import json
import tempfile
from pathlib import Path

import pytest

from attacks.doors import ask, doors
from duologue.server.app import Uvicorn

pytest.importorskip("gradio", reason="the page's packages are not installed")

# What Chromium asked for, and nothing that would be harder to miss.
NEEDED = {
    "/",
    "/assets/x",
    "/favicon.ico",
    "/gradio_api/app_id",
    "/manifest.json",
    "/robots.txt",
    "/static/x",
    "/theme.css",
}


def test_gradios_spare_routes_are_not_there(page: Uvicorn) -> None:
    spare = [door for door in doors(page) if door.gradio and door.path not in NEEDED]
    assert len(spare) > 50
    for door in spare:
        for path in (door.path, f"{door.path}/", f"/{door.path}"):
            status, _, body = ask(page, door.method, path, b"{}" if door.method == "POST" else b"")
            assert status == 404, (door, path)
            assert body in (b"Not Found", b""), (door, path)


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/%75pload", "/assets/../gradio_api/info", "/assets/..%2f..%2fconfig", "/STATIC/x"],
)
def test_no_other_spelling_reaches_them(page: Uvicorn, path: str) -> None:
    assert ask(page, "GET", path)[0] in (403, 404)


def test_what_is_sent_to_them_is_kept_nowhere(
    page: Uvicorn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    part = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\nxxxx\r\n--x--\r\n'
    for path in ("/gradio_api/upload", "/gradio_api/process_recording"):
        kind = "multipart/form-data; boundary=x"
        assert ask(page, "POST", path, part.encode(), content_type=kind)[0] == 404
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", ["", "x", "x" * 9999, "%00", "%ff", "a&conversation=b", "../x"])
def test_the_chat_shows_nothing_to_who_asks_for_nonsense(
    page: Uvicorn, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    status, _, body = ask(page, "GET", f"/v1/turns?conversation={name}&before={name}")
    assert (status, json.loads(body)["turns"]) == (200, [])
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("data", [None, {"conversation": None}, {"conversation": ["x"]}])
def test_no_handler_of_gradio_is_reached(page: Uvicorn, data: object) -> None:
    question = {"data": [], "fn_index": 0, "event_data": data, "session_hash": "x"}
    body = json.dumps(question).encode()
    assert ask(page, "POST", "/gradio_api/run/predict", body)[0] == 404
