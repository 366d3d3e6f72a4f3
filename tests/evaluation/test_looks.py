"""How an image looks: against loops, whatever the preprocessing, and what the looks react to."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

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


def whole_arrays(tensor: np.ndarray, shape: Preprocessing) -> list[float]:
    """The looks as they were first computed, which references in bundles are of: an array for every step."""
    factor, shift = shape.factor_and_shift()
    scale = (1 / (255 * factor)).astype(np.float32)
    step = max(1, min(tensor.shape[1:]) // 56)
    few = (tensor[:, ::step, ::step].reshape(3, -1) - shift[:, None]) * scale[:, None]
    red, blue = few[0] - few[1], few[2] - few[1]
    weights = scale / np.float32(3)
    grey = np.tensordot(weights, tensor, axes=1) - np.float32(weights @ shift)
    sampled = np.sort(grey[::step, ::step], axis=None)
    dark, bright = np.searchsorted(sampled, (1 / 128, 127 / 128)) / len(sampled)
    found = [red.mean(), blue.mean(), np.abs(red).mean(), np.abs(blue).mean()]
    found += [sampled[math.floor(q * (len(sampled) - 1) + 0.5)] for q in QUANTILES]
    found += [sampled.mean(), sampled.std(), math.sqrt(dark), math.sqrt(1 - bright)]
    for scaled, every in enumerate((4, 2, 1, 1)):
        if scaled:
            height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
            rows = grey[0:height:2, :width] + grey[1:height:2, :width]
            grey = (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)
        for lines in (grey[::every], grey[:, ::every].T):
            for change in (np.diff(lines, axis=1), np.diff(lines, 2, axis=1)):
                found.append(math.log((np.abs(change).mean() if change.size else 0) + 1e-4))
    return found


@pytest.mark.parametrize("settings", [{}, {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (8, 40), (31, 9), (130, 467)])
def test_looks_are_those_that_bundles_were_fitted_to(height: int, width: int, settings: dict[str, object]) -> None:
    shape = Preprocessing(height=height, width=width, **settings)
    made = [image(height, width, seed) for seed in range(3)] + [np.full((height, width, 3), 77, np.uint8)]
    batch = shape.normalise(np.stack([*made, made[0] // 255 * 255, made[1] // 64]))
    expected = np.array([whole_arrays(tensor, shape) for tensor in batch])
    np.testing.assert_allclose(looks_of(batch, shape), expected, rtol=2e-5, atol=1e-5)


def test_threads_and_sizes_do_not_mix() -> None:
    sizes = [(48, 64), (64, 48), (30, 30)] * 8
    alone = [looks(image(*size, seed)) for seed, size in enumerate(sizes)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda given: looks(image(*given[1], given[0])), enumerate(sizes)))
    np.testing.assert_array_equal(alone, together)


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
