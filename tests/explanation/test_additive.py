import json

import numpy as np
import pytest
from tests.black_boxes import BlackBox, bent, linear, preprocessing_of, scene, subject_of

from pellucid.explanation.additive import (
    Fit,
    Samples,
    described,
    fit_until_stable,
    jaccard,
    least_squares,
    painted,
    r_squared,
    top_superpixels,
)

RANDOM = np.random.default_rng(0)


def test_least_squares_is_that_of_numpy_on_weighted_rows() -> None:
    design, scores, weights = RANDOM.normal(size=(40, 5)), RANDOM.normal(size=(40, 3)), RANDOM.random(40)
    root = np.sqrt(weights)[:, None]
    expected = np.linalg.lstsq(root * design, root * scores, rcond=None)[0]
    np.testing.assert_allclose(least_squares(design, scores, weights)[0], expected, rtol=1e-9)
    mean = np.average(scores, axis=0, weights=weights)
    rest = (weights[:, None] * (scores - design @ expected) ** 2).sum(axis=0)
    found = r_squared(scores, design @ expected, weights)
    np.testing.assert_allclose(found, 1 - rest / (weights[:, None] * (scores - mean) ** 2).sum(axis=0), rtol=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_standard_errors_are_the_sandwich_with_jackknifed_residuals(paired: bool) -> None:
    design, scores, weights = RANDOM.normal(size=(30, 4)), RANDOM.normal(size=(30, 2)), RANDOM.random(30)
    bread = np.linalg.inv(design.T @ np.diag(weights) @ design)
    for t in range(2):
        beta = bread @ design.T @ (weights * scores[:, t])
        pulls = []
        for x, w, y in zip(design, weights, scores[:, t], strict=True):
            pulls.append(bread @ x * w * (y - x @ beta) / (1 - w * x @ bread @ x))
        units = np.array(pulls).reshape(15, 2, 4).sum(axis=1) if paired else np.array(pulls)
        expected = np.sqrt(np.diag(units.T @ units))
        _, errors = least_squares(design, scores, weights, paired=paired)
        np.testing.assert_allclose(errors[:, t], expected, rtol=1e-8)


def test_the_jackknifed_pull_is_what_leaving_a_sample_out_changes() -> None:
    design, scores, weights = RANDOM.normal(size=(25, 3)), RANDOM.normal(size=(25, 1)), RANDOM.random(25)
    whole, errors = least_squares(design, scores, weights)
    changes = []
    for i in range(25):
        rest = np.arange(25) != i
        changes.append((least_squares(design[rest], scores[rest], weights[rest])[0] - whole)[:, 0])
    np.testing.assert_allclose(errors[:, 0], np.sqrt((np.array(changes) ** 2).sum(axis=0)), rtol=1e-8)


def test_what_is_not_determined_gets_the_shortest_weights() -> None:
    design = np.repeat(RANDOM.normal(size=(20, 1)), 2, axis=1)
    found, _ = least_squares(design, 3 * design[:, :1], np.ones(20))
    np.testing.assert_allclose(found[:, 0], [1.5, 1.5])


def test_a_constant_score_is_wholly_explained() -> None:
    assert r_squared(np.full((9, 1), 2.5), np.full((9, 1), 2.5), np.ones(9)) == [1]
    assert r_squared(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0)) == [1]
    assert least_squares(np.zeros((0, 2)), np.zeros((0, 1)), np.zeros(0))[0].tolist() == [[0], [0]]


def test_top_and_jaccard() -> None:
    weights = np.array([0.1, -3, 0, 2, 2, 0])
    assert top_superpixels(weights, 3) == [1, 3, 4]
    assert top_superpixels(weights, 9) == [1, 3, 4, 0]
    assert jaccard([1, 2, 3], [2, 3, 4]) == 0.5
    assert jaccard([], []) == 1
    assert jaccard([1], []) == 0


