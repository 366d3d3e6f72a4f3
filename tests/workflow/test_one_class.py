"""A whole run that learns from normal images alone: bundle, threshold, figures by defect, answers, report."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score
from tests.anomaly_images import defect, save, surface, write_mvtec

import pellucid
from pellucid.anomaly.detector import detector_of
from pellucid.bundle.io import amend_bundle
from pellucid.bundle.run import RunFolder
from pellucid.bundle.stored_answers import ANSWERS, pack_answers, read_answers
from pellucid.errors import DataError, InputError
from pellucid.evaluation.schema import read_evaluation
from pellucid.reporting.overlay import usual_limit
from pellucid.workflow.decision import choose_again
from pellucid.workflow.evaluation import evaluate_run
from pellucid.workflow.explanation import ToExplain, explain_files
from pellucid.workflow.explanation_pictures import Drawing
from pellucid.workflow.training import train
from pellucid.workflow.verify import verify

SMALL = ("data.size=64", "data.values=unit", "model.filters=[8,16,16]", "anomaly.memory=150", "anomaly.top=0.05")


def small(data: Path, out: Path, *more: str, **options: object) -> Path:
    overrides = [*SMALL, *more]
    return train(data, recipe="one-class", backbone="cnn", weights="none", out=out, overrides=overrides, **options)  # type: ignore[arg-type]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mvtec(tmp_path_factory.mktemp("surface"), train=70)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(data, tmp_path_factory.mktemp("runs") / "surface", "anomaly.false_alarms=0.15")


def test_defects_are_found_and_the_figures_are_those_of_scikit_learn(run: Path) -> None:
    result = read_evaluation(run / "evaluation")
    assert result.task == "anomaly"
    assert result.outputs is not None
    assert result.defects is not None
    area = roc_auc_score(result.labels, result.outputs)
    assert result.metrics["roc_auc"].value == pytest.approx(area)
    assert area > 0.95
    kinds = np.array([path.split("/")[1] for path in result.paths])
    for entry in result.defects.kinds:
        chosen = (kinds == entry.kind) | (result.labels == 0)
        assert entry.roc_auc == pytest.approx(roc_auc_score(result.labels[chosen], result.outputs[chosen]))
        found = (result.outputs[kinds == entry.kind] >= result.threshold).mean()
        assert entry.sensitivity[0] == pytest.approx(found)
        assert entry.aupro is not None
    assert {e.kind for e in result.defects.kinds} == {"hole", "scratch"}
    assert result.defects.masked == 16
    assert result.defects.pixel_roc_auc is not None
    assert result.defects.pixel_roc_auc > 0.8


def test_no_bad_image_is_learnt_from(run: Path) -> None:
    rows = rows_of(run / "split.csv")
    assert {r["split"] for r in rows if r["label"] == "anomalous"} == {"test"}
    assert {r["split"] for r in rows if r["label"] == "good"} == {"train", "val", "test"}


def test_the_threshold_promises_few_false_alarms(run: Path) -> None:
    bundle = pellucid.load(run)
    point = bundle.manifest.operating_point
    assert point is not None
    assert point.met
    assert point.bound is not None
    assert point.asked == "false-alarms<=0.15"
    assert point.bound >= 0.85
    kept = [np.float32(r["logit_1"]) for r in rows_of(run / "evaluation" / "validation.csv")]
    scores = np.array(kept, np.float64)  # the shortest text of a float32 stands for that float32
    assert (scores < point.threshold).mean() == pytest.approx(point.specificity)


def test_another_threshold_moves_the_scale_of_the_map(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    before = pellucid.load(run).manifest.threshold
    point = choose_again(other, "false-alarms<=0.4")
    manifest = pellucid.load(other).manifest
    assert manifest.threshold == point.threshold < before
    assert manifest.anomaly is not None
    assert manifest.anomaly.usual is not None
    assert manifest.scales["anomaly-map"]["q95"] == pytest.approx(point.threshold - manifest.anomaly.usual)
    (other / "evaluation" / "validation.csv").unlink()
    with pytest.raises(DataError, match="has seen them all"):
        choose_again(other, "false-alarms<=0.2")


def test_the_graph_says_what_the_arrays_say(run: Path, data: Path) -> None:
    bundle = pellucid.load(run)
    parity = bundle.manifest.parity
    assert parity is not None
    assert parity.largest < 1e-3
    detector = detector_of(load_file(run / "model" / "weights.safetensors"))
    assert detector.memory_rows == bundle.manifest.anomaly.memory  # type: ignore[union-attr]
    assert detector.whole is not None


def test_answers_have_a_score_and_no_probabilities(run: Path, data: Path) -> None:
    bundle = pellucid.load(run)
    hole = bundle.predict(data / "test" / "hole" / "000.png")
    good = bundle.predict(data / "train" / "good" / "000.png")
    assert (hole.label, good.label) == ("anomalous", "good")
    assert hole.confidence is None
    assert hole.probabilities == {}
    assert hole.output is not None
    assert good.output is not None
    assert hole.output > bundle.manifest.threshold > good.output
    with pytest.raises(InputError, match="no probabilities"):
        bundle.probabilities(bundle.preprocessing.tensors([bundle.read(data / "test" / "hole" / "000.png")]))


def test_the_map_lies_on_the_defect_in_units_of_the_score(run: Path, data: Path) -> None:
    bundle = pellucid.load(run)
    assert bundle.usual_method == "anomaly-map"
    hits = 0
    for i in range(8):
        image = data / "test" / "hole" / f"{i:03}.png"
        attribution = bundle.explain(image)
        mask = bundle.read(data / "ground_truth" / "hole" / f"{i:03}_mask.png").pixels[..., 0] > 127
        hits += bool(mask[np.unravel_index(attribution.values.argmax(), mask.shape)])
        assert attribution.method == "anomaly-map"
        assert attribution.values.min() >= 0
    assert hits >= 6
    limit = bundle.manifest.scales["anomaly-map"]["q95"]
    peaks = [bundle.explain(data / "test" / "good" / f"{i:03}.png").values.max() for i in range(8)]
    assert limit == pytest.approx(bundle.manifest.threshold - bundle.manifest.anomaly.usual)  # type: ignore[union-attr, operator]
    assert np.median(peaks) < 0.8 * limit


def test_maps_are_drawn_on_the_scale_of_the_threshold(run: Path, data: Path, tmp_path: Path) -> None:
    items = [
        ToExplain(data / "test" / "good" / "000.png", "good"),
        ToExplain(data / "test" / "hole" / "000.png", "hole"),
    ]
    bundle = pellucid.load(run)
    drawn = explain_files(bundle, items, tmp_path / "maps")
    limit = bundle.manifest.scales["anomaly-map"]["q95"]
    assert (drawn.scale, [record.limit for record in drawn.images]) == ("model", pytest.approx([limit, limit]))
    # So do the pictures of the server and of captures for a PACS.
    answer = bundle.explain_images([bundle.read(items[0].file)])[0]
    assert usual_limit(bundle.manifest, answer.attributions[0]) == pytest.approx(limit)
    assert explain_files(bundle, items, tmp_path / "own", drawing=Drawing(scale="image")).scale == "image"
    assert explain_files(bundle, items, tmp_path / "other", method=["anomaly-map", "occlusion"]).scale == "image"
    facts = bundle.manifest.anomaly
    assert facts is not None
    before = shutil.copytree(run / "model", tmp_path / "before")  # whose map was the distance itself
    amend_bundle(before, {"anomaly": facts.model_copy(update={"usual": None})})
    assert explain_files(pellucid.load(before), items, tmp_path / "before-maps").scale == "image"


def test_methods_that_need_class_evidence_are_refused(run: Path, data: Path) -> None:
    bundle = pellucid.load(run)
    with pytest.raises(InputError, match="distances from normal images"):
        bundle.explain(data / "test" / "hole" / "000.png", method="grad-cam")


def test_other_images_are_evaluated_in_any_layout(run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    for i in range(6):
        save(surface(rng), tmp_path / "images" / "normal" / f"{i}.png")
        picture, mask = defect(rng, surface(rng), "hole")
        save(picture, tmp_path / "images" / "anomalous" / f"{i}.png")
        save(255.0 * mask, tmp_path / "masks" / "anomalous" / f"{i}.png")
    evaluated = evaluate_run(run, tmp_path, out=tmp_path / "out")
    assert evaluated.result.defects is not None
    assert evaluated.result.defects.masked == 6
    assert evaluated.result.metrics["roc_auc"].value > 0.9
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["defects"]["kinds"][0]["kind"] == "anomalous"
    assert document["defects"]["aupro"] > 0.3


def test_the_report_says_how_it_was_made(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "Nothing was trained" in page
    assert "By kind of defect" in page
    assert "Where does the model come from?" in page
    card = (run / "model_card.md").read_text()
    assert "Anomaly detector (combined)" in card
    assert RunFolder(run).read_record().anomaly is not None


def test_normal_images_alone_are_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for i in range(40):
        save(surface(rng), tmp_path / "data" / f"{i:02}.png")
    folder = small(tmp_path / "data", tmp_path / "run", "anomaly.method=image-statistics")
    result = read_evaluation(folder / "evaluation")
    assert set(result.labels) == {0}
    assert result.defects is None
    assert np.isfinite(result.metrics["specificity"].value)
    assert pellucid.load(folder).classes == ("normal", "anomalous")


@pytest.mark.parametrize("method", ["patch-memory", "gaussian"])
def test_the_other_methods_find_the_defects_too(method: str, data: Path, tmp_path: Path) -> None:
    more = ("anomaly.reweighted=true", "anomaly.top=0") if method == "patch-memory" else ("anomaly.channels=12",)
    folder = small(data, tmp_path / "run", f"anomaly.method={method}", *more)
    assert read_evaluation(folder / "evaluation").metrics["roc_auc"].value > 0.8


def test_bad_images_among_the_normal_ones_are_found_and_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for i in range(60):
        picture = defect(rng, surface(rng), "hole")[0] if i % 12 == 5 else surface(rng)
        save(picture, tmp_path / "data" / "train" / "good" / f"{i:02}.png")
        save(surface(rng), tmp_path / "data" / "test" / "good" / f"{i:02}.png")
    folder = small(tmp_path / "data", tmp_path / "run")
    record = RunFolder(folder).read_record().anomaly
    assert record is not None
    used = {r["path"] for r in rows_of(folder / "split.csv") if r["split"] in ("train", "val")}
    bad = {f"train/good/{i:02}.png" for i in range(60) if i % 12 == 5} & used
    found = {s.path for s in record.suspects}
    assert bad <= found
    assert len(found - bad) <= 3
    assert bad <= {s.path for s in record.suspects if s.left_out}
    assert record.learnt == len(used) - sum(s.left_out for s in record.suspects)
    assert record.held == len(used)
    assert record.images == len(used)
    point = pellucid.load(folder).manifest.operating_point
    assert point is not None
    assert "counted as normal" in point.statement
    assert "look bad beside the others" in (folder / "report.html").read_text()


def test_one_image_is_too_few(tmp_path: Path) -> None:
    save(surface(np.random.default_rng(0)), tmp_path / "data" / "a.png")
    with pytest.raises(DataError, match="1 normal image, and it takes 8"):
        small(tmp_path / "data", tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "options"),
    [
        (["decision.answer_only='errors<=0.1'"], {}),
        (["decision.reject=unlike"], {}),
        (["decision.coverage_by=class"], {}),
        (["decision.coverage=0.9"], {}),
        (["train.epochs=3"], {}),
        ([], {"positive": "good"}),
        ([], {"track": "tensorboard"}),
        ([], {"abroad": "full"}),
    ],
)
def test_what_does_not_apply_is_refused_instead_of_ignored(
    more: list[str], options: dict[str, str], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"rop |leave out"):
        small(data, tmp_path / "run", *more, **options)


def test_verify_compares_scores_and_maps_with_those_of_the_arrays(run: Path, data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(RunFolder(run).bundle, tmp_path / "bundle")
    found = verify(copy, [data / "test" / "hole" / "000.png"])
    assert found.holds
    assert found.left_out == ()
    kinds = [(f.kind, f.subject.partition(" ")[0]) for f in found.findings]
    assert {("stored answer", "score"), ("stored answer", "map"), ("repeated answer", "1")} <= set(kinds)
    stored = read_answers(copy)
    assert stored is not None
    stored["logits"] = stored["logits"] * np.float32(1.01)  # both far beyond what a sigmoid could tell apart
    amend_bundle(copy, {}, {ANSWERS: pack_answers(stored.pop("images"), stored)})
    wrong = [f for f in verify(copy).findings if not f.holds]
    assert [f.subject for f in wrong] == ["score"]
    assert wrong[0].difference == pytest.approx(0.01 / 1.01, rel=0.05)


def test_a_sealed_test_is_counted(data: Path, tmp_path: Path) -> None:
    run = small(data, tmp_path / "run", sealed_test=True)
    evaluate_run(run)
    seal = RunFolder(run).read_record().sealed
    assert seal is not None
    assert [o.by for o in seal.openings] == ["train", "evaluate"]
    assert seal.images == len(rows_of(run / "evaluation" / "predictions.csv"))
    assert "Sealed test" in (run / "report.html").read_text()
