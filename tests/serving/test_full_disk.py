"""A disk that fills while the server runs: a file system of 1 MB in memory, filled to the last byte."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.serving.running import running
from tests.serving.test_jobs import ended, start

from pellucid.serving import spools
from pellucid.serving.attacks.client import BOUNDARY, form
from pellucid.serving.attacks.files import encoded, plain_png
from pellucid.serving.spools import Spool

NOISE = encoded(np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8), "PNG")


def fill(folder: Path) -> Path:
    file = folder / "filling"
    with file.open("wb", buffering=0) as full:
        try:
            while True:
                full.write(os.urandom(4096))
        except OSError:
            return file


def test_answers_wait_for_room_in_the_store_and_for_images(served_bundle: Path, small_disk: Path) -> None:
    store, kept = small_disk / "s.sqlite", small_disk / "kept"
    with running({"small": served_bundle}, store=str(store), keep_images=kept) as server:
        target = server.target()
        first = target.upload(plain_png()).document["id"]
        assert server.service.store is not None
        server.service.store.flush()
        filling = fill(small_disk)
        given = [target.upload(plain_png()) for _ in range(4)]
        assert [r.status for r in given] == [200] * 4
        assert target.request("GET", "/livez").status == 200
        filling.unlink()
        days = target.request("GET", "/v1/stats?days=1").document["days"]
        assert days[0]["requests"] == 5
        assert len(list(kept.glob("*.png"))) >= 1
        assert (kept / f"{first}.png").read_bytes() == plain_png()
        assert not list(kept.glob(".*"))
    assert not store.with_name("s.sqlite.spool").exists()


def test_batches_find_no_room(served_bundle: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with running({"small": served_bundle}) as server:
        reply = start(server, [NOISE] * 4)
        assert (reply.status, reply.code) == (503, "no-room")
        done = ended(server, start(server, [plain_png()], "method=grad-cam"))
        filling = fill(small_disk)
        packed = server.target().request("GET", done["url"] + "/results?format=zip")
        assert (packed.status, packed.code) == (503, "no-room")
        assert server.target().request("GET", done["url"] + "/results").status == 200
        filling.unlink()
        assert server.target().request("GET", done["url"] + "/results?format=zip").status == 200
        assert server.target().upload(plain_png()).status == 200


def test_overlays_that_find_no_room_end_a_batch_and_nothing_else(
    served_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with running({"small": served_bundle}) as server:
        monkeypatch.setattr(Spool, "add", full)
        job = ended(server, start(server, [plain_png()] * 3, "method=grad-cam"))
        assert job["state"] == "failed"
        monkeypatch.undo()
        assert ended(server, start(server, [plain_png()], "method=grad-cam"))["state"] == "done"


def test_a_disk_that_does_not_answer_ends_its_own_request_alone(
    served_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, write = threading.Event(), Spool._write

    def stuck(spool: Spool, data: bytes | bytearray) -> None:
        with spool._lock:
            answers.wait(30)
        write(spool, data)

    monkeypatch.setattr(spools, "DISK_SECONDS", 0.3)
    body, kind = form(bytes(3 * 2**20), field="files"), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    with running({"small": served_bundle}) as server:
        monkeypatch.setattr(Spool, "_write", stuck)
        reply = server.target().request("POST", "/v1/batch", body, kind)
        assert (reply.status, reply.code) == (503, "disk")
        assert server.target().request("GET", "/livez").status == 200
        assert server.target().upload(plain_png()).status == 200
        answers.set()
        monkeypatch.undo()
        assert ended(server, start(server, [plain_png()]))["state"] == "done"


def test_a_spool_that_is_closed_during_a_write_is_closed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool()
    with spool._lock:
        spool.close()
        assert not spool._file.closed
    spool._write(b"late")
    assert spool._file.closed
    spool.close()
