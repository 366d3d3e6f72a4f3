from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from tests.image_files import smooth

from pellucid.explanation.attribution import Attribution
from pellucid.images import from_array
from pellucid.reporting.overlay import heat_map, overlay
from pellucid.serving.pictures import fitted, heat_pictures, overlaid, png, shrunk


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (40, 60)])
def test_png_is_read_back_by_pillow(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(png(pixels)))), pixels)


def test_overlay_is_that_of_the_reports() -> None:
    image = smooth(60, 80)
    y, x = np.mgrid[0:60, 0:80]
    values = (np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 200) - 0.2).astype(np.float32)
    attribution = Attribution(values, "m", "t", "log-odds", "u", True)
    for limit in (float(values.max()), 0.3):
        drawn = np.asarray(overlaid(PIL.Image.fromarray(image), values, limit)).astype(int)
        assert np.abs(drawn - overlay(image, attribution, limit=limit)).max() <= 4
        colours, _ = heat_pictures(values, limit, (60, 80))
        assert np.abs(np.asarray(colours).astype(int) - heat_map(attribution, None, limit)).max() <= 6


def test_no_evidence_leaves_the_picture_as_it_is() -> None:
    image = smooth(20, 30)
    for values in (np.zeros((20, 30), np.float32), np.full((20, 30), -1, np.float32)):
        np.testing.assert_array_equal(np.asarray(overlaid(PIL.Image.fromarray(image), values, 0.0)), image)


def test_sizes() -> None:
    assert fitted((1000, 1400), 384) == (274, 384)
    assert fitted((3, 5), 384) == (3, 5)
    assert fitted((1, 65_000), 384) == (1, 384)
    assert shrunk(from_array(smooth(100, 200)), 50).size == (50, 25)
