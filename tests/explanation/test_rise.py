from itertools import pairwise

import numpy as np
import pytest
from tests.black_boxes import BlackBox, ProbabilitiesOnly, bent, linear, preprocessing_of, scene, subject_of

from pellucid.errors import InputError
from pellucid.explanation.replacement import replaced
from pellucid.explanation.rise import RandomMasks, RiseSettings, RunningCovariance, rise, sampled

SIZE = (18, 24)
SMALL = RiseSettings(samples=120, cells=3, stable=2.0)


def cubic_spline(distance: np.ndarray) -> np.ndarray:
    """The overlap of two tents of width 1 at a distance: the cubic B-spline."""
    d = np.abs(distance)
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.maximum(2 - d, 0) ** 3 / 6)


def expected_map(changes: np.ndarray, cells: int, visible: float) -> np.ndarray:
    """What RISE converges to for a score that is a sum of `changes` (h, w) times visibility, in closed form.

    Two pixels' visibilities have the covariance `visible * (1 - visible)` times the spline of their distance in cells.
    """
    axes = [np.arange(n) * cells / n for n in changes.shape]
    down, across = (cubic_spline(axis[:, None] - axis) for axis in axes)
    return (1 - visible) * down @ changes @ across


@pytest.mark.parametrize("visible", [0.5, 0.3])
def test_the_map_of_an_additive_score_is_its_closed_form_within_the_standard_errors(visible: float) -> None:
    function, batch = linear(SIZE), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE))
    settings = RiseSettings(samples=4000, cells=3, visible=visible, stable=2.0, batch_size=500)
    sums = sampled(subject_of(box, batch[0], batch_size=500), settings)
    changes = function.coefficients[0] * (batch - replaced(batch, box.preprocessing, "blur"))[0]
    truth = expected_map(changes.sum(axis=0), 3, visible)
    values, errors = (a.reshape(SIZE) for a in (sums.values(), sums.standard_errors()))
    away = (values - truth) / errors
    assert np.abs(away).max() < 4
    assert np.abs(truth).max() > 4 * errors.max()
    np.testing.assert_allclose(values, truth, atol=5 * errors.max())


def test_standard_errors_are_the_scatter_over_seeds() -> None:
    box, image = BlackBox(bent(SIZE), preprocessing_of(*SIZE)), scene(*SIZE)[0]
    runs = [sampled(subject_of(box, image), RiseSettings(samples=100, cells=3, stable=2.0, seed=s)) for s in range(150)]
    scatter = np.std([run.values()[0] for run in runs], axis=0)
    typical = np.sqrt(np.mean([run.standard_errors()[0] ** 2 for run in runs], axis=0))
    assert np.mean(typical / scatter) == pytest.approx(1, abs=0.08)


def test_the_sums_are_those_of_a_slow_second_look_at_all_masks() -> None:
    random = np.random.default_rng(0)
    masks, scores = random.random((41, 30), np.float32), 100 + random.normal(size=(41, 2)).astype(np.float32)
    sums = RunningCovariance(2, 30, 0.4)
    for start, stop in pairwise([0, 7, 8, 25, 41]):
        sums.add(masks[start:stop].copy(), scores[start:stop])

    def slow(m: np.ndarray, f: np.ndarray) -> np.ndarray:
        return np.array([[np.cov(f[:, t], m[:, p])[0, 1] / 0.4 for p in range(30)] for t in range(2)])

    np.testing.assert_allclose(sums.values(), slow(masks, scores), atol=2e-5)
    products = (scores - scores.mean(axis=0)).T[:, :, None] * (masks - 0.4)
    np.testing.assert_allclose(sums.standard_errors(), products.std(axis=1) / np.sqrt(41) / 0.4, rtol=0.02)
    halves = [slow(masks[half::2], scores[half::2]) for half in (0, 1)]
    correlation = min(np.corrcoef(one, other)[0, 1] for one, other in zip(*halves, strict=True))
    assert sums.agreement() == pytest.approx(correlation, abs=1e-4)


def test_the_map_is_the_mean_score_while_visible_less_the_overall_mean() -> None:
    """With masks of 0 and 1 of which half are 1 at a pixel, in so many words."""
    masks = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]] * 50, np.float32)
    scores = np.random.default_rng(0).normal(size=(200, 1)).astype(np.float32)
    sums = RunningCovariance(1, 3, 0.5)
    sums.add(masks.copy(), scores)
    expected = [scores[masks[:, p] == 1].mean() - scores.mean() for p in range(3)]
    np.testing.assert_allclose(sums.values()[0], np.array(expected) * 200 / 199, atol=1e-5)


