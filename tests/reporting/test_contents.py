"""Reading a run folder: what is there is read, what is missing is None, what is damaged is named."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.reporting.reporting_samples import history

from pellucid.errors import BundleError
from pellucid.reporting.contents import as_evaluated, prove_split, read_history, read_run


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_a_whole_run_is_read(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert run.record.name == "phantom"
    assert run.recipe.published[0].metrics == {"accuracy": 0.9}
    assert [dict(row) for row in run.history] == [pytest.approx(row) for row in history()]
    assert run.evaluation is not None
    assert len(run.evaluation.labels) == 240
    assert run.split is not None
    assert (run.split.contents, run.split.groups, run.split.without_group) == (1200, 600, 0)
    assert run.medical


def test_only_the_record_and_the_recipe_are_a_must(copy: Path) -> None:
    for name in ("evaluation", "explanations", "model"):
        shutil.rmtree(copy / name)
    (copy / "history.csv").unlink()
    (copy / "split.csv").unlink()
    run = read_run(copy)
    assert (run.manifest, run.split, run.evaluation, run.explanations, run.history) == (None, None, None, None, ())
    assert run.medical
    (copy / "recipe.toml").unlink()
    with pytest.raises(BundleError, match=r"no recipe\.toml"):
        read_run(copy)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a run folder"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "{", "cannot be read"),
        ("model/manifest.json", '{"name": 3}', "cannot be read"),
        ("explanations/manifest.json", "[]", "cannot be read"),
        ("history.csv", "epoch,val_loss\n1,low\n", "Each cell must be a number"),
        ("history.csv", "step\n1\n", "no column epoch"),
        ("history.csv", "epoch,val_loss\n1,0.3,0.4\n", "damaged"),
        ("split.csv", "file\na.png\n", "no column path or split"),
        ("evaluation/metrics.json", "{}", "damaged"),
    ],
)
def test_a_damaged_file_is_named(copy: Path, name: str, text: str, message: str) -> None:
    (copy / name).write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=message) as raised:
        read_run(copy)
    assert Path(name).name in str(raised.value)


def test_empty_cells_of_the_history_are_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("epoch,val_roc_auc\n1,\n2,0.5\n", encoding="utf-8")
    first, second = read_history(path)
    assert math.isnan(first["val_roc_auc"])
    assert second["val_roc_auc"] == 0.5


def test_split_proof_against_sets(tmp_path: Path) -> None:
    rows = [
        ("a.png", "train", "p1", "x"),
        ("b.png", "train", "p1", "y"),
        ("c.png", "test", "p1", "z"),
        ("d.png", "test", "", "y"),
        ("e.png", "", "p2", "x"),
        ("f.png", "val", "p3", ""),
    ]
    path = tmp_path / "split.csv"
    path.write_text("path,split,group,sha256\n" + "\n".join(map(",".join, rows)), encoding="utf-8")
    proof = prove_split(path)
    assert proof.shared_groups == ("p1",)
    assert proof.shared_contents == ("b.png",)
    assert proof.shared_files == ()
    # Undecided images belong to no split; `e.png` is not counted anywhere.
    assert (proof.contents, proof.groups, proof.without_group) == (3, 2, 1)


def test_names_that_are_not_unicode_are_read(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_bytes(b"path,split\ncaf\xe9.png,train\ncaf\xe9.png,test\n")
    assert [name.encode("utf-8", "surrogateescape") for name in prove_split(path).shared_files] == [b"caf\xe9.png"]


def test_medical_comes_from_the_recipe_or_the_model(make_run: Callable[..., Path]) -> None:
    plain = "name = 'x'"
    assert not read_run(make_run(recipe=plain, medical=False, explained=0)).medical
    assert read_run(make_run(recipe=plain, medical=True, explained=0)).medical


def test_examples_have_the_answers_of_the_last_evaluation(copy: Path) -> None:
    """`evaluate --operating-point` changes answers after the examples were explained; their maps stay."""
    before = read_run(copy)
    assert before.evaluation is not None
    assert before.explanations is not None
    tested = before.evaluation
    moved = replace(tested, threshold=0.97)
    after = as_evaluated(before.explanations, moved)
    rows = {path: i for i, path in enumerate(tested.paths)}
    turned = 0
    for old, new in zip(before.explanations.images, after.images, strict=True):
        row = rows[new.path]
        assert new.label == new.predicted == tested.classes[int(tested.probabilities[row, 1] >= 0.97)]
        assert new.right == (new.label == new.true_label)
        assert new.confidence == pytest.approx(tested.probabilities[row, tested.classes.index(new.label)])
        assert (new.target, new.files, new.verdict) == (old.target, old.files, old.verdict)
        turned += old.label != new.label
    assert turned
    elsewhere = replace(tested, paths=tuple(f"other/{path}" for path in tested.paths), threshold=0.97)
    assert as_evaluated(before.explanations, elsewhere) == before.explanations
