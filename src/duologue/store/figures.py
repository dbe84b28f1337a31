"""The figures of past turns, and each user's patience, in a file that outlives the server."""

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import fmean

import numpy as np
from pydantic import TypeAdapter

from duologue.errors import InvalidSetting
from duologue.timings import Timings

logger = logging.getLogger(__name__)

_VERSION = 1  # of the tables, and of the JSON in them

_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two writes, and between two that failed
_BUSY = 0.5  # seconds that another program may hold the file before a write has failed
_START, _END = 1.0, 2.0  # seconds that the server waits for the disk as it starts, and as it ends
_WAITING, _BATCH = 10_000, 1_000  # turns that may wait, at 1 kB each, and that are written at once
_TIMINGS = TypeAdapter(Timings)

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
        is_local: it was held on the server's own computer.
        status: what became of the reply.
        timings: its figures.
    """

    id: str
    at: datetime
    owner: str
    is_local: bool
    status: str
    timings: Timings


class TurnLog:
    """The file. A thread of its own writes it, so that no caller waits for a disk.

    What changes often is written once a second. What cannot be written, because the file is locked, the
    disk is full or the folder is gone, waits in memory and is tried again, and the program's log says so
    once: the figures of the newest 10,000 turns wait. Several servers may share a file.
    """

    def __init__(self, path: Path | None) -> None:
        """`path`: of the file, made if it is not there; None: memory only."""
        self._path = path
        self._lock = threading.Lock()  # of the next three
        self._rows: dict[str, Row] = {}  # by turn id: what is not in the file yet
        self._patience: dict[str, float] = {}  # by `Row.owner`; who is not here has 1.0
        self._unsaved: set[str] = set()  # owners whose patience is not in the file yet
        self._loaded = False  # the patience of the file is known
        self._failed = False  # the last try to write
        self._wake, self._closing, self._tried = (threading.Event() for _ in range(3))
        self._writer = threading.Thread(target=self._write_on, name="turnlog", daemon=True)
        if path:
            self._writer.start()
            self._tried.wait(_START)

    def keep(self, owner: str, turn_id: str, timings: Timings, status: str, is_local: bool) -> None:
        """Keep the figures of a turn, new or changed. Does nothing after `close`."""
        if self._closing.is_set():
            return
        row = Row(turn_id, datetime.now(UTC), _hash(owner), is_local, status, copy(timings))
        with self._lock:
            if old := self._rows.get(turn_id):
                row = replace(row, at=old.at)
            self._rows[turn_id] = row
            if len(self._rows) > _WAITING:
                del self._rows[next(iter(self._rows))]
        self._wake.set()

    def patience(self, owner: str) -> float:
        """The factor by which this user's waits are longer; 1.0: nobody has cut this user off."""
        return self._patience.get(_hash(owner), 1.0)

    def set_patience(self, owner: str, factor: float) -> None:
        """Keep that factor. Does nothing after `close`."""
        user = _hash(owner)
        with self._lock:
            if self._closing.is_set() or self._patience.get(user, 1.0) == factor:
                return
            if factor == 1.0:  # as most users have, and all programs without a cookie
                del self._patience[user]
            else:
                self._patience[user] = factor
            self._unsaved.add(user)
        self._wake.set()

    def turns(self, is_local: bool | None = None) -> list[Row]:
        """What was kept so far, oldest first; with `is_local`, what was, or was not, held on this computer.

        Waits for the disk.
        """
        # Before the file is read: what waits now may be in it then, and is never in neither.
        with self._lock:
            waiting = dict(self._rows)
        try:
            rows = {row.id: row for row in read(self._path)} if self._path else {}
        except InvalidSetting:
            rows = {}
        for row in waiting.values():
            rows[row.id] = replace(row, at=rows[row.id].at) if row.id in rows else row
        return [row for row in rows.values() if is_local is None or row.is_local is is_local]

    def close(self) -> None:
        """Write what was kept, for as long as 2 s, and let go of the file."""
        self._closing.set()
        self._wake.set()
        if self._path:
            self._writer.join(_END)
            if self._rows and not self._failed:
                logger.warning("the figures of %d turns were not written in time", len(self._rows))

    # In the writer's thread.

    def _write_on(self) -> None:
        pause = _PAUSE
        while True:
            closing = self._closing.is_set()
            self._wake.clear()
            while (written := self._write()) and len(self._rows) > _BATCH:
                pass
            self._tried.set()
            if closing:
                return
            pause = _PAUSE if written else min(2 * pause, _LONGEST_PAUSE)
            self._closing.wait(pause)
            if written and not self._closing.is_set():
                self._wake.wait()

    def _write(self) -> bool:
        """Write what waits; False: it waits on."""
        assert self._path is not None
        with self._lock:
            rows = list(islice(self._rows.values(), _BATCH))
            users = {user: self._patience.get(user) for user in self._unsaved}
        try:
            with closing(_open(self._path)) as file, file:
                _insert(file, rows, users)
                kept = {} if self._loaded else dict(file.execute("SELECT * FROM users"))
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                logger.warning(
                    "the figures of turns wait in memory, because %s cannot be used (%s); "
                    "if it stays so, move it away, or choose another folder with --data",
                    self._path,
                    error,
                )
            self._failed = True
            return False
        with self._lock:
            for row in rows:
                if self._rows.get(row.id) is row:
                    del self._rows[row.id]
            self._unsaved -= {user for user in users if self._patience.get(user) == users[user]}
            new = {user: factor for user, factor in kept.items() if user not in users}
            self._patience = new | self._patience
        self._loaded = True
        if self._failed:
            logger.info("%s can be used again, and the figures are in it", self._path)
        self._failed = False
        return True


