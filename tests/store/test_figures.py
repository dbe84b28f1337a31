"""Figures that outlive the server, and a file that may be anything."""

import json
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from duologue.errors import InvalidSetting
from duologue.store.figures import Figures, Row, TurnLog, read
from duologue.timings import CutBy, Pause, Timings

PAUSE = Pause(0.94, "normal", 1.25, 0.625, 3.2, -23.5, -61.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "share/duologue/turns.sqlite3"


@pytest.fixture
def log(path: Path) -> Iterator[TurnLog]:
    with closing(TurnLog(path)) as log:
        yield log


def test_figures_outlive_the_server(path: Path) -> None:
    whole = Timings(0.5, 0.2, 0.3, 0.4, 0.5, 0.6, True, 2, 3.2, PAUSE, "marked")
    with closing(TurnLog(path)) as log:
        log.keep("ann", "t1", whole, "completed", is_local=True)
        log.keep("bob", "t2", Timings(), "failed", is_local=False)
    with closing(TurnLog(path)) as log:
        first, second = log.turns()
    assert (first.id, first.status, first.is_local, first.timings) == (
        "t1",
        "completed",
        True,
        whole,
    )
    assert (second.id, second.status, second.is_local) == ("t2", "failed", False)
    assert second.timings == Timings()
    assert first.owner != second.owner
    assert abs(datetime.now(UTC) - first.at) < timedelta(minutes=1)
    assert read(path) == [first, second]


def test_a_turn_that_changes_stays_one_row_in_its_place(log: TurnLog) -> None:
    timings = Timings(sent=0.5)
    log.keep("ann", "t1", timings, "in_progress", is_local=True)
    timings.played = 0.6  # the row before must not see it
    first = log.turns()[0]
    log.keep("ann", "t2", Timings(), "completed", is_local=True)
    log.keep("ann", "t1", timings, "completed", is_local=True)
    one, two = log.turns()
    assert first.timings.played is None
    assert (one.id, two.id) == ("t1", "t2")
    assert (one.status, one.timings.played, one.at) == ("completed", 0.6, first.at)


def test_turns_on_this_computer_are_told_from_the_others(path: Path, log: TurnLog) -> None:
    log.keep("ann", "t1", Timings(), "completed", is_local=True)
    log.keep("bob", "t2", Timings(), "completed", is_local=False)
    assert [row.id for row in log.turns(is_local=True)] == ["t1"]
    assert [row.id for row in log.turns(is_local=False)] == ["t2"]
    log.close()
    assert [row.id for row in read(path, is_local=True)] == ["t1"]
    assert [row.id for row in read(path, is_local=False)] == ["t2"]


def test_patience_outlives_the_server_and_is_each_user_s_own(path: Path) -> None:
    with closing(TurnLog(path)) as log:
        assert log.patience("ann") == 1.0
        log.set_patience("ann", 1.25)
        log.set_patience("bob", 1.6)
        assert log.patience("ann") == 1.25
    with closing(TurnLog(path)) as log:
        assert (log.patience("ann"), log.patience("bob"), log.patience("eve")) == (1.25, 1.6, 1.0)
        log.set_patience("bob", 1.0)
    with closing(TurnLog(path)) as log:
        assert log.patience("bob") == 1.0


def test_the_cookie_is_not_in_the_file_and_only_its_owner_opens_the_folder(path: Path) -> None:
    with closing(TurnLog(path)) as log:
        log.keep("the-cookie", "t1", Timings(), "completed", is_local=True)
        log.set_patience("the-cookie", 1.25)
    assert b"the-cookie" not in path.read_bytes()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_without_a_path_all_is_kept_in_memory() -> None:
    with closing(TurnLog(None)) as log:
        log.keep("ann", "t1", Timings(), "completed", is_local=True)
        log.set_patience("ann", 1.25)
        assert [row.id for row in log.turns()] == ["t1"]
        assert log.patience("ann") == 1.25


def test_after_the_end_nothing_is_kept_and_nothing_breaks(path: Path) -> None:
    log = TurnLog(path)
    log.close()
    log.keep("ann", "t1", Timings(), "completed", is_local=True)
    log.set_patience("ann", 1.25)
    assert read(path) == []


def test_the_newest_100_000_turns_are_kept(path: Path) -> None:
    with closing(TurnLog(path)) as log:
        log.keep("ann", "first", Timings(), "completed", is_local=True)
        log.keep("ann", "second", Timings(), "completed", is_local=True)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE turns SET number = 100001 WHERE id = 'second'")
    with closing(TurnLog(path)) as log:
        log.keep("ann", "third", Timings(), "completed", is_local=True)
    assert [row.id for row in read(path)] == ["second", "third"]


def test_who_keeps_something_does_not_wait_for_the_disk(path: Path, log: TurnLog) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        log.keep("ann", "t1", Timings(), "completed", is_local=True)
        log.set_patience("ann", 1.25)
        other.rollback()  # which nobody has waited for
    assert [row.id for row in log.turns()] == ["t1"]
    log.close()
    assert [row.id for row in read(path)] == ["t1"]


def _random_bytes(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all, but long enough to be one" * 100)


def _a_file_for_a_folder(path: Path) -> None:
    path.parent.parent.write_text("")


def _a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def _of_the_future(path: Path) -> None:
    TurnLog(path).close()
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")


def _of_another_program(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE turns (left INTEGER, right INTEGER)")


@pytest.mark.parametrize(
    "spoil",
    [_random_bytes, _a_file_for_a_folder, _a_folder, _of_the_future, _of_another_program],
)
def test_a_file_that_cannot_be_used_is_told_once_and_does_without(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    spoil(path)
    with closing(TurnLog(path)) as log:
        for number in range(3):
            log.keep("ann", f"t{number}", Timings(), "completed", is_local=True)
            log.set_patience("ann", 1.25)
        assert log.patience("ann") == 1.25
        assert [row.id for row in log.turns()] == ["t0", "t1", "t2"]
    assert len(caplog.messages) == 1
    assert f"because {path} cannot be used" in caplog.text


def test_a_disk_that_fails_later_is_told_once_too(
    path: Path, log: TurnLog, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"overwritten by somebody" * 1000)
    log.keep("ann", "t2", Timings(), "completed", is_local=True)
    log.keep("ann", "t3", Timings(), "completed", is_local=True)
    assert [row.id for row in log.turns()] == ["t2", "t3"]
    log.close()
    assert len(caplog.messages) == 1


def test_reading_what_is_no_log_gets_a_sentence(path: Path) -> None:
    assert read(path) == []
    _random_bytes(path)
    with pytest.raises(InvalidSetting, match="cannot be read: file is not a database"):
        read(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[("receipt", text) for text in ("{", "[]", "", '{"sent": "soon"}', '{"pause": 7}')],
        *[("receipt", value) for value in (7, b"\xff", '{"drops": 1e400}')],
        *[("at", value) for value in ("yesterday", 7, b"\xff", "")],
    ],
)
def test_a_damaged_row_is_left_out_and_told_of(
    path: Path, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(TurnLog(path)) as log:
        for name in ("t1", "t2", "t3"):
            log.keep("ann", name, Timings(), "completed", is_local=True)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE turns SET {column} = ? WHERE id = 't2'", (value,))  # noqa: S608
    assert [row.id for row in read(path)] == ["t1", "t3"]
    assert f"1 of 3 turns in {path} cannot be read" in caplog.text


def test_figures_of_a_later_duologue_that_this_one_does_not_know_are_ignored(path: Path) -> None:
    with closing(TurnLog(path)) as log:
        log.keep("ann", "t1", Timings(), "completed", is_local=True)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE turns SET receipt = ?", ('{"sent": 0.5, "colour": "red"}',))
    (row,) = read(path)
    assert row.timings == Timings(sent=0.5)


def test_files_of_version_1_are_read(path: Path) -> None:
    TurnLog(path).close()
    timings = (
        '{"decided": 0.5, "started": 0.2, "first_token": 0.3, "first_sound": 0.4, "sent": 0.5, '
        '"played": null, "early": true, "drops": 2, "heard": 3.2, "pause": {"probability": 0.94, '
        '"patience": "normal", "factor": 1.25, "wait": 0.625, "speech": 3.2, "level": -23.5, '
        '"background": -61.0}, "cut": "marked"}'
    )
    with closing(sqlite3.connect(path)) as file, file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        values = ("t1", "2026-11-25T07:30:00.000+00:00", "0" * 64, 1, "completed", timings)
        file.execute(
            "INSERT INTO turns (id, at, owner, here, status, receipt) VALUES (?, ?, ?, ?, ?, ?)",
            values,
        )
    (row,) = read(path)
    assert row.at == datetime(2026, 11, 25, 7, 30, tzinfo=UTC)
    assert row.timings == Timings(0.5, 0.2, 0.3, 0.4, 0.5, None, True, 2, 3.2, PAUSE, "marked")
    assert asdict(row.timings) == json.loads(timings), "another layout needs another version"


def row(
    played: float | None = None,
    *,
    sent: float | None = None,
    drops: int = 0,
    pause: Pause | None = PAUSE,
    cut: CutBy = "",
) -> Row:
    timings = Timings(sent=sent, played=played, drops=drops, pause=pause, cut=cut)
    return Row("t", datetime.now(UTC), "ann", True, "completed", timings)


def test_the_delay_is_until_it_was_played_or_else_sent() -> None:
    figures = Figures.of([row(0.6), row(sent=0.7), row(0.8, sent=0.75), row()])
    assert figures.turns == 4
    assert figures.delay == pytest.approx((0.7, 0.79))


def test_a_turn_that_was_resumed_is_a_cut_and_part_of_the_next_turn() -> None:
    figures = Figures.of([row(0.5, cut="resumed", drops=1), row(0.9), row(0.7, cut="marked")])
    assert (figures.turns, figures.cuts, figures.drops) == (2, 2, 0.5)
    assert figures.delay == pytest.approx((0.8, 0.89))
    assert figures.patience == pytest.approx(1.25)


def test_turns_whose_end_the_client_told_do_not_count() -> None:
    figures = Figures.of([row(0.1, pause=None), row(0.9)])
    assert figures.turns == 1
    assert figures.delay == pytest.approx((0.9, 0.9))


def test_of_no_turns_nothing_is_known() -> None:
    assert Figures.of([]) == Figures(0, None, 0, 0.0, None)
