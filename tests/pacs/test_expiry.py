"""After `keep_days` nothing of a patient is left in the state folder, and nothing that is still needed is gone."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest
from tests.pacs import films
from tests.pacs.archives import free_port
from tests.pacs.nodes import configured, liar, listening, running, send, until

from pellucid.pacs.ledger import Ledger
from pellucid.pacs.objects import InstanceReference
from pellucid.pacs.rows import ResultEntry
from pellucid.pacs.spool import FilmSpool

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::ResourceWarning")
DAY = 86400.0


def everything_in(folder: Path) -> bytes:
    return b"".join(p.name.encode() + p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_nothing_of_a_patient_is_left(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with liar() as root:
        more = "[limits]\nattempts = 1\ndrain = 0\nkeep_days = 10\nstudy_quiet = 0\n"
        config = configured(tmp_path, listening(port, f'stow = "{root}"', more).replace('"sr"', '"sr,sc,ko"'))
        made = [films.film(0, 128), films.film(1, 128), films.film(2, 128, Rows=60000, Columns=60000)]
        with running(run, config) as (node, stream):
            for film in made:
                until(lambda film=film: send(port, film) == 0)
            until(lambda: node.journal.counts["films_answered"] == 2 and node.journal.counts["films_dead"] == 1)
            until(lambda: node.journal.counts["results_dead"] == node.journal.counts["results_made"] >= 6)
        named = [(f.SOPInstanceUID, f.StudyInstanceUID, "Phantom", f.PatientID) for f in made]
        marks = [str(mark).encode() for marks in named for mark in marks]
        assert all(mark in everything_in(config.state) for mark in marks)
        # A worker that was killed before its results were in the ledger leaves files that no row knows.
        FilmSpool(config.state).keep("outbox", "1.2.3", b"Phantom")
        later = time.time() + 11 * DAY
        monkeypatch.setattr(time, "time", lambda: later)
        with running(run, config) as (node, again):
            until(lambda: '"ready"' in again.getvalue())
            until(lambda: not any(everything_in(config.state).count(mark) for mark in marks))
        left = everything_in(config.state)
    assert not [mark for mark in marks if mark in left or mark.decode() in stream.getvalue() + again.getvalue()]
    assert not list((config.state / "outbox").iterdir())


def test_what_is_still_needed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Ledger(tmp_path, "old"), Ledger(tmp_path, "new")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 40 * DAY)
    for source in ("1.1", "1.2", "1.3"):
        old.begin(source, f"study {source}")
        old.end_film(source, "answered", "")
    old.add_result("1.2", ResultEntry("sr", InstanceReference("c", "9.2", "study 1.2", "s")))  # an archive that is away
    old.add_result("study 1.9", ResultEntry("ko", InstanceReference("c", "9.9", "study 1.9", "s")))
    old.end_result("9.9", "stored")
    monkeypatch.setattr(time, "time", lambda: now)
    new.begin("1.3", "study 1.3")  # waits for the new bundle
    assert old.expired(30) == ["1.1", "study 1.9"]
    assert old.forget(["1.1", "study 1.9"]) == (["1.1"], ["9.9"])
    assert [new.film_state("1.3"), old.film_state("1.2"), old.film_state("1.1")] == ["waiting", "answered", None]
    assert (old.knows("9.9"), old.knows("9.2"), old.knows("1.3")) == (False, True, True)
    old.close()
    new.close()


def test_a_ledger_overwrites_what_it_forgets(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "b")
    for n in range(50):
        ledger.begin(f"1.77.{n}", "1.88")
    ledger.forget(["1.88"])
    assert b"1.77." not in everything_in(tmp_path)
    assert sqlite3.connect(tmp_path / "ledger.sqlite").execute("SELECT COUNT(*) FROM films").fetchone() == (0,)
    ledger.close()


def test_files_that_a_row_knows_and_young_ones_stay(tmp_path: Path) -> None:
    spool = FilmSpool(tmp_path)
    for uid, age in (("1.1", 40), ("1.2", 1)):
        path = spool.keep("dead", uid, b"x")
        os.utime(path, (time.time() - age * DAY,) * 2)
    assert list(spool.older("dead", 30)) == ["1.1"]
