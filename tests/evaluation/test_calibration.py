import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.calibration import calibration_curve

from pellucid.classifier import probabilities_from_logits
from pellucid.errors import DataError, InputError
from pellucid.evaluation.calibration import Calibration, fit_calibration, reliability
from pellucid.evaluation.evaluate import evaluate_predictions
from pellucid.evaluation.intervals import wilson


def overconfident(n, seed=0, factor=3.0, shift=0.0):
    """Logits (N, 1) that are `factor` times too large, and moved."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n) * 2
    labels = (rng.random(n) < expit(true)).astype(int)
    return (factor * true + shift).astype(np.float32)[:, None], labels


def test_temperature_undoes_what_was_done():
    logits, labels = overconfident(20000)
    found = fit_calibration("temperature", logits, labels)
    assert found.temperature == pytest.approx(3, rel=0.05)
    assert found.shift == 0
    assert found.loss_after < found.loss_before


def test_platt_undoes_scale_and_shift():
    logits, labels = overconfident(20000, shift=-1.5)
    found = fit_calibration("platt", logits, labels)
    assert found.scale == pytest.approx(1 / 3, rel=0.05)
    assert found.shift == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_no_other_numbers_fit_better(method):
    """A derivative-free search over the same loss, written out plainly, finds no better point."""
    logits, labels = overconfident(300, seed=2, shift=1.0)
    counts = np.bincount(labels)
    targets = np.where(labels == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))

    def loss(parameters):
        p = expit(parameters[0] * logits[:, 0].astype(float) + (parameters[1] if method == "platt" else 0))
        return -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))

    best = minimize(loss, [0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
    found = fit_calibration(method, logits, labels)
    assert loss([found.scale, found.shift]) <= best.fun + 1e-7
    assert found.scale == pytest.approx(best.x[0], abs=2e-3)


def test_temperature_of_several_classes():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(8000, 4)) * 1.5
    labels = np.array([rng.choice(4, p=p) for p in softmax(true, axis=1)])
    found = fit_calibration("temperature", (2.5 * true).astype(np.float32), labels)
    assert found.temperature == pytest.approx(2.5, rel=0.06)
    expected = -log_softmax(true * 2.5 * found.scale, axis=1)[np.arange(8000), labels].mean()
    assert found.loss_after == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_calibration_error_falls_on_images_that_were_not_fitted(method):
    fit, test = overconfident(600, seed=1), overconfident(600, seed=2)
    found = fit_calibration(method, *fit)
    before, after = (probabilities_from_logits(z) for z in (test[0], found.logits(test[0])))
    given = {"task": "binary", "classes": ("a", "b"), "labels": test[1], "paths": [str(i) for i in range(600)]}
    result = evaluate_predictions(
        **given, probabilities=after, uncalibrated=before, calibration=found, split="test", resamples=300
    )
    assert result.metrics["ece"].value < 0.5 * result.before["ece"].value
    assert result.metrics["loss"].value < result.before["loss"].value
    assert result.before["ece"].low > 0
    alone = evaluate_predictions(**given, probabilities=before, split="test", resamples=300)
    assert result.before == {name: alone.metrics[name] for name in ("loss", "brier", "ece")}
    # The map rises: no image changes its rank.
    assert result.metrics["roc_auc"] == alone.metrics["roc_auc"]


def test_classes_told_apart_without_error_do_not_give_certainty():
    logits = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    labels = (logits[:, 0] > 0).astype(int)
    for method in ("temperature", "platt"):
        found = fit_calibration(method, logits, labels)
        p = probabilities_from_logits(found.logits(logits))[:, 1]
        assert 0.9 < p.max() < 0.999


def test_what_it_says():
    sure = Calibration(method="temperature", scale=0.5, images=90)
    assert "divided by 2.00" in sure.in_words()
    assert "overconfident" in sure.in_words()
    unsure = Calibration(method="temperature", scale=2.0, images=90)
    assert "divided by 0.50" in unsure.in_words()
    assert "underconfident" in unsure.in_words()
    assert "about right" in Calibration(method="temperature", scale=1.001, images=90).in_words()
    assert "moved by -0.30" in Calibration(method="platt", scale=2, shift=-0.3, images=9).in_words()


def test_reliability_is_that_of_scikit_learn():
    logits, labels = overconfident(500)
    p = probabilities_from_logits(logits)
    found = reliability(labels, p, bins=10)
    outcome, confidence = calibration_curve(labels, p[:, 1].astype(float), n_bins=10)
    assert found.outcome == pytest.approx(outcome)
    assert found.confidence == pytest.approx(confidence, abs=1e-6)
    assert found.count.sum() == 500
    right = round(found.outcome[0] * found.count[0])
    assert (found.low[0], found.high[0]) == wilson(right, found.count[0])
    three = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    assert reliability([2, 0], three).outcome.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("method", "logits", "labels", "error", "words"),
    [
        ("temperature", [[1.0], [2.0]], [1, 1], DataError, "at least two classes"),
        ("temperature", [[1.0], [np.nan]], [0, 1], InputError, "finite"),
        ("temperature", [[1.0]], [0, 1], InputError, "one row for each of 2 labels"),
        ("platt", [[1.0, 2.0, 3.0]] * 2, [0, 1], InputError, "take temperature"),
    ],
)
def test_wrong_input(method, logits, labels, error, words):
    with pytest.raises(error, match=words):
        fit_calibration(method, logits, labels)


def test_whether_it_helps_is_what_the_loss_says():
    logits = np.repeat([-4.0, 4.0], 20)[:, None]
    labels = (logits[:, 0] > 0).astype(int)
    found = fit_calibration("temperature", logits, labels)
    before, after = np.log1p(np.exp(-4.0)), np.log1p(np.exp(-4.0 * found.scale))
    assert (found.loss_before, found.loss_after) == pytest.approx((before, after))
    # Without an error the targets are less than certain, so that the fit makes the loss of the labels larger.
    assert after > before
    assert not found.helps
    assert fit_calibration("temperature", *overconfident(400)).helps
    assert Calibration(method="temperature", scale=0.5, images=9).helps  # of an older build, without losses
