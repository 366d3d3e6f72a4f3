"""Results on their way to the archive.

A film's results are sent as they are made, from memory: until all are stored, or on disk, the film stays in the spool,
and a worker that is killed makes the same results again. Only what could not be stored at once waits in the outbox.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from .archive import Sender, Sending
from .config import PacsConfig
from .journal import Journal
from .ledger import Ledger
from .objects import InstanceReference
from .rows import FilmRow, ResultEntry, ResultRow, ResultState
from .spool import FilmSpool
from .trouble import NotStored, Unreachable

BATCH = 32
AT_ONCE = 4
"""Films whose results wait in memory; those of further ones go by the disk."""
TICK = 1.0


class MadeResult(NamedTuple):
    """A result as the parts of a DICOM file."""

    kind: str
    reference: InstanceReference
    parts: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class AnsweredFilm:
    """A film in hand, its answer and its results. `supersedes` counts the reports that they replace."""

    row: FilmRow
    label: str
    flagged: bool
    results: tuple[MadeResult, ...]
    supersedes: int


class Sent(NamedTuple):
    """What became of one attempt to store a result; one that waits is tried again after `pause` seconds."""

    state: ResultState
    code: str = ""
    tries: int = 0
    pause: float = 0


STORED = Sent("stored")


class Outgoing:
    """Sends results in a thread of its own. `settled` is set whenever a film is no longer in hand."""

    def __init__(
        self, config: PacsConfig, spool: FilmSpool, ledger: Ledger, journal: Journal, settled: threading.Event
    ) -> None:
        self._limits, self._timeout = config.limits, config.store.timeout
        self._spool, self._ledger, self._journal = spool, ledger, journal
        self._sender = Sender(config.store)
        self._films: deque[AnsweredFilm] = deque()
        self._made, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pacs-out", daemon=True)
        self._looked = 0.0
        self.failures = 0
        """Attempts to reach the archive that failed since the last one that succeeded."""
        self._settled = settled

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Something may be due in the outbox."""
        self._made.set()

    def take(self, film: AnsweredFilm) -> None:
        """Take a film's results: to be sent at once, or into the outbox while the archive is away or slow."""
        if not self.failures and len(self._films) < AT_ONCE and not self._end.is_set():
            self._films.append(film)
            self._made.set()
        else:
            self._settle(film, ())

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._films and not self._ledger.counts()["results"].get("waiting", 0)

    def stop(self) -> None:
        """End, after the object that is being sent; what is left waits in the outbox."""
        self._end.set()
        self._made.set()
        self._thread.join(self._timeout + 5)
        while self._films and not self._thread.is_alive():
            self._settle(self._films.popleft(), ())
        self._sender.close()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                if self._send_some():
                    continue
            except (OSError, sqlite3.Error) as error:
                self._journal.problem("disk", type(error).__name__)
            except Exception as error:  # the sender must live on
                self._journal.problem("archive", type(error).__name__)
            self._sender.rest()
            self._made.wait(TICK)
            self._made.clear()

    def _send_some(self) -> bool:
        """Send what is due, from memory and from the outbox in turn; whether anything was."""
        if self._films:
            self._send_film(self._films[0])
            if time.monotonic() - self._looked < TICK:
                return True
        self._looked = time.monotonic()
        return self._send_rows() > 0 or bool(self._films)

    def _send_film(self, film: AnsweredFilm) -> None:
        """Send a film's results; while the archive is away they go into the outbox."""
        outcomes: list[Sent] = []
        try:
            if not self.failures:
                with self._reaching([result.reference.sop_class for result in film.results]) as sending:
                    for result in film.results:
                        outcomes.append(self._attempt(sending, result.reference.uid, result.parts, 0))
        except Unreachable as error:
            later = Sent("waiting", error.code, 0, self._pause)
            outcomes += [later] * (len(film.results) - len(outcomes))
        finally:
            try:
                self._settle(film, outcomes)
            finally:
                self._films.popleft()

    def _settle(self, film: AnsweredFilm, outcomes: Sequence[Sent]) -> None:
        """The film is answered, and is in hand no longer: what is not stored is on disk, and the ledger knows all."""
        ends = (*outcomes, *[Sent("waiting")] * (len(film.results) - len(outcomes)))
        pairs = list(zip(film.results, ends, strict=True))
        try:
            for place, state in (("outbox", "waiting"), ("dead", "dead")):
                if kept := [(r.reference.uid, r.parts) for r, end in pairs if end.state == state]:
                    self._spool.keep_all(place, kept)
            entries = [ResultEntry(r.kind, r.reference, *end) for r, end in pairs]
            known = self._ledger.answer(film.row, film.label, film.flagged, entries)
        except Exception as error:  # disk, ledger or memory; no error may leave the film in hand for ever
            self.put_off(film.row, error)
            return
        finally:
            self._settled.set()
        self._spool.remove(film.row.source, ("films",))
        if not known:  # it was forgotten meanwhile
            for result in film.results:
                self._spool.remove(result.reference.uid)
            return
        self._tell(film, pairs)

    def _tell(self, film: AnsweredFilm, pairs: Sequence[tuple[MadeResult, Sent]]) -> None:
        self._journal.count("films_answered")
        self._journal.count("results_made", len(pairs))
        ref = self._journal.ref(film.row.source)
        self._journal.say("answered", ref=ref, results=len(pairs), supersedes=film.supersedes)
        for result, end in pairs:
            if end.state == "stored":
                self._tell_stored(result.reference.uid, result.kind)
            elif end.tries:
                self._tell_failed(result.reference.uid, result.kind, end)

    def put_off(self, row: FilmRow, error: Exception) -> None:
        """Disk, ledger or memory gave out: the film stays where it is, and is answered later."""
        self._journal.say("film-later", ref=self._journal.ref(row.source), code=type(error).__name__)
        pause = min(self._limits.longest_pause, 2.0 ** min(row.tries, 10))
        try:
            self._ledger.film_later(row, pause, type(error).__name__)
        except sqlite3.Error:
            time.sleep(1)

    # From the outbox

    def _send_rows(self) -> int:
        """Send results of the outbox that are due; how many were taken in hand."""
        rows = self._ledger.claim_results(BATCH, self._limits.longest_pause)
        if not rows:
            return 0
        left, stored = deque(rows), list[ResultRow]()
        try:
            with self._reaching([row.sop_class for row in rows]) as sending:
                began = time.monotonic()
                while left:
                    if self._send_row(sending, left[0]):
                        stored.append(left[0])
                    left.popleft()
                    if time.monotonic() - began > TICK:
                        self._note(stored)
                        began = time.monotonic()
        except Exception as error:
            code = error.code if isinstance(error, Unreachable) else type(error).__name__
            for row in left:
                self._ledger.result_later(row.uid, self._pause, code, counted=False)
            if not isinstance(error, Unreachable):
                raise
        finally:
            self._note(stored)
        return len(rows)

    def _note(self, stored: list[ResultRow]) -> None:
        """Results are stored: in one step for several, and a worker that is killed before it sends them again."""
        self._ledger.end_stored([row.uid for row in stored])
        for row in stored:
            self._spool.remove(row.uid, ("outbox",))
            self._tell_stored(row.uid, row.kind)
        stored.clear()

    def _send_row(self, sending: Sending, row: ResultRow) -> bool:
        """Whether the archive has one result now."""
        try:
            parts = [self._spool.path("outbox", row.uid).read_bytes()]
        except FileNotFoundError:
            end = Sent("dead", "file-missing", row.tries)
        else:
            end = self._attempt(sending, row.uid, parts, row.tries)
        if end.state == "dead":
            self._spool.move(row.uid, "outbox", "dead")
            self._ledger.end_result(row.uid, "dead", end.code)
        elif end.state == "waiting":
            self._ledger.result_later(row.uid, end.pause, end.code)
        if end.state != "stored":
            self._tell_failed(row.uid, row.kind, end)
        return end.state == "stored"

    # Both

    @contextmanager
    def _reaching(self, sop_classes: Sequence[str]) -> Iterator[Sending]:
        """A way to the archive. Raises Unreachable, also while it is used."""
        try:
            with self._sender.sending(sop_classes) as sending:
                yield sending
        except Unreachable as error:
            self.failures += 1
            self._journal.count("archive_unreachable")
            self._journal.problem("archive", error.code)
            raise
        self.failures = 0
        self._journal.problem("archive", "")

    @property
    def _pause(self) -> float:
        return float(min(self._limits.longest_pause, 2.0 ** min(self.failures, 6)))

    def _attempt(self, sending: Sending, uid: str, parts: Sequence[bytes], tries: int) -> Sent:
        """Send one result. Raises Unreachable."""
        began = time.perf_counter()
        try:
            sending(uid, parts)
        except Unreachable:
            raise
        except Exception as error:  # an error that nobody foresaw must not keep the result in hand for ever
            code = error.code if isinstance(error, NotStored) else type(error).__name__
            if (isinstance(error, NotStored) and error.permanent) or tries + 1 >= self._limits.attempts:
                return Sent("dead", code, tries + 1)
            return Sent("waiting", code, tries + 1, min(self._limits.longest_pause, 2.0**tries))
        self._journal.spent("store", time.perf_counter() - began)
        return STORED

    def _tell_stored(self, uid: str, kind: str) -> None:
        self._journal.count("results_stored")
        self._journal.say("stored", ref=self._journal.ref(uid), kind=kind)

    def _tell_failed(self, uid: str, kind: str, end: Sent) -> None:
        """An attempt failed; the last one makes a dead letter."""
        if end.code != "file-missing":
            self._journal.count("results_retried")
        if end.state == "dead":
            self._journal.count("results_dead")
        event = "dead-result" if end.state == "dead" else "result-later"
        self._journal.say(event, ref=self._journal.ref(uid), kind=kind, code=end.code)
