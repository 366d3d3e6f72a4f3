"""Rules of answering on a run of the real program: fitted at training, measured on test images, changed later."""

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
from pellucid.evaluation.schema import read_evaluation
from pellucid.evaluation.validation import read_validation
from pellucid.recipe import DecisionSection
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
    assert set(reference.measured) == {"mahalanobis", "class", "neighbours", "energy"}
    means = {name: np.mean(list(of.values())) for name, of in reference.measured.items()}
    assert reference.method == max(means, key=means.get)


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


def test_what_cannot_be_is_said_before_training(tmp_path: Path) -> None:
    for wrong, task in (
        (DecisionSection(answer_only="nonsense"), "binary"),
        (DecisionSection(answer_only="fn<=0.1"), "multiclass"),
        (DecisionSection(coverage_by="subgroup"), "binary"),
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
