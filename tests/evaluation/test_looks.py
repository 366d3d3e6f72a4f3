"""How an image looks: against loops, whatever the preprocessing, and what the looks react to."""

import itertools
import math

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from pellucid.evaluation.looks import LOOKS, QUANTILES, looks_of
from pellucid.preprocessing import Preprocessing


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(height // 6, 2), max(width // 6, 2), 3), np.uint8)
    return np.asarray(PIL.Image.fromarray(small).resize((width, height)))


def looks(pixels: np.ndarray, **settings: object) -> np.ndarray:
    shape = Preprocessing(height=pixels.shape[0], width=pixels.shape[1], **settings)
    return looks_of(shape.normalise(pixels[None]), shape)[0]


def slow(pixels: np.ndarray) -> list[float]:
    levels = pixels.astype(float) / 255
    grey, (height, width) = levels.mean(axis=2), pixels.shape[:2]
    step = max(1, min(height, width) // 56)
    few = [levels[y, x] for y in range(0, height, step) for x in range(0, width, step)]
    red, blue = [p[0] - p[1] for p in few], [p[2] - p[1] for p in few]
    found = [np.mean(red), np.mean(blue), np.mean(np.abs(red)), np.mean(np.abs(blue))]
    sampled = sorted(float(np.mean(p)) for p in few)
    found += [sampled[math.floor(q * (len(sampled) - 1) + 0.5)] for q in QUANTILES] + [
        np.mean(sampled),
        np.std(sampled),
    ]
    found += [math.sqrt(np.mean([v < 1 / 128 for v in sampled])), math.sqrt(np.mean([v >= 127 / 128 for v in sampled]))]
    small = grey
    for scale in range(4):
        every = (4, 2, 1, 1)[scale]
        for lines in (small[::every], small.T[::every]):
            first = [b - a for line in lines for a, b in itertools.pairwise(line)]
            second = [c - 2 * b + a for line in lines for a, b, c in zip(line[:-2], line[1:-1], line[2:], strict=True)]
            found += [math.log((np.mean(np.abs(d)) if d else 0) + 1e-4) for d in (first, second)]
        h, w = small.shape[0] // 2, small.shape[1] // 2
        small = np.array([[small[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(w)] for y in range(h)])
    return [*map(float, found)]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (113, 121), (17, 30)])
def test_looks_are_those_of_loops(height: int, width: int) -> None:
    pixels = image(height, width)
    found = looks(pixels)
    assert found.shape == (LOOKS,)
    assert found == pytest.approx(slow(pixels), abs=2e-4)


def test_looks_do_not_depend_on_how_a_model_takes_its_values() -> None:
    pixels = image(40, 40, 1)
    imagenet = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}
    symmetric = {"scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0)}
    for settings in (imagenet, symmetric):
        assert looks(pixels, **settings) == pytest.approx(looks(pixels), abs=2e-4)


def test_a_blur_lowers_fine_detail_and_a_filter_shows_in_colour() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    softened = np.asarray(PIL.Image.fromarray(pixels).filter(PIL.ImageFilter.GaussianBlur(1)))
    lost = (looks(pixels) - looks(softened))[15:31]
    assert (lost > 0).all()
    assert lost[0] > 4 * lost[12]
    grey = np.repeat(pixels.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert looks(grey)[:4] == pytest.approx(np.zeros(4), abs=1e-5)
    assert looks(np.full((32, 32, 3), 0, np.uint8))[[13, 14]].tolist() == [1, 0]


def test_the_smallest_images_and_none() -> None:
    for height, width in ((8, 8), (8, 40)):
        assert np.isfinite(looks(image(height, width))).all()
    shape = Preprocessing(height=8, width=8)
    assert looks_of(np.zeros((0, 3, 8, 8), np.float32), shape).shape == (0, LOOKS)
