"""The same rows by Ray as on one machine, also when a worker is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.workflow.batch.conftest import write_archive
from tests.workflow.batch.rows import rows_of, skipped_of

from pellucid.workflow.batch.parts import part_path
from pellucid.workflow.batch.run import predict_archive

pytest.importorskip("ray.data")
MARK = "PELLUCID_TEST_MARK"


def by_ray(model: Path, archive: Path, out: Path, *options: str, mark: str = "") -> subprocess.Popen[str]:
    """The program in a process of its own: Ray leaves threads and signal handlers behind."""
    command = [sys.executable, "-m", "pellucid", "predict", str(model), str(archive), "--out", str(out)]
    command += ["--engine", "ray", "--workers", "2", "--explain", "grad-cam", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, MARK: mark})


def actors(mark: str) -> Iterator[int]:
    """Processes of Ray's that hold our actors, by the mark in their environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            if ours and (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                yield int(folder.name)
        except OSError:
            continue


def test_the_rows_are_those_of_the_local_engine(model: Path, archive: Path, tmp_path: Path) -> None:
    ended = by_ray(model, archive, tmp_path / "ray", "--part-size", "8")
    out, err = ended.communicate(timeout=200)
    assert ended.returncode == 1, err
    assert "40 of 43 images classified" in out
    assert "Traceback" not in err
    predict_archive(model, [str(archive)], tmp_path / "local", method="grad-cam", part_size=8)
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "local")
    assert skipped_of(tmp_path / "ray") == skipped_of(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="processes are found by /proc")
def test_a_lost_worker_loses_nothing_and_the_other_engine_can_finish(model: Path, tmp_path: Path) -> None:
    archive, out, mark = write_archive(tmp_path / "archive", 1000), tmp_path / "ray", uuid.uuid4().hex
    running = by_ray(model, archive, out, "--part-size", "20", mark=mark)
    while not part_path(out, 3).is_file():
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    killed = next(actors(mark))
    os.kill(killed, signal.SIGKILL)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 1, err
    predict_archive(model, [str(archive)], tmp_path / "local", method="grad-cam", part_size=20)
    assert rows_of(out) == rows_of(tmp_path / "local")
    assert skipped_of(out) == skipped_of(tmp_path / "local")
    for part in (5, 6, 40):
        part_path(out, part).unlink()
    summary = predict_archive(model, [str(archive)], out, method="grad-cam", resume=True)
    assert summary.answered_now == 60
    assert rows_of(out) == rows_of(tmp_path / "local")


def test_no_cluster_is_one_sentence(model: Path, archive: Path, tmp_path: Path) -> None:
    running = by_ray(model, archive, tmp_path / "out", "--address", "auto")
    _, err = running.communicate(timeout=200)
    if running.returncode == 1:
        pytest.skip("a Ray cluster runs on this machine, and was found")
    assert running.returncode == 2
    assert "Ray cannot be reached at auto" in err
    assert "`ray start`" in err
    assert "Traceback" not in err
