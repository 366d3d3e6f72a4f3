import csv
import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.errors import BundleError, ResourceError
from pellucid.evaluation.answered import CoverageEntry, GivenEntry, ShareEntry
from pellucid.evaluation.calibration import Calibration
from pellucid.evaluation.evaluate import evaluate_predictions
from pellucid.evaluation.metrics import CLASS_METRICS, METRICS
from pellucid.evaluation.operating_point import OperatingPoint
from pellucid.evaluation.schema import (
    SCHEMA_VERSION,
    CalibrationEntry,
    MetricsDocument,
    OutsideEntry,
    PrevalenceEntry,
    metrics_document,
    read_evaluation,
    write_evaluation,
)


def outcome(task="binary", n=30, **more):
    rng = np.random.default_rng(0)
    classes = ("cat", "dog") if task != "multiclass" else ("cat", 'a "dog", big', "ünit")
    p = rng.dirichlet(np.ones(len(classes)), n).astype(np.float32)
    given = {
        "task": task,
        "classes": classes,
        "labels": np.arange(n) % len(classes),
        "probabilities": p,
        "outputs": p[:, 1] * 3 - 1 if task == "regression" else None,
        "paths": [f"dir/bild ä,{i}.png" for i in range(n)],
        "split": "test",
        "resamples": 100,
    }
    return evaluate_predictions(**{**given, **more})


def assert_equal(a, b):
    for field in fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            assert np.array_equal(left, right), field.name
        else:
            # Equal as text: NaN is not equal to itself, and the text of a float is exact.
            assert repr(left) == repr(right), field.name


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("groups", [(), ["", "p1", "p1"] * 10])
def test_round_trip_is_exact(tmp_path, task, groups):
    result = outcome(task, groups=groups)
    write_evaluation(result, tmp_path / "new" / "evaluation")
    assert_equal(read_evaluation(tmp_path / "new" / "evaluation"), result)
    assert sorted(p.name for p in (tmp_path / "new" / "evaluation").iterdir()) == ["metrics.json", "predictions.csv"]


def decided(task="binary"):
    """An outcome with everything that is fitted on validation images."""
    raw = np.random.default_rng(1).dirichlet(np.ones(2 if task == "binary" else 3), 30).astype(np.float32)
    binary = {
        "operating_point": OperatingPoint(asked="sensitivity>=0.9", threshold=0.3, bounded="sensitivity", bound=0.91),
        "threshold": 0.3,
        "prevalence": 0.05,
    }
    return outcome(
        task,
        uncalibrated=raw,
        calibration=Calibration(method="temperature", scale=0.7, images=90),
        outside=np.linspace(0.1, 1.5, 30),
        **(binary if task == "binary" else {}),
    )


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_round_trip_of_what_was_fitted(tmp_path, task):
    result = decided(task)
    write_evaluation(result, tmp_path)
    assert_equal(read_evaluation(tmp_path), result)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert set(written["calibration"]["before"]) == set(written["calibration"]["after"]) == {"loss", "brier", "ece"}
    assert written["calibration"]["after"]["loss"] == written["metrics"]["loss"]
    assert written["outside"]["flagged"]["value"] == np.mean(result.outside > 1)
    if task == "binary":
        assert written["prevalence"]["prevalence"] == 0.05
        assert written["operating_point"]["asked"] == "sensitivity>=0.9"
        assert any("chosen for sensitivity>=0.9; the sensitivity on the test images is" in n for n in written["notes"])


def test_documents_of_version_1_are_read(tmp_path):
    result = outcome()
    write_evaluation(result, tmp_path)
    written = json.loads((tmp_path / "metrics.json").read_text())
    old = {k: v for k, v in written.items() if k not in ("operating_point", "calibration", "outside", "prevalence")}
    (tmp_path / "metrics.json").write_text(json.dumps({**old, "schema_version": 1}))
    assert_equal(read_evaluation(tmp_path), result)


def test_the_document_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "metrics-json.md").read_text(encoding="utf-8")
    assert f"This is version {SCHEMA_VERSION}." in text
    parts = (MetricsDocument, CalibrationEntry, OutsideEntry, PrevalenceEntry, OperatingPoint, Calibration)
    parts += (CoverageEntry, GivenEntry, ShareEntry)
    named = {*METRICS, *CLASS_METRICS, *(name for part in parts for name in part.model_fields)}
    assert {name for name in named if f"`{name}`" not in text} == set()


