"""Rules of answering on a run of the real program: fitted at training, measured on test images, changed later."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import pellucid
from pellucid.classifier import NONE_OF_THESE, REFER
from pellucid.data.phantom import generate_phantoms
from pellucid.errors import DataError, InputError, RecipeError
from pellucid.evaluation.abstention import fit_abstention
from pellucid.evaluation.conformal import fit_sets
from pellucid.evaluation.looks import LOOKS
from pellucid.evaluation.schema import read_evaluation
from pellucid.evaluation.validation import read_validation
from pellucid.recipe_sections import DecisionSection
from pellucid.workflow.answering import check_answering
from pellucid.workflow.decision import choose_again
from pellucid.workflow.evaluation import evaluate_run
from pellucid.workflow.refer import fit_rules_again
from pellucid.workflow.training import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.setenv("PELLUCID_CACHE", str(tmp_path_factory.mktemp("cache")))
    data = tmp_path_factory.mktemp("data") / "phantoms"
    generate_phantoms(data, images=200, size=48, seed=3)
    settings = ["train.epochs=3", "data.size=48", "model.filters=[8, 8]", "model.every_method=false"]
    settings += ["decision.answer_only='errors<=0.4'", "decision.reject=unlike", "decision.coverage=0.8"]
    out = tmp_path_factory.mktemp("runs") / "small"
    yield train(data, recipe="scratch-cnn", out=out, overrides=settings, group_by=r"^(patient\d+)")
    patch.undo()


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_the_rules_are_what_the_kept_answers_give(made: Path) -> None:
    bundle = pellucid.load(made, threads=1)
    rules, kept = bundle.manifest.answering, read_validation(made / "evaluation", bundle.classes, 1)
    shares = bundle.probabilities_of(kept.logits)
    assert rules.sets == fit_sets(kept.labels, shares, coverage=0.8, groups=kept.groups)
    predicted = bundle.predicted(kept.logits)
    assert rules.abstention == fit_abstention(
        "errors<=0.4", labels=kept.labels, predicted=predicted, groups=kept.groups,
        confidence=shares[np.arange(len(predicted)), predicted], possible=kept.outside <= 1,
    )  # fmt: skip
    assert rules.reject == "unlike"
    reference = bundle.manifest.reference
    assert set(reference.measured) == {"mahalanobis", "class", "neighbours", "energy", "joint"}
    means = {name: np.mean(list(of.values())) for name, of in reference.measured.items()}
    assert reference.method == max(means, key=means.get)
    assert bundle.looks == (LOOKS if reference.method == "joint" else 0)


def test_the_test_measures_them_and_the_report_says_so(made: Path) -> None:
    result = read_evaluation(made / "evaluation")
    entry, members = result.answered.entry, result.answered.members
    inside = members[np.arange(len(result.labels)), result.labels]
    assert entry.coverage.overall.value == pytest.approx(inside.mean())
    assert entry.coverage.sizes == {str(k): int((members.sum(axis=1) == k).sum()) for k in (1, 2)}
    given = result.answered.outcomes == 0
    assert entry.given.answered.value == pytest.approx(given.mean())
    wrong = (result.predicted != result.labels)[given]
    assert entry.given.error.value == (pytest.approx(wrong.mean()) if given.any() else None)
    assert entry.given.none.value == pytest.approx((result.outside > 1).mean())
    page = (made / "report.html").read_text(encoding="utf-8")
    assert "What is answered, on the test split" in page
    assert "Prediction sets" in (made / "model_card.md").read_text(encoding="utf-8")


def test_rules_are_changed_without_training(run: Path) -> None:
    before = pellucid.load(run, threads=1).manifest
    rules = fit_rules_again(run, answer_only="errors<=0.001", coverage=0.9)
    assert (rules.abstention.met, rules.sets.coverage, rules.reject) == (False, 0.9, "unlike")
    bundle = pellucid.load(run, threads=1)
    assert bundle.manifest.files["model.onnx"] == before.files["model.onnx"]
    picture = np.full((48, 48, 3), 90, np.uint8)
    assert bundle.predict(picture).label in (REFER, NONE_OF_THESE)
    assert fit_rules_again(run, answer_only="all", coverage=0.0, reject="none") is None
    assert pellucid.load(run, threads=1).predict(picture).label in bundle.classes
    assert evaluate_run(run).result.answered is None


def test_a_new_threshold_refits_what_depends_on_it(run: Path) -> None:
    before = pellucid.load(run, threads=1).manifest.answering
    choose_again(run, "sensitivity>=0.6")
    after = pellucid.load(run, threads=1).manifest.answering
    assert after.sets == before.sets
    assert after.abstention.asked == before.abstention.asked


def test_images_of_other_things_sharpen_none_of_these(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        tint = np.array([200, 60, 20]) * rng.uniform(0.6, 1, (48, 48, 1))
        PIL.Image.fromarray(tint.astype(np.uint8)).save(other / f"{i}.png")
    fit_rules_again(run, other=other)
    bundle = pellucid.load(run, threads=1)
    assert "other" in bundle.manifest.reference.measured["neighbours"]
    assert "neighbours and other" in bundle.manifest.reference.measured
    found = bundle.predict(sorted(other.iterdir()))
    assert np.mean([p.label == NONE_OF_THESE for p in found]) > 0.7
    kept = read_validation(run / "evaluation", bundle.classes, 1)
    assert (kept.outside > 1).mean() <= 0.06


@pytest.fixture
def listed(run: Path) -> Path:
    """The run as if it had been trained from a table with a column of scanners."""
    record = json.loads((run / "run.json").read_text())
    data = Path(record["data"]["source"])
    with (run / "split.csv").open() as file:
        paths = [(row["path"], row["label"]) for row in csv.DictReader(file)]
    table = data / f"{run.parent.name}.csv"
    lines = [f"{path},{label},{'AB'[i % 2]}" for i, (path, label) in enumerate(paths)]
    table.write_text("\n".join(["path,label,scanner", *lines]) + "\n")
    record["data"]["source"] = str(table)
    (run / "run.json").write_text(json.dumps(record))
    yield run
    table.unlink()


def test_coverage_is_promised_for_each_value_of_a_column(listed: Path) -> None:
    rules = fit_rules_again(listed, coverage_by="scanner")
    bundle = pellucid.load(listed, threads=1)
    kept = read_validation(listed / "evaluation", bundle.classes, 1)
    assert set(kept.subgroups) == {"A", "B"}
    shares, kinds = bundle.probabilities_of(kept.logits), np.array(kept.subgroups)
    limits = []
    for kind in "AB":
        rows = kinds == kind
        groups = [g for g, own in zip(kept.groups, rows, strict=True) if own]
        limits.append(fit_sets(kept.labels[rows], shares[rows], coverage=0.8, groups=groups).thresholds[0])
    assert rules.sets.by == "subgroup"
    assert rules.sets.thresholds[0] == (None if None in limits else max(limits))
    found = evaluate_run(listed).result.answered.entry.coverage
    assert set(found.by_subgroup) == {"A", "B"}
    assert sum(entry.images for entry in found.by_subgroup.values()) == found.overall.images
    again = fit_rules_again(listed, coverage=0.75)  # what tells them apart is kept
    assert (again.subgroup, again.sets.by, again.sets.coverage) == ("scanner", "subgroup", 0.75)


def test_coverage_by_class_by_pattern_and_by_nothing(run: Path) -> None:
    by_class = fit_rules_again(run, coverage_by="class").sets
    assert by_class.by == "class"
    names = pellucid.load(run, threads=1).classes
    by_folder = fit_rules_again(run, coverage_by=f"({names[0]}|{names[1]})").sets
    assert (by_folder.by, len(set(by_folder.thresholds))) == ("subgroup", 1)
    with pytest.raises(InputError, match="tells no subgroups apart"):
        fit_rules_again(run, coverage_by="hospital")
    assert fit_rules_again(run, coverage_by="all").sets.by == "all"


def test_what_cannot_be_is_said_before_training(tmp_path: Path) -> None:
    for wrong, task in (
        (DecisionSection(answer_only="nonsense"), "binary"),
        (DecisionSection(answer_only="fn<=0.1"), "multiclass"),
        (DecisionSection(coverage_by="subgroup"), "binary"),
        (DecisionSection(coverage_by="class"), "regression"),
        (DecisionSection(other=str(tmp_path / "nowhere")), "binary"),
        (DecisionSection(other=str(tmp_path)), "binary"),
    ):
        with pytest.raises(InputError):
            check_answering(wrong, task)


def test_what_cannot_be_changed_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        fit_rules_again(run, reject="everything")
    (tmp_path / "few").mkdir()
    PIL.Image.new("RGB", (48, 48)).save(tmp_path / "few" / "one.png")
    with pytest.raises(DataError, match="At least 10"):
        fit_rules_again(run, other=tmp_path / "few")


def test_a_run_without_kept_scores_is_read(run: Path) -> None:
    """`validation.csv` of an older version has no outside scores: the images are answered again."""
    path = run / "evaluation" / "validation.csv"
    lines = [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    fit_rules_again(run, coverage=0.7)
    assert path.read_text().splitlines()[0].endswith(",outside")
    assert json.loads((run / "model" / "manifest.json").read_text())["answering"]["sets"]["coverage"] == 0.7
