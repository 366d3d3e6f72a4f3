"""Sameness: copies are told from patches that are only of one kind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from pellucid.evaluation.discovered import SamenessEntry
from pellucid.evaluation.discovered_verdicts import has_own_texture, is_copied
from pellucid.evaluation.sameness import PatchComparison, texture_distance, typical

SIDE = 96


def scene(seed: int) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    pixels = np.empty((60, SIDE, SIDE))
    for i in range(60):
        pixels[i] = (
            100 + 25 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 6) * 12 + rng.normal(0, 4, (SIDE, SIDE))
        )
    return pixels, rng


def entry(pixels: np.ndarray, centres: np.ndarray) -> SamenessEntry:
    coloured = np.repeat(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[..., None], 3, axis=3)
    other = np.arange(60) >= 20
    return PatchComparison.against(coloured, np.arange(60), other, 6, 0).of(np.arange(20), centres)


def compared(pixels: np.ndarray, centres: np.ndarray) -> tuple[float, float, float, float]:
    found = entry(pixels, centres)
    return found.alike - found.usual, found.chance, found.texture, found.texture_chance


@pytest.mark.parametrize("turned", [False, True])
def test_copies_are_found_at_any_place_angle_and_brightness(turned: bool) -> None:
    pixels, rng = scene(0)
    shape = np.zeros((15, 15))
    shape[2:13, 3:5] = shape[2:4, 3:12] = shape[7:9, 3:10] = 1
    centres = rng.integers(20, SIDE - 20, (20, 2)).astype(float)
    for i, (y, x) in enumerate(centres.astype(int)):
        stamp = rotate(shape, rng.uniform(0, 360) if turned else 0, reshape=False, order=1)
        pixels[i, y - 7 : y + 8, x - 7 : x + 8] += rng.uniform(50, 90) * stamp
    more, chance, _, _ = compared(pixels, centres + rng.integers(-3, 4, (20, 2)))
    assert more > 0.12
    assert chance <= 0.01


def test_lines_at_any_angle_are_copies() -> None:
    pixels, rng = scene(5)
    centres = rng.integers(20, SIDE - 20, (20, 2)).astype(float)
    ys, xs = np.mgrid[:SIDE, :SIDE]
    for i, (y, x) in enumerate(centres):
        angle = rng.uniform(0, np.pi)
        pixels[i] += 60 * np.clip(1.5 - np.abs((ys - y) * np.cos(angle) - (xs - x) * np.sin(angle)), 0, 1)
    more, chance, _, _ = compared(pixels, centres)
    assert more > 0.12
    assert chance <= 0.01


def test_what_patients_of_all_classes_have_at_one_place_is_no_copy() -> None:
    pixels, rng = scene(6)
    ys, xs = np.mgrid[:SIDE, :SIDE]
    ribs = 60 * (np.sin(ys / 2.5 + 0.15 * xs) > 0) * (np.hypot(ys - 30, xs - 40) < 18)
    pixels += ribs
    centres = np.array([30.0, 40.0]) + rng.integers(-3, 4, (20, 2))
    found = entry(pixels, centres)
    assert found.alike > 0.62
    assert not is_copied(found)
    pixels[20:] -= ribs
    assert is_copied(entry(pixels, centres))


def test_grain_all_over_the_pictures_of_a_class_is_no_texture_of_a_place() -> None:
    pixels, rng = scene(7)
    centres = rng.integers(20, SIDE - 20, (20, 2)).astype(float)
    grainy = pixels.copy()
    grainy[:20] += rng.normal(0, 1.5, (20, SIDE, SIDE))
    found = entry(grainy, centres)
    assert found.within is not None
    assert 0.8 < found.texture < 2
    assert abs(found.within) < 0.6
    assert not has_own_texture(found)
    for i, (y, x) in enumerate(centres.astype(int)):
        pixels[i, y - 8 : y + 8, x - 8 : x + 8] += rng.normal(0, 7, (16, 16))
    assert has_own_texture(entry(pixels, centres))


def test_soft_spots_of_one_kind_are_no_copies() -> None:
    pixels, rng = scene(1)
    centres = rng.integers(20, SIDE - 20, (20, 2)).astype(float)
    line = np.arange(SIDE)
    for i, (y, x) in enumerate(centres):
        distance = np.hypot(line[:, None] - y, line[None] - x) / rng.uniform(6, 11)
        blob = np.exp(-1.3 * distance**2) * (1 + 0.3 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 4) * 8)
        pixels[i] += 30 * blob
    more, _, texture, _ = compared(pixels, centres)
    assert more < 0.12
    assert texture < 1.3


def test_noise_of_another_strength_is_a_texture_of_its_own() -> None:
    pixels, rng = scene(2)
    centres = rng.integers(20, SIDE - 20, (20, 2)).astype(float)
    for i, (y, x) in enumerate(centres.astype(int)):
        pixels[i, y - 8 : y + 8, x - 8 : x + 8] += rng.normal(0, 14, (16, 16))
    _, _, texture, chance = compared(pixels, centres)
    assert texture > 1.3
    assert chance <= 0.01


def test_nothing_planted_is_nothing_found() -> None:
    pixels, rng = scene(3)
    more, _, texture, _ = compared(pixels, rng.uniform(15, SIDE - 15, (20, 2)))
    assert abs(more) < 0.12
    assert abs(texture) < 1.3


def test_the_typical_patch_and_the_distance_of_textures_are_what_they_say() -> None:
    fits = np.array([[1, 0.9, 0.8, 0.1], [0.2, 1, 0.2, 0.2], [0.3, 0.3, 1, 0.3], [0.0, 0.0, 0.0, 1]])
    assert typical(fits) == pytest.approx(0.8)
    rng = np.random.default_rng(0)
    mine, others = rng.normal(2, 1, (400, 3)), rng.normal(0, 1, (400, 3))
    assert texture_distance(mine, others) == pytest.approx(2, abs=0.15)


def test_copies_are_found_at_other_sizes_and_in_colour_alone() -> None:
    pixels, rng = scene(4)
    coloured = np.repeat(np.clip(np.rint(pixels), 0, 255).astype(np.int16)[..., None], 3, axis=3)
    centres = rng.integers(20, SIDE - 20, (20, 2)).astype(float)
    line = np.arange(SIDE)
    for i, (y, x) in enumerate(centres):
        disc = np.hypot(line[:, None] - y, line[None] - x) < rng.uniform(4, 6)
        # Blue at the cost of red: the grey stays as it is.
        coloured[i] += disc[..., None] * np.array([-40, 0, 40])
    seen = np.clip(coloured, 0, 255).astype(np.uint8)
    other = np.arange(60) >= 20
    found = PatchComparison.against(seen, np.arange(60), other, 6, 0).of(np.arange(20), centres)
    grey = np.repeat(seen.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
    without = PatchComparison.against(grey, np.arange(60), other, 6, 0).of(np.arange(20), centres)
    assert found.alike - found.usual > 0.12
    assert found.chance <= 0.01
    assert without.alike - without.usual < 0.12
