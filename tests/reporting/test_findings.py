"""Verdicts: each alarm is raised by what it is about, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.reporting.reporting_samples import evaluation

from pellucid.bundle.manifest import Parity
from pellucid.bundle.run import AnomalyRecord, LocalisationRecord
from pellucid.evaluation.defects import DefectFigures
from pellucid.evaluation.evaluate import evaluate_predictions
from pellucid.evaluation.result import EvaluationResult
from pellucid.reporting.contents import RunContents, SplitProof, prove_split, read_run
from pellucid.reporting.findings import LEVELS, RunFinding, findings


@pytest.fixture(scope="module")
def run(run_folder: Path) -> RunContents:
    return read_run(run_folder)


def about(run: RunContents, topic: str) -> RunFinding:
    found = [finding for finding in findings(run) if finding.topic == topic]
    assert len(found) == 1, findings(run)
    return found[0]


def changed(run: RunContents, section: str, **changes: Any) -> RunContents:
    part = getattr(run.record, section).model_copy(update=changes)
    return replace(run, record=run.record.model_copy(update={section: part}))


def answers(labels: list[int], predicted: list[int]) -> EvaluationResult:
    return evaluate_predictions(
        task="binary",
        classes=("clear", "opacity"),
        labels=labels,
        probabilities=[[1 - 0.8 * p - 0.1, 0.8 * p + 0.1] for p in predicted],
        paths=[f"{i}.png" for i in range(len(labels))],
        split="test",
        resamples=200,
    )


def test_worst_comes_first(run: RunContents) -> None:
    bad = changed(run, "data", overlaps=("12 of 240 test images byte for byte also in train.",))
    levels = [LEVELS.index(finding.level) for finding in findings(bad)]
    assert levels == sorted(levels)
    assert findings(bad)[0].topic == "Split"
    assert not [f for f in findings(run) if f.level == "problem"]


def test_separate_splits_are_shown_to_be_so(run: RunContents) -> None:
    found = about(run, "Split")
    assert found == RunFinding(
        "good", "Split", "None of 1,200 images, by content, and none of 600 groups is in two splits."
    )


def test_recorded_overlaps_are_a_problem(run: RunContents) -> None:
    found = about(changed(run, "data", overlaps=("3 of 240 test images sharing a group with train.",)), "Split")
    assert found.level == "problem"
    assert "3 of 240 test images sharing a group with train. The results are too optimistic" in found.text


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a.png,train,p1,x", "a.png,test,p1,y"], "1 file is in more than one split (a.png)"),
        (["a.png,train,,x", "b.png,test,,x"], "1 image is, byte for byte, in more than one split (a.png)"),
        (["a.png,train,p1,x", "b.png,val,p1,y"], "1 group is in more than one split (p1)"),
    ],
)
def test_split_csv_is_checked_even_when_the_record_says_nothing(
    run: RunContents, tmp_path: Path, rows: list[str], expected: str
) -> None:
    path = tmp_path / "split.csv"
    path.write_text("\n".join(["path,split,group,sha256", *rows]), encoding="utf-8")
    found = about(replace(run, split=prove_split(path)), "Split")
    assert found.level == "problem"
    assert expected in found.text


def test_unknown_groups_are_said_to_be_unknown(run: RunContents) -> None:
    proof = SplitProof(100, 0, 100, (), (), ())
    assert about(replace(run, split=proof), "Split").level == "caution"
    assert about(replace(run, split=None), "Split").level == "caution"


def test_a_model_no_better_than_the_most_common_class_is_a_problem(run: RunContents) -> None:
    labels = [0] * 60 + [1] * 40
    always = about(replace(run, evaluation=answers(labels, [0] * 100)), "Skill")
    assert always.level == "problem"
    assert "always answering clear would reach 0.600" in always.text
    barely = about(replace(run, evaluation=answers(labels, [0] * 62 + [1] * 38)), "Skill")
    assert barely.level == "good"
    unclear = [0] * 60 + [1] * 3 + [0] * 37
    assert about(replace(run, evaluation=answers(labels, unclear)), "Skill").level == "caution"


def test_small_sets(run: RunContents) -> None:
    assert about(run, "Test size").level == "good"
    assert about(replace(run, evaluation=evaluation(images=120)), "Test size").level == "caution"
    assert about(replace(run, evaluation=evaluation(images=40)), "Test size").level == "problem"
    lopsided = answers([0] * 290 + [1] * 10, [0] * 290 + [1] * 10)
    assert about(replace(run, evaluation=lopsided), "Test size").level == "caution"
    assert "10 of opacity" in about(replace(run, evaluation=lopsided), "Test size").text
    few = changed(run, "data", counts={**run.record.data.counts, "val": {"clear": 8, "opacity": 8}})
    assert "only 16 images" in about(few, "Validation size").text


@pytest.mark.parametrize(("inside", "level"), [(0.262, "good"), (0.08, "caution"), (0.042, "problem")])
def test_localisation_is_measured_against_chance(run: RunContents, inside: float, level: str) -> None:
    record = LocalisationRecord(
        method="Grad-CAM", images=50, pointing=0.5, pointing_chance=0.04, energy_inside=inside, energy_chance=0.041
    )
    found = about(replace(run, record=run.record.model_copy(update={"localisation": record})), "Heat maps")
    assert found.level == level
    assert f"{inside / 0.041:.2f} times" in found.text


@pytest.mark.parametrize(("overlap", "level"), [(0.8, "good"), (0.5, "caution"), (0.2, "problem")])
def test_maps_of_a_detector_are_judged_by_the_defects_they_cover(run: RunContents, overlap: float, level: str) -> None:
    record = run.record.model_copy(
        update={
            "anomaly": AnomalyRecord(images=9, learnt=9),
            # That much evidence lies on an object says nothing of distances, which are above 0 everywhere.
            "localisation": LocalisationRecord(
                method="anomaly-map", images=5, pointing=0.1, pointing_chance=0.1, energy_inside=0.1, energy_chance=0.1
            ),
        }
    )
    result = replace(evaluation(), defects=DefectFigures(masked=5, pixel_roc_auc=0.9, aupro=overlap))
    found = about(replace(run, record=record, evaluation=result), "Heat maps")
    assert found.level == level
    assert f"AUPRO {overlap:.3f}" in found.text or f"AUPRO {overlap}" in found.text


def test_export_parity(run: RunContents) -> None:
    assert run.manifest is not None
    assert about(run, "Export").level == "good"
    off = Parity(images=9, source="validation", probability=1e-5, heat_map=0.02, tolerance=1e-3)
    found = about(replace(run, manifest=run.manifest.model_copy(update={"parity": off})), "Export")
    assert found == RunFinding(
        "problem", "Export", "The exported model differs from the trained one by 0.020, and 0.001 is allowed."
    )
    assert about(replace(run, manifest=run.manifest.model_copy(update={"parity": None})), "Export").level == "caution"
    assert about(replace(run, manifest=None), "Export").level == "problem"


def test_what_is_missing_or_unfinished_is_said(run: RunContents) -> None:
    assert about(replace(run, evaluation=None), "Evaluation").level == "problem"
    assert about(run, "Files skipped").text.endswith("train/clear/broken.png: the file ends too early.")
    assert about(changed(run, "training", best_epoch=14), "Training length").level == "information"
    assert not [f for f in findings(run) if f.topic == "Training length"]
    # A rate that falls to 0 makes the last epoch the best, however long the training was.
    falling = run.recipe.model_copy(update={"train": run.recipe.train.model_copy(update={"schedule": "cosine"})})
    ended = replace(changed(run, "training", best_epoch=14), recipe=falling)
    assert not [f for f in findings(ended) if f.topic == "Training length"]


def test_empty_heat_maps_are_counted(run: RunContents) -> None:
    assert run.explanations is not None
    assert about(run, "Empty maps").text.startswith("1 of 12 explained images")
    empty = tuple(r.model_copy(update={"largest": -0.1}) for r in run.explanations.images)
    found = about(replace(run, explanations=run.explanations.model_copy(update={"images": empty})), "Empty maps")
    assert found.level == "caution"


def test_other_runs_are_read_alike(make_run: Callable[..., Path]) -> None:
    flowers = read_run(make_run(("daisy", "rose", "tulip"), medical=False, explained=0))
    most = np.bincount(flowers.evaluation.labels).max() / 240  # type: ignore[union-attr]
    assert f"would reach {most:.3f}" in about(flowers, "Skill").text
