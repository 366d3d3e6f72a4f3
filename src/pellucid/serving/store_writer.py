"""Writes to the store's database from one thread, and gives up nothing while the database is away.

Answers wait in memory, bounded in number, and are tried again with growing pauses. With a spool file they move there as
soon as the database fails, and from there into the database when it is back, also after a restart.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from . import logs
from .problems import Problem, busy
from .store_tables import LATER_COLUMNS, PREDICTIONS, REFUSALS

Row = dict[str, Any]
Call = Callable[[sql.Connection], Any]

MOST_WAITING = 10_000
BATCH = 256
MOMENT = 0.2
"""Seconds to gather rows for, so that many share one transaction."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
SECONDS_A_DAY = 86_400


def no_store() -> Problem:
    """The refusal of what needs the store while it does not answer."""
    return busy("The server's store does not work at the moment. Tell whoever runs it.", after=30, code="store")


class Writer:
    """The thread. `daily` is called at the start and once a day, to remove what is old."""

    def __init__(self, engine: sql.Engine, spool: Path | None, daily: Call) -> None:
        self._engine, self._spool, self._daily = engine, spool, daily
        self._changed, self._spooling = threading.Condition(), threading.Lock()
        self._rows: deque[Row] = deque()
        self._calls: deque[tuple[Call, Future[Any]]] = deque()
        self._refusals: dict[tuple[int, str], int] = {}
        self._closing, self._failed = False, 0
        self._retry_at, self._daily_at = 0.0, 0.0
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="pellucid-store", daemon=True)
        self._thread.start()

    def keep(self, row: Row) -> bool:
        """Take an answer; False when too many wait already."""
        with self._changed:
            if len(self._rows) < MOST_WAITING and not self._closing:
                self._rows.append(row)
                if len(self._rows) == 1:  # otherwise the thread knows of some and takes them together
                    self._changed.notify()
                return True
        if self._to_spool([row]):
            return True
        self.lost += 1
        return False

    def refused(self, day: int, code: str) -> None:
        """Count a refusal; it is written with the next answer."""
        with self._changed:
            self._refusals[day, code] = self._refusals.get((day, code), 0) + 1

    def call(self, work: Call) -> Future[Any]:
        """Do `work` in a transaction, after all answers that were taken so far. Its error is Problem 503."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing or len(self._calls) >= MOST_WAITING:
                future.set_exception(no_store())
            else:
                self._calls.append((work, future))
                self._changed.notify()
        return future

    def close(self, seconds: float) -> None:
        """Write what waits within `seconds`; the rest goes to the spool, or is lost and said so in the log."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            rows, self._rows = self._rows, deque()
            calls, self._calls = self._calls, deque()
        for _, future in calls:
            _refuse(future)
        if rows and not self._to_spool(list(rows)):
            self.lost += len(rows)
            logs.event("answers lost", level=logging.ERROR, count=len(rows))

    def _run(self) -> None:
        while True:
            try:
                if self._turn():
                    self._engine.dispose()
                    return
            except Exception as error:
                # Whatever happens, the next answers must find a writer.
                logs.event("store failed", level=logging.ERROR, error=error)
                time.sleep(FIRST_PAUSE)

    def _turn(self) -> bool:
        """Wait for work and do it; True once everything is done and the store is closing."""
        with self._changed:
            self._changed.wait_for(self._due, None if not self._rows else max(0.0, self._retry_at - time.monotonic()))
            self._changed.wait_for(lambda: bool(self._calls) or self._closing, MOMENT)
            calls, self._calls = list(self._calls), deque()
            closing = self._closing
        written = self._write_rows(hurried=bool(calls) or closing)
        for work, future in calls:
            if written:
                self._do(work, future)
            else:
                _refuse(future)
        if time.monotonic() >= self._daily_at and written and (not closing or self._daily_at == 0.0):
            self._daily_at = time.monotonic() + SECONDS_A_DAY
            self._do(self._daily, Future())
        return closing and not self._calls

    def _due(self) -> bool:
        ready = bool(self._rows) and time.monotonic() >= self._retry_at
        return ready or bool(self._calls) or self._closing or self._daily_at == 0.0

    def _write_rows(self, *, hurried: bool) -> bool:
        """Write all waiting rows and what is spooled; False when the database does not take them."""
        if self._failed and not hurried and time.monotonic() < self._retry_at:
            return False
        try:
            self._write_refusals()
            while self._rows:
                batch = list(islice(self._rows, BATCH))
                self._insert(batch)
                self._written(len(batch))
            self._from_spool()
        except sql.exc.SQLAlchemyError as error:
            self._pause(error)
            return False
        self._failed, self._retry_at = 0, 0.0
        return True

    def _written(self, count: int) -> None:
        with self._changed:
            for _ in range(min(count, len(self._rows))):  # none are left once `close` has taken them
                self._rows.popleft()

    def _pause(self, error: Exception) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._failed)
        self._failed += 1
        self._retry_at = time.monotonic() + pause
        logs.event("store failed", level=logging.ERROR, error=error, waiting=len(self._rows), again_in=pause)
        rows = list(self._rows)
        if rows and self._to_spool(rows):
            self._written(len(rows))

    def _insert(self, rows: list[Row]) -> None:
        """Insert rows; those that the database refuses for what they are, and not for its state, are left out."""
        try:
            with self._engine.begin() as connection:
                connection.execute(PREDICTIONS.insert(), rows)
        except (sql.exc.IntegrityError, sql.exc.DataError) as error:
            if len(rows) == 1:
                logs.event("answer not stored", level=logging.ERROR, error=error)
                return
            for row in rows:
                self._insert([row])

    def _write_refusals(self) -> None:
        with self._changed:
            counted, self._refusals = self._refusals, {}
        if not counted:
            return
        try:
            with self._engine.begin() as connection:
                _add_refusals(connection, counted)
        except Exception:
            with self._changed:
                for key, count in counted.items():
                    self._refusals[key] = self._refusals.get(key, 0) + count
            raise

    def _do(self, work: Call, future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        try:
            with self._engine.begin() as connection:
                result = work(connection)
        except Exception as error:
            logs.event("store failed", level=logging.ERROR, error=error)
            future.set_exception(no_store())
        else:
            future.set_result(result)

    def _to_spool(self, rows: list[Row]) -> bool:
        """Append rows to the spool file; whether they are there."""
        if self._spool is None:
            return False
        lines = "".join(json.dumps({**r, "features": _text(r["features"])}) + "\n" for r in rows)
        try:
            with self._spooling, self._spool.open("a", encoding="utf-8") as file:
                file.write("\n" + lines)  # behind a line that broke off
        except OSError as error:
            logs.event("spool failed", level=logging.ERROR, error=error)
            return False
        return True

    def _from_spool(self) -> None:
        """Move spooled rows into the database; those that are there already are passed over."""
        if self._spool is None or not self._spool.is_file():
            return
        with self._spooling, self._spool.open(encoding="utf-8") as file:
            while lines := list(islice(file, BATCH)):
                rows = {row["id"]: row for row in map(_row, lines) if row is not None}
                with self._engine.connect() as connection:
                    known = sql.select(PREDICTIONS.c.id).where(PREDICTIONS.c.id.in_(list(rows)))
                    present = set(connection.execute(known).scalars())
                missing = [row for identity, row in rows.items() if identity not in present]
                if missing:
                    self._insert(missing)
            self._spool.unlink()


def _text(features: bytes | None) -> str | None:
    return None if features is None else base64.b64encode(features).decode()


def _row(line: str) -> Row | None:
    """A row of the spool; None for a line that a full disk or a killed process broke off."""
    try:
        row: Row = json.loads(line)
        # A row that an older version spooled lacks the later columns.
        return {
            **dict.fromkeys(LATER_COLUMNS),
            **row,
            "features": None if row["features"] is None else base64.b64decode(row["features"]),
        }
    except (ValueError, KeyError, TypeError):
        return None


def _refuse(future: Future[Any]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(no_store())


def _add_refusals(connection: sql.Connection, counted: dict[tuple[int, str], int]) -> None:
    for (day, code), count in counted.items():
        same = (REFUSALS.c.day == day) & (REFUSALS.c.code == code)
        if connection.execute(REFUSALS.update().where(same).values(count=REFUSALS.c.count + count)).rowcount == 0:
            connection.execute(REFUSALS.insert(), {"day": day, "code": code, "count": count})
