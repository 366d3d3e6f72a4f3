"""Estimates without labels, against simulations whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from pellucid.errors import DataError
from pellucid.evaluation.unlabelled import (
    AnsweredImages,
    class_mix,
    judge_unlabelled,
    shifted_mix,
    thresholded_confidence,
)


def simulated(n: int, share: float, seed: int, *, moved: float = 0.0) -> tuple[AnsweredImages, np.ndarray]:
    """Images whose probabilities are true posteriors at equal priors, with features that may be moved."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.int64)
    x = rng.normal(np.where(labels == 1, 1.0, -1.0), np.sqrt(2.0))
    positive = 1 / (1 + np.exp(-x))
    features = rng.normal(size=(n, 20))
    features[:, 0] = x
    features[:, 1] += moved
    return AnsweredImages(np.stack([1 - positive, positive], axis=1), features), labels


@pytest.mark.parametrize("share", [0.1, 0.3, 0.62, 0.9])
def test_expectation_maximisation_finds_the_mix(share: float):
    side, labels = simulated(20_000, share, 1)
    assert class_mix(side.probabilities, np.array([0.5, 0.5]))[1] == pytest.approx(labels.mean(), abs=0.02)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_model_that_favours_a_class_is_not_taken_for_a_mix(share: float):
    home, truth = simulated(4000, 0.5, 0)
    new, labels = simulated(4000, share, 1)

    def favouring(side: AnsweredImages) -> AnsweredImages:
        odds = side.probabilities * [1, 5]
        return replace(side, probabilities=odds / odds.sum(axis=1, keepdims=True), features=None)

    assert abs(class_mix(favouring(new).probabilities, np.array([0.5, 0.5]))[1] - labels.mean()) > 0.05
    found = judge_unlabelled(favouring(home), truth, favouring(new), resamples=20)
    assert found.mix[1].value == pytest.approx(labels.mean(), abs=0.03)


@pytest.mark.parametrize("share", [0.1, 0.62])
def test_black_box_estimation_finds_the_mix_too(share: float):
    home, truth = simulated(20_000, 0.5, 2)
    new, labels = simulated(20_000, share, 3)
    assert shifted_mix(home, truth, new)[1] == pytest.approx(labels.mean(), abs=0.03)


def test_thresholded_confidence_is_the_accuracy_at_home():
    side, truth = simulated(5_000, 0.5, 4)
    right = side.probabilities.argmax(axis=1) == truth
    confidence = side.probabilities.max(axis=1)
    assert thresholded_confidence(confidence, right, confidence) == pytest.approx(right.mean(), abs=1e-3)


def test_estimates_hold_where_nothing_but_the_sample_differs():
    home, truth = simulated(1_000, 0.5, 5)
    covered = used = 0
    for seed in range(10):
        new, labels = simulated(600, 0.5, 100 + seed)
        found = judge_unlabelled(home, truth, new)
        accuracy = (new.probabilities.argmax(axis=1) == labels).mean()
        used += found.verdict == "use"
        assert all(abs(e.value - accuracy) < 0.05 for e in found.accuracy)
        covered += found.accuracy[1].low <= accuracy <= found.accuracy[1].high
    assert used >= 9  # 60 of 60 with other samples at home, too; 56 without the bias taken out
    assert covered >= 7


def test_another_mix_asks_for_a_new_threshold():
    home, truth = simulated(1_000, 0.5, 6)
    new, labels = simulated(1_000, 0.15, 7)
    found = judge_unlabelled(home, truth, new)
    assert found.verdict == "new threshold"
    assert not found.moved
    assert found.mix[1].low <= labels.mean() <= found.mix[1].high


def test_moved_images_have_no_estimate():
    home, truth = simulated(1_000, 0.5, 8)
    new, _ = simulated(600, 0.5, 9, moved=2.0)
    found = judge_unlabelled(home, truth, new, outside=0.04)
    assert found.moved
    assert found.estimate is None
    assert found.verdict == "do not use"


def test_without_features_nothing_is_promised():
    home, truth = simulated(200, 0.5, 10)
    new, _ = simulated(200, 0.5, 11)
    found = judge_unlabelled(AnsweredImages(home.probabilities), truth, new)
    assert found.estimate is None
    assert found.verdict == "do not use"


def test_too_few_images_are_refused():
    home, truth = simulated(200, 0.5, 12)
    new, _ = simulated(29, 0.5, 13)
    with pytest.raises(DataError, match="at least 30 new images"):
        judge_unlabelled(home, truth, new)


def test_no_estimate_leaves_the_range_of_a_share():
    """A model that is always right and hardly sure at home, and surer on the new images."""
    truth = np.repeat([0, 1], 50)
    sure = np.linspace(0.5, 0.6, 100)
    home = AnsweredImages(np.where(truth[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None]))
    found = judge_unlabelled(home, truth, AnsweredImages(np.array([[0.99, 0.01], [0.02, 0.98]] * 40)), resamples=20)
    for estimate in (*found.accuracy, *found.mix, *found.mix_by_answers):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert found.accuracy[1].value == 1
