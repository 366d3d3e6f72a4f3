"""Rank correlation against SciPy's, and coarse maps against slow means."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from pellucid.errors import InputError
from pellucid.explanation.agreement import agreement, coarse, rank_correlation


def maps(seed: int, images: int = 4, size: tuple[int, int] = (9, 11)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(images, *size)).astype(np.float32)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipy_s(ties):
    one, other = maps(0), maps(1) + 0.5 * maps(0)
    if ties:
        one, other = np.round(one), np.round(other)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other), expected, atol=1e-12)


def test_scale_does_not_count_and_order_does():
    one = maps(2)
    np.testing.assert_allclose(rank_correlation(one, np.exp(3 * one) - 7), 1)
    np.testing.assert_allclose(rank_correlation(one, -one), -1)


def test_an_even_map_has_no_correlation():
    one, flat = maps(3), np.full((4, 9, 11), 0.25, np.float32)
    assert np.isnan(rank_correlation(one, flat)).all()
    assert np.isnan(rank_correlation(flat, flat)).all()


def test_maps_of_other_sizes_are_refused():
    with pytest.raises(InputError, match="one shape"):
        rank_correlation(maps(0), maps(0, size=(9, 10)))


@pytest.mark.parametrize("size", [(5, 7), (28, 28), (61, 90), (30, 20)])
def test_coarse_maps_are_means_of_blocks(size):
    values = maps(4, images=2, size=size)
    small = coarse(values)
    assert small.dtype == np.float32
    edges = [np.arange(n + 1) if n <= 28 else np.append((np.arange(28) * n) // 28, n) for n in size]
    for y in range(small.shape[1]):
        for x in range(small.shape[2]):
            block = values[:, edges[0][y] : edges[0][y + 1], edges[1][x] : edges[1][x + 1]]
            np.testing.assert_allclose(small[:, y, x], block.mean(axis=(1, 2)), atol=1e-5)


def test_agreement_of_methods_is_symmetric_with_ones_on_the_diagonal():
    by_method = {"a": maps(0, size=(40, 40)), "b": maps(1, size=(40, 40)), "c": -maps(0, size=(40, 40))}
    found = agreement(by_method)
    assert found.shape == (3, 3, 4)
    np.testing.assert_allclose(found, found.transpose(1, 0, 2))
    assert (found[np.arange(3), np.arange(3)] == 1).all()
    np.testing.assert_allclose(found[0, 2], -1)
    assert np.abs(found[0, 1]).max() < 0.2
