import math

import numpy as np
import pytest
from scipy.stats import beta, norm

from pellucid.errors import DataError, InputError
from pellucid.evaluation.operating_point import choose_operating_point, parse_demand
from pellucid.evaluation.risk import lower_bound


def two_normals(rng, negatives, positives, separation=2.0):
    labels = np.repeat([0, 1], [negatives, positives])
    return labels, (rng.normal(size=len(labels)) + separation * labels).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0.5", "0.5"),
        (" Youden ", "youden"),
        ("sensitivity >= 0.950", "sensitivity>=0.95"),
        ("specificity≥0.9", "specificity>=0.9"),
        ("cost: fn=5, fp=1", "cost:fn=5,fp=1"),
        ("cost:fp=1,fn=5", "cost:fn=5,fp=1"),
    ],
)
def test_demands_are_read(text, read):
    assert parse_demand(text).text == read
    assert parse_demand(read) == parse_demand(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("best", "write 0.5"),
        ("", "write 0.5"),
        ("nan", "write 0.5"),
        ("sensitivity>=high", "write 0.5"),
        ("sensitivity>=95", "between 0 and 1"),
        ("specificity>=1", "between 0 and 1"),
        ("cost:fn=5", "write 0.5"),
        ("cost:fn=0,fp=1", "above 0"),
    ],
)
def test_other_demands_are_refused(text, words):
    with pytest.raises(InputError, match=words):
        parse_demand(text)


def test_bound_of_independent_images_is_that_of_clopper_and_pearson():
    for right, n in ((95, 100), (59, 59), (1, 3), (0, 10), (700, 782)):
        expected = beta.ppf(0.05, right, n - right + 1) if right else 0.0
        assert lower_bound(right / n, n) == pytest.approx(expected, abs=1e-9)
        # Groups may be right in part: less is sure, but for all right, where the two agree.
        grouped = lower_bound(right / n, n, grouped=True)
        assert grouped == pytest.approx(expected, abs=1e-9) if right == n else grouped <= expected


def test_sensitivity_is_an_order_statistic():
    rng = np.random.default_rng(1)
    labels, scores = two_normals(rng, 100, 200)
    point = choose_operating_point("sensitivity>=0.9", labels=labels, scores=scores)
    # The most misses that still leave Clopper and Pearson's bound at 0.9 or more.
    misses = max(k for k in range(50) if beta.ppf(0.05, 200 - k, k + 1) >= 0.9)
    positive = np.sort(scores[labels == 1])
    below = np.max(scores[scores < positive[misses]])
    assert below < point.threshold <= positive[misses]
    assert point.sensitivity == 1 - misses / 200
    assert point.specificity == np.mean(scores[labels == 0] < point.threshold)
    assert point.bound == pytest.approx(beta.ppf(0.05, 200 - misses, misses + 1), abs=1e-9)
    assert point.met
    assert len(f"{point.threshold}") < 8, "a threshold is read by people"


def test_what_was_asked_holds_as_often_as_is_promised():
    """Of 400 thresholds no more than 5 % may miss the true sensitivity or specificity asked for; so many are 20."""
    rng = np.random.default_rng(0)
    missed = {"sensitivity>=0.9": 0, "specificity>=0.9": 0, "bound": 0}
    for _ in range(400):
        labels, scores = two_normals(rng, 150, 120)
        low = choose_operating_point("sensitivity>=0.9", labels=labels, scores=scores)
        high = choose_operating_point("specificity>=0.9", labels=labels, scores=scores)
        missed["sensitivity>=0.9"] += norm.sf(low.threshold - 2) < 0.9
        missed["specificity>=0.9"] += norm.cdf(high.threshold) < 0.9
        missed["bound"] += norm.sf(low.threshold - 2) < low.bound
    # Three standard errors beside 20.
    assert all(count <= 20 + 13 for count in missed.values()), missed
    assert missed["sensitivity>=0.9"] >= 2, "far too cautious"


