import hashlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from huggingface_hub import close_session, constants

from duologue.errors import ModelUnavailable, Unreachable
from duologue.models.mini_omni import hub
from duologue.models.mini_omni.checkpoint import open_checkpoint
from duologue.models.mini_omni.hub import MINI_OMNI, SNAC, WHISPER
from tiny_mini_omni import as_on_the_hub, original

OLD, NEW = "0" * 40, "1" * 40


class Hub(ThreadingHTTPServer):
    """Speaks as much of the model hub's protocol as a download takes."""

    def __init__(self, files: dict[str, dict[str, Path]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = files
        """By repository and name."""
        self.revisions = {"main": NEW, "v1": OLD, OLD: OLD, NEW: NEW}
        self.asked: list[tuple[str, str, str]] = []
        """Method, path, range."""
        self.breaks = ""
        """Name of the file whose next download ends in the middle."""
        self.status = 200


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path)
        asked = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not asked:
            return self._fail(404, "")
        repository, revision, name = asked.groups()
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.command, path, wanted))
        if self.server.status != 200:
            return self._fail(self.server.status, "")
        if repository not in self.server.files:
            return self._fail(404, "RepoNotFound")
        if revision not in self.server.revisions:
            return self._fail(404, "RevisionNotFound")
        if name not in self.server.files[repository]:
            return self._fail(404, "EntryNotFound")
        content = self.server.files[repository][name].read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.server.revisions[revision])
        self.end_headers()
        if self.command == "GET":
            if self.server.breaks == name:
                content = content[: len(content) // 2]
                self.server.breaks = ""
                self.close_connection = True
            self.wfile.write(content[start:])
        return None

    def _fail(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = original(tmp_path / "original")
    whisper = tmp_path / "whisper"
    folder = made.mini_omni
    names = ("lit_model.pth", "model_config.yaml", "tokenizer.json")
    files = {
        MINI_OMNI: {name: folder / name for name in names},
        WHISPER: {name: whisper / name for name in ("model.safetensors", "config.json")},
        SNAC: {name: made.snac / name for name in ("pytorch_model.bin", "config.json")},
    }
    as_on_the_hub(made.whisper / "small.pt", whisper)
    server = Hub(files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its retries
    yield server
    close_session()
    server.shutdown()
    server.server_close()
    thread.join()


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT does, which is read when huggingface_hub is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def silent(_: str) -> None:
    pass


def test_what_is_fetched_is_converted_once(server: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    checkpoint, done = hub.pull(None, said.append)
    assert done
    assert not checkpoint.random
    assert checkpoint.commits == {MINI_OMNI: NEW, WHISPER: NEW, SNAC: NEW}
    assert checkpoint.source == f"gpt-omni/mini-omni at {NEW}"
    assert checkpoint == open_checkpoint(tmp_path / "cache/mini-omni")
    assert said[0].startswith("fetching gpt-omni/mini-omni, openai/whisper-small")
    server.asked.clear()
    assert hub.pull(None, pytest.fail) == (checkpoint, False)
    assert server.asked == []


def test_a_revision_is_a_pin(server: Hub) -> None:
    assert hub.pull("v1", silent)[0].commits[MINI_OMNI] == OLD
    # All of a repository's files are asked for by the commit that the first one came from.
    asked = [path for method, path, _ in server.asked if method == "GET"]
    assert f"/{MINI_OMNI}/resolve/{OLD}/lit_model.pth" in asked
    assert f"/{WHISPER}/resolve/{NEW}/model.safetensors" in asked
    assert hub.pull(None, pytest.fail)[1] is False
    assert hub.pull(OLD, pytest.fail)[1] is False
    assert hub.pull("v1", silent)[1] is False  # asks the hub, and finds it there
    checkpoint, done = hub.pull("main", silent)
    assert done
    assert checkpoint.commits[MINI_OMNI] == NEW


def test_a_download_goes_on_where_its_connection_broke(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what is lost is less than that
    name = "pytorch_model.bin"
    server.breaks = name
    assert hub.pull(None, silent)[1]
    half = server.files[SNAC][name].stat().st_size // 2
    fetched = [(path, wanted) for method, path, wanted in server.asked if method == "GET"]
    path = f"/{SNAC}/resolve/{NEW}/{name}"
    assert fetched[-2:] == [(path, ""), (path, f"bytes={half // 1024 * 1024}-")]


def test_only_what_is_not_complete_is_fetched_again(server: Hub) -> None:
    weights = server.files[SNAC].pop("pytorch_model.bin")
    complaint()
    server.files[SNAC]["pytorch_model.bin"] = weights
    server.asked.clear()
    assert hub.pull(None, silent)[1]
    fetched = [path for method, path, _ in server.asked if method == "GET"]
    assert fetched == [f"/{SNAC}/resolve/{NEW}/pytorch_model.bin"]


def test_a_checkpoint_that_is_broken_is_made_anew_without_a_download(server: Hub) -> None:
    checkpoint, _ = hub.pull(None, silent)
    (checkpoint.folder / "encoder.safetensors").unlink()
    server.asked.clear()
    assert hub.pull(None, silent) == (checkpoint, True)
    assert not [path for method, path, _ in server.asked if method == "GET"]


def test_what_is_in_the_hub_s_cache_is_converted_without_a_network(server: Hub) -> None:
    checkpoint, _ = hub.pull(None, silent)
    (checkpoint.folder / "encoder.safetensors").unlink()
    server.status = 503
    assert hub.pull(None, silent) == (checkpoint, True)


def complaint(revision: str | None = None) -> str:
    with pytest.raises((Unreachable, ModelUnavailable)) as caught:
        hub.pull(revision, silent)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_hub_does_not_have_is_named(server: Hub) -> None:
    here = constants.ENDPOINT
    assert complaint("v9") == f"gpt-omni/mini-omni has no revision v9 on {here}"
    whisper = server.files.pop(WHISPER)
    assert complaint() == f"there is no openai/whisper-small on {here}, or not for everybody"
    server.files[WHISPER] = whisper
    del server.files[SNAC]["config.json"]
    assert complaint() == f"{SNAC} has no config.json at revision main on {here}"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_hub_that_refuses_is_one_sentence(server: Hub, status: int) -> None:
    server.status = status
    assert f"model_config.yaml of gpt-omni/mini-omni with HTTP status {status}" in complaint()


def test_a_hub_that_does_not_answer_is_one_sentence(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("http://127.0.0.1:9", monkeypatch)
    assert complaint() == (
        "http://127.0.0.1:9 could not be reached for model_config.yaml of gpt-omni/mini-omni; "
        "check the network, set HF_ENDPOINT to a mirror, or run: duologue pull mini-omni --from FOLDER"
    )


def test_a_cache_that_cannot_be_written_is_one_sentence(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    assert f"could not be stored in {tmp_path}/file: " in complaint()


def test_without_the_hub_s_package_it_says_how_to_get_it() -> None:
    script = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from duologue.models.mini_omni import hub"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.rstrip().endswith(
        "fetching Mini-Omni's weights takes huggingface_hub, which is missing; "
        "install it with: pip install 'duologue[mini-omni]'"
    )
