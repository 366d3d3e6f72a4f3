from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid.data.phantom_anatomy import draw_patient
from pellucid.data.phantom_film import CONTRAST, RADIUS, Film, draw_film, draw_opacities, expose, render


def film(seed: int, size: int = 96) -> Film:
    healthy = draw_film(np.random.default_rng((seed, 1)), draw_patient(np.random.default_rng(seed)), size)
    return replace(healthy, opacities=draw_opacities(np.random.default_rng((seed, 2)), healthy))


@pytest.mark.parametrize("seed", range(12))
def test_the_mask_is_what_the_opacities_brighten(seed: int) -> None:
    sick = film(seed)
    picture = expose(sick)
    expected = np.zeros((96, 96), bool)
    for opacity in sick.opacities:
        alone = replace(sick, opacities=(opacity,))
        brightening = render(alone, noise=False) - render(alone, noise=False, with_opacities=False)
        assert brightening.max() > 10
        expected |= brightening >= 0.3 * brightening.max()
    # Pixels within a rounding error of the rule may fall on either side of it.
    assert (picture.mask != expected).sum() <= 2
    assert not (picture.mask & ~picture.lungs).any()


@pytest.mark.parametrize("seed", range(12))
def test_opacities_change_nothing_outside_the_lungs(seed: int) -> None:
    sick = replace(film(seed), shutters=(0.0, 0.0, 0.0, 0.0))
    change = render(sick) - render(sick, with_opacities=False)
    assert change.min() >= 0
    assert (change[~expose(sick).lungs] == 0).all()


def test_a_film_without_its_opacities_is_the_healthy_film() -> None:
    sick = film(3)
    healthy = replace(sick, opacities=())
    assert np.array_equal(render(sick, with_opacities=False), render(healthy))
    assert np.array_equal(expose(healthy).pixels, np.rint(render(healthy)))
    assert np.abs(expose(sick).pixels - render(sick)).max() < 0.51
    assert not expose(healthy).mask.any()


def test_masks_are_about_as_large_as_the_radii_say_and_lie_where_they_say() -> None:
    shares, brightening = [], []
    for seed in range(40):
        sick = film(seed, 64)
        assert 1 <= len(sick.opacities) <= 3
        mask = expose(sick).mask
        shares.append(mask.sum() / sum(np.pi * (o.radius * 64) ** 2 for o in sick.opacities))
        brightening.append((render(sick, noise=False) - render(sick, noise=False, with_opacities=False)).max())
        for opacity in sick.opacities:
            assert mask[int(opacity.y * 64), int(opacity.x * 64)]
            assert RADIUS[0] * 0.85 < opacity.radius <= RADIUS[1]
            assert CONTRAST[0] < opacity.contrast * (opacity.radius / 0.07) ** 0.5 < CONTRAST[1]
    assert 0.75 < np.median(shares) < 1.15
    assert 0.3 < min(shares) < max(shares) < 2
    assert 35 < np.median(brightening) < 75


def test_opacities_of_a_film_do_not_overlap() -> None:
    for seed in range(40):
        found = film(seed, 64).opacities
        for first, one in enumerate(found):
            for other in found[first + 1 :]:
                assert np.hypot(one.x - other.x, one.y - other.y) > 1.6 * one.radius


def test_noise_grows_with_density_and_has_no_bias() -> None:
    quiet = replace(
        film(5, 128), opacities=(), shutters=(0.0, 0.0, 0.0, 0.0), gamma=1.0, window=(-1.0, 3.0), noise=0.02
    )
    clean = render(quiet, noise=False)
    difference = render(quiet) - clean
    dense, thin = clean > np.quantile(clean, 0.8), clean < np.quantile(clean, 0.2)
    # The noise is 0.02 * exp(attenuation) in attenuation, of which the window shows 4 on 255 grey levels.
    attenuation = clean / 255 * 4 - 1
    expected = 0.02 * np.exp(attenuation) * 255 / 4
    assert difference[dense].std() == pytest.approx(expected[dense].mean(), rel=0.15)
    assert difference[thin].std() == pytest.approx(expected[thin].mean(), rel=0.15)
    assert abs(difference.mean()) < 0.1


def test_shutters_leave_a_dark_margin_and_hide_lungs() -> None:
    shut = replace(film(6), shutters=(0.25, 0.0, 0.0, 0.5))
    picture = expose(shut)
    assert picture.pixels[:24].max() < 25
    assert picture.pixels[:, :48].max() < 25
    assert picture.pixels[24:, 48:].mean() > 40
    assert not picture.lungs[:24].any()
    assert not picture.lungs[:, :48].any()


def test_two_films_of_a_patient_differ_in_noise_and_pose() -> None:
    patient = draw_patient(np.random.default_rng(0))
    one, two = (draw_film(np.random.default_rng(seed), patient, 64) for seed in (1, 2))
    assert one.pose != two.pose
    assert not np.array_equal(expose(one).pixels, expose(two).pixels)
    assert np.array_equal(expose(one).pixels, expose(one).pixels)


@pytest.mark.parametrize("size", [32, 33, 300])
def test_every_size_is_rendered_in_single_precision(size: int) -> None:
    grey = render(film(1, size))
    assert grey.shape == (size, size)
    assert grey.dtype == np.float32
    assert 0 <= grey.min() < 20
    assert 150 < grey.max() <= 255