def test_grouped_promise_holds_where_the_naive_one_fails():
    rng = np.random.default_rng(0)
    missed = {"grouped": 0, "naive": 0}
    for _ in range(200):
        group = np.repeat(np.arange(80), 6)
        scores = np.repeat(rng.normal(size=80), 6) + 0.2 * rng.normal(size=480) + 2
        given = {"labels": np.append(np.ones(480, int), [0, 0]), "scores": np.append(scores, [-4, -3])}
        names = [f"p{g}" for g in group] + ["", ""]
        for kind, groups in (("grouped", names), ("naive", ())):
            point = choose_operating_point("sensitivity>=0.85", groups=groups, **given)
            missed[kind] += norm.sf((point.threshold - 2) / math.sqrt(1.04)) < 0.85
    assert missed["grouped"] <= 10 + 9
    assert missed["naive"] > 30


def test_youden_and_cost_are_the_best_of_all_thresholds():
    rng = np.random.default_rng(3)
    labels, scores = two_normals(rng, 130, 70)
    every = np.concatenate([[-9], np.sort(scores), [9]])
    rates = [(np.mean(scores[labels == 1] >= t), np.mean(scores[labels == 0] < t)) for t in every]
    point = choose_operating_point("youden", labels=labels, scores=scores)
    assert point.sensitivity + point.specificity == pytest.approx(max(a + b for a, b in rates))
    assert point.bound < point.sensitivity + point.specificity - 1
    costly = choose_operating_point("cost:fn=5,fp=1", labels=labels, scores=scores)
    costs = [5 * 0.35 * (1 - a) + 0.65 * (1 - b) for a, b in rates]
    own = 5 * 0.35 * (1 - costly.sensitivity) + 0.65 * (1 - costly.specificity)
    assert own == pytest.approx(min(costs))
    assert costly.bound > own
    assert costly.threshold < point.threshold


def test_bound_of_the_chosen_best_holds():
    """Although the threshold was chosen for looking best: at most 5 % of 300 may lie above the truth."""
    rng = np.random.default_rng(5)
    above = 0
    for _ in range(300):
        labels, scores = two_normals(rng, 60, 60, separation=1.0)
        point = choose_operating_point("youden", labels=labels, scores=scores)
        above += norm.sf(point.threshold - 1) + norm.cdf(point.threshold) - 1 < point.bound
    assert above <= 15


def test_too_few_images_are_said_to_be_too_few():
    labels, scores = two_normals(np.random.default_rng(0), 40, 40)
    point = choose_operating_point("sensitivity>=0.95", labels=labels, scores=scores)
    assert not point.met
    assert point.sensitivity == 1
    assert point.bound == pytest.approx(0.05 ** (1 / 40), abs=1e-9)
    assert "on 40 such validation images, as it takes 59 or more" in point.statement
    at_the_limit = choose_operating_point("sensitivity>=0.95", labels=[0] + [1] * 59, scores=np.arange(60))
    assert at_the_limit.met


def test_a_number_is_taken_as_it_is():
    point = choose_operating_point("0.3", labels=[1, 1], scores=[0.2, 0.9])
    assert (point.threshold, point.bounded, point.bound) == (0.3, None, None)
    assert (point.sensitivity, point.specificity) == (0.5, None)


def test_equal_scores_stay_together():
    labels, scores = [0, 0, 1, 1, 1, 1], np.float32([0.1, 0.4, 0.4, 0.4, 0.8, 0.9])
    point = choose_operating_point("youden", labels=labels, scores=scores)
    assert (point.sensitivity, point.specificity) == (1, 0.5)
    assert 0.1 < point.threshold <= 0.4


def test_thresholds_between_neighbouring_single_precision_numbers():
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    point = choose_operating_point("youden", labels=[0, 1], scores=np.array([low, high]))
    said = np.array([low, high]) >= point.threshold
    assert said.tolist() == [False, True]


def test_wrong_input():
    with pytest.raises(DataError, match="both classes, and ill has no images"):
        choose_operating_point("youden", labels=[0, 0], scores=[0.1, 0.2], positive="ill")
    with pytest.raises(InputError, match="finite"):
        choose_operating_point("0.5", labels=[0, 1], scores=[0.1, math.nan])
    with pytest.raises(InputError, match="one each an image"):
        choose_operating_point("0.5", labels=[0, 1], scores=[0.1])
