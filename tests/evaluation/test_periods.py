"""A line in the spectrum: planted, found, taken out and put in, and not found where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pellucid.evaluation.periods import effect_of_period, find_period, scaled

SIDE = 64


def pictures(seed: int, amplitude: float) -> tuple[np.ndarray, np.ndarray]:
    """Sixty clouds with noise; the first thirty with lines, eight pixels apart, of any phase."""
    rng = np.random.default_rng(seed)
    found = np.empty((60, SIDE, SIDE))
    for i in range(60):
        found[i] = 120 + 200 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 5) + rng.normal(0, 4, (SIDE, SIDE))
        if i < 30:
            found[i] += amplitude * np.sin(np.arange(SIDE) * (2 * np.pi / 8) + rng.uniform(0, 6))[None]
    grey = np.clip(np.rint(found), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3), np.arange(60) < 30


def lines(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The model: the amplitude of the lines."""
    amplitude = 2 * np.abs(np.fft.fft(pixels[..., 0].mean(axis=1), axis=1)[:, 8]) / SIDE
    return amplitude, amplitude > 1.5


def test_a_planted_period_is_found_and_the_answers_follow_it() -> None:
    pixels, mine = pictures(0, 4.0)
    found = find_period(pixels, mine, 0)
    assert found is not None
    assert found.pixels == pytest.approx(8)
    assert (found.down, found.across) == (0, 8)
    assert found.strength[mine].min() > np.median(found.strength[~mine])
    whole = lines(pixels)
    effect = effect_of_period(lines, pixels, np.arange(60), whole, mine, found, 0)
    assert effect.proven
    assert effect.hidden_changes.value > 0.9
    assert effect.put_in_changes is not None
    assert effect.put_in_changes.value > 0.4
    assert effect.control_changes == 0


def test_no_period_no_finding() -> None:
    assert find_period(*pictures(1, 0.0), 0) is None
    pixels, mine = pictures(2, 0.0)
    smoother = pixels.copy()
    smoother[mine] = gaussian_filter(pixels[mine], (0, 1, 1, 0))
    assert find_period(smoother, mine, 0) is None


def test_scaling_a_spectrum_by_nothing_changes_nothing_and_by_minus_all_leaves_the_mean() -> None:
    pixels, _ = pictures(3, 5.0)
    none = np.zeros((SIDE, SIDE // 2 + 1))
    assert np.array_equal(scaled(pixels[:3], none), pixels[:3])
    gone = np.full_like(none, -50.0)
    gone[0, 0] = 0
    assert np.ptp(scaled(pixels[:1], gone)) == 0
