"""Every row of the hostile list that can be judged from outside, against a real server."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.running import Running, running

from pellucid.errors import InputError
from pellucid.serving.attacks.files import CANARY, canary_files, plain_png
from pellucid.serving.attacks.run import ATTACKS, outcome_of, run_attacks
from pellucid.serving.attacks.verdicts import Attack

ELSEWHERE = {24, 25, 26, 33, 34, 35, 39}  # test_remote_images.py, tests/cli/test_serve.py, tests/bundle/test_graphs.py
NOT_HERE = {28, 30, 40}  # need another setting: below; 40 is in test_protocol.py
ROWS = {*range(1, 36), 38, 39, 40}  # 36 and 37 are about training
JUDGED = [a for a in ATTACKS if a.row not in ELSEWHERE | NOT_HERE]


def test_all_rows_are_there() -> None:
    assert {a.row for a in ATTACKS} == ROWS
    assert {a.row for a in JUDGED} == ROWS - ELSEWHERE - NOT_HERE


@pytest.mark.parametrize(
    "attack", JUDGED, ids=[f"{a.row}-{re.sub('[^a-z0-9]+', '-', a.title.lower())}" for a in JUDGED]
)
def test_server_holds(server: Running, attack: Attack) -> None:
    outcome = outcome_of(attack, server.target())
    assert outcome.held is True, outcome.seen


@pytest.fixture(scope="module")
def locked(served_bundle: Path) -> Iterator[Running]:
    with running({"small": served_bundle}, api_key="sesame") as server:
        yield server


@pytest.mark.parametrize("row", sorted(NOT_HERE - {40}))
def test_server_with_a_key_and_without_urls(locked: Running, row: int) -> None:
    for attack in (a for a in ATTACKS if a.row == row):
        outcome = outcome_of(attack, locked.target("sesame"))
        assert outcome.held is True, outcome.seen


def test_right_key_opens_and_only_what_holds_no_data_is_open(locked: Running) -> None:
    target = locked.target()
    assert target.request("GET", "/v1/models", headers={"X-API-Key": "sesame"}).status == 200
    assert target.request("GET", "/v1/models", headers={"Authorization": "Bearer sesame"}).status == 200
    for path in ("/health", "/livez", "/readyz"):
        assert target.request("GET", path).status == 200
    for path in ("/metrics", "/v1/stats", "/openapi.json", "/v2", "/v1/feedback.csv"):
        assert target.request("GET", path).status == 401, path
    with pytest.raises(InputError, match="`api_key=`"):
        run_attacks(locked.url, "wrong")


def test_memory_stays_bounded(server: Running) -> None:
    """The pictures of row 11 would take 10 GB, 0.5 GB and 0.2 GB unpacked."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")

    def peak() -> int:
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])

    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    for attack in (a for a in ATTACKS if a.row == 11):
        assert outcome_of(attack, server.target()).held
    assert peak() - before < 200_000


def test_canary_is_nowhere(served_bundle: Path, tmp_path: Path) -> None:
    """A name planted in file names, EXIF, text, XMP and DICOM tags: not in replies, logs, store or metrics."""
    store = tmp_path / "store.sqlite"
    with running({"small": served_bundle}, store=str(store)) as server:
        target = server.target()
        replies = []
        for kind, data in canary_files().items():
            declared = "application/dicom" if kind == "dicom" else f"image/{kind}"
            name = f"{CANARY}.{kind}".encode()
            for path in (
                "/predict",
                "/v1/predict",
                "/v1/explain?pictures=overlay,map,seen",
                "/v1/predict?model=CANARY",
            ):
                replies.append(target.upload(data, declared, name, path))
            replies.append(target.upload(data[:-40], declared, name))
            replies.append(target.upload(data, f"text/{CANARY}", name))
            replies.append(target.upload(CANARY.encode(), f"text/{CANARY}", name))
        paths = ("/metrics", "/v1/stats", "/v1/stats.csv", "/v1/feedback.csv", "/CANARY", "/health?CANARY=CANARY")
        replies += [target.request("GET", path, headers={"User-Agent": CANARY, "Referer": CANARY}) for path in paths]
        log = server.log
    assert {r.status for r in replies} == {200, 404, 415, 422}
    for reply in replies:
        assert b"CANARY" not in reply.body
        assert "CANARY" not in str(reply.headers)
    assert log.getvalue().count('"event": "request"') == len(replies)
    assert "CANARY" not in log.getvalue()
    for file in tmp_path.iterdir():
        assert b"CANARY" not in file.read_bytes()
    assert sqlite3.connect(store).execute("select count(*) from predictions").fetchone()[0] == 20


def test_refusals_carry_codes_on_the_classic_address_too(server: Running) -> None:
    reply = server.target().upload(b"<html>", path="/predict")
    document = reply.document
    assert reply.status == 415
    assert document["status"] == "error"
    assert document["code"] == "not-an-image"
    assert document["error"] == document["detail"]


def test_security_headers_on_every_answer(server: Running) -> None:
    target = server.target()
    for reply in (target.request("GET", "/health"), target.request("GET", "/nothing"), target.upload(plain_png())):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["referrer-policy"] == "no-referrer"
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in reply.headers
