"""Areas under the curve and their differences, against scikit-learn, the definition, the bootstrap and simulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from pellucid.data.areas import area_lost, clustered_area
from pellucid.evaluation.intervals import Resampling, percentiles
from pellucid.evaluation.tally import Ranking

Floats = npt.NDArray[np.float64]


def clustered(seed: int, groups: int = 90) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Scores, labels and units: one to five images a unit that are like each other."""
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    labels = (rng.random(groups) < 0.4).astype(np.int64)[units]
    scores = labels + rng.normal(0, 1.2, groups)[units] + rng.normal(0, 0.4, len(units))
    return scores, labels, units


def test_the_area_is_that_of_a_peer_with_ties() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        labels, scores = rng.integers(0, 2, 60), rng.integers(0, 8, 60).astype(float)
        area = clustered_area(scores[:, None], labels, np.arange(60))
        assert area.value == pytest.approx(roc_auc_score(labels, scores))
        assert area.low < area.value < area.high


def test_the_interval_of_single_images_is_delongs() -> None:
    scores, labels, _ = clustered(3)
    area = clustered_area(scores[:, None], labels, np.arange(len(labels)))
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    # DeLong's variance by the definition: of the rows' means and of the columns' means.
    variance = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    share = wins.mean()
    logit, half = np.log(share / (1 - share)), 1.959964 * np.sqrt(variance) / (share * (1 - share))
    assert area.low == pytest.approx(1 / (1 + np.exp(-(logit - half))), abs=3e-4)
    assert area.high == pytest.approx(1 / (1 + np.exp(-(logit + half))), abs=3e-4)


def test_the_interval_of_units_is_that_of_the_bootstrap_over_groups() -> None:
    scores, labels, units = clustered(5)
    area = clustered_area(scores[:, None], labels, units)
    sampling = Resampling.of(len(labels), [str(u) for u in units], resamples=2000, seed=0)
    ranking = Ranking.of(scores, labels == 1)
    drawn = np.concatenate([ranking.areas(weights)[0] for weights in sampling.weights()])
    low, high = percentiles(drawn[None])
    assert area.low == pytest.approx(low[0], abs=0.012)
    assert area.high == pytest.approx(high[0], abs=0.012)
    alone = clustered_area(scores[:, None], labels, np.arange(len(labels)))
    assert alone.high - alone.low < 0.8 * (area.high - area.low)


def test_copies_within_a_unit_change_nothing() -> None:
    scores, labels, units = clustered(6)
    once = clustered_area(scores[:, None], labels, units)
    again = clustered_area(np.tile(scores, 3)[:, None], np.tile(labels, 3), np.tile(units, 3))
    assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high))


def test_the_interval_covers_the_truth() -> None:
    # For scores N(d, 1) and N(0, 1) the true area is Phi(d / sqrt 2); d = 1.35 gives 0.830.
    rng, truth, hits = np.random.default_rng(0), 0.8301, 0
    for _ in range(400):
        labels = np.repeat([0, 1], 40)
        area = clustered_area((rng.normal(0, 1, 80) + 1.35 * labels)[:, None], labels, np.arange(80))
        hits += area.low <= truth <= area.high
    assert 0.92 <= hits / 400 <= 0.98


def test_several_classes_are_averaged() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 200)
    scores = rng.random((200, 3)) + 0.5 * np.eye(3)[labels]
    scores /= scores.sum(axis=1, keepdims=True)
    area = clustered_area(scores, labels, np.arange(200))
    assert area.value == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    widths = [clustered_area(scores[:, [k]], (labels == k).astype(np.int64), np.arange(200)) for k in range(3)]
    assert area.high - area.low < max(w.high - w.low for w in widths)


def test_perfect_separation_has_an_interval_too() -> None:
    labels = np.repeat([0, 1], [30, 20])
    up = clustered_area(labels[:, None].astype(float), labels, np.arange(50))
    down = clustered_area(-labels[:, None].astype(float), labels, np.arange(50))
    assert (up.value, up.high, down.value, down.low) == (1, 1, 0, 0)
    # All of 20 told rightly: the exact binomial bound.
    assert up.low == pytest.approx(0.8316, abs=1e-4)
    assert down.high == pytest.approx(1 - up.low)


def test_the_area_lost_is_the_difference_with_the_interval_of_the_paired_bootstrap() -> None:
    scores, labels, units = clustered(9)
    worse = scores + np.random.default_rng(1).normal(0, 2, len(scores))
    lost = area_lost(scores[:, None], worse[:, None], labels, units)
    assert lost.value == pytest.approx(roc_auc_score(labels, scores) - roc_auc_score(labels, worse))
    sampling = Resampling.of(len(labels), [str(u) for u in units], resamples=2000, seed=0)
    rankings = [Ranking.of(s, labels == 1) for s in (scores, worse)]
    drawn = np.concatenate([rankings[0].areas(w)[0] - rankings[1].areas(w)[0] for w in sampling.weights()])
    low, high = percentiles(drawn[None])
    assert lost.low == pytest.approx(low[0], abs=0.015)
    assert lost.high == pytest.approx(high[0], abs=0.015)


def test_scores_that_rank_alike_lose_nothing_for_sure() -> None:
    scores, labels, units = clustered(9)
    lost = area_lost(scores[:, None], np.exp(scores)[:, None], labels, units)
    assert (lost.value, lost.low, lost.high) == (0, 0, 0)


def test_the_interval_of_a_loss_covers_the_truth() -> None:
    # Both scores hold the same image noise; their areas are Phi(1.5 / s) with s the deviation of a difference.
    from scipy.stats import norm

    truth, hits = norm.cdf(1.5 / 2**0.5) - norm.cdf(1.5 / 4**0.5), 0
    rng = np.random.default_rng(3)
    for _ in range(400):
        labels = np.repeat([0, 1], 60)
        before = rng.normal(0, 1, 120) + 1.5 * labels
        lost = area_lost(before[:, None], (before + rng.normal(0, 1, 120))[:, None], labels, np.arange(120))
        hits += lost.low <= truth <= lost.high
    assert 0.92 <= hits / 400 <= 0.98
