from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from pellucid.evaluation.comparison import (
    Drift,
    agreement_of,
    estimate_of,
    findings_of,
    mix_drift,
    number_drift,
    share_of,
)
from pellucid.evaluation.intervals import wilson


def test_agreement_is_that_of_a_peer() -> None:
    rng = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])
    one, two = names[rng.integers(0, 3, 200)], names[rng.integers(0, 3, 200)]
    two[:120] = one[:120]
    found = agreement_of(list(one), list(two), ["a", "b", "c"], None)
    assert found.kappa == pytest.approx(cohen_kappa_score(one, two))
    assert found.same == share_of(int((one == two).sum()), 200)
    assert (found.same.low, found.same.high) == wilson(int((one == two).sum()), 200)
    assert found.table["a"]["b"] == int(((one == "a") & (two == "b")).sum())
    assert agreement_of(["a", "a"], ["a", "a"], ["a", "b"], None).kappa is None


def test_class_mix_by_hand() -> None:
    # Shares 0.8, 0.2 against 0.5, 0.5: half the sum of the differences is 0.3.
    drift = mix_drift({"x": 80, "y": 20}, {"x": 50, "y": 50}, {"x": 80, "y": 20}, {"x": 50, "y": 50})
    assert drift.distance == pytest.approx(0.3)
    # Pearson's chi-square of the table is 200 (80*50 - 20*50)^2 / (100 * 100 * 130 * 70).
    assert drift.probability == pytest.approx(stats.chi2.sf(200 * 3000**2 / (1e4 * 130 * 70), 1))
    assert drift.level == "problem"
    same = mix_drift({"x": 80, "y": 20}, {"x": 80, "y": 20}, {"x": 0, "y": 0}, {"x": 0, "y": 0})
    assert (same.distance, same.probability, same.level) == (0, None, "information")
    assert mix_drift({"x": 5, "y": 0}, {"x": 9, "y": 0}, {"x": 5, "y": 0}, {"x": 9, "y": 0}).probability == 1


def test_number_drift_finds_a_shift_and_keeps_calm_without() -> None:
    rng = np.random.default_rng(1)
    calm = 0
    for _ in range(200):
        a, b = rng.normal(size=150), rng.normal(size=150)
        drift = number_drift("score", a, b, a, b)
        assert drift is not None
        assert drift.probability is not None
        calm += drift.probability > 0.05
    # The asymptotic test is a little careful; it should be calm at least as often as it says.
    assert calm / 200 > 0.92
    # Two normals a standard deviation apart: the distance is 2 Phi(1/2) - 1 = 0.383.
    a, b = rng.normal(0, 1, 20_000), rng.normal(1, 1, 20_000)
    drift = number_drift("score", a, b, a, b)
    assert drift is not None
    assert drift.distance == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=0.01)
    assert drift.level == "problem"
    assert number_drift("score", a, a[:0], a, a[:0]) is None


def test_a_real_difference_too_small_to_matter_raises_no_alarm() -> None:
    drift = mix_drift(*[{"x": 100_000, "y": 100_000}, {"x": 104_000, "y": 96_000}] * 2)
    assert drift.probability is not None
    assert drift.probability < 1e-9
    assert drift.level == "information"
    findings, verdict = findings_of(None, 0, [drift], same_model=True)
    assert verdict.startswith("Nothing")
    assert "small" in next(f.text for f in findings if f.topic == "class mix")


def test_one_model_that_answers_the_same_bytes_differently_is_a_problem() -> None:
    one, two = ["a"] * 100, ["a"] * 99 + ["b"]
    found = agreement_of(one, two, ["a", "b"], None)
    findings, verdict = findings_of(found, 1, [], same_model=True)
    assert findings[0].level == "problem"
    assert "agreement" in verdict
    assert findings_of(found, 1, [], same_model=False)[0][0].level == "good"


def posteriors(n: int, share: float, seed: int) -> np.ndarray:
    """True posteriors at equal priors of n images, of which a share is positive."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < share
    return 1 / (1 + np.exp(-rng.normal(np.where(labels, 1.5, -1.5), np.sqrt(3.0))))


def distance(probability: float | None, size: float) -> Drift:
    return Drift(what="distance to the training images", distance=size, probability=probability, images=(900, 900))


def test_the_mix_of_a_batch_is_estimated_from_that_of_the_other() -> None:
    a, b = posteriors(20_000, 0.5, 0), posteriors(20_000, 0.2, 1)
    found = estimate_of(a, b, ("ant", "bee"), [distance(0.5, 0.01)])
    assert found is not None
    assert found.mix["bee"] == pytest.approx(0.2, abs=0.02)
    assert found.mix_a["bee"] == pytest.approx(0.5, abs=0.02)
    assert found.accuracy_change == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("drift", [distance(1e-9, 0.4), distance(None, 0.0)])
def test_no_accuracy_is_estimated_where_the_images_moved_or_nobody_knows(drift: Drift) -> None:
    found = estimate_of(posteriors(500, 0.5, 2), posteriors(500, 0.5, 3), ("ant", "bee"), [drift])
    assert found is not None
    assert found.accuracy_change is None
    (finding,) = [f for f in findings_of(None, 0, [drift], True, None, found)[0] if f.topic == "without labels"]
    assert "cannot be estimated" in finding.text
    assert estimate_of(np.full(29, 0.5), np.full(500, 0.5), ("ant", "bee"), []) is None


def test_the_change_of_accuracy_is_that_of_the_answers_given_at_the_threshold():
    rng = np.random.default_rng(4)
    a, b = rng.beta(2, 2, 4000), rng.beta(1, 4, 4000)
    drift = distance(0.01, 0.5)
    found = estimate_of(a, b, ("ant", "bee"), [drift], threshold=0.9)
    assert found is not None
    assert found.accuracy_change is not None
    # With calibrated probabilities the truth is drawn from them, and answers are bee from 0.9 on.
    right = [((p >= 0.9) == (rng.random((200, len(p))) < p)).mean() for p in (a, b)]
    assert found.accuracy_change == pytest.approx(right[1] - right[0], abs=0.01)
    other = estimate_of(a, b, ("ant", "bee"), [drift])
    assert other is not None
    assert other.accuracy_change is not None
    assert abs(other.accuracy_change - found.accuracy_change) > 0.1


def test_models_of_other_classes_are_named():
    def level(a, b):
        found, verdict = findings_of(None, 0, [], same_model=False, classes=(a, b))
        return [f.level for f in found if f.topic == "classes"], verdict

    assert level(("cat", "dog"), ("dog", "cat"))[0] == []
    assert level(("cat", "dog"), ("cat", "dog", "owl")) == (["caution"], "The two differ: classes.")
    assert level(("circle", "square"), ("cat", "dog"))[0] == ["problem"]
