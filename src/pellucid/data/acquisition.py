"""What tells devices, exports and readers apart: size and compression of the files, and measures of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..preprocessing import Uint8Array
from .dataset import Dataset

Values = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.float32]

Measure = Literal["brightness", "contrast", "detail", "border", "bytes", "colour", "pixels", "shape"]
MEASURES: tuple[Measure, ...] = (
    "brightness", "contrast", "detail", "border", "border", "bytes",
    "brightness", "brightness", "detail", "border", "border", "border", "colour", "colour", "pixels", "shape",
)  # fmt: skip
"""What each column of the looks is about."""
LOOKS = 6
"""The first columns are those in which clusters are looked for; the others vary little and tell one thing each."""


@dataclass(frozen=True, slots=True, eq=False)
class Acquisition:
    """What tells devices and exports apart, of N images: `sizes` and `qualities` as words, `looks` (N, 16) as numbers.

    The looks are mean and deviation of grey values, fine detail, mean and deviation along the border, the logarithm of
    the bytes per pixel; then the grey values that one pixel in a thousand is below or above, fine detail over coarse
    detail, the darkest, brightest and flattest side of the border, red and blue against green, and the logarithms of
    pixels and of width over height.
    """

    sizes: tuple[str, ...]
    qualities: tuple[str, ...]
    looks: Values


@dataclass(frozen=True, slots=True)
class _Header:
    size: str = ""
    quality: str = ""
    density: float = 0.0
    pixels: float = 0.0
    aspect: float = 0.0


def measure_acquisition(dataset: Dataset, pixels: Uint8Array, rows: npt.NDArray[np.intp]) -> Acquisition:
    """Measure the images of a dataset, of which image i is `pixels[rows[i]]`, (H, W, 3); files are not decoded."""
    headers = [_header(dataset, sample.path) for sample in dataset.samples]
    looks = []
    for header, row in zip(headers, rows, strict=True):
        first, rest = _pixel_measures(pixels[row])
        looks.append([*first, header.density, *rest, header.pixels, header.aspect])
    sizes, qualities = tuple(h.size for h in headers), tuple(h.quality for h in headers)
    return Acquisition(sizes, qualities, np.array(looks, np.float64).reshape(-1, len(MEASURES)))


def _header(dataset: Dataset, path: str) -> _Header:
    """Size, JPEG quality (or format) and log bytes per pixel of a file, as far as Pillow can tell without decoding."""
    file = dataset.root / path
    try:
        size = file.stat().st_size
        with PIL.Image.open(file) as picture:
            width, height, kind = picture.width, picture.height, str(picture.format)
            tables = getattr(picture, "quantization", None) or {}
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return _Header()
    quality = f"{kind} {sum(tables[0])}" if 0 in tables else kind
    area = width * height
    return _Header(
        f"{width} x {height}", quality, float(np.log(max(size, 1) / area)), float(np.log(area)), np.log(width / height)
    )


def _pixel_measures(pixels: Uint8Array) -> tuple[list[float], list[float]]:
    """Brightness, contrast, detail, mean and deviation of the border; and the eight that come after the bytes."""
    grey = _grey(pixels)
    sides = _sides(grey)
    border = np.concatenate([side.ravel() for side in sides])
    fine = _detail(grey)
    below = np.cumsum(np.bincount(grey.astype(np.uint8).ravel(), minlength=256)) / grey.size
    black, white = (float(np.searchsorted(below, share)) for share in (0.001, 0.999))
    ratio = float(np.log((fine + 0.1) / (_detail(_halved(grey)) + 0.1)))
    means, flattest = [float(side.mean()) for side in sides], min(float(side.std()) for side in sides)
    few = pixels[::4, ::4].reshape(-1, 3).mean(axis=0)
    first = [grey.mean(), grey.std(), np.log(fine + 0.1), border.mean(), border.std()]
    rest = [black, white, ratio, min(means), max(means), np.log(flattest + 0.5), few[0] - few[1], few[2] - few[1]]
    return [float(v) for v in first], [float(v) for v in rest]


def _halved(grey: Pixels) -> Pixels:
    """Means of two by two pixels."""
    height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    rows = grey[0:height:2, :width] + grey[1:height:2, :width]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) / 4, np.float32)


def _grey(pixels: Uint8Array) -> Pixels:
    red, green, blue = (pixels[..., k].astype(np.float32) for k in range(3))
    return np.asarray((red + green + blue) / 3, np.float32)


def _sides(grey: Pixels) -> Sequence[Pixels]:
    edge = max(1, min(grey.shape) // 28)
    return grey[:edge], grey[-edge:], grey[:, :edge], grey[:, -edge:]


def _detail(grey: Pixels) -> float:
    """Mean absolute Laplacian; 0 for less than three rows or columns."""
    fine = np.float32(4) * grey[1:-1, 1:-1]
    for neighbours in (grey[:-2, 1:-1], grey[2:, 1:-1], grey[1:-1, :-2], grey[1:-1, 2:]):
        fine -= neighbours
    return float(np.abs(fine, out=fine).mean()) if fine.size else 0.0