def test_undefined_figures_are_null(tmp_path):
    result = outcome(n=3, labels=[1, 1, 1])
    write_evaluation(result, tmp_path)
    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text
    written = json.loads(text)
    assert written["metrics"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert_equal(read_evaluation(tmp_path), result)


def test_names_of_the_document(tmp_path):
    write_evaluation(outcome(groups=["", "p1", "p1"] * 10), tmp_path)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert set(written) == set(MetricsDocument.model_fields)
    assert written["schema_version"] == 2
    assert (written["n"], written["n_groups"], written["positive"], written["threshold"]) == (30, 11, "dog", 0.5)
    assert written["confusion"]["labels"] == ["cat", "dog"]
    assert np.sum(written["confusion"]["counts"]) == 30
    assert set(written["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert metrics_document(outcome("multiclass")).positive is None
    assert metrics_document(outcome()).n_groups is None


def test_predictions_table(tmp_path):
    result = outcome("multiclass")
    write_evaluation(result, tmp_path)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["path", "label", "predicted", "confidence", "p_cat", 'p_a "dog", big', "p_ünit", "group"]
    assert list(rows[0]) == columns
    for i, row in enumerate(rows):
        assert row["path"] == result.paths[i]
        assert row["label"] == result.classes[result.labels[i]]
        assert row["predicted"] == result.classes[result.probabilities[i].argmax()]
        assert float(row["confidence"]) == pytest.approx(result.probabilities[i].max(), rel=1e-7)
    write_evaluation(outcome("regression"), tmp_path)
    assert (tmp_path / "predictions.csv").read_text().startswith("path,label,predicted,output,group\n")


def test_file_names_that_are_not_utf8_survive(tmp_path):
    paths = [*(f"{i}.png" for i in range(29)), b"caf\xe9.png".decode("utf-8", "surrogateescape")]
    write_evaluation(outcome(paths=paths), tmp_path)
    assert read_evaluation(tmp_path).paths == tuple(paths)


def test_confidence_is_that_of_the_predicted_class_at_any_threshold(tmp_path):
    write_evaluation(outcome(threshold=0.9), tmp_path)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert all(row["confidence"] == row[f"p_{row['predicted']}"] for row in csv.DictReader(file))


def test_a_failed_write_leaves_the_old_files(tmp_path, monkeypatch):
    write_evaluation(outcome(), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(ResourceError, match="No space left"):
        write_evaluation(outcome(n=12), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_unreadable_evaluations(tmp_path):
    with pytest.raises(BundleError, match=r"no metrics\.json .*`pellucid evaluate`"):
        read_evaluation(tmp_path)
    result = outcome()
    write_evaluation(result, tmp_path)
    document = json.loads((tmp_path / "metrics.json").read_text())
    table = (tmp_path / "predictions.csv").read_text()

    def broken(words, *, change=None, csv_text=table):
        (tmp_path / "metrics.json").write_text(json.dumps({**document, **(change or {})}))
        (tmp_path / "predictions.csv").write_text(csv_text)
        with pytest.raises(BundleError, match=words):
            read_evaluation(tmp_path)

    broken("schema version 3, and this pellucid reads 2", change={"schema_version": 3})
    broken(r"damaged \(n: ", change={"n": "many"})
    broken(r"damaged \(surprise: ", change={"surprise": 1})
    broken("should have the columns path, label", csv_text="a,b\n1,2\n")
    broken(r"damaged \('wolf'\)", csv_text=table.replace('png",dog,', 'png",wolf,', 1))
    broken("row 30 has not 7 fields", csv_text=table[: table.rindex(",cat,")])
    broken("row 30 has not 7 fields", csv_text=table[:-1] + ",more\n")
    broken("damaged", csv_text=re.sub(r",0([^,]+,\n)", r",zero\1", table, count=1))
    broken("not of one evaluation", csv_text="\n".join(table.splitlines()[:-3]) + "\n")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        read_evaluation(tmp_path)


def test_infinite_figures_become_null():
    result = outcome()
    metric = replace(result.metrics["loss"], value=math.inf)
    document = metrics_document(replace(result, metrics={"loss": metric}))
    assert document.metrics["loss"].value is None
