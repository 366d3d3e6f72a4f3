"""A disk that fills, few open files and a clock that goes back: one sentence each, and nothing is lost."""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.workflow.batch.rows import rows_of

from pellucid.errors import ResourceError
from pellucid.workflow.batch.run import Running, predict_archive
from pellucid.workflow.batch.summary import Summary


def batch(model: Path, archive: Path, out: Path, **options: Any) -> Summary:
    return predict_archive(model, [str(archive)], out, part_size=16, running=Running(1), **options)


class FullAt:
    """Makes the disk full at the N-th file that is opened for writing or renamed below a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
        self.left, self.folder, self.patch = number, str(folder), monkeypatch
        opened, replaced = io.open, os.replace
        monkeypatch.setattr(io, "open", self.limited(opened, lambda path, mode="r", *_, **__: set(mode) & set("wxa+")))
        monkeypatch.setattr(builtins, "open", io.open)
        monkeypatch.setattr(os, "replace", self.limited(replaced, lambda *_: True))

    def limited(self, call: Callable[..., Any], writes: Callable[..., Any]) -> Callable[..., Any]:
        def limited(path: Any, *more: Any, **options: Any) -> Any:
            if str(path).startswith(self.folder) and writes(path, *more, **options):
                self.left -= 1
                if self.left == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return call(path, *more, **options)

        return limited


def trouble_of(work: Callable[[], object]) -> str:
    try:
        work()
    except ResourceError as error:
        return str(error)
    return ""


def test_a_disk_that_is_full_at_any_write_loses_nothing(
    model: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batch(model, archive, tmp_path / "whole")
    writes, failures = 0, 0
    while True:
        writes += 1
        out = tmp_path / f"out{writes}"
        with monkeypatch.context() as patch:
            disk = FullAt(patch, out, writes)
            said = trouble_of(lambda: batch(model, archive, out))  # noqa: B023 - called at once
        if disk.left > 0:
            break
        failures += 1
        assert str(out) in said
        assert "is full" in said
        assert ("are kept" in said) == (out / "job.json").is_file()
        if out.exists():
            assert not list(out.glob(".*.part")), "a half-written file is left"
        again = batch(model, archive, out, resume=True)
        assert (again.answered, again.skipped) == (whole.answered, whole.skipped)
        assert rows_of(out) == rows_of(tmp_path / "whole")
    # Lock, plan, job, parts, skipped and summary; most of them are a file and its renaming.
    assert failures == writes - 1 >= 12


@pytest.mark.parametrize("limit", [24, 16, 12])
def test_few_open_files_are_enough_or_named(model: Path, archive: Path, tmp_path: Path, limit: int) -> None:
    out = tmp_path / "out"
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2); sys.argv[1:2] = []\n"
        "from pellucid.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, str(limit), "predict", model, archive, "--out", out, "--workers", "4"]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 24
    assert "Traceback" not in ended.stderr, ended.stderr
    if ended.returncode == 1:
        assert len(rows_of(out)) == 40
    else:
        assert ended.returncode == 2, ended
        assert "Too many files are open" in ended.stderr
        assert "ulimit -n" in ended.stderr


def test_a_clock_that_goes_back_changes_nothing(
    model: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    summary = batch(model, archive, tmp_path / "out")
    assert summary.seconds >= 0
    assert summary.rate is None or summary.rate > 0
    assert all(row["index"] >= 0 for row in rows_of(tmp_path / "out"))
    assert batch(model, archive, tmp_path / "out", resume=True).answered_now == 0
