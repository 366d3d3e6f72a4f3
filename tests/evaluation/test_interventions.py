"""Interventions on a linear model that reads one patch: its effects are known."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.evaluation.interventions import Interventions, Patches
from pellucid.evaluation.patches import Box, drawn_together, put_in, replaced_by

SIDE = 40


def pictures(seed: int, ill: bool) -> tuple[np.ndarray, np.ndarray]:
    """Twenty smooth pictures, with a square of 8 x 8 brighter by 100 at places of their own where `ill`."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 40, SIDE)
    found = np.empty((20, SIDE, SIDE, 3), np.uint8)
    places = rng.integers(4, SIDE - 12, (20, 2))
    for i in range(20):
        grey = 60 + ramp[None] * rng.random() + ramp[:, None] * rng.random()
        if ill:
            top, left = places[i]
            grey[top : top + 8, left : left + 8] += 100
        found[i] = np.rint(grey)[..., None]
    return found, places + 4.0


def roughness(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The model: a hundredth of the sum of what is brighter than 130, and whether that is above 10."""
    grey = pixels[..., 0].astype(np.float64)
    score = np.where(grey > 130, grey, 0).sum(axis=(1, 2)) / 100
    return score, score > 10


@pytest.fixture(scope="module")
def subject() -> tuple[Interventions, Patches, np.ndarray]:
    ill, centres = pictures(0, True)
    well, _ = pictures(1, False)
    pixels = np.concatenate([ill, well])
    average = pixels.mean(axis=0).astype(np.float32)
    interventions = Interventions(roughness, pixels, np.arange(40), roughness(pixels), average)
    return interventions, Patches(np.arange(20), centres, 12, 20), np.arange(40) >= 20


def test_hiding_takes_away_what_the_model_reads_and_putting_in_adds_it(
    subject: tuple[Interventions, Patches, np.ndarray],
) -> None:
    interventions, patches, others = subject
    found, _ = interventions.effect(patches, others, 0)
    expected = roughness(interventions.pixels[:20])[0].mean()
    assert found.proven
    assert found.drawn_over.value == pytest.approx(expected, rel=0.05)
    assert found.averaged.value == pytest.approx(expected, rel=0.05)
    assert found.hidden_changes.value >= 0.95
    assert found.hidden_changes.high <= 1
    assert found.put_in_changes is not None
    assert found.put_in_changes.value == 1
    assert found.control_changes == 0
    assert found.put_in is not None
    assert found.put_in.value == pytest.approx(expected, rel=0.25)
    assert found.of_gap == pytest.approx(1, rel=0.05)


def test_a_place_that_the_model_does_not_read_has_no_effect(
    subject: tuple[Interventions, Patches, np.ndarray],
) -> None:
    interventions, patches, others = subject
    away = np.where(patches.centres < SIDE / 2, patches.centres + 15, patches.centres - 15)
    found, _ = interventions.effect(Patches(patches.images, away, 8, 20), others, 0)
    assert not found.proven
    assert found.hidden_changes.value == 0
    assert found.put_in_changes is not None
    assert found.put_in_changes.value == 0


def test_what_is_hidden_is_drawn_from_around_it_and_nothing_else_changes() -> None:
    ramp = np.broadcast_to(np.arange(SIDE)[:, None, None] * 3, (SIDE, SIDE, 3)).astype(np.uint8)
    marked = ramp.copy()
    box = Box(10, 12, 20, 22)
    marked[box.slices] = 255
    filled = drawn_together(marked, [box])
    assert np.abs(filled.astype(int) - ramp).max() <= 3
    outside = np.ones((SIDE, SIDE), bool)
    outside[box.slices] = False
    assert np.array_equal(filled[outside], marked[outside])
    average = np.full((SIDE, SIDE, 3), 7.4, np.float32)
    assert (replaced_by(marked, [box], average)[box.slices] == 7).all()
    corner = drawn_together(marked, [Box(0, 0, 6, 6)])
    assert np.abs(corner[:6, :6].astype(int) - ramp[:6, :6]).max() <= 12


def test_a_patch_that_is_put_in_takes_the_brightness_of_its_place() -> None:
    dark, bright = (np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (40, 120))
    dark[18:22, 18:22] = 90
    box, place = Box(14, 14, 26, 26), Box(4, 4, 16, 16)
    changed = put_in(bright, dark, box, place)
    assert (changed[8:12, 8:12] == 170).all()
    assert (changed[4, 4:16] == 120).all()
    outside = np.ones((SIDE, SIDE), bool)
    outside[place.slices] = False
    assert (changed[outside] == 120).all()


@pytest.mark.parametrize("side", [5, 60])
def test_squares_lie_inside_the_picture(side: int) -> None:
    box = Box.around(0, 39, side, SIDE, SIDE)
    assert (box.top, box.right) == (0, SIDE)
    assert box.bottom - box.top == min(side, SIDE)


def test_the_half_that_costs_most_to_hide_is_where_the_model_reads(
    subject: tuple[Interventions, Patches, np.ndarray],
) -> None:
    interventions, patches, _ = subject
    # The squares are moved off what the model reads, by less than a quarter of their side.
    moved = Patches(patches.images, patches.centres + np.array([3.0, -3.0]), 16, 20)
    kept = np.arange(4, 12)
    found = interventions.decisive_halves(moved, kept)
    assert found.shape == (8, 2)
    before = np.abs(moved.centres[kept] - patches.centres[kept]).max(axis=1)
    after = np.abs(found - patches.centres[kept]).max(axis=1)
    assert (after <= before).all()
    assert np.median(after) < 3
