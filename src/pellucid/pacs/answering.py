"""One film from the spool to results on their way, and key objects of a study that has become quiet."""

from __future__ import annotations

import datetime
import sqlite3
import time

import numpy as np

from ..classifier import Prediction
from ..errors import ImageError, InputError
from .captures import compressed
from .config import PacsConfig
from .encoding import to_bytes, to_parts
from .findings import Findings, find
from .journal import Journal
from .key_objects import flagged, key_objects
from .ledger import Ledger
from .make import make_results
from .objects import Result
from .origin import ResultOrigin
from .outgoing import AnsweredFilm, MadeResult, Outgoing
from .recent import RecentFilms
from .rows import FilmRow, ResultEntry
from .rules import refusal
from .source import FilmSource, UnusableFilm, read_source
from .spool import FilmSpool


class Answering:
    """Answers films of the spool."""

    def __init__(
        self,
        origin: ResultOrigin,
        config: PacsConfig,
        spool: FilmSpool,
        ledger: Ledger,
        journal: Journal,
        *,
        recent: RecentFilms,
        outgoing: Outgoing,
    ) -> None:
        self._origin, self._config = origin, config
        self._spool, self._ledger, self._journal = spool, ledger, journal
        self._recent, self._outgoing = recent, outgoing
        self._kinds = tuple(config.kinds.split(","))
        self._listed: set[tuple[str, ...]] = set()

    def next_film(self) -> bool:
        """Answer the next film that is due; False where none is."""
        film = self._ledger.claim_film(self._config.limits.longest_pause)
        if film is None:
            return False
        try:
            self._answer(film)
        except (ImageError, UnusableFilm) as error:
            self._bury(film, error.code, str(error))
        except (OSError, sqlite3.Error, MemoryError) as error:
            self._outgoing.put_off(film, error)
        except Exception as error:  # one film must not stop the others; its text may hold names, so it is not told
            self._bury(film, "error", type(error).__name__)
        return True

    def _answer(self, film: FilmRow) -> None:
        began = time.perf_counter()
        data, source = self._film(film.source)
        refused = refusal(source.header, self._config.accept, datetime.date.today())
        if refused is not None:
            self._ledger.end_film(film.source, "left-out", refused)
            self._spool.remove(film.source, ("films",))
            self._journal.count("films_left_out")
            self._journal.say("left-out", ref=self._journal.ref(film.source), code=refused)
            return
        findings = find(self._origin.bundle, data, source, film.seen)
        predicted = time.perf_counter()
        before = self._ledger.earlier_reports(film.source)
        results = make_results(findings, self._origin, self._kinds, before=before)
        made = tuple(self._made(result) for result in results)
        is_flagged = flagged(findings.prediction, self._origin.bundle.manifest)
        if is_flagged and "ko" in self._kinds:
            self._spool.keep("flagged", film.source, to_bytes(source.header))
        self._journal.spent("predict", predicted - began)
        self._journal.spent("objects", time.perf_counter() - predicted)
        self._outgoing.take(AnsweredFilm(film, findings.prediction.label, is_flagged, made, len(before)))

    def _film(self, uid: str) -> tuple[bytes, FilmSource]:
        """A film and its header: as it came, or from the spool."""
        if recent := self._recent.take(uid):
            return recent
        try:
            data = self._spool.path("films", uid).read_bytes()
        except FileNotFoundError:
            raise UnusableFilm("file-missing", "The film is no longer in the spool.") from None
        return data, read_source(data)

    def _made(self, result: Result) -> MadeResult:
        small = self._config.store.compress and result.kind == "sc"
        return MadeResult(
            result.kind, result.reference, to_parts(compressed(result.object) if small else result.object)
        )

    def _bury(self, film: FilmRow, code: str, reason: str) -> None:
        self._ledger.end_film(film.source, "dead", code, reason)
        self._spool.move(film.source, "films", "dead")
        self._journal.count("films_dead")
        self._journal.say("dead-film", ref=self._journal.ref(film.source), code=code)

    def list_key_objects(self) -> bool:
        """Make key objects for studies with flagged films in which nothing happened lately; whether any were made."""
        if "ko" not in self._kinds:
            return False
        made = False
        quiet = {(study, *sources) for study, sources in self._ledger.quiet_studies(self._config.limits.study_quiet)}
        for study, *sources in sorted(quiet - self._listed):
            films = [f for f in map(self._flagged, sources) if f is not None]
            if films:
                result = Result("ko", key_objects(films, self._origin))
                if not self._ledger.has_result(result.reference.uid):
                    kept = self._made(result)
                    self._spool.keep_all("outbox", [(kept.reference.uid, kept.parts)])
                    self._ledger.add_result(study, ResultEntry(kept.kind, kept.reference))
                    self._journal.count("results_made")
                    self._journal.say("listed", ref=self._journal.ref(study), films=len(films))
                    made = True
        self._listed = quiet
        return made

    def _flagged(self, uid: str) -> Findings | None:
        try:
            source = read_source(self._spool.path("flagged", uid).read_bytes())
        except (OSError, InputError):
            return None
        when = source.time or datetime.datetime(1970, 1, 1)
        return Findings(source, np.zeros((0, 0, 3), np.uint8), Prediction("", None, {}), None, when)
