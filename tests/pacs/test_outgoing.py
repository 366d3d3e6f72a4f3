"""Results go to the archive from memory, and nothing is lost or changed when a worker dies on the way."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.pacs import films
from tests.pacs.archives import free_port
from tests.pacs.nodes import Liar, configured, listening, running, send, until

from pellucid.pacs.care import overview
from pellucid.pacs.ledger import Ledger
from pellucid.pacs.rows import FilmRow
from pellucid.pacs.spool import FilmSpool
from pellucid.pacs.trouble import Unreachable
from pellucid.pacs.web import WebClient

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::ResourceWarning")
STOW = 'stow = "http://127.0.0.1:1"'


@contextmanager
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[str]]]:
    """An archive in this process: the checksums of what was stored under each UID."""
    stored: dict[str, set[str]] = defaultdict(set)

    def store(web: WebClient, parts: Sequence[bytes], uid: str) -> None:
        stored[uid].add(hashlib.sha256(b"".join(parts)).hexdigest())

    monkeypatch.setattr(WebClient, "store", store)
    yield stored


def test_results_are_sent_without_a_file_of_their_own(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    original = FilmSpool._put
    monkeypatch.setattr(FilmSpool, "_put", lambda *given: (written.append(given[1]), original(*given))[1])
    port = free_port()
    config = configured(tmp_path, listening(port, STOW))
    with kept(monkeypatch) as stored, running(run, config) as (node, _):
        for n in range(3):
            until(lambda n=n: send(port, films.film(n, 128)) == 0)
        until(lambda: node.journal.counts["results_stored"] == 6)
    assert written == ["films"] * 3
    assert len(stored) == 6
    assert overview(config.state).counts == {"films": {"answered": 3}, "results": {"stored": 6}}
    assert not list((config.state / "films").iterdir())


def test_results_that_were_sent_and_not_noted_are_the_same_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [MemoryError(), sqlite3.OperationalError("disk I/O error")]
    original = Ledger.answer

    def answer(ledger: Ledger, film: FilmRow, *more: Any) -> bool:
        if errors:
            raise errors.pop()
        return original(ledger, film, *more)

    monkeypatch.setattr(Ledger, "answer", answer)
    port = free_port()
    config = configured(tmp_path, listening(port, STOW, "[limits]\nlongest_pause = 0.2\n"))
    with kept(monkeypatch) as stored, running(run, config) as (node, _):
        until(lambda: send(port, films.film(0, 128)) == 0)
        until(lambda: node.journal.counts["films_answered"] == 1)
    assert [len(sums) for sums in stored.values()] == [1, 1]


def test_an_archive_that_goes_away_between_two_results_gets_the_other_later(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    back = threading.Event()

    def store(web: WebClient, parts: Sequence[bytes], uid: str) -> None:
        calls.append(uid)
        if len(calls) > 1 and not back.is_set():
            raise Unreachable("refused")

    monkeypatch.setattr(WebClient, "store", store)
    port = free_port()
    config = configured(tmp_path, listening(port, STOW, "[limits]\nlongest_pause = 0.2\n"))
    with running(run, config) as (node, _):
        until(lambda: send(port, films.film(0, 128)) == 0)
        until(lambda: node.journal.counts["films_answered"] == 1)
        assert overview(config.state).counts["results"] == {"stored": 1, "waiting": 1}
        assert len(list((config.state / "outbox").iterdir())) == 1
        back.set()
        until(lambda: node.journal.counts["results_stored"] == 2)
    assert calls.count(calls[0]) == 1
    assert not list((config.state / "outbox").iterdir())


def test_a_name_without_an_address_is_an_archive_that_is_away(run: Path, tmp_path: Path) -> None:
    port = free_port()
    store = 'host = "archive.invalid"\nport = 104'
    config = configured(tmp_path, listening(port, store, "[limits]\nlongest_pause = 0.2\ndrain = 0\n"))
    with running(run, config) as (node, _):
        until(lambda: send(port, films.film(0, 128)) == 0)
        until(lambda: node.journal.counts["archive_unreachable"] >= 2)
        assert node.journal.problems["archive"] == "unknown-host"
    ledger = Ledger(config.state)
    ledger.register()
    assert len(ledger.claim_results(9, 1e9)) == 2  # nothing is left in hand
    ledger.close()


def test_a_film_that_is_forgotten_while_it_is_sent_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, film = free_port(), films.film(0, 128)
    config = configured(tmp_path, listening(port, STOW))

    def store(web: WebClient, parts: Sequence[bytes], uid: str) -> None:
        other = Ledger(config.state)
        other.forget([str(film.StudyInstanceUID)])
        other.close()
        raise Unreachable("refused")

    monkeypatch.setattr(WebClient, "store", store)
    with running(run, config) as (node, _):
        until(lambda: send(port, film) == 0)
        until(lambda: node.journal.counts["archive_unreachable"] >= 1)
        until(lambda: node._outgoing.idle)
    assert overview(config.state).counts == {"films": {}, "results": {}}
    assert not [p for place in ("films", "outbox", "dead") for p in (config.state / place).iterdir()]


class Slow(Liar):
    """An archive that says nothing of the second object, until its node is killed."""

    seen: list[str]

    def do_POST(self) -> None:
        self.seen.append(self.path)
        if len(self.seen) == 2:
            self.rfile.read(int(self.headers["Content-Length"]))
            threading.Event().wait(20)
            return
        super().do_POST()


def test_a_worker_that_is_killed_while_it_sends_leaves_the_film(run: Path, tmp_path: Path) -> None:
    Slow.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    config = configured(tmp_path, listening(port, f'stow = "http://127.0.0.1:{server.server_port}"'))
    command = [sys.executable, "-m", "pellucid", "pacs", "serve", str(run), "--config", str(tmp_path / "pacs.toml")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: send(port, films.film(0, 128)) == 0)
        until(lambda: len(Slow.seen) == 2)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        server.shutdown()
        server.server_close()
    assert overview(config.state).counts == {"films": {"waiting": 1}, "results": {}}
    assert len(list((config.state / "films").iterdir())) == 1
