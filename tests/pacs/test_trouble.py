"""What goes wrong around a node: a disk, a clock, an archive, a film, or a name that is not right."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.pacs import films
from tests.pacs.archives import DIRECT, Orthanc, free_port, missing
from tests.pacs.nodes import collected, configured, liar, listening, running, send, until

from pellucid.errors import ResourceError
from pellucid.pacs import archive
from pellucid.pacs.care import ask_archive, forget, overview, retry
from pellucid.pacs.encoding import to_bytes
from pellucid.pacs.ledger import Ledger
from pellucid.pacs.node import Node
from pellucid.pacs.polling import FoundObject
from pellucid.pacs.spool import FilmSpool
from pellucid.pacs.web import ReplyTooLong, WebClient
from pellucid.pacs.write import open_origin

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:highdicom"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
with_orthanc = pytest.mark.skipif(bool(missing()), reason=missing())
_collected = pytest.fixture(autouse=True)(collected)


def test_an_archive_that_stores_nothing_is_not_believed(run: Path, tmp_path: Path) -> None:
    port = free_port()
    with liar() as root:
        more = "[limits]\nattempts = 2\nlongest_pause = 1\ndrain = 0\n"
        config = configured(tmp_path, listening(port, f'stow = "{root}"', more))
        with running(run, config) as (node, _):
            until(lambda: send(port, films.film(0, 128)) == 0)
            until(lambda: node.journal.counts["results_dead"] == 2)
    found = overview(config.state)
    assert {code for _, _, code, _ in found.dead} == {"not-listed"}
    assert len(list((config.state / "dead").iterdir())) == 2
    assert retry(config.state) == (0, 2, ())
    assert len(list((config.state / "outbox").iterdir())) == 2
    assert overview(config.state).counts["results"] == {"waiting": 2}
    assert forget(config.state, [str(films.film(0, 128).StudyInstanceUID)]) == (1, 2, ())
    assert not list((config.state / "outbox").iterdir())


def test_broken_objects_become_dead_letters_and_stop_nothing(run: Path, tmp_path: Path) -> None:
    port = free_port()
    with liar() as root:
        config = configured(tmp_path, listening(port, f'stow = "{root}"', "[limits]\ndrain = 0\n"))
        with running(run, config) as (node, _):
            cut = films.film(0, 128)
            cut.PixelData = cut.PixelData[:1000]
            until(lambda: send(port, cut) == 0)
            assert send(port, films.film(1, 128, StudyInstanceUID=None)) == 0
            assert send(port, films.film(2, 128, Rows=60000, Columns=60000)) == 0
            assert send(port, films.film(8, 128)) == 0
            assert send(port, films.film(3, 128)) == 0
            until(lambda: sum(node.journal.counts[n] for n in ("films_dead", "films_answered", "films_left_out")) == 5)
    found = overview(config.state)
    assert found.counts["films"] == {"dead": 3, "answered": 1, "left-out": 1}
    assert {code for what, _, code, _ in found.dead if what == "film"} == {"damaged", "no-uid", "too-large"}
    # What was mended comes again under its UID.
    with running(run, config) as (node, _):
        until(lambda: send(port, films.film(0, 128)) == 0)
        until(lambda: node.journal.counts["films_answered"] == 1)


def test_a_full_disk_refuses_films_and_says_so(run: Path, tmp_path: Path) -> None:
    port, health = free_port(), free_port()
    more = f"[limits]\nfree_mb = 1000000000\n[health]\nport = {health}\n"
    with liar() as root:
        config = configured(tmp_path, listening(port, f'stow = "{root}"', more))
        with running(run, config):
            until(lambda: send(port, films.film(0, 128)) == 0xA700)
            assert ask(health, "/livez") == (200, "alive\n")
            assert ask(health, "/readyz") == (503, "disk: full\n")
            status, text = ask(health, "/metrics")
            assert status == 200
            assert "pellucid_pacs_films_received_total 0" in text
            assert ask(health, "/other")[0] == 404
    assert not list((config.state / "films").iterdir())


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with DIRECT.open(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_clocks_that_move_hold_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path, "b")
    ledger.register()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e8)
    ledger.begin("1.2", "1")
    film = ledger.claim_film(300)
    assert film is not None
    ledger.film_later(film, 60, "busy")
    assert ledger.claim_film(300) is None
    monkeypatch.setattr(time, "time", lambda: now)  # the clock is set back by three years
    assert ledger.claim_film(300) == film.__class__(film.source, film.study, film.created, 1)
    ledger.close()


def test_rows_of_a_worker_that_is_gone_are_free_again(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib; from pellucid.pacs.ledger import Ledger; l = Ledger(pathlib.Path(sys.argv[1]), 'b');"
        "l.register(); l.begin('1.2', '1'); assert l.claim_film(300); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    ledger = Ledger(tmp_path, "b")
    assert ledger.claim_film(300) is None
    ledger.register()
    assert ledger.claim_film(300) is not None
    ledger.close()


def test_a_film_without_a_study_leaves_its_bytes_for_a_look(run: Path, tmp_path: Path) -> None:
    film = films.film(1, 128, StudyInstanceUID=None)
    with liar() as root:
        config = configured(tmp_path, listening(free_port(), f'stow = "{root}"', "[limits]\ndrain = 0\n"))
        with running(run, config) as (node, _):
            node._take(str(film.SOPInstanceUID), to_bytes(film))
            until(lambda: node.journal.counts["films_dead"] == 1)
    assert (config.state / "dead" / f"{film.SOPInstanceUID}.dcm").read_bytes() == to_bytes(film)


def test_a_disk_that_fills_up_loses_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    room = threading.Event()
    original = FilmSpool._put

    def put(spool: FilmSpool, place: str, uid: str, parts: Sequence[bytes]) -> Path:
        if not room.is_set() and place == full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(spool, place, uid, parts)

    monkeypatch.setattr(FilmSpool, "_put", put)
    full = ["films"]
    with liar() as root:
        config = configured(tmp_path, listening(port, f'stow = "{root}"', "[limits]\ndrain = 0\nlongest_pause = 1\n"))
        with running(run, config) as (node, stream):
            until(lambda: send(port, films.film(0, 128)) == 0xA700)
            assert overview(config.state).counts["films"] == {}
            full[0] = "outbox"
            assert send(port, films.film(0, 128)) == 0
            until(lambda: '"film-later"' in stream.getvalue())
            assert overview(config.state).counts == {"films": {"waiting": 1}, "results": {}}
            room.set()
            until(lambda: node.journal.counts["films_answered"] == 1)
            assert node.journal.counts["results_made"] == 2


@with_orthanc
def test_an_ae_title_that_the_archive_does_not_know_is_waited_for(run: Path, tmp_path: Path) -> None:
    port, orthanc = free_port(), Orthanc(tmp_path / "orthanc").start()
    try:
        _refused(run, orthanc, port, tmp_path)
    finally:
        orthanc.stop()


def _refused(run: Path, orthanc: Orthanc, port: int, tmp_path: Path) -> None:
    for wrong in ('ae_title = "OTHER"', 'ae_title = "PACS"\ncalling = "STRANGER"'):
        store = f'host = "127.0.0.1"\nport = {orthanc.dicom}\n{wrong}'
        config = configured(tmp_path / wrong[-6:-1], listening(port, store, "[limits]\ndrain = 0\nlongest_pause = 1\n"))
        with pytest.raises(ResourceError, match=r"does not answer \(association-rejected\)"):
            ask_archive(config)
        with running(run, config) as (node, _):
            until(lambda: send(port, films.film(0, 128)) == 0)
            until(lambda: node.journal.counts["archive_unreachable"] >= 2)
            assert node.journal.problems["archive"] == "association-rejected"
        assert overview(config.state).counts["results"] == {"waiting": 2}


def test_an_object_that_is_too_long_to_be_a_film_stops_nothing(run: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, polling_qido("http://127.0.0.1:1"))
    node = Node(open_origin(run, None, research=False, threads=1), config, io.StringIO())

    def too_long() -> bytes:
        raise ReplyTooLong

    assert not node._fetch(FoundObject("1.2.3", "1.2", None, too_long))
    assert overview(config.state).counts["films"] == {"left-out": 1}
    node._ledger.close()


def polling_qido(root: str) -> str:
    return f'[poll]\nqido = "{root}"\n[store]\nstow = "{root}"\n'


def test_an_error_that_nobody_foresaw_keeps_no_result_in_hand(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def store(web: WebClient, parts: Sequence[bytes], uid: str) -> None:
        if next(calls) == 0:
            raise RuntimeError("Phantom^Jane")

    monkeypatch.setattr(WebClient, "store", store)
    port = free_port()
    config = configured(tmp_path, listening(port, 'stow = "http://127.0.0.1:1"', "[limits]\nlongest_pause = 1\n"))
    with running(run, config) as (node, stream):
        until(lambda: send(port, films.film(0, 128)) == 0)
        until(lambda: node.journal.counts["results_stored"] == 2)
    assert overview(config.state).counts["results"] == {"stored": 2}
    assert '"RuntimeError"' in stream.getvalue()
    assert "Phantom" not in stream.getvalue()


@with_orthanc
def test_one_association_carries_the_results_of_several_films(run: Path, tmp_path: Path) -> None:
    port, orthanc = free_port(), Orthanc(tmp_path / "orthanc").start()
    opened = []
    original = archive.association

    def counting(*arguments: Any) -> Any:
        opened.append(1)
        return original(*arguments)

    try:
        store = f'host = "127.0.0.1"\nport = {orthanc.dicom}\nae_title = "PACS"'
        config = configured(tmp_path, listening(port, store, "[limits]\nlongest_pause = 1\n"))
        with pytest.MonkeyPatch.context() as patched, running(run, config) as (node, _):
            patched.setattr(archive, "association", counting)
            for n in range(3):
                until(lambda n=n: send(port, films.film(n, 128)) == 0)
                until(lambda n=n: node.journal.counts["results_stored"] == 2 * (n + 1))
            assert len(opened) == 1
            orthanc.stop()
            assert send(port, films.film(3, 128)) == 0
            until(lambda: node.journal.counts["archive_unreachable"] >= 1)
            orthanc.start()
            until(lambda: node.journal.counts["results_stored"] == 8)
        assert len(orthanc.objects()) == 8
    finally:
        orthanc.stop()
