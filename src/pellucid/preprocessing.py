"""From an image to the tensor that a model sees, and from a model's grid back to the image's pixels.

One `Preprocessing` object goes from training to the bundle's manifest to the server, so that they cannot differ.

Coordinates are continuous: pixel i covers [i, i + 1) and its centre is i + 0.5, in images, in tensors and in grids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import PIL.Image
from pydantic import BaseModel, ConfigDict, Field

from .images import Image
from .images.conversion import Uint8Array
from .images.pictures import DecodedImage

__all__ = ["FloatArray", "GridGeometry", "Placement", "Preprocessing", "Uint8Array"]

FloatArray = npt.NDArray[np.float32]
LARGEST_SIDE = 1 << 30
MOST_KEPT = 1 << 14
"""The most weights of an interpolation that are kept for the next map."""

Fit = Literal["stretch", "crop", "pad"]
Decode = Literal["draft", "full"]
Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest"]
RESAMPLING = {name: PIL.Image.Resampling[name.upper()] for name in get_args(Interpolation)}


@dataclass(frozen=True, slots=True)
class GridGeometry:
    """Where the cells of a feature map lie on the model's input, in input pixels.

    The centre of the receptive field of cell (i, j) is `offset + stride * (i, j)`, as (y, x) in continuous coordinates.
    """

    stride: tuple[float, float]
    offset: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Placement:
    """The affine map from an original image to the model's input: `input = scale * original + shift`, as (y, x)."""

    scale: tuple[float, float]
    shift: tuple[float, float]


