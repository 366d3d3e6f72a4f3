import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InputError
from pellucid.evaluation import intervals
from pellucid.evaluation.intervals import Resampling, percentiles, wilson


def test_wilson_of_published_figures():
    # Newcombe, Stat. Med. 17 (1998) 857, table I, method 3.
    for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(29, 29) == pytest.approx((0.8830, 1), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_solves_its_equation(n, data):
    successes = data.draw(st.integers(0, n))
    share = successes / n
    low, high = wilson(successes, n)
    for bound in (low, high):
        assert (share - bound) ** 2 == pytest.approx(1.959963985**2 * bound * (1 - bound) / n, abs=1e-9)
    assert 0 <= low <= share <= high <= 1
    assert low < high


def test_wilson_of_nothing_and_of_nonsense():
    assert all(math.isnan(bound) for bound in wilson(0, 0))
    with pytest.raises(InputError, match="3 of 2"):
        wilson(3, 2)


def test_weights_are_multiplicities_and_do_not_depend_on_the_pieces(monkeypatch):
    resampling = Resampling.of(40, (), 300, seed=3)
    whole = np.concatenate(list(resampling.weights()), axis=1)
    monkeypatch.setattr(intervals, "_CHUNK_ELEMENTS", 40 * 17)
    pieces = list(resampling.weights())
    assert len(pieces) == 18
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)
    rng = np.random.default_rng(3)
    for column in whole.T:
        assert np.array_equal(column, np.bincount(rng.integers(0, 40, 40), minlength=40))


def test_groups_are_drawn_whole():
    groups = ["a", "b", "a", "", "", "b", "a"]
    resampling = Resampling.of(7, groups, 200, seed=0)
    weights = np.concatenate(list(resampling.weights()), axis=1)
    assert resampling.units == 4
    assert np.array_equal(weights[0], weights[2])
    assert np.array_equal(weights[0], weights[6])
    assert np.array_equal(weights[1], weights[5])
    assert (weights[[0, 1, 3, 4]].sum(axis=0) == 4).all()
    assert (weights[3] != weights[4]).any()
    assert "4 groups of 7 images, 200 resamples" in resampling.in_words()
    assert resampling.units_among(np.array([1, 0, 1, 1, 0, 0, 0], bool)) == 2


def test_groups_that_are_all_empty_are_none():
    assert not Resampling.of(3, ("", "", ""), 100, 0).grouped


def test_too_few_resamples():
    with pytest.raises(InputError, match="at least 100"):
        Resampling.of(10, (), 50, 0)


def test_percentiles_leave_out_what_is_undefined():
    samples = np.tile(np.arange(1001.0), (3, 1))
    samples[1, ::2] = np.nan
    samples[2, :600] = np.nan
    low, high = percentiles(samples)
    assert (low[0], high[0]) == pytest.approx((25, 975))
    assert np.isnan(low[1]) == (np.isfinite(samples[1]).mean() < 0.5)
    samples[1, ::2] = np.arange(501.0) * 2
    samples[1, 0] = np.nan
    assert percentiles(samples)[0][1] == pytest.approx(np.quantile(np.arange(1, 1001.0), 0.025))
    assert np.isnan([low[2], high[2]]).all()
