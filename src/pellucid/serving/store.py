"""What is kept of the answers: results and features, never images unless asked; in SQLite, or by any SQLAlchemy URL.

Rows are written by one thread of their own, in batches, so that no request waits for the disk. Nothing that a client
named is kept: no file name, no address.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sql

from ..errors import InputError, ResourceError
from ..files import write_whole
from ..images.formats import FORMATS
from . import logs
from .problems import Problem, busy
from .settings import ServerSettings

if TYPE_CHECKING:
    from .answers import Answer
    from .registry import Registry

SECONDS_A_DAY = 86_400
MOST_WAITING = 10_000
BATCH = 256
MOMENT = 0.2
"""Seconds to gather rows for, so that many share one transaction."""

TABLES = sql.MetaData()
PREDICTIONS = sql.Table(
    "predictions",
    TABLES,
    sql.Column("id", sql.String(32), primary_key=True),
    sql.Column("time", sql.Float, nullable=False, index=True),
    sql.Column("model", sql.String(64), nullable=False),
    sql.Column("checksum", sql.String(64), nullable=False),
    sql.Column("latency_ms", sql.Float, nullable=False),
    sql.Column("label", sql.String(255), nullable=False),
    sql.Column("confidence", sql.Float),
    sql.Column("output", sql.Float),
    sql.Column("outside_score", sql.Float),
    sql.Column("outside", sql.Boolean),
    sql.Column("features", sql.LargeBinary),
    sql.Column("image", sql.String(64)),
)
KEEP = PREDICTIONS.insert()
FEEDBACK = sql.Table(
    "feedback",
    TABLES,
    sql.Column("prediction", sql.String(32), primary_key=True),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("correct", sql.Boolean, nullable=False),
    sql.Column("label", sql.String(255)),
    sql.Column("comment", sql.String(500)),
)
REFUSALS = sql.Table(
    "refusals",
    TABLES,
    sql.Column("day", sql.Integer, primary_key=True),
    sql.Column("code", sql.String(64), primary_key=True),
    sql.Column("count", sql.Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What someone says of one answer."""

    prediction: str
    correct: bool
    label: str | None
    comment: str | None


def open_store(settings: ServerSettings, registry: Registry) -> Store | None:
    """The store of the settings: a URL, a file, by default a file in the cache folder; None for "none".

    Raises InputError for a URL that cannot be opened, ResourceError when its place cannot be written.
    """
    if settings.store == "none":
        return None
    return Store(_url(settings.store, registry), keep_images=settings.keep_images, days=settings.store_days)


