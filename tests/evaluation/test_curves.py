from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from pellucid.errors import DataError, InputError, UnknownNameError
from pellucid.evaluation.curves import GRID, pr_curve, risk_coverage, roc_curve
from pellucid.evaluation.evaluate import evaluate_predictions


def result(labels, scores, groups=(), task="binary"):
    p = np.asarray(scores, np.float32)
    return evaluate_predictions(
        task=task,
        classes=("a", "b"),
        labels=labels,
        probabilities=np.stack([1 - p, p], axis=1),
        outputs=p,
        paths=[str(i) for i in range(len(p))],
        groups=groups,
        split="test",
        resamples=100,
    )


def sample(n, seed=0, tied=False):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = np.clip(rng.normal(size=n) * 0.2 + 0.4 + 0.2 * labels, 0, 1)
    return labels, np.round(scores, 1) if tied else scores


def follow(rates, found, x):
    """The height of the polyline at x, on top where it is vertical."""
    if (rates == x).any():
        return found[rates == x].max()
    before, after = np.flatnonzero(rates < x)[-1], np.flatnonzero(rates > x)[0]
    share = (x - rates[before]) / (rates[after] - rates[before])
    return (1 - share) * found[before] + share * found[after]


@pytest.mark.parametrize("tied", [False, True])
def test_roc_is_scikit_learns(tied):
    labels, scores = sample(300, tied=tied)
    outcome = result(labels, scores)
    rates, found, _ = oracle.roc_curve(labels, np.float32(scores), drop_intermediate=False)
    curve = roc_curve(outcome, resamples=100)
    assert (curve.x[0], curve.y[0]) == (0, 0)
    assert np.array_equal(curve.x[1:], GRID)
    assert curve.y[1:] == pytest.approx(np.array([follow(rates, found, x) for x in GRID]), abs=1e-9)
    assert oracle.auc(curve.x, curve.y) == pytest.approx(outcome.metrics["roc_auc"].value, abs=0.005)


@pytest.mark.parametrize("tied", [False, True])
def test_precision_and_recall_are_scikit_learns(tied):
    labels, scores = sample(300, tied=tied)
    outcome = result(labels, scores)
    precision, recall, _ = oracle.precision_recall_curve(labels, np.float32(scores))
    curve = pr_curve(outcome, resamples=100)
    for x, y in zip(curve.x, curve.y, strict=True):
        # Recall falls along scikit-learn's arrays; the last that is still enough has the strictest threshold.
        enough = np.flatnonzero(recall >= x - 1e-9) if x else np.flatnonzero(recall > 0)
        assert y == pytest.approx(precision[enough[-1]])
    assert curve.y[1:].mean() == pytest.approx(outcome.metrics["pr_auc"].value, abs=0.005)


@pytest.mark.parametrize("kind", [roc_curve, pr_curve])
def test_bands_are_those_of_a_plain_bootstrap(kind):
    labels, scores = sample(60)
    outcome = result(labels, scores)
    curve = kind(outcome, resamples=100, seed=4)
    rng = np.random.default_rng(4)
    plain = []
    for _ in range(100):
        drawn = rng.integers(0, 60, 60)
        plain.append(kind(result(labels[drawn], scores[drawn]), resamples=100).y)
    low, high = np.quantile(plain, [0.025, 0.975], axis=0)
    assert curve.low == pytest.approx(low, abs=1e-9)
    assert curve.high == pytest.approx(high, abs=1e-9)
    assert (curve.low <= curve.y).all()
    assert (curve.y <= curve.high).all()


def test_bands_by_groups_are_wider():
    labels, scores = sample(60)
    twins = np.repeat(labels, 5), np.repeat(scores, 5)
    alone = roc_curve(result(*twins), resamples=200)
    grouped = roc_curve(result(*twins, groups=[str(i // 5) for i in range(300)]), resamples=200)
    assert (grouped.high - grouped.low).mean() > 1.5 * (alone.high - alone.low).mean()


def test_a_class_can_be_chosen_and_the_other_mirrors_it():
    labels, scores = sample(200)
    for task in ("binary", "regression"):
        outcome = result(labels, scores, task=task)
        other = roc_curve(outcome, "a", resamples=100)
        rates, found, _ = oracle.roc_curve(1 - labels, -np.float32(scores), drop_intermediate=False)
        assert other.y[1:] == pytest.approx(np.array([follow(rates, found, x) for x in GRID]), abs=1e-6)


def test_wrong_use():
    with pytest.raises(DataError, match="0 of 3"):
        roc_curve(result([0, 0, 0], [0.1, 0.2, 0.3]))
    labels, scores = sample(10)
    with pytest.raises(UnknownNameError, match="no class named 'c'"):
        pr_curve(result(labels, scores), "c")
    three = evaluate_predictions(
        task="multiclass",
        classes=("a", "b", "c"),
        labels=[0, 1, 2],
        probabilities=np.eye(3),
        paths=["x", "y", "z"],
        split="test",
    )
    with pytest.raises(InputError, match="needs a target: one of a, b, c"):
        roc_curve(three)
    assert roc_curve(three, "c", resamples=100).y[1:] == pytest.approx(1)


@pytest.mark.parametrize("by", ["confidence", "outside"])
def test_risk_coverage_is_the_share_of_errors_among_the_surest(by):
    labels, scores = sample(80, 3)
    outside = np.random.default_rng(0).permutation(80).astype(np.float32)
    found = replace(result(labels, scores), outside=outside)
    curve = risk_coverage(found, by, resamples=100)
    p = np.clip(found.probabilities[:, 1].astype(float), 1e-7, 1 - 1e-7)
    surest = np.argsort(-np.abs(np.log(p / (1 - p))) if by == "confidence" else outside)
    wrong = (found.predicted != labels)[surest]
    for coverage in (0.1, 0.25, 0.5, 1.0):
        taken = round(coverage * 80)
        assert curve.y[round(coverage * 200)] == pytest.approx(wrong[:taken].mean())
    assert curve.y[-1] == pytest.approx(1 - found.metrics["accuracy"].value)
    assert curve.y[0] == wrong[0]
    assert (curve.low <= curve.high).all()


def test_risk_coverage_moves_with_the_threshold_and_keeps_ties_together():
    labels, p = [0, 1, 1, 1], [0.3, 0.4, 0.9, 0.9]
    found = replace(result(labels, p), threshold=0.35)
    # At 0.35 the image at 0.3 is the least sure, then 0.4; the two at 0.9 are equally sure. None is wrong.
    assert risk_coverage(found, resamples=100).y.max() == 0
    wrong = replace(found, labels=np.array([0, 1, 0, 1]))
    curve = risk_coverage(wrong, resamples=100)
    assert curve.y[50] == curve.y[100] == 0.5
    assert curve.y[200] == 0.25


def test_risk_by_outside_needs_to_know_of_outside():
    with pytest.raises(InputError, match="knows nothing of what is outside"):
        risk_coverage(result([0, 1], [0.1, 0.9]), "outside")
