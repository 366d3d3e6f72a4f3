"""Other data that lack a class, or have one that the model does not know: what is there is evaluated and audited."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.cli.conftest import Cli


@pytest.fixture
def healthy(phantoms: Path, tmp_path: Path) -> Path:
    """The healthy test films alone, and beside them a class that the model does not know."""
    shutil.copytree(phantoms / "test" / "normal", tmp_path / "data" / "normal")
    (tmp_path / "data" / "zebra").mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64), dtype=np.uint8)
        PIL.Image.fromarray(noise).save(tmp_path / "data" / "zebra" / f"{i}.png")
    return tmp_path / "data"


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "own"))


def test_healthy_films_alone_are_evaluated(cli: Cli, own_run: Path, healthy: Path, tmp_path: Path) -> None:
    ended = cli("evaluate", own_run, healthy, "--out", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    with (own_run / "evaluation" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "normal"]
    assert document["n"] == len(rows)
    right = sum(row["predicted"] == "normal" for row in rows) / len(rows)
    assert document["metrics"]["specificity"]["value"] == pytest.approx(right)
    assert document["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert document["metrics"]["roc_auc"]["value"] is None
    assert document["metrics"]["sensitivity"]["value"] is None
    assert any("no image of opacity" in note for note in document["notes"])
    assert any("does not know these classes: zebra (3 images)" in note for note in document["notes"])
    shown = cli("evaluate", own_run, healthy, "--out", tmp_path / "shown").out
    assert "zebra (3 images)" in " ".join(shown.split())
    line = next(line for line in shown.splitlines() if line.strip().startswith("ROC-AUC"))
    assert "-" in line
    assert "nan" not in shown.lower()


def test_two_models_are_compared_on_what_is_there(cli: Cli, own_run: Path, run: Path, healthy: Path) -> None:
    ended = cli("evaluate", own_run, healthy, "--against", run, "--json")
    assert ended.code == 0, ended.err
    metrics = json.loads(ended.out)["against"]["metrics"]
    assert metrics["accuracy"]["difference"] == 0
    assert metrics["roc_auc"]["judgement"] == "not defined"
    assert metrics["roc_auc"]["difference"] is None


def test_healthy_films_alone_are_audited(cli: Cli, own_run: Path, healthy: Path) -> None:
    ended = cli("audit", own_run, healthy, "--json")
    assert ended.code in (0, 1), ended.err
    document = json.loads(ended.out)
    assert document["area"] is None
    assert document["absent"] == ["opacity"]
    assert document["unknown"] == {"zebra": 3}
    assert all(r["alone"] is None and r["lost"] is None for r in document["regions"])
    assert all(0 <= r["changed"] <= 1 for r in document["regions"])
    assert not [f for f in document["findings"] if f["topic"] == "Shortcut"]
    assert cli("audit", own_run, healthy).code == ended.code
    assert cli("report", own_run).code == 0
    page = (own_run / "report.html").read_text(encoding="utf-8")
    assert "All images are of one class" in page


def test_data_of_other_classes_only_are_refused_by_name(cli: Cli, own_run: Path, healthy: Path) -> None:
    shutil.rmtree(healthy / "normal")
    ended = cli("evaluate", own_run, healthy)
    assert ended.code == 2
    assert "zebra" in ended.err