def noisy(weights: np.ndarray, noise: float, count: int = 400) -> tuple[BlackBox, Samples]:
    """Samples whose fit does not look at the classifier: an additive score with noise of a fixed size."""
    random = np.random.default_rng(1)
    coalitions = random.random((count, len(weights))) < 0.5
    errors = noise * random.normal(size=(count, 1))

    def fit(z: np.ndarray, y: np.ndarray) -> Fit:
        rows = [int(np.flatnonzero((coalitions == row).all(axis=1))[0]) for row in z]
        design = np.concatenate([z, np.ones((len(z), 1))], axis=1)
        found, spread = least_squares(design, z @ weights[:, None] + errors[rows], np.ones(len(z)))
        return Fit(found[:-1], spread[:-1], np.ones(1))

    box = BlackBox(linear((12, 12)), preprocessing_of(12, 12))
    return box, Samples(coalitions, np.arange(count), fit)


LABELS = np.arange(144).reshape(12, 12) // 12
STRONG = np.array([8, -7, 6, 5, -4, 0.1, 0, 0.1, 0, 0, 0.1, 0])


@pytest.mark.parametrize(("noise", "used", "ended"), [(0.5, 100, "stable"), (60, 400, "budget")])
def test_asking_ends_when_the_halves_agree_or_the_budget_is_spent(noise: float, used: int, ended: str) -> None:
    box, samples = noisy(STRONG, noise)
    fit, remark = fit_until_stable(subject_of(box, scene(12, 12)[0]), LABELS, samples, top=5, stable=0.9)
    assert sum(box.batches) == used == remark["samples"]
    assert remark["stopped_by"] == ended
    assert remark["stable"] is (ended == "stable")
    assert (remark["jaccard"] >= 0.9) is remark["stable"]
    np.testing.assert_allclose(fit.weights, samples.fit(samples.coalitions[:used], np.zeros((used, 1))).weights)


def test_the_jaccard_index_is_that_of_two_independent_halves() -> None:
    box, samples = noisy(STRONG, 12)
    _, remark = fit_until_stable(subject_of(box, scene(12, 12)[0]), LABELS, samples, top=5, stable=2)
    halves = [samples.fit(samples.coalitions[half::2], np.zeros((200, 1))).weights[:, 0] for half in (0, 1)]
    one, other = ({int(s) for s in np.argsort(-np.abs(w))[:5]} for w in halves)
    assert remark["jaccard"] == pytest.approx(len(one & other) / len(one | other), abs=1e-4)
    assert remark["stopped_by"] == "budget"


def test_few_samples_per_superpixel_are_never_enough_to_stop_early() -> None:
    box, samples = noisy(STRONG, 0, count=60)
    _, remark = fit_until_stable(subject_of(box, scene(12, 12)[0]), LABELS, samples, top=5, stable=0.9)
    assert remark == {"samples": 60, "stable": True, "jaccard": 1.0, "stopped_by": "stable"}


def test_weights_are_painted_on_their_superpixels_and_described_in_json() -> None:
    weights = np.array([[1.0, -1], [2.00004, 0], [-3, 5]])
    labels = np.array([[0, 0, 1], [2, 2, 1]])
    values = painted(weights, labels)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0], [[1, 1, 2], [-3, -3, 2]], rtol=1e-4)
    np.testing.assert_allclose(values[1], [[-1, -1, 0], [5, 5, 0]])
    subject = subject_of(BlackBox(bent((12, 12)), preprocessing_of(12, 12)), scene(12, 12)[0], "ant", "bee")
    remark = described(subject, Fit(weights, abs(weights) / 10, np.array([0.5, 1])), {"samples": 7}, 2)
    assert json.loads(json.dumps(remark)) == {
        "superpixels": 3,
        "samples": 7,
        "targets": {
            "ant": {"r2": 0.5, "top": [2, 1], "weights": [1, 2, -3], "standard_errors": [0.1, 0.2, 0.3]},
            "bee": {"r2": 1, "top": [2, 0], "weights": [-1, 0, 5], "standard_errors": [0.1, 0, 0.5]},
        },
    }
