"""The store on a real PostgreSQL server, started here for the purpose; skipped where none is installed."""

from __future__ import annotations

import gc
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sql
from tests.serving.running import running

from pellucid.serving.attacks.client import Target
from pellucid.serving.attacks.files import plain_jpeg, plain_png
from pellucid.serving.store_tables import FEEDBACK, PREDICTIONS, REFUSALS

pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'pellucid[postgresql]'")


def binaries() -> Path | None:
    """Where PostgreSQL's programs lie: Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    return known[-1] if known else None


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of a database on a server of its own, which listens on a socket in its folder only."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # Its programs refuse to be root.
    owner = pwd.getpwnam("postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    with tempfile.TemporaryDirectory(prefix="pellucid-pg-") as name:
        folder = Path(name)
        shutil.chown(folder, owner.pw_uid, owner.pw_gid)

        def program(*command: str) -> None:
            subprocess.run(
                [str(programs / command[0]), *command[1:]],
                check=True,
                capture_output=True,
                cwd=folder,
                user=owner.pw_uid if os.geteuid() == 0 else None,
            )

        data = str(folder / "data")
        program("initdb", "-D", data, "-U", "pellucid", "-A", "trust", "--no-sync", "-E", "UTF8")
        listening = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        program("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", listening, "start")
        try:
            yield f"postgresql+psycopg://pellucid@/postgres?host={folder}"
        finally:
            program("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


def say(target: Target, **given: object) -> int:
    headers = {"Content-Type": "application/json"}
    return target.request("POST", "/v1/feedback", json.dumps(given).encode(), headers).status


def test_answers_refusals_and_feedback_are_kept_and_shown(served_bundle: Path, database: str) -> None:
    for turn in (1, 2):  # the second server finds the tables of the first
        with running({"small": served_bundle}, store=database) as server:
            target = server.target()
            right, wrong = (target.upload(data, "").document for data in (plain_png(), plain_jpeg()))
            target.upload(b"nothing")
            other = "ant" if wrong["label"] == "bee" else "bee"
            assert say(target, id=right["id"], correct=True) == 204
            assert say(target, id=wrong["id"], correct=False, label=other, comment="zu dunkel – 太暗") == 204
            assert say(target, id="0" * 32, correct=True) == 404
            days = target.request("GET", "/v1/stats?days=2").document["days"]
            exported = target.request("GET", "/v1/feedback.csv").body.decode()
        assert days[-1]["requests"] == 2 * turn
        assert days[-1]["errors"] == 2 * turn
        assert days[-1]["feedback"] == {"correct": turn, "incorrect": turn}
        assert exported.count("zu dunkel – 太暗") == turn
    engine = sql.create_engine(database)
    with engine.connect() as connection:
        rows = {r.id: r for r in connection.execute(PREDICTIONS.select())}
        refused = sorted(tuple(r)[1:] for r in connection.execute(REFUSALS.select()))
        said = {r.prediction: r for r in connection.execute(FEEDBACK.select())}
    engine.dispose()
    assert len(rows) == 4
    assert refused == [("not-an-image", 2), ("unknown-answer", 2)]
    assert (rows[wrong["id"]].label, said[wrong["id"]].label) == (wrong["label"], other)
    assert rows[wrong["id"]].confidence == pytest.approx(wrong["confidence"], rel=1e-12)
    assert len(rows[wrong["id"]].features) > 0


def test_a_nul_in_a_comment_is_replaced(served_bundle: Path, database: str) -> None:
    """PostgreSQL has no NUL in texts."""
    with running({"small": served_bundle}, store=database) as server:
        target = server.target()
        given = target.upload(plain_png(), "").document
        assert say(target, id=given["id"], correct=True, comment="a\0b") == 204
        exported = target.request("GET", "/v1/feedback.csv").body.decode()
    assert "a\N{REPLACEMENT CHARACTER}b" in exported


# A thread that was given up closes its connection when the database answers again, behind the pool's back.
ABANDONED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextmanager
def frozen(url: str) -> Iterator[None]:
    """Stop every process of the database, as a hung disk or machine does: connections stay open and nothing answers."""
    folder = Path(url.rpartition("=")[2])
    parent = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    processes = [parent, *map(int, children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
        time.sleep(0.5)
        gc.collect()


@ABANDONED
def test_a_frozen_database_hangs_nothing_that_does_not_need_it(served_bundle: Path, database: str) -> None:
    began = None
    with running({"small": served_bundle}, store=database, store_deadline=1.5, drain=6) as server:
        target = server.target()
        first = target.upload(plain_png(), "").document["id"]
        assert say(target, id=first, correct=True) == 204
        image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [b64encode(plain_png()).decode()]}
        body = json.dumps({"inputs": [image]}).encode()
        with frozen(database), ThreadPoolExecutor(48) as threads:
            asked = [threads.submit(target.request, "GET", "/v1/stats?days=1") for _ in range(45)]
            said = threads.submit(say, target, id=first, correct=False)
            time.sleep(0.2)
            quick = [
                target.upload(plain_png(), ""),
                target.request("POST", "/v2/models/small/infer", body, {"Content-Type": "application/json"}),
                target.request("GET", "/"),
                target.request("GET", "/livez"),
            ]
            assert [r.status for r in quick] == [200] * 4
            assert max(r.seconds for r in quick) < 1.5
            refused = [f.result() for f in asked]
            assert {(r.status, r.code) for r in refused} == {(503, "store")}
            assert max(r.seconds for r in refused) < 5
            assert said.result() == 503
            kept = quick[0].document
            assert kept["stored"] is True
        assert target.request("GET", "/v1/stats?days=1").document["days"][-1]["requests"] >= 2
        assert say(target, id=kept["id"], correct=True) == 204
        with frozen(database):
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 6


@ABANDONED
def test_answers_of_an_hour_without_the_database_are_kept(served_bundle: Path, database: str, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with running({"small": served_bundle}, store=database, spool=spool) as server:
        target = server.target()
        with frozen(database):
            given = [target.upload(plain_png(), "").document["id"] for _ in range(3)]
            server.stop()
            assert spool.is_file()
    with running({"small": served_bundle}, store=database, spool=spool) as server:
        assert server.service.store is not None
        assert [say(server.target(), id=identity, correct=True) for identity in given] == [204] * 3
    assert not spool.exists()
