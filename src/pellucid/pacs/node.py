"""The node: films in, results out, each once.

Nothing is lost: a film is on disk and in the ledger before its sender hears success, and leaves the spool when the
ledger says of each of its results that the archive has listed it as stored, or that it is in the outbox, on disk.
Nothing comes twice: results follow from film, bundle and the time when the ledger first saw the film, so that one made
or sent again is the same object.
"""

from __future__ import annotations

import contextlib
import gc
import secrets
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO

from ..errors import InputError
from .answering import Answering
from .config import PacsConfig
from .dimse import Arrival, listen
from .journal import Journal, serve_health
from .ledger import Ledger
from .origin import ResultOrigin
from .outgoing import TICK, Outgoing
from .polling import FoundObject, finder_of
from .recent import RecentFilms
from .rules import SOP_CLASSES
from .source import UnusableFilm, read_source
from .spool import PLACES, FilmSpool
from .trouble import Unreachable
from .web import ReplyTooLong

STALLED = 300.0
CARE = 3600.0


class Node:
    """A worker. `run` returns when it is told to stop, or with `once` when there is nothing left to do."""

    def __init__(self, origin: ResultOrigin, config: PacsConfig, stream: TextIO | None = None) -> None:
        self._config = config
        self._spool = FilmSpool(config.state)
        self._ledger = Ledger(config.state, origin.checksum)
        self._ledger.register()
        key = self._ledger.mark("log-key") or self._ledger.mark("log-key", secrets.token_hex(16)) or ""
        self.journal = Journal(key, stream)
        self._stop, self._more = threading.Event(), threading.Event()
        self._recent = RecentFilms()
        self._outgoing = Outgoing(config, self._spool, self._ledger, self.journal, self._more)
        self._answering = Answering(
            origin, config, self._spool, self._ledger, self.journal, recent=self._recent, outgoing=self._outgoing
        )
        self._finder = None if config.poll is None else finder_of(config.poll, config.accept)
        self._wanted = {SOP_CLASSES.get(name, name) for name in config.accept.sop_classes}
        self._beat = time.monotonic()
        self._checksum = origin.checksum

    # In

    def _on_store(self, sop_class: str, uid: str, read: Callable[[], bytes]) -> Arrival:
        """What became of an object that arrives; `safe` is what is in the ledger, and what nobody wants answered."""
        if sop_class not in self._wanted:
            self.journal.count("films_dropped")
            return "safe"
        try:
            self._spool.path("films", uid)
        except InputError:
            self.journal.count("films_refused")
            return "invalid"
        try:
            if self._ledger.film_state(uid) not in (None, "dead"):
                self.journal.count("films_duplicate")
                return "safe"
            if self._spool.free_mb() < self._config.limits.free_mb:
                self.journal.problem("disk", "full")
                return "full"
            self._take(uid, read())
        except (OSError, sqlite3.Error) as error:
            self.journal.problem("disk", type(error).__name__)
            return "full"
        self.journal.problem("disk", "")
        return "safe"

    def _take(self, uid: str, data: bytes) -> None:
        self._spool.keep("films", uid, data)
        try:
            source = read_source(data)
        except UnusableFilm:
            study = ""
        else:
            study = source.study
            self._recent.put(uid, data, source)
        self._ledger.begin(uid, study)
        self.journal.count("films_received")
        self._more.set()

    def _poll(self) -> bool:
        """Films of the archive into the spool; whether any was new."""
        if self._finder is None:
            return False
        found = False
        for candidate in self._finder(self._ledger):
            if self._stop.is_set():
                break
            state = self._ledger.film_state(candidate.uid)
            if candidate.refused in ("sop-class", "derived") or state not in (None, "dead"):
                continue
            if candidate.refused is not None:
                self._ledger.leave_out(candidate.uid, candidate.study, candidate.refused)
                self.journal.count("films_left_out")
                self.journal.say("left-out", ref=self.journal.ref(candidate.uid), code=candidate.refused)
                continue
            if self._spool.free_mb() < self._config.limits.free_mb:
                raise OSError(28, "No space left on device")
            found = self._fetch(candidate) or found
        return found

    def _fetch(self, candidate: FoundObject) -> bool:
        """One film of the archive into the spool; False for one that is gone, or that is too large to be a film."""
        try:
            data = candidate.fetch()
        except ReplyTooLong:
            self._ledger.leave_out(candidate.uid, candidate.study, "too-large")
            self.journal.count("films_left_out")
            self.journal.say("left-out", ref=self.journal.ref(candidate.uid), code="too-large")
            return False
        if data is not None:
            self._take(candidate.uid, data)
        return data is not None

    def _keep_polling(self) -> None:
        pause = self._config.poll.every if self._config.poll is not None else TICK
        failures = 0
        while not self._stop.wait(pause if not failures else min(self._config.limits.longest_pause, 2.0**failures)):
            failures = failures + 1 if not self._try_polling() else 0

    def _try_polling(self) -> bool:
        try:
            self._poll()
        except Unreachable as error:
            self.journal.count("archive_unreachable")
            self.journal.problem("source", error.code)
            return False
        except (OSError, sqlite3.Error) as error:
            self.journal.problem("disk", type(error).__name__)
            return False
        except Exception as error:  # an answer that is neither DICOMweb's nor Orthanc's
            self.journal.problem("source", type(error).__name__)
            return False
        self.journal.problem("source", "")
        return True

    # The whole

    def _recover(self) -> None:
        """Take up what a worker that was killed left behind."""
        self._spool.sweep()
        self._ledger.free_rows_of_the_gone()
        self._ledger.hand_over()
        for uid in self._spool.uids("films"):
            state = self._ledger.film_state(uid)
            if state in ("answered", "left-out"):
                self._spool.remove(uid, ("films",))
            elif state is None:
                with contextlib.suppress(OSError, UnusableFilm):
                    self._ledger.begin(uid, read_source(self._spool.path("films", uid).read_bytes()).study)
                if self._ledger.film_state(uid) is None:
                    self._ledger.begin(uid, "")

    def _care(self) -> None:
        """Forget what has expired: rows and files of films that ended, and files that no row knows."""
        while expired := self._ledger.expired(self._config.limits.keep_days):
            films, results = self._ledger.forget(expired)
            for gone in (*films, *results):
                self._spool.remove(gone)
        for place in PLACES:
            for uid in self._spool.older(place, self._config.limits.keep_days):
                if not self._ledger.knows(uid):
                    self._spool.remove(uid, (place,))

    def run(self, *, once: bool = False) -> None:
        """Work until SIGTERM or SIGINT, then finish what is in hand and send for up to `limits.drain` seconds."""
        self._recover()
        # pynetdicom collects garbage twice a minute, for which every thread halts: what was loaded needs no look.
        gc.collect()
        gc.freeze()
        health = self._config.health and serve_health(self._config.health, self.journal, self._alive, self._gauges)
        server = None if self._config.listen is None or once else listen(self._config.listen, self._on_store)
        polling = threading.Thread(target=self._keep_polling, name="pacs-in", daemon=True)
        with self._signals():
            self.journal.say("ready", bundle=self._checksum[:12], kinds=self._config.kinds)
            self._outgoing.start()
            if once:
                self._try_polling()
            elif self._config.poll is not None:
                polling.start()
            self._work(once)
        if server is not None:
            server.shutdown()
        self._drain()
        if health:
            health.shutdown()
        self._close()
        self.journal.say("end", **{name: self.journal.counts[name] for name in ("films_answered", "results_stored")})

    def _close(self) -> None:
        if self._finder is not None:
            self._finder.close()
        self._ledger.close()
        gc.unfreeze()

    def _work(self, once: bool) -> None:
        cared = time.monotonic() - CARE
        while not self._stop.is_set():
            self._beat = time.monotonic()
            try:
                worked = self._answering.next_film()
                if not worked:
                    worked = self._answering.list_key_objects()
                if time.monotonic() - cared >= CARE:
                    self._care()
                    cared = time.monotonic()
            except (OSError, sqlite3.Error) as error:
                self.journal.problem("disk", type(error).__name__)
                worked = False
            if worked:
                self._outgoing.wake()
                continue
            if once and not self._waiting_films():
                return
            self._ledger_of_the_gone()
            self._more.wait(TICK)
            self._more.clear()

    def _waiting_films(self) -> int:
        return self._ledger.counts()["films"].get("waiting", 0)

    def _ledger_of_the_gone(self) -> None:
        with contextlib.suppress(OSError, sqlite3.Error):
            self._ledger.free_rows_of_the_gone()

    def _drain(self) -> None:
        until = time.monotonic() + self._config.limits.drain
        while time.monotonic() < until and not self._outgoing.idle and not self._outgoing.failures:
            time.sleep(0.05)
        self._outgoing.stop()

    def _alive(self) -> bool:
        return time.monotonic() - self._beat < STALLED

    def _gauges(self) -> dict[str, float]:
        counts = self._ledger.counts()
        found = {f"{t}_{s.replace('-', '_')}": float(n) for t, by in counts.items() for s, n in by.items()}
        return {**found, "spool_free_megabytes": self._spool.free_mb()}

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask to stop, while the node works."""

        def ask(number: int, frame: FrameType | None) -> None:
            self.stop()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Ask the node to stop."""
        self._stop.set()
        self._more.set()