def test_every_pixel_is_visible_equally_often_and_with_the_same_spread_at_the_border_too() -> None:
    masks = RandomMasks((14, 21), RiseSettings(samples=20_000, cells=4, visible=0.3))[slice(0, 20_000)]
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6
    np.testing.assert_allclose(masks.mean(axis=0), 0.3, atol=0.012)
    np.testing.assert_allclose(masks.var(axis=0), 0.3 * 0.7 * (2 / 3) ** 2, rtol=0.05)


def test_a_mask_is_the_bilinear_interpolation_of_a_shifted_lattice() -> None:
    from scipy.ndimage import map_coordinates

    masks = RandomMasks(SIZE, SMALL)
    made = masks[slice(5, 9)]
    for number, mask in zip(range(5, 9), made, strict=True):
        y, x = ((np.arange(n) + 0.5) * 3 / n + s for n, s in zip(SIZE, masks._shifts[number], strict=True))
        lattice = masks._lattices[number].astype(np.float64)
        expected = map_coordinates(lattice, np.meshgrid(y, x, indexing="ij"), order=1)
        np.testing.assert_allclose(mask, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [BlackBox, ProbabilitiesOnly])
def test_repeats_are_equal_to_the_bit_alone_and_in_a_batch(kind: type[ProbabilitiesOnly]) -> None:
    box, batch = kind(bent(SIZE, 3), preprocessing_of(*SIZE), 3), scene(*SIZE, images=2)
    together = rise(box, batch, ("ant", "cat"), None, SMALL)
    assert (together.values == rise(box, batch, ("ant", "cat"), None, SMALL).values).all()
    for i in range(2):
        alone = rise(box, batch[i : i + 1], ("ant", "cat"), None, SMALL)
        assert (alone.values[0] == together.values[i]).all()
        assert alone.settings[0] == together.settings[i]
    other = RiseSettings(samples=120, cells=3, stable=2.0, seed=1)
    assert (rise(box, batch, ("ant", "cat"), None, other).values != together.values).any()


def test_all_targets_come_from_the_same_passes_and_each_as_if_alone() -> None:
    box, batch = BlackBox(bent(SIZE, 3), preprocessing_of(*SIZE), 3), scene(*SIZE)
    together = rise(box, batch, ("ant", "bee", "cat"), None, SMALL)
    assert sum(box.batches) == 1 + 120
    for t, name in enumerate(box.classes):
        alone = rise(box, batch, name, None, SMALL)
        np.testing.assert_allclose(together.values[:, t], alone.values[:, 0], atol=1e-5)


def test_asking_ends_when_the_halves_agree_or_the_budget_is_spent() -> None:
    batch = scene(*SIZE)
    weights = np.zeros(SIZE)
    weights[4:8, 5:9] = 1
    box = BlackBox(lambda x: (x * weights).sum(axis=(1, 2, 3))[:, None], preprocessing_of(*SIZE))
    early = rise(box, batch, "bee", None, RiseSettings(samples=4000, cells=3)).settings[0]
    assert early["samples"] == 1000
    assert early["stopped_by"] == "stable"
    assert early["correlation_of_halves"] >= 0.9
    late = rise(box, batch, "bee", None, RiseSettings(samples=16, cells=3, stable=0.99999)).settings[0]
    assert late["samples"] == 16
    assert late["stopped_by"] == "budget"
    assert late["stable"] is False
    errors = [made["targets"]["bee"]["standard_error"] for made in (late, early)]
    assert errors[0] > errors[1]


def test_a_uniform_image_has_no_evidence() -> None:
    uniform = preprocessing_of(*SIZE).normalise(np.full((1, *SIZE, 3), 120, np.uint8))
    maps = rise(BlackBox(bent(SIZE), preprocessing_of(*SIZE)), uniform, "bee", None, SMALL)
    assert not maps.values.any()


@pytest.mark.parametrize("settings", [{"samples": 15}, {"cells": 0}, {"visible": 0.0}, {"visible": 1.0}])
def test_unsuitable_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        RiseSettings(**settings)  # type: ignore[arg-type]
