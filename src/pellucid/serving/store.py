"""What is kept of the answers: results and features, never images unless asked; in SQLite, or by any SQLAlchemy URL.

Rows are written by one thread of their own, in batches, so that no request waits for the disk. Nothing that a client
named is kept: no file name, no address.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sql

from ..errors import ResourceError
from ..files import write_whole
from ..images.formats import FORMATS
from ..storage import cache_folder
from . import logs
from .settings import ServerSettings
from .store_tables import FEEDBACK, PREDICTIONS, REFUSALS, STATEMENT_SECONDS, connect
from .store_writer import SECONDS_A_DAY, Writer, no_store

if TYPE_CHECKING:
    from .answers import ServedAnswer
    from .registry import Registry

KEPT_NAME = re.compile(r"[0-9a-f]{32}\.[a-z]+")


@dataclass(frozen=True, slots=True)
class Feedback:
    """What someone says of one answer."""

    prediction: str
    correct: bool
    label: str | None
    comment: str | None


def open_store(settings: ServerSettings, registry: Registry) -> Store | None:
    """The store of the settings: a URL, a file, by default a file in the cache folder; None for "none".

    Answers that the database does not take wait in `settings.spool`; beside a file by default.
    Raises InputError for a URL that cannot be opened, ResourceError when its place cannot be written.
    """
    if settings.store == "none":
        return None
    if settings.store is None and cache_folder() is None:
        logs.event("no store", level=logging.WARNING, reason="the cache folder is switched off")
        return None
    kept, days = settings.keep_images, settings.store_days
    if settings.store is not None and "://" in settings.store:
        return Store(settings.store, keep_images=kept, days=days, spool=settings.spool)
    file = Path(settings.store) if settings.store is not None else _default_file(registry, cache_folder() or Path())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or ""
        message = f"The store {file} cannot be written ({reason}). Choose another with `store=`, or `store=none`."
        raise ResourceError(message) from error
    spool = settings.spool or file.with_name(f"{file.name}.spool")
    return Store(f"sqlite:///{file}", keep_images=kept, days=days, spool=spool)


def _default_file(registry: Registry, folder: Path) -> Path:
    served = registry.find()
    place = hashlib.sha256(str(served.path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return folder / "serving" / f"{served.name}-{place}.sqlite"


class Store:
    """Results of one server. `keep` and `refused` return at once; `feedback` is written when its future is done."""

    def __init__(
        self, url: str, *, keep_images: Path | None = None, days: int = 365, spool: Path | None = None
    ) -> None:
        self.keep_images, self._days = keep_images, days
        if keep_images is not None:
            _make_folder(keep_images)
        self.engine, self._closed = connect(url), False
        self._writer = Writer(self.engine, spool, self._prune)

    @property
    def lost(self) -> int:
        """How many answers could be stored nowhere."""
        return self._writer.lost

    def keep(
        self, answer: ServedAnswer, identity: str, data: bytes, seconds: float, outside: dict[str, Any] | None
    ) -> bool:
        """Keep one answer, and its image where images are kept; False when there is no room for it."""
        p = answer.prediction
        sets = None if p.decision is None or p.decision.candidates is None else list(p.decision.candidates)
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
            "image": self._keep_image(identity + FORMATS[answer.image.format].extensions[0], data),
            "predicted": p.predicted,
            "candidates": None if sets is None else json.dumps(sets),
        }
        return self._writer.keep(row)

    def _keep_image(self, name: str, data: bytes) -> str | None:
        """Write an image where images are kept; its name, or None when it is not there."""
        if self.keep_images is None:
            return None
        try:
            write_whole(self.keep_images / name, data)
        except OSError as error:
            logs.event("image not kept", level=logging.ERROR, error=error)
            return None
        return name

    def refused(self, code: str) -> None:
        """Count a refusal of today."""
        self._writer.refused(int(time.time() // SECONDS_A_DAY), code)

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

        return self._writer.call(write)

    def flush(self, seconds: float = STATEMENT_SECONDS) -> None:
        """Wait until all that was handed over is written. Raises Problem 503 when it is not within `seconds`."""
        future = self._writer.call(lambda connection: None)
        try:
            future.result(seconds)
        except FutureTimeoutError:
            future.cancel()
            raise no_store() from None

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A connection to read with, once all that was handed over is written. Raises Problem 503 when it is lost."""
        try:
            self.flush()
            with self.engine.connect() as connection:
                yield connection
            if self._closed:  # meanwhile, while the database did not answer
                self.engine.dispose()
        except sql.exc.SQLAlchemyError as error:
            logs.event("store not read", level=logging.ERROR, error=error)
            raise no_store() from None

    def close(self, seconds: float = STATEMENT_SECONDS) -> None:
        """Write what waits, within `seconds`, and leave the database; a thread that hangs in it leaves later."""
        self._closed = True
        self._writer.close(seconds)

    def _prune(self, connection: sql.Connection) -> None:
        """Remove what is older than the days that are kept, images too."""
        oldest = time.time() - self._days * SECONDS_A_DAY
        old = PREDICTIONS.c.time < oldest
        if self.keep_images is not None:
            for (name,) in connection.execute(sql.select(PREDICTIONS.c.image).where(old)):
                if name:
                    (self.keep_images / name).unlink(missing_ok=True)
            for file in self.keep_images.iterdir():
                # An image whose row never reached the database.
                if KEPT_NAME.fullmatch(file.name) and file.stat().st_mtime < oldest:
                    file.unlink(missing_ok=True)
        gone = sql.select(PREDICTIONS.c.id).where(old)
        connection.execute(FEEDBACK.delete().where(FEEDBACK.c.prediction.in_(gone)))
        connection.execute(PREDICTIONS.delete().where(old))
        connection.execute(REFUSALS.delete().where(REFUSALS.c.day < int(oldest // SECONDS_A_DAY)))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"Images cannot be kept in {folder}: {error.strerror}. Choose another folder with `keep_images=`."
        raise ResourceError(message) from error
