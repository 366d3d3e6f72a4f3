"""Gaussians against scikit-learn, and an image's distance divided among its cells."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch.nn import functional

from pellucid.anomaly.gaussian import fit_gaussian, shrunk_covariance
from pellucid.anomaly.moments import contributions, moments, resampling, statistics_of
from pellucid.errors import InputError


def rows_of(n: int, channels: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, channels)) @ rng.normal(size=(channels, channels)) + rng.normal(size=channels)


def test_the_covariance_is_that_of_scikit_learn() -> None:
    rows = rows_of(40, 25)
    rows -= rows.mean(axis=0)
    expected = LedoitWolf(assume_centered=True).fit(rows).covariance_
    np.testing.assert_allclose(shrunk_covariance(rows), expected, rtol=1e-9, atol=1e-9)


def test_distances_are_those_of_scikit_learn_on_scaled_channels() -> None:
    rows, new = rows_of(60, 20), rows_of(30, 20, seed=1)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    fitted = LedoitWolf(assume_centered=True).fit((rows - mean) / deviation)
    expected = np.sqrt(fitted.mahalanobis((new - mean) / deviation))
    np.testing.assert_allclose(
        fit_gaussian(rows.astype(np.float32)).distances(new.astype(np.float32)), expected, rtol=1e-3
    )


def test_a_channel_that_never_varies_has_no_part() -> None:
    rows = rows_of(30, 5).astype(np.float32)
    rows[:, 2] = 7
    gaussian = fit_gaussian(rows)
    moved = rows.copy()
    moved[:, 2] = 8
    np.testing.assert_array_equal(gaussian.distances(rows), gaussian.distances(moved))


def test_one_image_is_no_gaussian() -> None:
    with pytest.raises(InputError, match="two images or more"):
        fit_gaussian(np.zeros((1, 4), np.float32))


def layers(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(1, 2, (n, 4, 8, 6)).astype(np.float32), rng.gamma(2, 1, (n, 5, 4, 3)).astype(np.float32)]


def test_moments_are_those_of_numpy() -> None:
    (values, _) = layers(3)
    found = moments(values)
    np.testing.assert_allclose(found[:, :4], values.mean(axis=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found[:, 4:8], np.log(values.std(axis=(2, 3))), rtol=1e-4)
    for axis, part in ((2, found[:, 8:12]), (3, found[:, 12:])):
        steps = (np.diff(values, axis=axis) ** 2).sum(axis=(2, 3)) / (8 * 6)
        np.testing.assert_allclose(part, np.log(steps) / 2, rtol=1e-4)


def test_one_cell_has_no_steps() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 1, 1)).astype(np.float32)
    np.testing.assert_allclose(moments(values)[:, 3:], np.log(1e-6) / 2, rtol=1e-5)


def test_the_map_of_an_image_has_its_distance_as_its_mean() -> None:
    gaussian = fit_gaussian(statistics_of(layers(60)))
    new = layers(7, seed=1)
    new[0][:3, :, 2:4, 2:4] += 5
    statistics = statistics_of(new)
    found = contributions(new, statistics, gaussian, (8, 6))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), gaussian.distances(statistics), rtol=1e-3)
    # Where something was changed, the map is highest.
    assert (found[:3, 2:4, 2:4].mean(axis=(1, 2)) > 2 * found[:3].mean(axis=(1, 2))).all()


@pytest.mark.parametrize(("cells", "wanted"), [(10, 20), (7, 20), (5, 5), (1, 4)])
def test_cells_are_resampled_as_torch_does(cells: int, wanted: int) -> None:
    values = np.random.default_rng(0).normal(size=(1, 1, cells, cells)).astype(np.float32)
    expected = functional.interpolate(torch.tensor(values), size=(wanted, wanted), mode="bilinear", align_corners=False)
    weights = resampling(cells, wanted)
    np.testing.assert_allclose(weights @ values[0, 0] @ weights.T, expected[0, 0].numpy(), atol=1e-5)
