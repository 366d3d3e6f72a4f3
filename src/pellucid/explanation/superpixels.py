"""Superpixels: an image cut into connected pieces of alike pixels, numbered from 0."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..preprocessing import FloatArray, Uint8Array

Labels: TypeAlias = npt.NDArray[np.intp]


class Cutting(Protocol):
    """Settings of a method that weighs superpixels."""

    @property
    def superpixels(self) -> int: ...
    @property
    def compactness(self) -> float: ...


def cut(pixels: Uint8Array, settings: Cutting) -> Labels:
    """The superpixels (h, w) of an image (h, w, 3) uint8 as a method's settings ask for them."""
    return superpixels(pixels, settings.superpixels, settings.compactness)


def superpixels(pixels: Uint8Array, count: int = 60, compactness: float = 10.0) -> Labels:
    """Cut an image (h, w, 3) uint8 into about `count` superpixels; their numbers (h, w), 0 to S - 1, all in use.

    Every superpixel is connected through pixel edges. Where an image is uniform the pieces are those of a regular grid;
    an image too small for `count` pieces gives fewer. A higher `compactness` gives squarer pieces. SLIC: Achanta et
    al. 2012, doi:10.1109/TPAMI.2012.120. Raises InputError for a count below 1.
    """
    if count < 1:
        raise InputError(f"An image cannot be cut into {count} superpixels: give 1 or more.")
    from skimage.measure import label
    from skimage.segmentation import slic

    pieces = slic(pixels.astype(np.float32) / 255, n_segments=count, compactness=compactness, start_label=1)
    # SLIC can leave a number unused and, at the image's border, a number in two places.
    connected = label(pieces, connectivity=1, background=0)  # type: ignore[no-untyped-call]
    return np.asarray(connected - 1, np.intp)


def visible_pixels(shown: npt.NDArray[np.bool_], labels: Labels) -> FloatArray:
    """Masks (n, h, w), 1 where the pixel's superpixel is shown and 0 where hidden, from `shown` (n, S)."""
    return np.take(shown.astype(np.float32), labels.ravel(), axis=1).reshape(-1, *labels.shape)
