"""What is fitted on validation images, on a run of the real program."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid.data.phantom import generate_phantoms
from pellucid.errors import BundleError, DataError, InputError
from pellucid.evaluation.calibration import fit_calibration
from pellucid.evaluation.operating_point import choose_operating_point
from pellucid.evaluation.schema import read_evaluation
from pellucid.evaluation.validation import read_validation
from pellucid.recipe_sections import DecisionSection
from pellucid.workflow.decision import check_decision, choose_again
from pellucid.workflow.evaluation import evaluate_run
from pellucid.workflow.training import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.setenv("PELLUCID_CACHE", str(tmp_path_factory.mktemp("cache")))
    data = tmp_path_factory.mktemp("data") / "phantoms"
    generate_phantoms(data, images=160, size=48, seed=3)
    settings = ["train.epochs=2", "data.size=48", "model.filters=[8, 8]", "decision.operating_point='youden'"]
    settings += ["model.every_method=false"]
    out = tmp_path_factory.mktemp("runs") / "small"
    run = train(data, recipe="scratch-cnn", out=out, overrides=settings, group_by=r"^(patient\d+)")
    yield run
    patch.undo()


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_what_the_bundle_keeps_is_what_the_kept_answers_give(made):
    bundle = pellucid.load(made, threads=1)
    manifest = bundle.manifest
    kept = read_validation(made / "evaluation", bundle.classes, 1)
    assert kept is not None
    assert manifest.calibration == fit_calibration("temperature", kept.logits, kept.labels, kept.groups)
    scores = bundle.probabilities_of(kept.logits)[:, 1]
    expected = choose_operating_point(
        "youden", labels=kept.labels, scores=scores, groups=kept.groups, positive=bundle.classes[1]
    )
    assert manifest.operating_point == expected
    assert manifest.threshold == expected.threshold != 0.5
    said = bundle.predicted(kept.logits)
    assert np.mean(said[kept.labels == 1]) == expected.sensitivity
    assert manifest.reference is not None
    assert manifest.reference.images == len(kept.labels)
    assert (made / "model" / "reference.npz").stat().st_size < 1e6


def test_the_test_is_made_with_what_was_fitted(made):
    bundle, result = pellucid.load(made, threads=1), read_evaluation(made / "evaluation")
    assert result.threshold == bundle.manifest.threshold
    assert result.operating_point == bundle.manifest.operating_point
    assert result.calibration == bundle.manifest.calibration
    z = np.log(result.uncalibrated[:, 1].astype(float) / result.uncalibrated[:, 0])
    expected = 1 / (1 + np.exp(-z * result.calibration.scale))
    assert np.allclose(result.probabilities[:, 1], expected, atol=1e-5)
    assert result.flagged.value == np.mean(result.outside > 1)


def test_a_new_operating_point_is_used_everywhere(run, monkeypatch):
    point = choose_again(run, "specificity>=0.6")
    assert point.revision == 1
    assert choose_again(run, "0.3").revision == 2
    found = evaluate_run(run).result
    assert found.threshold == 0.3
    assert np.array_equal(found.predicted, found.probabilities[:, 1] >= np.float32(0.3))
    bundle = pellucid.load(run, threads=1)
    data = Path(__import__("json").loads((run / "run.json").read_text())["data"]["source"])
    for path, said in list(zip(found.paths, found.predicted, strict=True))[:6]:
        assert bundle.predict(data / path).label == bundle.classes[said]


def test_without_kept_answers_the_images_are_asked_again(run):
    kept = (run / "evaluation" / "validation.csv").read_text()
    first = choose_again(run, "youden")
    (run / "evaluation" / "validation.csv").unlink()
    assert choose_again(run, "youden").threshold == pytest.approx(first.threshold, abs=1e-5)
    assert len((run / "evaluation" / "validation.csv").read_text().splitlines()) == len(kept.splitlines())
    with pytest.raises(InputError, match=r"write 0\.5"):
        choose_again(run, "best")
    (run / "run.json").write_text((run / "run.json").read_text().replace("phantoms", "gone"))
    (run / "evaluation" / "validation.csv").unlink()
    with pytest.raises((DataError, BundleError)):
        choose_again(run, "youden")


def test_two_models_are_compared_on_the_same_images(run, made):
    choose_again(run, "0.9")
    found = evaluate_run(run, against=made, prevalence=0.1)
    assert found.against is not None
    ours, theirs = found.result, read_evaluation(made / "evaluation")
    of = found.against.metrics["accuracy"]
    assert of.ours == pytest.approx(ours.metrics["accuracy"].value)
    assert of.theirs == pytest.approx(theirs.metrics["accuracy"].value)
    assert found.against.left_out == 0
    assert (run / "evaluation" / "against.json").is_file()
    assert repr(read_evaluation(run / "evaluation").restated) == repr(ours.restated)
    trained_on = evaluate_run(run, split="val", out=run / "val").result
    with pytest.raises(DataError, match="was trained on all of these images"):
        evaluate_run(run, split="val", against=made, out=run / "other")
    assert len(trained_on.labels)


@pytest.mark.parametrize(
    ("wanted", "task", "words"),
    [
        ({"operating_point": "youden"}, "multiclass", "needs two classes"),
        ({"operating_point": "1.5"}, "binary", "between 0 and 1"),
        ({"operating_point": "perfect"}, "binary", r"write 0\.5"),
        ({"calibration": "platt"}, "multiclass", "decision.calibration=temperature"),
    ],
)
def test_decisions_that_do_not_fit(wanted, task, words):
    with pytest.raises(InputError, match=words):
        check_decision(DecisionSection(**wanted), task)
    check_decision(DecisionSection(), task)
