"""The file of figures while it is locked, full, gone, shared by two servers, or written to without end."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from duologue.store.figures import TurnLog, read
from duologue.timings import Timings

SERVER = """
import sys
from contextlib import closing
from pathlib import Path
from duologue.timings import Timings
from duologue.store.figures import TurnLog
name = sys.argv[2]
with closing(TurnLog(Path(sys.argv[1]))) as log:
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(500):
        log.keep(name, f"{name}{number}", Timings(sent=0.1), "in_progress", is_local=True)
        log.keep(name, f"{name}{number}", Timings(sent=0.2), "completed", is_local=True)
        if number == 250:
            print("half", flush=True)
            sys.stdin.readline()
    log.set_patience(name, 1.25)
"""

LOCKER = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], timeout=30)
file.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
file.rollback()
"""


@contextmanager
def process(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process; it goes on with each line, and has ended with the block."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout
        assert child.stdout.readline()
        yield child


def go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin
    child.stdin.write("\n")
    child.stdin.flush()


def until(true: Callable[[], bool], within: float = 60) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def keep(log: TurnLog, *names: str) -> None:
    for name in names:
        log.keep("ann", name, Timings(), "completed", is_local=True)


def ids(path: Path) -> list[str]:
    return [row.id for row in read(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data/turns.sqlite3"


def test_two_servers_share_one_file_and_lose_nothing(path: Path) -> None:
    with process(SERVER, path, "ann") as ann, process(SERVER, path, "bob") as bob:
        for child in (ann, bob, ann, bob):
            go_on(child)
        for child in (ann, bob):
            assert child.wait(60) == 0
    rows = read(path)
    assert len(rows) == 1000
    assert {row.id for row in rows} == {f"{n}{i}" for n in ("ann", "bob") for i in range(500)}
    assert {(row.status, row.timings.sent) for row in rows} == {("completed", 0.2)}
    with closing(TurnLog(path)) as log:
        assert (log.patience("ann"), log.patience("bob")) == (1.25, 1.25)


def test_what_is_kept_while_another_program_locks_the_file_is_written_afterwards(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(TurnLog(path)) as log:
        keep(log, "t1")
        until(lambda: ids(path) == ["t1"])
        with process(LOCKER, path) as locker:
            keep(log, "t2", "t3")
            log.set_patience("ann", 1.25)
            until(lambda: "database is locked" in caplog.text)
            keep(log, "t4")
            assert [row.id for row in log.turns()][-3:] == ["t2", "t3", "t4"]
            go_on(locker)
        until(lambda: ids(path) == ["t1", "t2", "t3", "t4"])
    with closing(TurnLog(path)) as log:
        assert log.patience("ann") == 1.25
    assert caplog.text.count("cannot be used") == 1


def test_a_server_starts_on_a_locked_file_and_knows_its_users_later(path: Path) -> None:
    with closing(TurnLog(path)) as log:
        keep(log, "t1")
        log.set_patience("ann", 1.25)
        log.set_patience("bob", 1.25)
    with process(LOCKER, path) as locker, closing(TurnLog(path)) as log:
        keep(log, "t2")
        log.set_patience("bob", 1.6)
        assert [row.id for row in log.turns()] == ["t2"]
        go_on(locker)
        until(lambda: log.patience("ann") == 1.25)
        assert log.patience("bob") == 1.6
        until(lambda: ids(path) == ["t1", "t2"])
    with closing(TurnLog(path)) as log:
        assert (log.patience("ann"), log.patience("bob")) == (1.25, 1.6)


def test_a_folder_that_is_deleted_is_made_anew(path: Path) -> None:
    with closing(TurnLog(path)) as log:
        keep(log, "t1")
        until(lambda: ids(path) == ["t1"])
        shutil.rmtree(path.parent)
        keep(log, "t2")
        until(lambda: ids(path) == ["t2"])


def test_a_file_that_cannot_be_used_is_used_once_it_is_moved_away(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    with closing(TurnLog(path)) as log:
        keep(log, "t1", "t2")
        path.unlink()
        until(lambda: path.exists() and ids(path) == ["t1", "t2"])


def test_a_turn_that_changes_50_000_times_is_written_a_few_times(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def spy(*arguments: Any, **options: Any) -> sqlite3.Connection:
        writes.append(1)
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", spy)
    with closing(TurnLog(path)) as log:
        for number in range(50_000):
            log.keep("ann", "t1", Timings(played=number), "completed", is_local=True)
    assert len(writes) < 500
    (row,) = read(path)
    assert row.timings.played == 49_999


def test_of_what_waits_the_newest_is_kept() -> None:
    with closing(TurnLog(None)) as log:
        keep(log, *[f"t{number}" for number in range(10_005)])
        rows = log.turns()
    assert (len(rows), rows[0].id, rows[-1].id) == (10_000, "t5", "t10004")


def test_the_end_comes_though_the_disk_never_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = TurnLog(path)
    answers = threading.Event()
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def hang(*arguments: Any, **options: Any) -> sqlite3.Connection:
        answers.wait()
        return connect(*arguments, **options)

    monkeypatch.setattr("duologue.store.figures._END", 0.1)
    monkeypatch.setattr(sqlite3, "connect", hang)
    keep(log, "t1", "t2")
    log.close()
    assert "the figures of 2 turns were not written in time" in caplog.text
    answers.set()
    log._writer.join()