def _url(given: str | None, registry: Registry) -> str:
    if given is not None and "://" in given:
        return given
    path = Path(given) if given is not None else _default_file(registry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(_no_place(path, error.strerror or "")) from error
    return f"sqlite:///{path}"


def _no_place(path: Path, reason: str) -> str:
    return f"The store {path} cannot be written ({reason}). Choose another with --store FILE, or --store none."


def _default_file(registry: Registry) -> Path:
    served = registry.find()
    place = hashlib.sha256(str(served.path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    cache = os.environ.get("PELLUCID_CACHE")
    root = Path(cache) if cache else Path.home() / ".cache" / "pellucid"
    return root / "serving" / f"{served.name}-{place}.sqlite"


class Store:
    """Results of one server. `keep` and `refused` return at once; `feedback` waits until it is written."""

    def __init__(self, url: str, *, keep_images: Path | None = None, days: int = 365) -> None:
        self.keep_images, self._days = keep_images, days
        if keep_images is not None:
            _make_folder(keep_images)
        self.engine = _engine(url)
        self._work: queue.Queue[tuple[Callable[[sql.Connection], Any], Future[Any]] | None] = queue.Queue(MOST_WAITING)
        self._hurry = threading.Event()
        self.failures = 0
        self._refusals: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="pellucid-store", daemon=True)
        self._thread.start()

    def keep(self, answer: Answer, identity: str, data: bytes, seconds: float, outside: dict[str, Any] | None) -> None:
        """Keep one answer, and its image where images are kept; dropped when more than 10,000 wait."""
        p = answer.prediction
        features = None if answer.features is None else answer.features.astype(np.float16).tobytes()
        row = {
            "id": identity,
            "time": time.time(),
            "model": answer.served.name,
            "checksum": answer.served.checksum,
            "latency_ms": 1000 * seconds,
            "label": p.label,
            "confidence": p.confidence,
            "output": p.output,
            "outside_score": outside["score"] if outside else None,
            "outside": outside["flagged"] if outside else None,
            "features": features,
            "image": None,
        }
        if self.keep_images is not None:
            row["image"] = identity + FORMATS[answer.image.format].extensions[0]
        kept = data if self.keep_images is not None else b""

        def write(connection: sql.Connection) -> None:
            if row["image"] is not None and self.keep_images is not None:
                write_whole(self.keep_images / str(row["image"]), kept)
            connection.execute(KEEP, row)

        self._put(write, urgent=False)

    def refused(self, code: str) -> None:
        """Count a refusal of today."""
        day = int(time.time() // SECONDS_A_DAY)
        with self._lock:
            self._refusals[day, code] = self._refusals.get((day, code), 0) + 1

    def feedback(self, given: Feedback) -> Future[bool]:
        """Keep feedback, in place of earlier feedback on the same answer; False for an answer that is not known."""

        def write(connection: sql.Connection) -> bool:
            known = connection.execute(sql.select(PREDICTIONS.c.id).where(PREDICTIONS.c.id == given.prediction)).first()
            if known is None:
                return False
            connection.execute(FEEDBACK.delete().where(FEEDBACK.c.prediction == given.prediction))
            row = {"prediction": given.prediction, "time": time.time(), "correct": given.correct}
            connection.execute(FEEDBACK.insert(), {**row, "label": given.label, "comment": given.comment})
            return True

        return self._put(write)

    def flush(self) -> None:
        """Wait until all that was handed over is written."""
        self._put(lambda connection: None).result()

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A connection to read with, once all that was handed over is written. Raises Problem 503 when it is lost."""
        try:
            self.flush()
            with self.engine.connect() as connection:
                yield connection
        except sql.exc.SQLAlchemyError as error:
            logs.event("store not read", level=logging.ERROR, error=error)
            raise _no_store() from None

    def close(self) -> None:
        """Write what waits and let go of the database."""
        self._hurry.set()
        self._work.put(None)
        self._thread.join()
        self.engine.dispose()

    def _put(self, write: Callable[[sql.Connection], Any], *, urgent: bool = True) -> Future[Any]:
        """Hand over to the writing thread, which waits a moment for more unless something is urgent."""
        future: Future[Any] = Future()
        if urgent:
            self._hurry.set()
        try:
            self._work.put_nowait((write, future))
        except queue.Full:
            self.failures += 1
            future.set_exception(_no_store())
        return future

    def _write(self) -> None:
        """The writing thread: whatever waits, in one transaction."""
        self._prune()
        last_pruned = time.monotonic()
        while True:
            batch = [self._work.get()]
            self._hurry.wait(MOMENT)
            self._hurry.clear()
            while len(batch) < BATCH and batch[-1] is not None and not self._work.empty():
                batch.append(self._work.get())
            self._commit([entry for entry in batch if entry is not None])
            if batch[-1] is None:
                return
            if time.monotonic() - last_pruned > SECONDS_A_DAY:
                self._prune()
                last_pruned = time.monotonic()

    def _commit(self, batch: list[tuple[Callable[[sql.Connection], Any], Future[Any]]]) -> None:
        with self._lock:
            refusals, self._refusals = self._refusals, {}
        results: list[Any] = []
        try:
            with self.engine.begin() as connection:
                _add_refusals(connection, refusals)
                results = [write(connection) for write, _ in batch]
        except Exception as error:
            # A full disk or a lost database must not take the server with it.
            if len(batch) > 1:
                for entry in batch:
                    self._commit([entry])
                return
            self.failures += len(batch)
            logs.event("store failed", level=logging.ERROR, error=error)
            for _, future in batch:
                future.set_exception(_no_store())
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _prune(self) -> None:
        """Remove what is older than the days that are kept, images too."""
        oldest = time.time() - self._days * SECONDS_A_DAY
        old = PREDICTIONS.c.time < oldest
        try:
            with self.engine.begin() as connection:
                if self.keep_images is not None:
                    for (name,) in connection.execute(sql.select(PREDICTIONS.c.image).where(old)):
                        if name:
                            (self.keep_images / name).unlink(missing_ok=True)
                gone = sql.select(PREDICTIONS.c.id).where(old)
                connection.execute(FEEDBACK.delete().where(FEEDBACK.c.prediction.in_(gone)))
                connection.execute(PREDICTIONS.delete().where(old))
                connection.execute(REFUSALS.delete().where(REFUSALS.c.day < int(oldest // SECONDS_A_DAY)))
        except Exception as error:
            logs.event("store not pruned", level=logging.ERROR, error=error)


def _no_store() -> Problem:
    return busy("The server's store does not work at the moment. Tell whoever runs it.", after=30, code="store")


def _add_refusals(connection: sql.Connection, counted: dict[tuple[int, str], int]) -> None:
    for (day, code), count in counted.items():
        same = (REFUSALS.c.day == day) & (REFUSALS.c.code == code)
        if connection.execute(REFUSALS.update().where(same).values(count=REFUSALS.c.count + count)).rowcount == 0:
            connection.execute(REFUSALS.insert(), {"day": day, "code": code, "count": count})


def _engine(url: str) -> sql.Engine:
    """A checked engine with its tables. Raises InputError or ResourceError that quotes no password."""
    try:
        parsed = sql.make_url(url)
        engine = sql.create_engine(parsed, pool_pre_ping=True)
    except (sql.exc.ArgumentError, sql.exc.NoSuchModuleError):
        raise InputError(
            "--store is neither a file nor a database URL such as postgresql+psycopg://user@host/name."
        ) from None
    except ModuleNotFoundError as error:
        remedy = " Install it: pip install 'pellucid[postgresql]'." if error.name == "psycopg" else ""
        raise InputError(f"--store needs the Python package {error.name}, which is not installed.{remedy}") from None
    if parsed.get_backend_name() == "sqlite":
        sql.event.listen(engine, "connect", _tune_sqlite)
    try:
        TABLES.create_all(engine)
    except sql.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", "") or type(error).__name__).splitlines()[0]
        engine.dispose()
        shown = parsed.render_as_string(hide_password=True)
        raise ResourceError(
            f"The store {shown} cannot be used ({reason}). Choose another with --store, or --store none."
        ) from None
    return engine


def _tune_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for line in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "PRAGMA busy_timeout=5000"):
        cursor.execute(line)
    cursor.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"Images cannot be kept in {folder}: {error.strerror}. Choose another folder with --keep-images."
        raise ResourceError(message) from error
