"""Two processes on this machine's CPU, started by torchrun and by accelerate, against one."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.data.phantom import generate_phantoms
from pellucid.storage import draft_of

SETTINGS = ("train.epochs=4", "data.size=32", "model.filters=[4,6]", "train.batch_size=10", "augment.blur=1")
SMALL = (*SETTINGS, "model.head=[{dense=8}]", "train.precision=float32")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films") / "films"
    generate_phantoms(folder, images=160, size=48, seed=3)
    return folder


def train(films: Path, out: Path, launcher: list[str], *more: str) -> list[dict[str, float]]:
    options = [word for setting in (*SMALL, *more) for word in ("--set", setting)]
    environment = {**os.environ, "PELLUCID_CACHE": str(out.parent / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            *launcher,
            "pellucid",
            "train",
            str(films),
            "--recipe",
            "scratch-cnn",
            "--out",
            str(out),
            *options,
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "report.html").is_file()
    assert not draft_of(out).exists()
    assert done.stderr.count("epoch   2/4") == 1, "one process speaks"
    with (out / "history.csv").open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


@pytest.mark.slow
def test_two_processes_train_what_one_trains(films: Path, tmp_path: Path) -> None:
    """Order, augmentation and the weight of every image are the same; only sums are formed in another order."""
    alone = train(films, tmp_path / "alone", [])
    torchrun = ["torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}", "-m"]
    pair = train(films, tmp_path / "pair", torchrun)
    for one, two in zip(alone, pair, strict=True):
        # One pair of films that changes places moves the area by 1/225.
        assert two.pop("val_roc_auc") == pytest.approx(one.pop("val_roc_auc"), abs=0.02)
        assert two == pytest.approx(one, abs=3e-3)


@pytest.mark.slow
def test_accelerate_starts_them_too_and_frozen_layers_run_once(films: Path, tmp_path: Path) -> None:
    more = ("model.freeze=conv2", "train.cache=always", "train.cached_views=3", "train.class_weights=balanced")
    alone = train(films, tmp_path / "alone", [], *more)
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes=2", f"--main_process_port={free_port()}", "-m"]
    pair = train(films, tmp_path / "pair", launch, *more)
    for one, two in zip(alone, pair, strict=True):
        # One pair of films that changes places moves the area by 1/225.
        assert two.pop("val_roc_auc") == pytest.approx(one.pop("val_roc_auc"), abs=0.02)
        assert two == pytest.approx(one, abs=3e-3)
