"""The figures of past turns, and each user's patience, in a file that outlives the server."""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import numpy as np

from duologue.errors import InvalidSetting
from duologue.receipt import Pause, Receipt

logger = logging.getLogger(__name__)

_VERSION = 1  # of the tables, and of the JSON in them

# 100,000 turns are 60 MB: years of one person's, days of a busy server's.
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS turns (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at TEXT NOT NULL,       -- UTC, when it was first kept
    owner TEXT NOT NULL,    -- sha256 of the cookie
    here INTEGER NOT NULL,  -- held on the server's own computer
    status TEXT NOT NULL,
    receipt TEXT NOT NULL   -- JSON
);
CREATE TRIGGER IF NOT EXISTS make_room AFTER INSERT ON turns BEGIN
    DELETE FROM turns WHERE number <= NEW.number - 100000;
END;
CREATE TABLE IF NOT EXISTS users (
    owner TEXT PRIMARY KEY,
    patience REAL NOT NULL
);
PRAGMA user_version = 1;
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One turn, without its sound and its words.

    Attributes:
        id: of the turn.
        at: when it was first kept, UTC.
        owner: whose it is: sha256 of the cookie, in hexadecimal.
        here: it was held on the server's own computer.
        status: what became of the reply.
        receipt: its figures.
    """

    id: str
    at: datetime
    owner: str
    here: bool
    status: str
    receipt: Receipt


class TurnLog:
    """The file. A thread of its own writes it, so that no caller waits for a disk.

    When the file cannot be used, the program's log says so once, and from then on all is kept in
    memory only.
    """

    def __init__(self, path: Path | None) -> None:
        """`path`: of the file, made if it is not there; None: memory only."""
        self._path = path
        self._closed = False
        self._patience: dict[str, float] = {}  # by `Row.owner`; who is not here has 1.0
        self._writer = ThreadPoolExecutor(1, "turnlog")
        self._writer.submit(self._open).result()

    def keep(self, owner: str, turn_id: str, receipt: Receipt, status: str, here: bool) -> None:
        """Keep the figures of a turn, new or changed. Does nothing after `close`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write(
            "INSERT INTO turns (id, at, owner, here, status, receipt) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET status = excluded.status, receipt = excluded.receipt",
            (turn_id, now, _hash(owner), here, status, json.dumps(asdict(receipt))),
        )

    def patience(self, owner: str) -> float:
        """The factor by which this user's waits are longer; 1.0: nobody has cut this user off."""
        return self._patience.get(_hash(owner), 1.0)

    def set_patience(self, owner: str, factor: float) -> None:
        """Keep that factor. Does nothing after `close`."""
        user = _hash(owner)
        if factor == 1.0:  # as most users have, and all programs without a cookie
            self._patience.pop(user, None)
            self._write("DELETE FROM users WHERE owner = ?", (user,))
        else:
            self._patience[user] = factor
            self._write("INSERT OR REPLACE INTO users VALUES (?, ?)", (user, factor))

    def turns(self, here: bool | None = None) -> list[Row]:
        """What was kept so far, oldest first; with `here`, what was, or was not, held on this computer.

        Waits for the disk.
        """
        return self._writer.submit(lambda: _select(self._file, here)).result()

    def close(self) -> None:
        """Write all that was kept, and let go of the file."""
        self._closed = True
        self._writer.submit(lambda: self._file.close())
        self._writer.shutdown()

    def _write(self, statement: str, values: Sequence[object]) -> None:
        def write() -> None:
            with self._file:
                self._file.execute(statement, values)

        if not self._closed:
            self._writer.submit(self._guard, write)

    # In the writer's thread.

    def _open(self) -> None:
        self._file = _in_memory()
        if path := self._path:
            self._guard(lambda: self._open_file(path))

    def _open_file(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file.close()
        self._file = sqlite3.connect(path)
        _check_version(self._file)
        self._file.executescript(_TABLES)
        self._patience = dict(self._file.execute("SELECT owner, patience FROM users"))

    def _guard(self, job: Callable[[], None]) -> None:
        try:
            job()
        except (sqlite3.Error, OSError) as error:
            logger.warning(
                "the figures of turns are kept in memory only, because %s cannot be used (%s); "
                "move it away, or choose another folder with --data",
                self._path,
                error,
            )
            self._file.close()
            self._file = _in_memory()


def read(path: Path, here: bool | None = None) -> list[Row]:
    """The turns in a file, oldest first, as `TurnLog.turns`; none where there is no file.

    Raises:
        InvalidSetting: it cannot be read.
    """
    try:
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            _check_version(file)
            return _select(file, here)
    except (sqlite3.Error, OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidSetting(f"the figures of turns in {path} cannot be read: {error}") from error


def _in_memory() -> sqlite3.Connection:
    file = sqlite3.connect(":memory:")
    file.executescript(_TABLES)
    return file


def _check_version(file: sqlite3.Connection) -> None:
    version = file.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise sqlite3.DatabaseError("a newer Duologue has written it")


def _select(file: sqlite3.Connection, here: bool | None) -> list[Row]:
    found = file.execute(
        "SELECT id, at, owner, here, status, receipt FROM turns "
        "WHERE ?1 IS NULL OR here = ?1 ORDER BY number",
        (here,),
    )
    return [
        Row(turn_id, datetime.fromisoformat(at), owner, bool(was_here), status, _receipt(text))
        for turn_id, at, owner, was_here, status, text in found
    ]


def _receipt(text: str) -> Receipt:
    values = json.loads(text)
    pause = values.pop("pause")
    return Receipt(**values, pause=Pause(**pause) if pause else None)


def _hash(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Figures:
    """How some turns went.

    Attributes:
        turns: how many; one that was resumed after it was cut off is a part of the next.
        delay: seconds from the last word until the reply was played, or else sent: of the middle
            turn, and what 95 of 100 turns stay below; None: not known of any.
        cuts: how often the user was cut off.
        drops: starts of a reply that were taken back, per turn.
        patience: the mean factor by which the user was waited for longer; None: not known.
    """

    turns: int
    delay: tuple[float, float] | None
    cuts: int
    drops: float
    patience: float | None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Figures":
        """The figures of those turns whose end was found, not told by the client or the time limit."""
        receipts = [row.receipt for row in rows if row.receipt.pause or row.receipt.cut]
        whole = [receipt for receipt in receipts if receipt.cut != "resumed"]
        ends = [r.sent if r.played is None else r.played for r in whole]
        delays = [end for end in ends if end is not None]
        factors = [receipt.pause.factor for receipt in receipts if receipt.pause]
        median, most = np.percentile(delays, (50, 95)) if delays else (0.0, 0.0)
        return cls(
            len(whole),
            (float(median), float(most)) if delays else None,
            sum(bool(receipt.cut) for receipt in receipts),
            sum(receipt.drops for receipt in receipts) / max(1, len(whole)),
            fmean(factors) if factors else None,
        )
