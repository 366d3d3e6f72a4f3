"""Nothing that users have on disk stops working: what the build of 29 November 2026 wrote is still read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.fixtures.unpacked import unpack

from pellucid import load
from pellucid.evaluation.audit import AuditDocument
from pellucid.evaluation.comparison import Comparison
from pellucid.evaluation.schema import read_evaluation
from pellucid.explanation.record import ExplanationManifest
from pellucid.reporting.contents import read_run
from pellucid.reporting.html import build_report
from pellucid.workflow.audit import audit_run
from pellucid.workflow.batch.compare import compare_batches
from pellucid.workflow.batch.parts import read_parts
from pellucid.workflow.batch.run import predict_archive
from pellucid.workflow.discovering_run import AuditSettings
from pellucid.workflow.evaluation import evaluate_run
from pellucid.workflow.folds import FoldsRecord


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("older"))


@pytest.fixture
def old(unpacked: Path, tmp_path: Path) -> Path:
    """A copy that the test may change; the films, to which the files point, stay where they are."""
    return Path(shutil.copytree(unpacked, tmp_path / "older", symlinks=True))


def rows_of(out: Path) -> list[dict[str, object]]:
    columns = ["index", "sha256", "decision", "confidence", "map"]
    return [row for table in read_parts(out, columns) for row in table.to_pylist()]


@pytest.mark.parametrize("name", ["run", "imported"])
def test_a_bundle_gives_the_probabilities_that_it_gave(unpacked, name):
    answers = json.loads((unpacked / "answers.json").read_text())[name]
    assert len(answers) == 20
    found = load(unpacked / name).predict([answer["path"] for answer in answers])
    for now, then in zip(found, answers, strict=True):
        assert now.label == then["label"]
        assert now.probabilities == pytest.approx(then["probabilities"], abs=2e-6)


def test_a_run_is_evaluated_to_the_figures_that_it_had(old):
    before = json.loads((old / "run" / "evaluation" / "metrics.json").read_text())
    now = evaluate_run(old / "run").result
    for name in ("accuracy", "roc_auc", "loss"):
        assert now.metrics[name].value == pytest.approx(before["metrics"][name]["value"], abs=1e-6)
    assert now.confusion.tolist() == before["confusion"]["counts"]


def test_a_run_is_read_and_reported(old):
    contents = read_run(old / "run")
    assert contents.record.data.images == 240
    assert len(contents.history) == 1
    assert contents.audit is not None
    assert contents.explanations is not None
    assert "opacity" in build_report(old / "run").read_text(encoding="utf-8")
    assert read_run(old / "imported").record.imported.file.endswith("tiny.onnx")


@pytest.mark.parametrize("version", [1, 2])
def test_evaluations_of_both_versions_are_read(unpacked, version):
    folder = unpacked / f"evaluation-v{version}"
    assert json.loads((folder / "metrics.json").read_text())["schema_version"] == version
    result = read_evaluation(folder)
    assert len(result.labels) == 60
    assert (result.outside is None) == (version == 1)


def test_a_batch_that_was_stopped_ends_with_the_rows_that_it_would_have_had(old, unpacked):
    sources = [str(unpacked / "films" / split) for split in ("test", "val")]
    summary = predict_archive(old / "run", sources, old / "stopped", method="grad-cam", part_size=16, resume=True)
    assert (summary.items, summary.answered, summary.answered_now) == (96, 96, 16)
    now, then = rows_of(old / "stopped"), rows_of(unpacked / "batch")
    assert [(r["index"], r["sha256"], r["decision"]) for r in now] == [
        (r["index"], r["sha256"], r["decision"]) for r in then
    ]
    for a, b in zip(now, then, strict=True):
        assert a["confidence"] == pytest.approx(b["confidence"], abs=2e-6)
        assert a["map"] == pytest.approx(b["map"], rel=0.02, abs=1e-3)


def test_two_batches_are_compared_as_they_were(unpacked):
    before = Comparison.model_validate_json((unpacked / "comparison" / "compare.json").read_bytes())
    comparison, pictures = compare_batches(unpacked / "batch", unpacked / "batch-imported")
    assert comparison.agreement == before.agreement
    assert [flip.sha256 for flip in comparison.flips] == [flip.sha256 for flip in before.flips]
    assert bool(pictures) == bool(before.flips)


def test_records_of_explanations_audits_and_folds_are_read(unpacked):
    shown = ExplanationManifest.model_validate_json((unpacked / "explanations" / "manifest.json").read_bytes())
    assert [record.method for record in shown.images] == ["grad-cam"] * 2
    assert all(record.trust is not None for record in shown.images)
    audit = AuditDocument.model_validate_json((unpacked / "run" / "audit" / "audit.json").read_bytes())
    assert audit.images == 60
    folds = FoldsRecord.model_validate_json((unpacked / "folds" / "folds.json").read_bytes())
    assert len(folds.trials) == 2


def test_a_run_is_audited(old):
    document, folder = audit_run(old / "run", settings=AuditSettings(images=20))
    assert document.images == 20
    assert (folder / "audit.json").is_file()


def test_the_plan_of_a_batch_has_the_columns_that_it_had(unpacked):
    names = pq.read_schema(unpacked / "batch" / "items.parquet").names
    assert names == ["path", "kind", "container", "column", "start", "length", "problem"]


@pytest.mark.slow
def test_a_training_that_was_stopped_is_resumed(old, unpacked):
    from pellucid.workflow.training import train

    # As the sentence says that refuses the shipped recipe, where that has changed.
    recipe = old / ".begun.unfinished" / "recipe.toml"
    run = train(unpacked / "films", recipe=recipe, out=old / "begun", resume=True)
    assert read_run(run).history[0]["epoch"] == 1
