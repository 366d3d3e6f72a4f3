"""The store on a real PostgreSQL server, started here for the purpose; skipped where none is installed."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from tests.serving.running import running

from pellucid.serving.attacks.client import Target
from pellucid.serving.attacks.files import plain_jpeg, plain_png
from pellucid.serving.store import FEEDBACK, PREDICTIONS, REFUSALS

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
