"""What became of each film and of each result: one SQLite file that several workers share.

A film is a row for each bundle that answers it, so that each is answered once by each bundle. A result is a row, too,
so that each is stored on its own. A row that a worker has in hand names its owner; an owner whose lock file is free is
gone, and its rows are free again. Nothing depends on clocks agreeing, or on a clock that only moves forwards.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import InputError, ResourceError
from .objects import InstanceReference
from .rows import FilmRow, FilmState, ResultEntry, ResultRow, ResultState

LONGEST_BUSY = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS films(
  source TEXT, bundle TEXT, study TEXT, state TEXT, code TEXT DEFAULT '', reason TEXT DEFAULT '', created TEXT,
  updated REAL, tries INT DEFAULT 0, due REAL DEFAULT 0, owner TEXT DEFAULT '', label TEXT DEFAULT '',
  flagged INT DEFAULT 0, PRIMARY KEY(source, bundle));
CREATE TABLE IF NOT EXISTS results(
  uid TEXT PRIMARY KEY, source TEXT, bundle TEXT, kind TEXT, sop_class TEXT, study TEXT, series TEXT, state TEXT,
  code TEXT DEFAULT '', reason TEXT DEFAULT '', updated REAL, tries INT DEFAULT 0, due REAL DEFAULT 0,
  owner TEXT DEFAULT '');
CREATE TABLE IF NOT EXISTS marks(name TEXT PRIMARY KEY, value TEXT);
CREATE INDEX IF NOT EXISTS films_by_state ON films(state, due);
CREATE INDEX IF NOT EXISTS films_by_study ON films(study);
CREATE INDEX IF NOT EXISTS results_by_state ON results(state, due);
CREATE INDEX IF NOT EXISTS results_by_source ON results(source);
"""


