"""Pointing game and energy inside a mask against closed forms and plain loops."""

import numpy as np
import pytest

from pellucid.explanation.attribution import Attribution
from pellucid.explanation.localisation import (
    average_precision,
    best_iou,
    energy_inside,
    iou_at,
    mask_share,
    pixel_area,
    pointing_game,
)


def attribution_of(values: np.ndarray) -> Attribution:
    return Attribution(values.astype(np.float32), "grad-cam", "bee", "logit", "logit per cell", True)


def peak_at(y: int, x: int, size: tuple[int, int] = (7, 9)) -> Attribution:
    values = np.full(size, -1.0)
    values[y, x] = 0.5
    return attribution_of(values)


def test_the_largest_value_points():
    mask = np.zeros((7, 9), bool)
    mask[2:4, 5:8] = True
    for y in range(7):
        for x in range(9):
            assert pointing_game(peak_at(y, x), mask) is bool(mask[y, x])


@pytest.mark.parametrize("tolerance", [0, 1, 2, 5])
def test_tolerance_widens_the_mask_by_as_many_pixels(tolerance):
    random = np.random.default_rng(tolerance)
    mask = random.random((7, 9)) < 0.05
    mask[6, 0] = True  # a corner: nothing may wrap around
    for y in range(7):
        for x in range(9):
            near = [
                mask[v, u]
                for v in range(7)
                for u in range(9)
                if max(abs(v - y), abs(u - x)) <= tolerance
            ]  # fmt: skip
            assert pointing_game(peak_at(y, x), mask, tolerance) is any(near)


def test_energy_is_the_share_of_positive_evidence_alone():
    values = np.array([[4.0, -100.0, 1.0], [0.0, 2.0, -3.0]])
    mask = np.array([[True, True, False], [False, True, True]])
    assert energy_inside(attribution_of(values), mask) == pytest.approx(6 / 7)
    assert energy_inside(attribution_of(values), ~mask) == pytest.approx(1 / 7)


def test_the_area_of_pixels_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(3)
    for _ in range(5):
        mask, values = random.random((12, 15)) < 0.3, np.round(random.random((12, 15)), 1)  # with ties
        expected = roc_auc_score(mask.ravel(), values.ravel())
        assert pixel_area(attribution_of(values), mask) == pytest.approx(expected)
    assert pixel_area(attribution_of(np.ones((3, 3))), np.eye(3, dtype=bool)) == pytest.approx(0.5)
    assert pixel_area(attribution_of(values), np.ones((12, 15), bool)) is None


def test_an_even_map_scores_its_chance_level():
    mask = np.random.default_rng(1).random((40, 60)) < 0.3
    even = attribution_of(np.full((40, 60), 0.1))
    assert mask_share(mask) == mask.sum() / 2400
    assert energy_inside(even, mask) == pytest.approx(mask_share(mask), rel=1e-9)


def test_energy_of_a_large_map_does_not_lose_small_values():
    values = np.full((1200, 1200), 1e-3)
    values[0, 0] = 1e5
    mask = np.zeros(values.shape, bool)
    mask[600:] = True
    expected = 0.72e6 * 1e-3 / (1e5 + 1.44e6 * 1e-3)
    assert energy_inside(attribution_of(values), mask) == pytest.approx(expected, rel=1e-5)


def test_extremes_of_a_mask():
    attribution = peak_at(3, 3)
    everywhere, nowhere = np.ones((7, 9), bool), np.zeros((7, 9), bool)
    assert (pointing_game(attribution, everywhere), energy_inside(attribution, everywhere)) == (True, 1.0)
    assert (pointing_game(attribution, nowhere), energy_inside(attribution, nowhere)) == (False, 0.0)
    assert (mask_share(everywhere), mask_share(nowhere)) == (1.0, 0.0)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_without_evidence_there_is_no_score(value):
    silent = attribution_of(np.full((4, 4), value))
    mask = np.ones((4, 4), bool)
    assert pointing_game(silent, mask) is None
    assert energy_inside(silent, mask) is None


def smooth(seed: int, size: tuple[int, int] = (20, 30)) -> Attribution:
    from scipy.ndimage import gaussian_filter

    return attribution_of(gaussian_filter(np.random.default_rng(seed).normal(size=size), 2))


def blocks(seed: int, size: tuple[int, int] = (20, 30)) -> Attribution:
    """Few distinct values, as of superpixels."""
    return attribution_of(np.random.default_rng(seed).integers(-2, 4, size))


@pytest.mark.parametrize("make", [smooth, blocks])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_scikit_learn_s(make, seed):
    from sklearn.metrics import average_precision_score

    attribution, mask = make(seed), np.random.default_rng(seed + 9).random((20, 30)) < 0.2
    expected = average_precision_score(mask.ravel(), attribution.values.ravel())
    assert average_precision(attribution, mask) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("make", [smooth, blocks])
@pytest.mark.parametrize("seed", range(4))
def test_best_iou_is_that_of_a_slow_loop_over_thresholds(make, seed):
    attribution, mask = make(seed), np.zeros((20, 30), bool)
    mask[5:12, 8 + seed : 20] = True
    expected = max(
        (region & mask).sum() / (region | mask).sum()
        for t in np.unique(attribution.values)
        for region in [attribution.values >= t]
    )
    assert best_iou(attribution, mask) == pytest.approx(expected)
    assert best_iou(attribution, mask) >= mask_share(mask)


def test_iou_at_a_fixed_threshold_and_its_chance():
    attribution, mask = smooth(1, (40, 50)), np.zeros((40, 50), bool)
    mask[10:30, 10:40] = True
    region = attribution.values >= 0.5 * attribution.values.max()
    found, chance = iou_at(attribution, mask)
    assert found == pytest.approx((region & mask).sum() / (region | mask).sum())
    random = np.random.default_rng(0)
    shuffled = [random.permutation(region.ravel()).reshape(region.shape) for _ in range(400)]
    expected = np.mean([(r & mask).sum() / (r | mask).sum() for r in shuffled])
    assert chance == pytest.approx(expected, rel=0.02)


def test_a_perfect_map_scores_one_and_an_even_one_its_chance():
    mask = np.zeros((20, 30), bool)
    mask[4:9, 20:28] = True
    perfect, even = attribution_of(mask.astype(float)), attribution_of(np.full((20, 30), 0.1))
    assert average_precision(perfect, mask) == best_iou(perfect, mask) == iou_at(perfect, mask)[0] == 1
    share = mask_share(mask)
    assert average_precision(even, mask) == pytest.approx(share)
    assert best_iou(even, mask) == pytest.approx(share)
    assert iou_at(even, mask) == (pytest.approx(share), pytest.approx(share))


def test_random_maps_rank_as_chance_does():
    mask = np.random.default_rng(3).random((100, 100)) < 0.3
    random = attribution_of(np.random.default_rng(4).random((100, 100)))
    assert average_precision(random, mask) == pytest.approx(mask_share(mask), abs=0.02)


def test_without_evidence_or_mask_nothing_is_measured():
    silent, mask = attribution_of(-np.ones((4, 4))), np.ones((4, 4), bool)
    assert average_precision(silent, mask) is best_iou(silent, mask) is iou_at(silent, mask) is None
    assert average_precision(attribution_of(np.ones((4, 4))), ~mask) is None
