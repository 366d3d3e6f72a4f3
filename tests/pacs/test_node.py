"""The node against a real Orthanc: each film answered once and each result stored once, whatever happens on the way."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from tests.pacs import films
from tests.pacs.archives import Orthanc, free_port, missing
from tests.pacs.conftest import bundle_of
from tests.pacs.nodes import configured, listening, once, polling, running, send, until

from pellucid.pacs.care import ask_archive, overview
from pellucid.pacs.ledger import Ledger

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:highdicom"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
with_orthanc = pytest.mark.skipif(bool(missing()), reason=missing())


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


def by_modality(orthanc: Orthanc) -> Counter[str]:
    return Counter(str(dcmread(io.BytesIO(data)).Modality) for data in orthanc.objects().values())


def reports_in(orthanc: Orthanc) -> list[Any]:
    found = [dcmread(io.BytesIO(data)) for data in orthanc.objects().values()]
    return [d for d in found if d.Modality == "SR"]


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
    for n in range(kills):
        for _ in range(2):
            orthanc.add(films.save(films.film(sent, 128, films.LOOKS[sent % 8]), tmp_path / f"{sent}.dcm"))
            sent += 1
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert '"ready"' in process.stderr.readline()
        time.sleep(chance.uniform(0, 0.3))
        if n % 4 == 2:
            orthanc.stop()
        time.sleep(chance.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        if orthanc.process is None:
            orthanc.start()
    once(run, config)
    until(lambda: (once(run, config), "waiting" not in overview(config.state).counts["results"])[1])
    counts = overview(config.state).counts
    assert counts["films"] == {"answered": sent}, overview(config.state).dead
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
