"""Language models as GGUF files from the model hub."""

import hashlib
import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from duologue.errors import ModelUnavailable, Unreachable
from duologue.weights import gguf

DATA = random.Random(0).randbytes(300_000)
NAME = "somebody/some-GGUF/some-q4.gguf"


class Hub:
    """A hub of one file; says what it is by headers, as the hub does for large files."""

    def __init__(self) -> None:
        self.given, self.sha256 = DATA, hashlib.sha256(DATA).hexdigest()
        self.headers, self.asked = True, list[str]()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                hub.asked.append(self.headers.get("Range", ""))
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                if self.path != f"/{NAME.replace('/some-q4', '/resolve/main/some-q4')}":
                    self.send_error(404)
                    return
                begin = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(hub.given) - begin))
                if hub.headers:
                    self.send_header("X-Linked-Size", str(len(DATA)))
                    self.send_header("X-Linked-Etag", f'"{hub.sha256}"')
                self.end_headers()
                if body:
                    self.wfile.write(hub.given[begin:])

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    made = Hub()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{made.server.server_port}")
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.mark.parametrize("name", ["qwen2.5-0.5b", "qwen2.5-1.5b", NAME, "a/b/c/d.gguf"])
def test_such_a_name_is_known(name: str) -> None:
    assert gguf.is_name(name)


@pytest.mark.parametrize(
    "name", ["", "x.gguf", "a/x.gguf", "a/../x.gguf", "/a/b/x.gguf", "a/b/x.bin"]
)
def test_another_one_is_not(name: str) -> None:
    assert not gguf.is_name(name)


def test_a_file_is_fetched_once_and_nothing_else_stays(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=f"missing; run: duologue pull {NAME}"):
        gguf.locate(NAME)
    assert gguf.pull(NAME)
    assert gguf.locate(NAME).read_bytes() == DATA
    assert not gguf.pull(NAME)
    assert [path.name for path in (tmp_path / "gguf").iterdir()] == [
        "somebody--some-GGUF--some-q4.gguf"
    ]


def test_what_an_interrupted_pull_has_left_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    work = tmp_path / "gguf/partial-somebody--some-GGUF--some-q4.gguf"
    work.mkdir(parents=True)
    (work / "somebody--some-GGUF--some-q4.gguf.part").write_bytes(DATA[:1000])
    assert gguf.pull(NAME)
    assert hub.asked == ["bytes=1000-"]
    assert gguf.locate(NAME).read_bytes() == DATA


def test_what_is_not_what_the_hub_says_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.given = bytes(len(DATA))
    with pytest.raises(
        ModelUnavailable, match="is not the file it should be, so it was thrown away"
    ):
        gguf.pull(NAME)
    with pytest.raises(ModelUnavailable, match="missing"):
        gguf.locate(NAME)


def test_a_hub_that_does_not_say_what_it_is_is_not_believed(hub: Hub) -> None:
    hub.headers = False
    with pytest.raises(ModelUnavailable, match=r"the hub does not say what .* should be"):
        gguf.pull(NAME)


def test_a_file_that_there_is_not_is_told(hub: Hub) -> None:
    with pytest.raises(Unreachable, match=r"does not give a/b/c\.gguf .*404.*check the name"):
        gguf.pull("a/b/c.gguf")


def test_a_hub_that_is_not_reached_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="HF_ENDPOINT to a mirror, or give --llm the path"):
        gguf.pull("qwen2.5-0.5b")
