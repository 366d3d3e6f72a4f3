"""Folds, seeds and learning curves: who is tested when, shared features, and the spread."""

from __future__ import annotations

import csv
import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pellucid.data.phantom import generate_phantoms
from pellucid.errors import InputError
from pellucid.progress import Advance, Silent
from pellucid.recipe import Recipe, validate_recipe
from pellucid.workflow.folds import FoldsRecord, fewer, train_folds
from pellucid.workflow.preparing import read_labelled
from pellucid.workflow.training import train

GROUP_BY = r"^(patient\d+)"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films") / "films"
    generate_phantoms(folder, images=200, size=48, seed=3)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def recipe(freeze: str = "all", **train: object) -> Recipe:
    settings = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "cache": "always", **train}
    model = {"backbone": "cnn", "weights": "none", "filters": [4, 6], "freeze": freeze}
    return validate_recipe(
        {"name": "small", "data": {"size": 32, "group_by": GROUP_BY}, "model": model, "train": settings}, "test"
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_many_trainings_show_a_line_each_and_none_for_an_epoch(films: Path, tmp_path: Path) -> None:
    lines = Lines()
    train_folds(films, recipe(epochs=2), out=tmp_path / "out", folds=2, progress=lines)
    assert sum("training 1 of 2" in line or "training 2 of 2" in line for line in lines.lines) == 2
    assert not [line for line in lines.lines if "val loss" in line]


def test_every_image_outside_the_test_set_is_tested_once_and_no_patient_is_parted(films: Path, tmp_path: Path) -> None:
    record = train_folds(films, recipe(), out=tmp_path / "out", folds=3)
    rows = rows_of(tmp_path / "out")
    dataset = read_labelled(films, recipe())
    assert sorted(r["path"] for r in rows) == sorted(s.path for s in dataset.samples if s.split != "test")
    folds: dict[str, set[str]] = {}
    for row in rows:
        patient = re.match(GROUP_BY, Path(row["path"]).name)
        assert patient is not None
        folds.setdefault(patient[1], set()).add(row["fold"])
    assert all(len(found) == 1 for found in folds.values())
    for trial in record.trials:
        own = [r for r in rows if r["fold"] == str(trial.fold)]
        truth = [r["label"] == record.classes[1] for r in own]
        scores = [float(r[f"probability_{record.classes[1]}"]) for r in own]
        assert trial.metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-4)
        assert trial.images["test"] == len(own)
    values = [t.metrics["accuracy"] for t in record.trials]
    spread = record.spread["1"]["accuracy"]
    assert (spread.mean, spread.deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (spread.lowest, spread.highest) == (min(values), max(values))
    written = FoldsRecord.model_validate(json.loads((tmp_path / "out" / "folds.json").read_text()))
    assert written == record
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["folds.json", "predictions.csv", "recipe.toml"]


def test_shared_features_give_what_each_training_alone_gives(films: Path, tmp_path: Path) -> None:
    lines = Lines()
    shared = train_folds(films, recipe(), out=tmp_path / "a", folds=2, seeds=2, progress=lines)
    alone = train_folds(films, recipe(cache="never"), out=tmp_path / "b", folds=2, seeds=2)
    assert any("they run once for 150 training images" in line for line in lines.lines)
    for one, other in zip(shared.trials, alone.trials, strict=True):
        assert (one.fold, one.seed, one.images) == (other.fold, other.seed, other.images)
        assert one.metrics == pytest.approx(other.metrics, abs=0.02)
    assert len({t.metrics["roc_auc"] for t in shared.trials}) > 2


def test_seeds_share_the_split_of_a_run_and_its_test_set(films: Path, tmp_path: Path) -> None:
    record = train_folds(films, recipe("none"), out=tmp_path / "out", seeds=2, seed=5)
    assert [t.seed for t in record.trials] == [5, 6]
    tested = {seed: {r["path"] for r in rows_of(tmp_path / "out") if r["seed"] == seed} for seed in ("5", "6")}
    assert tested["5"] == tested["6"] == {s.path for s in read_labelled(films, recipe()).samples if s.split == "test"}


class Broken(Lines):
    """Breaks off at an epoch, counted from the first of all trainings, and counts them."""

    def __init__(self, at: int = 0) -> None:
        super().__init__()
        self.at, self.epochs = at, 0

    def bar(self, description: str) -> AbstractContextManager[Advance]:
        self.epochs += description.startswith("Epoch")
        if self.epochs == self.at and description.startswith("Epoch"):
            raise KeyboardInterrupt
        return super().bar(description)


@pytest.mark.parametrize("freeze", ["all", "none"])
def test_broken_off_they_go_on_from_the_last_epoch_to_the_same_end(films: Path, tmp_path: Path, freeze: str) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = train_folds(films, recipe(freeze), out=whole, folds=3)
    with pytest.raises(KeyboardInterrupt, match="add `resume=True` to the same command to resume it"):
        train_folds(films, recipe(freeze), out=broken, folds=3, progress=Broken(at=6))
    assert not broken.exists()
    with pytest.raises(InputError, match="add `resume=True`"):
        train_folds(films, recipe(freeze), out=broken, folds=3)
    with pytest.raises(InputError, match="plan of folds, seeds or shares of the unfinished run"):
        train_folds(films, recipe(freeze), out=broken, folds=4, resume=True)
    with pytest.raises(InputError, match="recipe of the unfinished run"):
        train_folds(films, recipe(freeze, epochs=4), out=broken, folds=3, resume=True)
    with pytest.raises(InputError, match="kind of the unfinished run"):
        train(films, recipe=recipe(freeze), out=broken, resume=True)
    lines = Broken()
    found = train_folds(films, recipe(freeze), out=broken, folds=3, resume=True, progress=lines)
    assert lines.epochs == 1 + 3
    assert [t.metrics for t in found.trials] == [t.metrics for t in expected.trials]
    assert found.spread == expected.spread
    assert (broken / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert sorted(f.name for f in broken.iterdir()) == ["folds.json", "predictions.csv", "recipe.toml"]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["broken", "whole"]


def test_answers_of_a_stage_that_was_done_are_kept(films: Path, tmp_path: Path) -> None:
    later = {"epochs": 3, "freeze": "none", "learning_rate": 3.0}
    worse = validate_recipe({**recipe().model_dump(exclude_none=True), "fine_tune": later}, "test")
    expected = train_folds(films, worse, out=tmp_path / "whole", seeds=2)
    assert expected.trials[0].best_epoch <= 3
    with pytest.raises(KeyboardInterrupt):
        train_folds(films, worse, out=tmp_path / "broken", seeds=2, progress=Broken(at=6))
    train_folds(films, worse, out=tmp_path / "broken", seeds=2, resume=True)
    assert (tmp_path / "broken" / "predictions.csv").read_bytes() == (
        tmp_path / "whole" / "predictions.csv"
    ).read_bytes()


def test_a_learning_curve_takes_fewer_patients(films: Path, tmp_path: Path) -> None:
    record = train_folds(films, recipe(), out=tmp_path / "out", learning_curve=True)
    images = [t.images["train"] for t in record.trials]
    assert images == sorted(images)
    assert list(record.spread) == ["0.1", "0.2", "0.5", "1"]
    assert len({t.images["test"] for t in record.trials}) == 1


def test_fewer_images_are_whole_groups_and_always_the_same(films: Path) -> None:
    dataset = read_labelled(films, recipe())
    half = fewer(dataset, 0.5, 0)
    kept = {s.group for s in half.split("train").samples}
    gone = {s.group for s in dataset.split("train").samples} - kept
    assert kept
    assert gone
    assert half == fewer(dataset, 0.5, 0)
    assert {s.path for s in fewer(dataset, 0.2, 0).samples} < {s.path for s in half.samples}


def test_numbers_that_make_no_sense(films: Path, tmp_path: Path) -> None:
    for options in ({"folds": 1}, {"seeds": 0}):
        with pytest.raises(InputError, match="`folds=` takes 2 or more"):
            train_folds(films, recipe(), out=tmp_path / "out", **options)