class Ledger:
    """The ledger in `folder`; one object serves all threads of a process.

    Raises InputError for a ledger of a newer pellucid, ResourceError where it cannot be opened.
    """

    def __init__(self, folder: Path, bundle: str = "") -> None:
        self.bundle = bundle
        self._lock = threading.RLock()
        self._owners = folder / "workers"
        self._owners.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._db = sqlite3.connect(
                folder / "ledger.sqlite", check_same_thread=False, isolation_level=None, timeout=LONGEST_BUSY
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # What is forgotten is overwritten with zeros: deleted rows would stay readable in the file.
            self._db.execute("PRAGMA secure_delete=ON")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version > 1:
                raise InputError(f"The ledger in {folder} was written by a newer pellucid: upgrade pellucid.")
            self._db.executescript(_SCHEMA)
            self._db.execute("PRAGMA user_version=1")
        except sqlite3.Error as error:
            raise ResourceError(f"The ledger in {folder} cannot be opened ({error}).") from None
        self.owner = ""
        self._owner_file: IO[str] | None = None

    def close(self) -> None:
        """Close the file and give up ownership."""
        with self._lock:
            self._db.close()
        if self._owner_file is not None:
            self._owner_file.close()

    def register(self) -> None:
        """Become a worker whose rows are its own as long as this process lives."""
        self.owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        path = self._owners / self.owner
        self._owner_file = path.open("w")
        fcntl.flock(self._owner_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.free_rows_of_the_gone()

    def free_rows_of_the_gone(self) -> int:
        """Free what workers had in hand that are gone; returns how many workers that were."""
        gone = 0
        for path in self._owners.iterdir():
            if path.name != self.owner and _is_free(path):
                for table in ("films", "results"):
                    self._do(f"UPDATE {table} SET owner='' WHERE owner=?", path.name)
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def _do(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _together(self, *, synced: bool = True) -> Iterator[None]:
        """One step. What is not `synced` outlives a killed process; a loss of power may undo it, and nothing before."""
        with self._lock:
            if not synced:
                self._db.execute("PRAGMA synchronous=NORMAL")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            finally:
                if not synced:
                    self._db.execute("PRAGMA synchronous=FULL")

    # Marks

    def mark(self, name: str, value: object = None) -> str | None:
        """Set a mark, unless `value` is None, and return it."""
        if value is not None:
            self._do("INSERT INTO marks VALUES(?, ?) ON CONFLICT DO UPDATE SET value=excluded.value", name, str(value))
        rows = self._do("SELECT value FROM marks WHERE name=?", name)
        return str(rows[0][0]) if rows else None

    # Films

    def film_state(self, source: str) -> FilmState | None:
        """The state of a film for this bundle; None for one never seen."""
        rows = self._do("SELECT state FROM films WHERE source=? AND bundle=?", source, self.bundle)
        return rows[0][0] if rows else None

    def begin(self, source: str, study: str) -> bool:
        """Make a film wait that was never seen, or is a dead letter; returns whether it waits newly."""
        with self._together():
            state = self.film_state(source)
            if state is None:
                self._insert(source, study, "waiting")
            elif state == "dead":
                sql = "UPDATE films SET state='waiting', tries=0, due=0 WHERE source=? AND bundle=?"
                self._do(sql, source, self.bundle)
        return state in (None, "dead")

    def leave_out(self, source: str, study: str, code: str) -> None:
        """Record a film that the rules leave out."""
        with self._together():
            if self.film_state(source) is None:
                self._insert(source, study, "left-out", code)

    def _insert(self, source: str, study: str, state: FilmState, code: str = "") -> None:
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0).isoformat()
        self._do(
            "INSERT INTO films(source, bundle, study, state, code, created, updated) VALUES(?, ?, ?, ?, ?, ?, ?)",
            source, self.bundle, study, state, code, now, time.time(),
        )  # fmt: skip

    def claim_film(self, longest_pause: float) -> FilmRow | None:
        """Take the oldest film that is due, as this worker's own."""
        now = time.time()
        with self._together(synced=False):
            # A row due further ahead than any pause was written before the clock was set back.
            rows = self._do(
                "SELECT source, study, created, tries FROM films WHERE state='waiting' AND bundle=? AND owner='' "
                "AND (due<=? OR due>?) ORDER BY due, updated LIMIT 1",
                self.bundle, now, now + longest_pause,
            )  # fmt: skip
            if not rows:
                return None
            self._do("UPDATE films SET owner=? WHERE source=? AND bundle=?", self.owner, rows[0][0], self.bundle)
        return FilmRow(*rows[0])

    def hand_over(self) -> None:
        """Films that waited for an earlier bundle wait for it no longer; the spool still has them for this one."""
        self._do(
            "UPDATE films SET state='left-out', code='other-bundle' WHERE state='waiting' AND owner='' AND bundle<>?",
            self.bundle,
        )

    def answer(self, film: FilmRow, label: str, flagged: bool, results: Iterable[ResultEntry]) -> bool:
        """In one step: the film is answered, and this became of its results. False for a film that was forgotten."""
        with self._together():
            if self.film_state(film.source) is None:
                return False
            for result in results:
                self.add_result(film.source, result)
            self._do(
                "UPDATE films SET state='answered', label=?, flagged=?, owner='', updated=? "
                "WHERE source=? AND bundle=?",
                label, int(flagged), time.time(), film.source, self.bundle,
            )  # fmt: skip
        return True

    def add_result(self, source: str, result: ResultEntry) -> None:
        """A result, unless it is known already."""
        now, reference = time.time(), result.reference
        self._do(
            "INSERT OR IGNORE INTO results"
            "(uid, source, bundle, kind, sop_class, study, series, state, code, updated, tries, due) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            reference.uid, source, self.bundle, result.kind, reference.sop_class, reference.study, reference.series,
            result.state, result.code, now, result.tries, now + result.pause if result.pause else 0,
        )  # fmt: skip

    def end_film(self, source: str, state: FilmState, code: str, reason: str = "") -> None:
        """The film is left out, or a dead letter."""
        self._do(
            "UPDATE films SET state=?, code=?, reason=?, owner='', updated=? WHERE source=? AND bundle=?",
            state, code, reason, time.time(), source, self.bundle,
        )  # fmt: skip

    def film_later(self, film: FilmRow, pause: float, code: str) -> None:
        """Try a film again after a pause."""
        self._do(
            "UPDATE films SET tries=tries+1, due=?, code=?, owner='' WHERE source=? AND bundle=?",
            time.time() + pause, code, film.source, self.bundle,
        )  # fmt: skip

    def earlier_reports(self, source: str) -> dict[str, list[InstanceReference]]:
        """The stored reports of other bundles about a film that no later one has replaced, by kind."""
        rows = self._do(
            "SELECT kind, sop_class, uid, study, series FROM results WHERE source=? AND bundle<>? AND state='stored' "
            "AND kind IN ('sr', 'region') ORDER BY updated DESC",
            source, self.bundle,
        )  # fmt: skip
        found: dict[str, list[InstanceReference]] = {}
        for kind, *reference in rows:
            found.setdefault(kind, [InstanceReference(*reference)])
        return found

    def quiet_studies(self, seconds: float) -> list[tuple[str, list[str]]]:
        """Studies with flagged films and no film answered lately: (study, its flagged films)."""
        now = time.time()
        rows = self._do(
            "SELECT study, source FROM films WHERE bundle=? AND flagged=1 AND state='answered' AND study NOT IN "
            "(SELECT study FROM films WHERE bundle=? AND (state='waiting' OR (updated>? AND updated<=?))) "
            "ORDER BY study, source",
            self.bundle, self.bundle, now - seconds, now,
        )  # fmt: skip
        studies: dict[str, list[str]] = {}
        for study, source in rows:
            studies.setdefault(study, []).append(source)
        return list(studies.items())

    # Results

    def has_result(self, uid: str) -> bool:
        """Whether a result is known."""
        return bool(self._do("SELECT 1 FROM results WHERE uid=?", uid))

    def claim_results(self, most: int, longest_pause: float) -> list[ResultRow]:
        """Take results that are due, as this worker's own."""
        now = time.time()
        with self._together(synced=False):
            rows = self._do(
                "SELECT uid, source, kind, sop_class, tries FROM results WHERE state='waiting' AND owner='' "
                "AND (due<=? OR due>?) ORDER BY due, updated LIMIT ?",
                now, now + longest_pause, most,
            )  # fmt: skip
            for row in rows:
                self._do("UPDATE results SET owner=? WHERE uid=?", self.owner, row[0])
        return [ResultRow(*row) for row in rows]

    def end_result(self, uid: str, state: ResultState, code: str = "", reason: str = "") -> None:
        """The result is stored, or a dead letter."""
        self._do(
            "UPDATE results SET state=?, code=?, reason=?, owner='', updated=? WHERE uid=?",
            state, code, reason, time.time(), uid,
        )  # fmt: skip

    def end_stored(self, uids: Sequence[str]) -> None:
        """These results are stored."""
        if uids:
            with self._together():
                for uid in uids:
                    self.end_result(uid, "stored")

    def result_later(self, uid: str, pause: float, code: str, *, counted: bool = True) -> None:
        """Try a result again after a pause; without `counted` the attempt does not count."""
        self._do(
            "UPDATE results SET tries=tries+?, due=?, code=?, owner='' WHERE uid=?",
            int(counted), time.time() + pause, code, uid,
        )  # fmt: skip

    def knows(self, uid: str) -> bool:
        """Whether a film or a result with this UID is known, or one of a study with it."""
        films = "SELECT 1 FROM films WHERE source=? OR study=?"
        results = "SELECT 1 FROM results WHERE uid=? OR study=?"
        return bool(self._do(f"{films} UNION ALL {results} LIMIT 1", uid, uid, uid, uid))

    # Overview and care

    def counts(self) -> dict[str, dict[str, int]]:
        """How many films and results are in each state."""
        return {
            table: dict(self._do(f"SELECT state, COUNT(*) FROM {table} GROUP BY state"))
            for table in ("films", "results")
        }

    def codes(self) -> list[tuple[str, str, str, int]]:
        """(films or results, state, code, how many) of what was left out, is dead, or waits for another attempt."""
        found = []
        for table in ("films", "results"):
            sql = f"SELECT state, code, COUNT(*) FROM {table} WHERE code<>'' GROUP BY state, code ORDER BY 1, 2"
            found += [(table, *row) for row in self._do(sql) if row[0] not in ("answered", "stored")]
        return found

    def dead(self) -> list[tuple[str, str, str, str]]:
        """(film or result, UID, code, reason) of each dead letter."""
        films = self._do("SELECT 'film', source, code, reason FROM films WHERE state='dead' ORDER BY updated")
        return films + self._do("SELECT 'result', uid, code, reason FROM results WHERE state='dead' ORDER BY updated")

    def revive(self, uids: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """Make dead letters wait again, all or those named; returns the films and the results."""
        with self._together():
            films = [r[0] for r in self._do("SELECT source FROM films WHERE state='dead'") if not uids or r[0] in uids]
            results = [r[0] for r in self._do("SELECT uid FROM results WHERE state='dead'") if not uids or r[0] in uids]
            for source in films:
                self._do("UPDATE films SET state='waiting', tries=0, due=0 WHERE source=? AND state='dead'", source)
            for uid in results:
                self._do("UPDATE results SET state='waiting', tries=0, due=0 WHERE uid=? AND state='dead'", uid)
        return films, results

    def forget(self, uids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Remove films (by their own UID or their study's) with their results; returns the UIDs of both.

        No trace is left in the files of the ledger.
        """
        films: list[str] = []
        results: list[str] = []
        with self._together():
            for uid in uids:
                films += [r[0] for r in self._do("SELECT source FROM films WHERE source=? OR study=?", uid, uid)]
                results += [
                    r[0] for r in self._do("SELECT uid FROM results WHERE source=? OR study=? OR uid=?", uid, uid, uid)
                ]
                self._do("DELETE FROM results WHERE source=? OR study=? OR uid=?", uid, uid, uid)
                self._do("DELETE FROM films WHERE source=? OR study=?", uid, uid)
        self._do("PRAGMA wal_checkpoint(TRUNCATE)")
        return films, results

    def expired(self, days: float) -> list[str]:
        """Films that ended more than `days` ago and of which nothing waits, and studies of which only results are left.

        When the films are forgotten, ask again for their studies.
        """
        before = time.time() - days * 86400
        ended = "HAVING MAX(updated)<? AND SUM(state='waiting')=0"
        waiting = "SELECT source FROM results WHERE state='waiting'"
        films = self._do(f"SELECT source FROM films GROUP BY source {ended} AND source NOT IN ({waiting})", before)
        alone = "WHERE study NOT IN (SELECT study FROM films)"
        studies = self._do(f"SELECT study FROM results {alone} GROUP BY study {ended}", before)
        return [row[0] for row in (*films, *studies)]


def _is_free(path: Path) -> bool:
    """Whether no living process holds the lock file."""
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return False
    return True
