"""A disk that fills anywhere in a training: one sentence, nothing half-made, and a resumed run once there is room.

The run's folder is on a file system in memory, which is full after a share of what the training writes.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.unpacked import unpack

TINY = ["data.size=32", "model.filters=[4, 4]", "model.head=[{dense=4}]", "train.epochs=3", "train.patience=3"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("older")) / "films"


@pytest.fixture(scope="module")
def whole(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training where there is room."""
    out = tmp_path_factory.mktemp("whole") / "run"
    ended = train(films, out)
    assert ended.returncode in (0, 1), ended.stderr  # 1: it may have learned nothing, and says so
    return out


def train(films: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    settings = [part for value in TINY for part in ("--set", value)]
    command = [sys.executable, "-m", "pellucid", "train", films, "--recipe", "scratch-cnn", "--out", out, "-q"]
    return subprocess.run(
        [*map(str, command), *settings, *more], capture_output=True, text=True, check=False, env={**os.environ}
    )


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True, capture_output=True)


def written(folder: Path) -> int:
    """Bytes of the pages that the files of a folder fill."""
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*") if p.is_file())


def losses(run: Path) -> list[dict[str, str]]:
    """The rows of a run's history, without its seconds."""
    with (run / "history.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "share", [0.3, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.0, 0.05, 0.1, 0.2, 0.5, 0.7, 0.9, 0.97))]
)
def test_a_full_disk_is_said_and_resumed_from(films: Path, whole: Path, small_disk: Path, share: float) -> None:
    disk = small_disk
    out = disk / "run"
    resize(disk, max(8192, int(share * written(whole)) // 4096 * 4096))
    ended = train(films, out)
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"The disk that holds {disk} is full" in last
    assert not out.exists()
    kept = list(disk.iterdir())
    assert kept == ([disk / ".run.unfinished"] if "--resume" in last else [])
    resize(disk, 64 * 2**20)
    again = train(films, out, *(["--resume"] if kept else []))
    assert again.returncode in (0, 1), again.stderr
    assert losses(out) == losses(whole)
    assert (out / "model" / "model.onnx").read_bytes() == (whole / "model" / "model.onnx").read_bytes()
