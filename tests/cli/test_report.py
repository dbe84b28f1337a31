"""What `duologue turns` prints."""

import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

from duologue.cli.turns import report
from duologue.store.figures import TurnLog
from duologue.timings import Pause, Timings


def keep(
    log: TurnLog, count: int, *, is_local: bool = False, factor: float = 1.0, **figures: Any
) -> None:
    """Keep some turns that went alike."""
    pause = Pause(0.94, "normal", factor, 0.5 * factor, 3.2, -23.6, -61.0)
    for _ in range(count):
        log.keep(
            "ann", secrets.token_hex(4), Timings(pause=pause, **figures), "completed", is_local
        )


def test_it_says_so_when_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "turns.sqlite3"
    assert report(path) == f"There is no turn in {path} yet; talk on the page first.\n"
    assert list(tmp_path.iterdir()) == []
    with closing(TurnLog(path)) as log:
        keep(log, 1, played=0.9)
    assert report(path, mine=True).startswith("There is no turn of this computer's own in ")


def test_it_shows_the_figures_before_and_after_the_first_cut(tmp_path: Path) -> None:
    path = tmp_path / "turns.sqlite3"
    with closing(TurnLog(path)) as log:
        keep(log, 4, is_local=True, played=0.5)
        keep(log, 1, is_local=True, played=0.5, cut="marked")
        keep(log, 5, is_local=True, played=0.7, factor=1.25, drops=1)
        keep(log, 10, is_local=False, played=3.0)
    lines = report(path, mine=True).splitlines()
    assert [" ".join(line.split()) for line in lines[:4]] == [
        "turns delay p50 p95 cuts per 100 turns dropped starts per turn patience",
        "before 5 0.50 s 0.50 s 1 20.0 0.00 x 1.00",
        "after 5 0.70 s 0.70 s 0 0.0 1.00 x 1.25",
        "all 10 0.60 s 0.70 s 1 10.0 0.50 x 1.12",
    ]
    assert lines[-1].endswith(
        "UTC  marked   waited 0.50 s (normal x 1.00), finished: 0.94, "
        "after 3.2 s of speech at -24 dB, room -61 dB"
    )
    assert "all 20 " in " ".join(report(path).split())


def test_without_a_cut_there_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "turns.sqlite3"
    with closing(TurnLog(path)) as log:
        keep(log, 3, sent=0.5)
    lines = report(path).splitlines()
    assert len(lines) == 2
    assert " ".join(lines[1].split()) == "all 3 0.50 s 0.50 s 0 0.0 0.00 x 1.00"
