"""The user's home, and the temporary folder of a process."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

from duologue import weights
from duologue.errors import InvalidSetting
from duologue.system import folders
from duologue.testing import tone

_HOLD = """
from duologue.system.folders import temporary
with temporary() as folder:
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is made and removed here is not the machine's."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    tempfile.tempdir = None


@contextmanager
def held() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process with a temporary folder, in which something lies."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            folder = Path(process.stdout.readline().strip())
            (folder / "deep").mkdir()
            (folder / "deep/upload.wav").write_text("sound")
            yield process, folder
        finally:
            process.kill()


def test_the_folder_goes_with_the_block(tmp_path: Path) -> None:
    with folders.temporary() as folder:
        assert folder.parent == tmp_path
        (folder / "cache").write_text("much")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_the_folder_of_a_killed_process_goes_when_the_next_one_starts() -> None:
    with held() as (living, kept), held() as (dead, left):
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert left.exists()
        with folders.temporary() as mine, folders.temporary() as another:
            assert mine != another
            assert not left.exists()
            assert (kept / "deep/upload.wav").exists(), "the folder of a living process is gone"
        living.communicate("\n")
        assert not kept.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_nothing_else_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "duologue-projects"  # a folder of the user's
    outside.mkdir()
    (outside / "notes").write_text("mine")
    link = tmp_path / "duologue-process-abcdefgh"
    link.symlink_to(outside)
    (tmp_path / "duologue-process-12345678").write_text("a file of that name")
    with folders.temporary():
        pass
    assert (outside / "notes").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_a_folder_that_another_start_takes_for_a_dead_one_s_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkdtemp, []

    def make_and_lose(prefix: str) -> str:
        made.append(make(prefix=prefix))
        if len(made) == 1:
            shutil.rmtree(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with folders.temporary() as folder:
        assert [str(folder)] == made[1:]


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_on_a_file_system_without_locks_there_is_a_folder_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folders.temporary() as folder:
        assert [folder] == list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_for_temporary_files_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/no/such/folder"])
    with pytest.raises(InvalidSetting, match="set TMPDIR to a folder"), folders.temporary():
        pass


def test_an_unknown_home_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSetting, match="set HOME, or DUOLOGUE_CACHE and DUOLOGUE_DATA"):
        folders.expand("~nobody-of-that-name/figures")
    monkeypatch.setenv("DUOLOGUE_CACHE", "~nobody-of-that-name")
    with pytest.raises(InvalidSetting, match="~nobody-of-that-name is not to be found"):
        weights.cache_folder()


def _as_an_unknown_user(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run it as a user of whom the system knows nothing, without HOME, as containers do."""
    unshare = shutil.which("unshare")
    user = (unshare or "unshare", "--map-user=54321", "--map-group=54321")
    try:
        subprocess.run([*user, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no other user can be had on this machine")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "DUOLOGUE_CACHE")
    }
    return subprocess.run(
        [*user, sys.executable, "-m", "duologue", *command],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "command", [["doctor"], ["turns"], ["pull"], ["serve", "--model", "echo", "--port", "0"]]
)
def test_an_unknown_user_without_a_home_gets_a_sentence(command: list[str]) -> None:
    done = _as_an_unknown_user(*command)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("duologue: ~/")
    assert last.endswith("to folders that can be written")


def test_an_unknown_user_without_a_home_talks_where_the_weights_are_named(tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    soundfile.write(question, tone(1.0, 16_000).samples, 16_000)
    cache = str(weights.cache_folder())
    command = ("say", str(question), "--model", "echo")
    done = _as_an_unknown_user(*command, DUOLOGUE_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert "first sound of the reply" in done.stdout
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    done = _as_an_unknown_user(*command, DUOLOGUE_CACHE=cache, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("home", ["", "read-only"])
def test_a_server_without_a_home_to_write_in_serves_and_says_what_goes(
    home: str, tmp_path: Path
) -> None:
    environment = {"DUOLOGUE_CACHE": str(weights.cache_folder())}
    if home:
        (tmp_path / home).mkdir(mode=0o500)
        environment["HOME"] = str(tmp_path / home)
    # The port is taken, so it ends as soon as it has come to serving.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = _as_an_unknown_user(
            "serve", "--model", "echo", "--port", port, "--no-page", **environment
        ).stderr
    assert ("the figures of turns go when the server stops: ~/.local" in said) is (not home)
    assert "cannot serve on 127.0.0.1" in said
    assert "Traceback" not in said
