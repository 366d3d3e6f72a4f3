"""Disturbances against what they claim to do, and their probes on a scorer that is hurt by one of them only."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from pellucid.evaluation.intervals import wilson
from pellucid.evaluation.robustness import (
    DISTURBANCES,
    Disturbance,
    blurred,
    compressed,
    noisy,
    probe_disturbances,
    shifted,
    toned,
)
from pellucid.evaluation.shortcuts import Scores
from pellucid.preprocessing import Uint8Array


def pictures(n: int = 80, side: int = 50) -> Uint8Array:
    return np.random.default_rng(0).integers(40, 200, (n, side, side, 3)).astype(np.uint8)


def test_a_shift_moves_and_repeats_the_edge() -> None:
    pixels = pictures(2)
    moved = shifted(0.04, -0.06)(pixels)
    assert np.array_equal(moved[:, 2:, :-3], pixels[:, :-2, 3:])
    assert np.array_equal(moved[:, 0, :-3], pixels[:, 0, 3:])
    assert np.array_equal(moved[:, 2:, -1], pixels[:, :-2, -1])


def test_tones_change_as_said() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert np.array_equal(toned()(grey), grey)
    brighter = toned(offset=0.1)(grey).astype(int) - grey
    assert set(brighter[grey < 225]) == {25, 26}
    flat = toned(gain=0.5)(grey).astype(float).ravel()[::3]
    assert np.polyfit(np.arange(256), flat, 1)[0] == pytest.approx(0.5, abs=0.002)
    assert toned(gain=2)(grey).min() == 0


def test_a_blur_keeps_the_mean_and_spreads_a_point_as_a_gaussian() -> None:
    point = np.zeros((1, 101, 101, 3), np.uint8)
    point[0, 40:61, 40:61] = 255
    soft = blurred(0.04)(point)[0, :, :, 0].astype(float)
    assert soft.mean() == pytest.approx(point[..., 0].mean(), rel=0.01)
    rows = np.arange(101)
    profile = soft.sum(axis=1) / soft.sum()
    variance = (profile * (rows - 50) ** 2).sum()
    # The box of 21 pixels has variance (21^2 - 1) / 12, the Gaussian of 4.04 pixels adds its own.
    assert variance == pytest.approx(440 / 12 + 4.04**2, rel=0.03)


def test_jpeg_is_pillows_and_noise_has_its_size() -> None:
    pixels = pictures(2)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels[1]).save(buffer, "JPEG", quality=30)
    assert np.array_equal(compressed(30)(pixels)[1], np.asarray(PIL.Image.open(buffer)))
    added = noisy(0.04)(pixels).astype(float) - pixels
    assert added.std() == pytest.approx(0.04 * 255, rel=0.05)
    assert np.array_equal(added[..., 0], added[..., 2])


def test_a_model_of_brightness_is_hurt_by_brightness_alone() -> None:
    pixels = pictures(200, 30)
    pixels[100:] += 6
    labels = np.repeat([0, 1], 100)

    def scorer(given: Uint8Array) -> Scores:
        mean = given.mean(axis=(1, 2, 3), dtype=np.float64)
        return Scores(mean[:, None], (mean > 122.5).astype(np.int64))

    kinds = {"shift", "brightness"}
    chosen = [d for d in DISTURBANCES if d.kind in kinds and d.strength == "mild"]
    found = probe_disturbances(scorer, pixels, scorer(pixels), labels, np.arange(200), lambda done, total: None, chosen)
    for probe in found:
        if probe.kind == "shift":
            assert probe.changed.value < 0.05
        else:
            # 5 % of the range are 13 grey values: every answer on one side becomes the other.
            assert probe.changed.value == pytest.approx(0.5, abs=0.02)
            assert (probe.changed.low, probe.changed.high) == wilson(round(200 * probe.changed.value), 200)
        assert abs(probe.lost.value) < 0.02


def test_every_disturbance_keeps_shape_and_type_and_changes_something() -> None:
    pixels = pictures(2, 224)
    for disturbance in DISTURBANCES:
        changed = disturbance.change(pixels)
        assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
        assert not np.array_equal(changed, pixels)
    assert isinstance(DISTURBANCES[0], Disturbance)
