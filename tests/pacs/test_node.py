"""The node against a real Orthanc: each film answered once and each result stored once, whatever happens on the way."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE
from tests.pacs import films
from tests.pacs.archives import Orthanc, free_port, missing
from tests.pacs.conftest import bundle_of

from pellucid.pacs.care import ask_archive, forget, overview, retry
from pellucid.pacs.config import PacsConfig, read_config
from pellucid.pacs.ledger import Ledger
from pellucid.pacs.node import Node
from pellucid.pacs.objects import to_bytes
from pellucid.pacs.write import open_origin

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:highdicom"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
with_orthanc = pytest.mark.skipif(bool(missing()), reason=missing())
SECONDS = 60


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    made = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield made
    made.stop()


@pytest.fixture
def orthanc(archive: Orthanc) -> Orthanc:
    """The archive, empty."""
    if archive.process is None:
        archive.start()
    archive.clear()
    return archive


def configured(folder: Path, text: str) -> PacsConfig:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pacs.toml"
    path.write_text('state = "state"\n' + text, encoding="utf-8")
    return read_config(path)


def polling(orthanc: Orthanc, more: str = "", kinds: str = "sr,sc") -> str:
    return (
        f'kinds = "{kinds}"\n[poll]\northanc = "{orthanc.root}"\nevery = 0.2\n'
        f'[store]\nstow = "{orthanc.root}/dicom-web"\n[accept]\nnewest_days = 0\n{more}'
    )


@contextmanager
def running(run: Path, config: PacsConfig) -> Iterator[tuple[Node, io.StringIO]]:
    stream = io.StringIO()
    node = Node(open_origin(run, None, research=False, threads=1), config, stream)
    thread = threading.Thread(target=node.run)
    thread.start()
    try:
        yield node, stream
    finally:
        node.stop()
        thread.join(SECONDS)


def until(true: Callable[[], bool], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def once(run: Path, config: PacsConfig) -> str:
    stream = io.StringIO()
    Node(open_origin(run, None, research=False, threads=1), config, stream).run(once=True)
    return stream.getvalue()


def by_modality(orthanc: Orthanc) -> Counter[str]:
    return Counter(str(dcmread(io.BytesIO(data)).Modality) for data in orthanc.objects().values())


def reports_in(orthanc: Orthanc) -> list[Any]:
    found = [dcmread(io.BytesIO(data)) for data in orthanc.objects().values()]
    return [d for d in found if d.Modality == "SR"]


def send(port: int, made: Any, *, caller: str = "XRAY1", tls: Any = None) -> int | None:
    """C-STORE of one film; its status, None when the association was refused."""
    ae = AE(ae_title=caller)
    ae.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
    link = ae.associate("127.0.0.1", port, ae_title="PELLUCID", tls_args=tls)
    if not link.is_established:
        return None
    status = link.send_c_store(made)
    link.release()
    return int(status.Status)


def listening(port: int, store: str, more: str = "") -> str:
    return (
        f'kinds = "sr"\n[listen]\nport = {port}\ncallers = ["XRAY1"]\n'
        f"[store]\n{store}\n[accept]\nnewest_days = 0\n{more}"
    )


@with_orthanc
def test_films_of_the_archive_are_answered_once(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    for n in range(9):
        orthanc.add(films.save(films.film(n, 128), tmp_path / f"{n}.dcm"))
    config = configured(tmp_path, polling(orthanc, "[limits]\nstudy_quiet = 0\n", kinds="sr,sc,seg,map,gsps,ko"))
    log = once(run, config)
    counts = overview(config.state).counts
    assert counts["films"] == {"answered": 8, "left-out": 1}
    flagged = sum(json.loads(line)["event"] == "listed" for line in log.splitlines())
    expected = {"SR": 16, "OT": 16, "SEG": 8, "PR": 8, "DX": 6, "CR": 3, "KO": flagged}
    assert by_modality(orthanc) == expected
    assert flagged
    names = {str(dcmread(io.BytesIO(d)).PatientName) for d in orthanc.objects().values()}
    assert names == {look.name for look in films.LOOKS}
    once(run, config)
    assert by_modality(orthanc) == expected
    for secret in ("Phantom", "PH000", "ACC000", str(films.film(0, 128).StudyInstanceUID), "Фантом"):
        assert secret not in log
    assert oct(config.state.stat().st_mode & 0o777) == "0o700"
    assert not list((config.state / "films").iterdir())
    assert not list((config.state / "outbox").iterdir())


@with_orthanc
def test_a_lost_ledger_doubles_nothing(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.add(films.save(films.film(0, 128), tmp_path / "0.dcm"))
    once(run, configured(tmp_path / "a", polling(orthanc)))
    before = orthanc.objects()
    once(run, configured(tmp_path / "b", polling(orthanc)))
    assert set(orthanc.objects()) == set(before)


@with_orthanc
def test_films_are_found_by_qido(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    for n in (0, 5, 8):
        orthanc.add(films.save(films.film(n, 128), tmp_path / f"{n}.dcm"))
    text = polling(orthanc, kinds="sr").replace(f'orthanc = "{orthanc.root}"', f'qido = "{orthanc.root}/dicom-web"')
    config = configured(tmp_path, text)
    once(run, config)
    assert by_modality(orthanc) == {"SR": 4, "DX": 2, "CR": 1}
    assert overview(config.state).counts["films"] == {"answered": 2, "left-out": 1}


@with_orthanc
def test_films_come_and_results_go_by_c_store(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    port = free_port()
    store = f'host = "127.0.0.1"\nport = {orthanc.dicom}\nae_title = "PACS"\ncompress = true'
    config = configured(tmp_path, listening(port, store).replace('"sr"', '"sr,sc"'))
    assert all(offer.accepted for offer in ask_archive(config) if offer.syntax != "1.2.840.10008.1.2.4.80")
    with running(run, config) as (node, _):
        until(lambda: send(port, films.film(3, 128)) == 0)
        assert send(port, films.film(3, 128)) == 0
        assert send(port, films.film(1, 128), caller="STRANGER") is None
        until(lambda: node.journal.counts["results_stored"] == 3)
        assert node.journal.counts["films_duplicate"] == 1
    assert by_modality(orthanc) == {"SR": 2, "OT": 1}
    assert {str(dcmread(io.BytesIO(d)).PatientName) for d in orthanc.objects().values()} == {"Фантом^Анна"}
    capture = next(d for d in map(dcmread, map(io.BytesIO, orthanc.objects().values())) if d.Modality == "OT")
    assert capture.file_meta.TransferSyntaxUID.name.startswith("JPEG-LS Lossless")


@with_orthanc
def test_an_archive_that_goes_and_comes_loses_nothing(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    port = free_port()
    more = "[limits]\nlongest_pause = 1\nattempts = 2\n"
    config = configured(tmp_path, listening(port, f'stow = "{orthanc.root}/dicom-web"', more))
    with running(run, config) as (node, _):
        until(lambda: send(port, films.film(0, 128)) == 0)
        until(lambda: node.journal.counts["results_stored"] == 2)
        orthanc.stop()
        for n in (1, 2, 3):
            assert send(port, films.film(n, 128)) == 0
        until(lambda: node.journal.counts["films_answered"] == 4)
        until(lambda: node.journal.counts["archive_unreachable"] >= 3)
        assert overview(config.state).counts["results"] == {"stored": 2, "waiting": 6}
        orthanc.start()
        until(lambda: node.journal.counts["results_stored"] == 8)
    assert by_modality(orthanc) == {"SR": 8}


def kill_at_random(run: Path, orthanc: Orthanc, tmp_path: Path, kills: int) -> None:
    chance = random.Random(7)
    config = configured(tmp_path, polling(orthanc, "[limits]\nlongest_pause = 1\n"))
    command = [sys.executable, "-m", "pellucid", "pacs", "serve", str(run), "--config", str(tmp_path / "pacs.toml")]
    sent = 0
    for _ in range(kills):
        for _ in range(2):
            orthanc.add(films.save(films.film(sent, 128, films.LOOKS[sent % 8]), tmp_path / f"{sent}.dcm"))
            sent += 1
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert '"ready"' in process.stderr.readline()
        time.sleep(chance.uniform(0, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    once(run, config)
    until(lambda: (once(run, config), "waiting" not in overview(config.state).counts["results"])[1])
    counts = overview(config.state).counts
    assert counts["films"] == {"answered": sent}
    assert counts["results"] == {"stored": 3 * sent}
    found = by_modality(orthanc)
    assert (found["SR"], found["OT"], found["DX"] + found["CR"]) == (2 * sent, sent, sent)


@with_orthanc
def test_kill_at_four_moments_loses_and_doubles_nothing(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    kill_at_random(run, orthanc, tmp_path, 4)


@pytest.mark.slow
@with_orthanc
def test_kill_at_thirty_moments_loses_and_doubles_nothing(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    kill_at_random(run, orthanc, tmp_path, 30)


@with_orthanc
def test_two_workers_on_one_ledger_answer_once(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    for n in range(8):
        orthanc.add(films.save(films.film(n, 128), tmp_path / f"{n}.dcm"))
    config = configured(tmp_path, polling(orthanc))
    with running(run, config) as (one, first), running(run, config) as (two, second):
        until(lambda: one.journal.counts["results_stored"] + two.journal.counts["results_stored"] == 24)
    events = [json.loads(line) for log in (first, second) for line in log.getvalue().splitlines()]
    answered = [event["ref"] for event in events if event["event"] == "answered"]
    refs = [r for r, n in Counter(answered).items() if n > 1]
    assert not refs
    assert by_modality(orthanc) == {"SR": 16, "OT": 8, "DX": 5, "CR": 3}


@with_orthanc
def test_a_new_bundle_supersedes(run: Path, orthanc: Orthanc, tmp_path: Path) -> None:
    film = films.save(films.film(0, 128), tmp_path / "0.dcm")
    orthanc.add(film)
    config = configured(tmp_path, polling(orthanc, kinds="sr"))
    once(run, config)
    first = {str(d.SOPInstanceUID) for d in reports_in(orthanc)}
    other = bundle_of(tmp_path / "other" / "model", ("normal", "opacity"), seed=6)
    (tmp_path / "other" / "evaluation").mkdir()
    (tmp_path / "other" / "evaluation" / "metrics.json").write_text("{}")
    ledger = Ledger(config.state)
    ledger.mark("orthanc-changes", 0)
    ledger.close()
    once(other.parent, config)
    reports = reports_in(orthanc)
    assert len(reports) == 4
    named = {
        str(item.ReferencedSOPInstanceUID)
        for d in reports
        for study in d.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named == first


class Liar(BaseHTTPRequestHandler):
    """An archive that answers 200 and stores nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"00081199": {"vr": "SQ"}, "00081198": {"vr": "SQ"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def liar() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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
    assert retry(config.state) == (0, 2)
    assert len(list((config.state / "outbox").iterdir())) == 2
    assert overview(config.state).counts["results"] == {"waiting": 2}
    assert forget(config.state, [str(films.film(0, 128).StudyInstanceUID)]) == (1, 2)
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
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
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
