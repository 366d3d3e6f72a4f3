from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from tests.serving.running import Running, running

import pellucid
from pellucid.serving.attacks.client import BOUNDARY, Reply, form
from pellucid.serving.attacks.files import encoded, film, plain_jpeg, plain_png, zip_tail

FILES = [plain_png(), b"no image", plain_jpeg(), plain_png()[:-100]]


def packed(files: list[bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for n, file in enumerate(files):
            archive.writestr(f"folder/../{n}.png", file)
        archive.writestr("__MACOSX/._0.png", b"x")
        archive.writestr(".DS_Store", b"x")
        archive.writestr("folder/", b"")
    return data.getvalue()


def many(files: list[bytes]) -> bytes:
    ends = f"--{BOUNDARY}--\r\n".encode()
    return b"".join(form(f, "", field="files")[: -len(ends)] for f in files) + ends


def start(server: Running, files: list[bytes], query: str = "") -> Reply:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return server.target().request("POST", f"/v1/batch?{query}", many(files), {"Content-Type": kind})


def ended(server: Running, reply: Reply, seconds: float = 20) -> dict[str, Any]:
    assert reply.status == 202, reply.document
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = server.target().request("GET", reply.document["url"]).document
        if job["state"] not in ("waiting", "running"):
            return dict(job)
        time.sleep(0.05)
    raise AssertionError(job)


def test_many_files_in_order_with_what_was_skipped(server: Running, served_bundle: Path) -> None:
    job = ended(server, start(server, FILES, "method=grad-cam"))
    assert (job["state"], job["done"], job["total"]) == ("done", 4, 4)
    assert [(s["index"], s["code"]) for s in job["skipped"]] == [(1, "not-an-image"), (3, "damaged")]
    target, bundle = server.target(), pellucid.load(served_bundle)
    results = target.request("GET", job["url"] + "/results").document["results"]
    assert [r["index"] for r in results] == [0, 2]
    for row in results:
        expected = bundle.predict(FILES[row["index"]])
        assert row["label"] == expected.label
        assert row["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert "vidence for" in row["verdict"]
    table = list(csv.DictReader(io.StringIO(target.request("GET", job["url"] + "/results?format=csv").body.decode())))
    assert [r["index"] for r in table] == ["0", "1", "2", "3"]
    assert float(table[0]["p_bee"]) == results[0]["probabilities"]["bee"]
    assert "not an image" in table[1]["skipped"]
    archive = zipfile.ZipFile(io.BytesIO(target.request("GET", job["url"] + "/results?format=zip").body))
    assert archive.namelist() == ["results.csv", "results.json", "overlays/00000.png", "overlays/00002.png"]
    assert PIL.Image.open(archive.open("overlays/00000.png")).size == (128, 96)
    assert json.loads(archive.read("results.json"))["results"] == results


@pytest.mark.parametrize("as_form", [True, False])
def test_a_zip_is_a_batch(server: Running, as_form: bool) -> None:
    data = packed(FILES)
    if as_form:
        reply = start(server, [data])
    else:
        reply = server.target().request("POST", "/v1/batch", data, {"Content-Type": "application/zip"})
    job = ended(server, reply)
    assert (job["done"], job["total"]) == (4, 4)
    assert [s["index"] for s in job["skipped"]] == [1, 3]


def _bomb() -> bytes:
    return packed([bytes(30_000_000)])


def _lying_bomb() -> bytes:
    """States 100 bytes and unpacks to 30 MB."""
    data = _bomb()
    true = (30_000_000).to_bytes(4, "little")
    return data.replace(true, (100).to_bytes(4, "little"))


def test_zips_that_cannot_be_used_are_refused_or_skipped(server: Running) -> None:
    def send(data: bytes) -> Reply:
        return server.target().request("POST", "/v1/batch", data, {"Content-Type": "application/zip"})

    assert (send(zip_tail()[:-30]).status, send(b"PK\x03\x04rest").code) == (422, "damaged")
    assert send(packed([])).code == "empty"
    assert send(_bomb()).code == "zip-bomb"
    assert send(packed([b"x"] * 1001)).status == 413
    lying = ended(server, send(_lying_bomb()))
    assert len(lying["skipped"]) == 1
    lzma = ended(server, send(packed([plain_png()], zipfile.ZIP_LZMA)))
    assert lzma["skipped"][0]["code"] == "unreadable"


def test_a_batch_is_called_off(served_bundle: Path) -> None:
    large = encoded(film(480, 640), "PNG")
    with running({"small": served_bundle}) as server:
        first = start(server, [large] * 10, "method=rise").document
        second = start(server, [large] * 2).document
        target = server.target()
        assert target.request("DELETE", second["url"]).document["state"] == "cancelled"
        assert target.request("DELETE", first["url"]).document["state"] == "cancelled"
        began = time.monotonic()
        third = ended(server, start(server, [plain_png()]))
        assert third["state"] == "done"
        assert time.monotonic() - began < 10
        assert target.request("GET", first["url"]).document["done"] < 10


def test_unknown_jobs_and_empty_batches(server: Running) -> None:
    target = server.target()
    assert target.request("GET", f"/v1/batch/{'0' * 32}").status == 404
    assert target.request("GET", "/v1/batch/..").status in (404, 422)
    assert start(server, []).status == 400
    assert target.request("POST", "/v1/batch", b"{}", {"Content-Type": "application/json"}).status == 415