def read(path: Path, is_local: bool | None = None) -> list[Row]:
    """The turns in a file, oldest first, as `TurnLog.turns`; none where there is no file.

    A row that cannot be read is left out, and the program's log says so.

    Raises:
        InvalidSetting: the file cannot be read.
    """
    try:
        if not path.exists():
            return []
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=_BUSY, uri=True)) as file:
            file.text_factory = lambda data: data.decode(errors="replace")
            _version(file)
            found = file.execute(
                "SELECT id, at, owner, here, status, receipt FROM turns "
                "WHERE :here IS NULL OR here = :here ORDER BY number",
                {"here": is_local},
            ).fetchall()
    except (sqlite3.Error, OSError) as error:
        raise InvalidSetting(f"the figures of turns in {path} cannot be read: {error}") from error
    rows, bad = [], 0
    for turn_id, at, owner, was_local, status, text in found:
        try:
            timings = _TIMINGS.validate_json(text)
            begun = datetime.fromisoformat(at)
        except (ValueError, TypeError):
            bad += 1
        else:
            rows.append(Row(turn_id, begun, owner, bool(was_local), status, timings))
    if bad:
        logger.warning(
            "%d of %d turns in %s cannot be read and do not count", bad, len(found), path
        )
    return rows


def _open(path: Path) -> sqlite3.Connection:
    """The file, with its tables. Opened for each write: it may have been moved away or made anew."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = sqlite3.connect(path, timeout=_BUSY)
    try:
        if not _version(file):
            file.executescript(_TABLES)
    except sqlite3.Error:
        file.close()
        raise
    return file


def _version(file: sqlite3.Connection) -> int:
    version: int = file.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise sqlite3.DatabaseError("a newer Duologue has written it")
    return version


def _insert(
    file: sqlite3.Connection, rows: Sequence[Row], users: Mapping[str, float | None]
) -> None:
    file.executemany(
        "INSERT INTO turns (id, at, owner, here, status, receipt) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET status = excluded.status, receipt = excluded.receipt",
        [
            (
                row.id,
                row.at.isoformat(timespec="milliseconds"),
                row.owner,
                row.is_local,
                row.status,
                json.dumps(asdict(row.timings)),
            )
            for row in rows
        ],
    )
    file.executemany(
        "DELETE FROM users WHERE owner = ?",
        [(user,) for user, factor in users.items() if factor is None],
    )
    file.executemany(
        "INSERT OR REPLACE INTO users VALUES (?, ?)",
        [(user, factor) for user, factor in users.items() if factor is not None],
    )


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
        timings = [row.timings for row in rows if row.timings.pause or row.timings.cut]
        whole = [each for each in timings if each.cut != "resumed"]
        ends = [r.sent if r.played is None else r.played for r in whole]
        delays = [end for end in ends if end is not None]
        factors = [each.pause.factor for each in timings if each.pause]
        median, most = np.percentile(delays, (50, 95)) if delays else (0.0, 0.0)
        return cls(
            len(whole),
            (float(median), float(most)) if delays else None,
            sum(bool(each.cut) for each in timings),
            sum(each.drops for each in timings) / max(1, len(whole)),
            fmean(factors) if factors else None,
        )
