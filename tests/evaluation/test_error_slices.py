"""Slices of errors: a planted one is found, and the correction for the search holds by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.evaluation.error_slices import described, error_slices, figures_of, sharing


def images(rng: np.random.Generator, count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kinds = rng.integers(0, 5, count)
    features = rng.normal(0, 1, (count, 12)) + 4 * np.eye(5, 12)[kinds]
    labels = (np.arange(count) % 2).astype(np.int64)
    return features.astype(np.float32), labels, kinds


def test_a_group_with_more_errors_is_found() -> None:
    rng = np.random.default_rng(0)
    features, labels, kinds = images(rng)
    wrong = rng.random(200) < np.where(kinds == 2, 0.6, 0.08)
    found = error_slices(features, wrong, labels, 0)
    assert len(found) == 1
    members = kinds == 2
    assert (found[0].members & members).sum() > 0.9 * members.sum()
    assert (found[0].members & members).sum() > 0.9 * found[0].members.sum()
    assert found[0].chance <= 0.01


def test_by_chance_a_slice_is_found_as_seldom_as_is_said() -> None:
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed + 100)
        features, labels, _ = images(rng, 120)
        # Errors depend on the class alone, and so do some features: no slice.
        features[:, 11] += 6 * labels
        alarms += bool(error_slices(features, rng.random(120) < np.where(labels == 1, 0.4, 0.1), labels, 0))
    assert alarms <= 6


def test_few_errors_or_equal_features_give_no_slice() -> None:
    rng = np.random.default_rng(1)
    features, labels, _ = images(rng)
    assert error_slices(features, np.arange(200) < 4, labels, 0) == []
    assert error_slices(np.ones((200, 5), np.float32), rng.random(200) < 0.5, labels, 0) == []


def test_what_sets_images_apart_is_said() -> None:
    pixels = np.full((20, 8, 8, 3), 100, np.uint8)
    pixels[:8] = 40
    known = figures_of(pixels)
    assert known["brightness"].tolist() == [40.0] * 8 + [100.0] * 12
    assert known["sharpness"].max() == pytest.approx(0)
    said = described(np.arange(20) < 8, known)
    assert said == ("brightness lower than elsewhere (median 40, others 100)",)


def test_the_source_that_a_slice_comes_from_is_said() -> None:
    members = np.arange(20) < 8
    mostly, evenly = np.arange(20) < 9, np.arange(20) % 2 == 0
    said = sharing(members, {"size 300 x 200": mostly, "name site#": evenly})
    assert said == ("100 % are of the source size 300 x 200 (others 8 %)",)
