"""The drift test: false alarms are as rare as promised, and a planted change is seen soon."""

import numpy as np
import pytest
from scipy.stats import kstest

from pellucid.evaluation.exchangeability import LIMIT, follow, judge_stream, ranks


def test_ranks_of_exchangeable_scores_are_uniform_and_independent():
    p = ranks(np.random.default_rng(0).gamma(2, size=3000).tolist())
    assert kstest(p, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(p[:-1], p[1:])[0, 1]) < 0.05


def test_ranks_against_counting():
    rng = np.random.default_rng(1)
    scores, known = rng.integers(0, 5, 40).astype(float).tolist(), [0.0, 1.0, 2.0, 3.0, 4.0]
    for i, p in enumerate(ranks(scores, known)):
        bag = [*known, *scores[:i]]
        above, equal = sum(b > scores[i] for b in bag), sum(b == scores[i] for b in bag)
        assert above <= p * (len(bag) + 1) <= above + equal + 1


def test_wealth_is_a_martingale():
    """Its mean stays 1: an exact sum over a fair coin of two p-values, as f is linear in p."""
    for length in (1, 2, 6):
        grid = np.array(np.meshgrid(*[[0.25, 0.75]] * length)).reshape(length, -1).T
        assert np.mean([follow(row)[-1] for row in grid]) == pytest.approx(1)


def test_95_of_100_exchangeable_streams_raise_no_alarm():
    rng = np.random.default_rng(2)
    alarms = sum(judge_stream(rng.gamma(2, size=700), rng.gamma(2, size=100)).changed for _ in range(100))
    assert alarms <= 5


@pytest.mark.parametrize(("before", "shift"), [(0, 1.0), (100, 1.0), (1000, 1.0), (100, -1.0)])
def test_a_planted_shift_is_seen_within_200_images(before: int, shift: float):
    rng, early = np.random.default_rng(3), 0
    for _ in range(20):
        stream = rng.normal(size=before + 200)
        stream[before:] += shift
        found = judge_stream(stream, rng.normal(size=120))
        assert found.changed
        assert found.at is not None
        assert found.at <= before + 200
        early += found.at <= before
    assert early <= 1  # a false alarm in one stream of a hundred is what the limit allows


def test_what_cannot_be_judged():
    assert judge_stream([]).largest == 1
    assert judge_stream([np.nan, np.inf]).images == 0
    found = judge_stream(np.arange(3000.0))
    assert found.changed
    assert np.isfinite(found.wealth)
    assert found.limit == LIMIT
