"""A training that has learned nothing says so first, on the terminal and in the report, and ends with exit code 1."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score
from tests.cli.conftest import Cli

from pellucid.bundle.run import RunFolder

SMALL = ("--set", "data.size=32", "--set", "model.filters=[4, 6]", "--set", "model.head=[{dense=8}]")


def test_it_is_the_first_line_with_what_to_try(cli: Cli, phantoms: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--recipe", "scratch-cnn", "--set", "train.epochs=1", "--set", "train.learning_rate=1e-7")
    ended = cli("train", phantoms, "--out", run, *options, *SMALL, "--group-by", r"^(patient\d+)")
    assert ended.code == 1, ended
    first = " ".join(ended.out.split("\n\n")[0].split())
    assert first.startswith("Not learned: the validation ROC-AUC is 0.")
    for word in ("default", "phantom", "more images", "a lower rate"):
        assert word in first
    training = RunFolder(run).read_record().training
    assert training is not None
    assert training.learning is not None
    with (run / "evaluation" / "validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = roc_auc_score([r["label"] == "opacity" for r in rows], [float(r["logit_1"]) for r in rows])
    assert training.learning.area == pytest.approx(expected)
    assert training.learning.low <= 0.5
    assert not training.learned
    page = " ".join((run / "report.html").read_text(encoding="utf-8").split())
    assert page.index("Not learned: the validation ROC-AUC") < page.index("<h2")


def test_a_rate_under_which_the_loss_grows_tenfold_is_named(cli: Cli, phantoms: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--recipe", "scratch-cnn", "--set", "train.epochs=2", "--set", "train.learning_rate=5")
    ended = cli("train", phantoms, "--out", run, *options, *SMALL, "--group-by", r"^(patient\d+)")
    training = RunFolder(run).read_record().training
    assert training is not None
    assert training.grown is not None
    with (run / "history.csv").open(newline="", encoding="utf-8") as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert training.grown.loss == pytest.approx(max(losses), rel=1e-6)
    assert "grew more than tenfold" in " ".join(ended.out.split())
