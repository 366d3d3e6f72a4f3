"""Hiding a sign: after it the sign says nothing of the class, and only training pictures are sources."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.evaluation.hiding import Sign, SignHiding, scaled_boxes
from pellucid.evaluation.patches import Box

SIDE, COUNT = 40, 60


@pytest.fixture(scope="module")
def subject() -> tuple[SignHiding, np.ndarray]:
    """Even pictures are of the class with a bright square; the last twenty are no training images."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 110, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    boxes = {}
    for row in range(0, COUNT, 2):
        top, left = rng.integers(2, SIDE - 14, 2)
        # The brightness of a square names the picture that it came from.
        pixels[row, top + 3 : top + 9, left + 3 : left + 9] = 180 + row
        boxes[row] = (Box(int(top), int(left), int(top) + 12, int(left) + 12),)
    train = np.arange(40)
    sign = Sign(boxes, np.arange(0, 40, 2))
    average = pixels[train].mean(axis=0).astype(np.float32)
    return SignHiding(pixels, average, (sign,), (), train, 3), pixels


def shows(picture: np.ndarray) -> bool:
    return int((picture[..., 0] > 150).sum()) >= 9


def test_after_hiding_the_sign_is_as_frequent_in_either_class(subject: tuple[SignHiding, np.ndarray]) -> None:
    hiding, pixels = subject
    rows = np.arange(40)
    seen = np.array([[shows(p) for p in hiding.applied(pixels[rows], rows, epoch)] for epoch in range(25)])
    with_sign, without = seen[:, ::2].mean(), seen[:, 1::2].mean()
    # 500 draws a class of a probability of a half: a standard error of 0.03 for the difference.
    assert abs(with_sign - without) < 0.1
    assert 0.4 < with_sign < 0.6


def test_seed_epoch_and_row_decide_everything(subject: tuple[SignHiding, np.ndarray]) -> None:
    hiding, pixels = subject
    rows = np.arange(8)
    once = hiding.applied(pixels[rows], rows, 4)
    assert np.array_equal(once[3:5], hiding.applied(pixels[3:5], np.array([3, 4]), 4))
    assert not np.array_equal(once, hiding.applied(pixels[rows], rows, 5))


def test_covered_has_no_sign_and_shown_has_one_of_a_training_picture(subject: tuple[SignHiding, np.ndarray]) -> None:
    hiding, pixels = subject
    for row in range(COUNT):
        assert not shows(hiding.covered(row))
        assert shows(hiding.shown(row))
        # Fitted to its new surroundings a square keeps its height above them, to within the noise.
        assert int(hiding.shown(row).max()) <= 180 + 38 + 25
    assert np.array_equal(hiding.covered(1), pixels[1])


def test_a_region_is_that_of_another_picture_or_the_average() -> None:
    pixels = np.repeat(np.arange(20, dtype=np.uint8)[:, None, None, None] * 10, 8, axis=1)
    pixels = np.broadcast_to(pixels, (20, 8, 8, 3)).copy()
    mask = np.zeros((8, 8), bool)
    mask[:2, :2] = True
    average = np.full((8, 8, 3), 95, np.float32)
    hiding = SignHiding(pixels, average, (), (mask,), np.arange(10), 0)
    corners = set()
    for epoch in range(30):
        changed = hiding.applied(pixels[15:16], np.array([15]), epoch)[0]
        assert (changed[~mask] == 150).all()
        assert len(np.unique(changed[mask])) == 1
        corners.add(int(changed[0, 0, 0]))
    assert 95 in corners
    assert corners - {95} <= set(range(0, 100, 10))
    assert (hiding.covered(15)[mask] == 95).all()
    assert int(hiding.shown(15)[0, 0, 0]) in range(0, 100, 10)


def test_boxes_lie_at_the_same_place_of_a_picture_of_another_size() -> None:
    (box,) = scaled_boxes([Box(10, 20, 30, 40)], (100, 100), (50, 200))
    assert box == Box(5, 40, 15, 80)
    (edge,) = scaled_boxes([Box(99, 99, 100, 100)], (100, 100), (30, 30))
    assert edge == Box(29, 29, 30, 30)
