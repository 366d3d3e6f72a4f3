"""The rules of what is answered hold in every place where a bundle answers."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

import pellucid
from pellucid.bundle.io import amend_bundle
from pellucid.classifier import NONE_OF_THESE, REFER
from pellucid.cli.predict import _print_csv, as_document
from pellucid.evaluation.abstention import Abstention
from pellucid.evaluation.answering import AnsweringRules
from pellucid.evaluation.conformal import ClassSets
from pellucid.evaluation.outside import REFERENCE, Reference, describe_surroundings, with_threshold
from pellucid.workflow.batch.compare import compare_batches
from pellucid.workflow.batch.run import predict_archive


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(60, 200, (24, 32, 3), np.uint8) for _ in range(count)]


@pytest.fixture
def ruled(bundle_folder: Path) -> Path:
    """A bundle that rejects, refers and answers, and its most and least sure pictures in a folder."""
    plain = pellucid.load(bundle_folder, threads=1)
    tensors = plain.preprocessing.tensors([plain.read(p) for p in pictures(80)])
    logits, features = plain.logits_and_features(tensors)
    known = with_threshold(describe_surroundings(features[:50]), features[50:])
    reference = Reference(layer="x", channels=8, trained=50, images=30, threshold=known.threshold)
    sure = plain.manifest.probabilities(logits).max(axis=1)
    rules = AnsweringRules(
        sets=ClassSets(score="lac", coverage=0.9, thresholds=(0.9, 0.9), images=(40, 40)),
        abstention=Abstention(
            asked="errors<=0.1",
            wrong="errors",
            most=0.1,
            least=float(np.median(sure)),
            answered=0.5,
            bound=0.1,
            images=80,
            needed=29,
        ),
        reject="unlike",
    )
    amend_bundle(bundle_folder, {"reference": reference, "answering": rules}, {REFERENCE: known.to_bytes()})
    folder = bundle_folder.parent / "pictures"
    folder.mkdir()
    for i, picture in enumerate([*pictures(12), np.full((24, 32, 3), 255, np.uint8)]):
        PIL.Image.fromarray(picture).save(folder / f"{i:02}.png")
    return bundle_folder


def test_every_place_decides_alike(ruled, tmp_path):
    bundle, folder = pellucid.load(ruled, threads=1), ruled.parent / "pictures"
    files = sorted(folder.iterdir())
    predictions = bundle.predict(files)
    labels = [p.label for p in predictions]
    assert labels[-1] == NONE_OF_THESE
    assert REFER in labels
    assert set(labels) & set(bundle.classes)
    for p in predictions:
        assert p.predicted in bundle.classes
        assert p.confidence == pytest.approx(p.probabilities[p.predicted])
        assert p.label == p.decision.label
        assert p.decision.candidates[0] == max(p.probabilities, key=p.probabilities.get)
    explained = bundle.explain_images([bundle.read(f) for f in files])
    assert [bundle.answer(e).label for e in explained] == labels
    assert [e.attributions[0].target for e in explained] == [p.predicted for p in predictions]
    summary = predict_archive(ruled, [str(folder)], tmp_path / "out", batch=1)
    table = pq.read_table(tmp_path / "out" / "part-000000.parquet")
    assert table["decision"].to_pylist() == labels
    assert table["predicted"].to_pylist() == [p.predicted for p in predictions]
    assert table["outcome"].to_pylist() == [p.decision.outcome for p in predictions]
    assert table["set"].to_pylist() == [list(p.decision.candidates) for p in predictions]
    assert table["reasons"].to_pylist() == [[r.code for r in p.decision.reasons] for p in predictions]
    assert summary.outcomes == {o: table["outcome"].to_pylist().count(o) for o in ("answer", "none", "refer")}
    assert summary.answered == len(files)
    assert summary.decisions[REFER] == labels.count(REFER)


def test_old_fields_stay_and_the_new_one_says_all(ruled, capsys):
    bundle = pellucid.load(ruled, threads=1)
    referred = next(p for p in bundle.predict(pictures(30)) if p.label == REFER)
    document = json.loads(json.dumps(as_document(referred)))
    assert {"path", "label", "confidence", "probabilities", "warnings"} <= document.keys()
    answer = document["answer"]
    assert (answer["outcome"], answer["label"], answer["predicted"]) == ("refer", REFER, referred.predicted)
    assert answer["reasons"][0]["code"] == "unsure"
    assert answer["reasons"][0]["value"] < answer["reasons"][0]["limit"]
    assert answer["threshold"] == bundle.manifest.threshold
    _print_csv(bundle.classes, bundle.task, [referred])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(row)[:3] == ["path", "label", "confidence"]
    assert (row["outcome"], row["predicted"], row["reasons"]) == ("refer", referred.predicted, "unsure")
    assert row["set"].split(";") == answer["set"]


def test_batches_with_and_without_rules_are_compared(ruled, tmp_path):
    folder = [str(ruled.parent / "pictures")]
    predict_archive(ruled, folder, tmp_path / "with", batch=1)
    amend_bundle(ruled, {"answering": None})
    predict_archive(ruled, folder, tmp_path / "without", batch=1)
    assert "outcome" not in pq.read_schema(tmp_path / "without" / "part-000000.parquet").names
    comparison, _ = compare_batches(tmp_path / "with", tmp_path / "without")
    names = [row.name for row in comparison.mix]
    assert names == ["ant", "bee", NONE_OF_THESE, REFER] or names == ["ant", "bee", REFER, NONE_OF_THESE]
    assert comparison.flipped == sum(row.a.value * 13 for row in comparison.mix[2:])
    assert {flip.a for flip in comparison.flips} == {NONE_OF_THESE, REFER}


def test_a_bundle_without_rules_answers_as_before(bundle_folder):
    bundle = pellucid.load(bundle_folder, threads=1)
    found = bundle.predict(pictures(1)[0])
    assert found.label == found.predicted == found.decision.label
    assert found.decision.candidates is None