class Preprocessing(BaseModel):
    """How an 8-bit RGB image becomes a float32 tensor of shape (3, height, width).

    `fit` is `stretch` (each side resized on its own), `crop` (the short side resized to `size / crop_share`, then the
    centre cut out) or `pad` (the long side resized, the rest filled with `fill`). Values are then
    `(pixel * scale - mean) / deviation` per channel, where `pixel` lies in 0..255. `decode` is `draft` (a JPEG that is
    much larger than the input is decoded at a half, quarter or eighth of its size, which is several times faster) or
    `full` (as browsers and other programs decode it).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    height: int = Field(ge=8, le=4096)
    width: int = Field(ge=8, le=4096)
    fit: Fit = "stretch"
    crop_share: float = Field(default=1.0, gt=0.2, le=1.0)
    interpolation: Interpolation = "bilinear"
    decode: Decode = "draft"
    fill: int = Field(default=0, ge=0, le=255)
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def placement(self, original: tuple[int, int]) -> Placement:
        """The affine map of an image of `original` (height, width) onto the model's input."""
        (height, width), (h, w) = original, (self.height, self.width)
        if self.fit == "stretch":
            return Placement((h / height, w / width), (0.0, 0.0))
        (inner_h, inner_w), (top, left) = self._inner(original)
        return Placement((inner_h / height, inner_w / width), (float(top), float(left)))

    def _inner(self, original: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Size of the whole resized image, and where its corner lies on the input (negative when cropped)."""
        (height, width), (h, w) = original, (self.height, self.width)
        ratios = h / height, w / width
        ratio = max(ratios) / self.crop_share if self.fit == "crop" else min(ratios)
        inner = max(1, round(height * ratio)), max(1, round(width * ratio))
        return inner, ((h - inner[0]) // 2, (w - inner[1]) // 2)

    def resize(self, pixels: Uint8Array) -> Uint8Array:
        """Resize an RGB image (H, W, 3) to (height, width, 3), uint8. Pillow's antialiased filter."""
        picture = PIL.Image.fromarray(pixels)
        method = RESAMPLING[self.interpolation]
        if self.fit == "stretch":
            return np.asarray(picture.resize((self.width, self.height), method))
        (inner_h, inner_w), (top, left) = self._inner((pixels.shape[0], pixels.shape[1]))
        if self.fit == "crop":
            # Resizing only the part that is kept costs no more for a long thin image than for a square one.
            ys, xs = pixels.shape[0] / inner_h, pixels.shape[1] / inner_w
            box = (-left * xs, -top * ys, (self.width - left) * xs, (self.height - top) * ys)
            return np.asarray(picture.resize((self.width, self.height), method, box=box))
        canvas = np.full((self.height, self.width, 3), self.fill, np.uint8)
        canvas[top : top + inner_h, left : left + inner_w] = np.asarray(picture.resize((inner_w, inner_h), method))
        return canvas

    @property
    def decode_size(self) -> tuple[int, int]:
        """The `at_least` of `read_image` that suits: (height, width) of the part of a picture that is kept.

        No decoder may reduce the picture where `decode` is `full`, or the nearest pixel is to be one of its own.
        """
        if self.decode == "full" or self.interpolation == "nearest":
            return LARGEST_SIDE, LARGEST_SIDE
        share = self.crop_share if self.fit == "crop" else 1.0
        return math.ceil(self.height / share), math.ceil(self.width / share)

    def resize_image(self, image: Image | DecodedImage) -> Uint8Array:
        """What a model sees of an image before normalisation, (height, width, 3) uint8.

        That is `resize(image.pixels)`, but for an image decoded at a reduced size, of which `image.box` is resized, so
        that every point lands where it does from the full decode.
        """
        if image.reduction == 1:
            return self.resize(image.pixels)
        upright, (height, width), place = image.upright, image.size, self.placement(image.size)
        top, left = max(0, round(place.shift[0])), max(0, round(place.shift[1]))
        bottom = min(self.height, round(place.shift[0] + place.scale[0] * height))
        right = min(self.width, round(place.shift[1] + place.scale[1] * width))
        start, most, factor = image.box, upright.size, 1 / image.reduction

        def decoded(x: float, y: float) -> tuple[float, float]:
            across = start[0] + (x - place.shift[1]) / place.scale[1] * factor
            down = start[1] + (y - place.shift[0]) / place.scale[0] * factor
            return min(max(across, 0.0), most[0]), min(max(down, 0.0), most[1])

        box = (*decoded(left, top), *decoded(right, bottom))
        canvas = np.full((self.height, self.width, 3), self.fill, np.uint8)
        resized = upright.resize((right - left, bottom - top), RESAMPLING[self.interpolation], box)
        canvas[top:bottom, left:right] = np.asarray(resized.convert("RGB"))
        return canvas

    def normalise(self, resized: Uint8Array) -> FloatArray:
        """Turn resized images (..., height, width, 3) uint8 into tensors (..., 3, height, width) float32."""
        *images, height, width, _ = resized.shape
        values: FloatArray = np.empty((*images, 3, height, width), np.float32)
        planes, pixels = values.reshape(-1, 3, height, width), resized.reshape(-1, height, width, 3)
        # Plane by plane, so that each stays in the processor's cache: several times faster than all at once.
        for channel, (factor, shift) in enumerate(zip(*self.factor_and_shift(), strict=True)):
            for plane, image in zip(planes[:, channel], pixels[..., channel], strict=True):
                plane[...] = image
                plane *= factor
                plane += shift
        return values

    def factor_and_shift(self) -> tuple[FloatArray, FloatArray]:
        """Per channel a and b, shape (3,), so that a tensor's value is `a * pixel + b`."""
        deviation = np.asarray(self.deviation, np.float64)
        factor = self.scale / deviation
        shift = -np.asarray(self.mean, np.float64) / deviation
        return factor.astype(np.float32), shift.astype(np.float32)

    def to_pixels(self, tensor: FloatArray) -> Uint8Array:
        """The inverse of `normalise`, rounded and clipped: what the model saw, (..., height, width, 3) uint8."""
        factor, shift = self.factor_and_shift()
        pixels = (tensor - shift[:, None, None]) / factor[:, None, None]
        return np.moveaxis(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), -3, -1)

    def tensors(self, images: Sequence[Image]) -> FloatArray:
        """Images of any sizes to a batch (N, 3, height, width) float32."""
        if not images:
            return np.zeros((0, 3, self.height, self.width), np.float32)
        return self.normalise(np.stack([self.resize_image(image) for image in images]))

    def to_original(self, grid: FloatArray, geometry: GridGeometry, original: tuple[int, int]) -> FloatArray:
        """Lay a feature-map grid (..., h, w) on the original image: (..., H, W) float32.

        Bilinear between cell centres, the nearest cell beyond the outermost ones; 0 where the model could not see
        because the pixel was cropped away.
        """
        place = self.placement(original)
        inputs = (self.height, self.width)
        # Maps of a server's replies have one of a few sizes.
        small = max(original) * max(grid.shape[-2:]) <= MOST_KEPT
        weights = _kept_interpolation if small else _interpolation
        axes = [
            weights(original[d], grid.shape[d - 2], place.scale[d], place.shift[d], geometry, d, inputs[d])
            for d in (0, 1)
        ]
        placed: FloatArray = axes[0] @ grid.astype(np.float32, copy=False) @ axes[1].T
        return placed


def _interpolation(
    length: int, cells: int, scale: float, shift: float, geometry: GridGeometry, axis: int, input_length: int
) -> FloatArray:
    """Weights (length, cells) of linear interpolation along one axis, from cells to original pixels; read-only."""
    seen = (np.arange(length) + 0.5) * scale + shift
    position = np.clip((seen - geometry.offset[axis]) / geometry.stride[axis], 0, cells - 1)
    lower = np.minimum(position.astype(np.intp), max(cells - 2, 0))
    fraction = position - lower
    weights = np.zeros((length, cells), np.float32)
    rows = np.arange(length)
    weights[rows, lower] = 1 - fraction
    weights[rows, np.minimum(lower + 1, cells - 1)] += fraction
    weights[(seen < 0) | (seen > input_length)] = 0
    weights.flags.writeable = False
    return weights


_kept_interpolation = lru_cache(maxsize=16)(_interpolation)
