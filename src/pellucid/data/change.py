"""One random change of an image file, and the same change of its mask and its boxes, in NumPy.

The ranges are those of a recipe's [augment] section and mean what they mean while training
(`training/augmentation.py`), in the frame of the image itself instead of the model's input.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import PIL.Image
from scipy import ndimage

from ..preprocessing import FloatArray, Uint8Array
from ..recipe_sections import AugmentSection
from .dataset import Box

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an image; all zero leaves it as it is.

    The first six say where in the original a place of the copy is taken from, with distances from the centre: mirrored
    left and right where `flip`; moved to the right by `shear` times its height; turned clockwise by `rotation` degrees;
    made larger by the share `zoom`; moved right and down by `shift_x` and `shift_y` as shares of width and height. What
    is shown turns and moves the other way. Then it is blurred with a deviation of `blur` pixels, values are raised to
    the power 1 + `gamma`, distances from the mean of all values grow by the share `contrast`, `brightness` is added, as
    a share of the full range, and JPEG compression at the quality 100 (1 - `compression`) takes its share.
    """

    flip: bool = False
    shear: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    compression: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether any pixel changes its place."""
        still = replace(self, contrast=0.0, brightness=0.0, gamma=0.0, blur=0.0, compression=0.0)
        return still != Change()

    def placement(self, size: tuple[int, int]) -> tuple[Matrix, Matrix]:
        """The affine map from a copy to its original of `size` (height, width): original = matrix @ copy + offset.

        Places are (y, x) in continuous pixel coordinates; `matrix` is (2, 2), `offset` (2,).
        """
        angle = math.radians(self.rotation)
        turned = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        sheared = np.array([[1.0, 0.0], [self.shear, 1.0]])
        mirrored = np.diag([1.0, -1.0 if self.flip else 1.0])
        matrix: Matrix = (1 + self.zoom) * turned @ sheared @ mirrored
        sides = np.array(size, np.float64)
        offset: Matrix = sides / 2 - matrix @ (sides / 2) + sides * (self.shift_y, self.shift_x)
        return matrix, offset

    def record(self) -> dict[str, float]:
        """The change as numbers by name, in the order of `CHANGES`."""
        return {name: float(getattr(self, name)) for name in CHANGES}


CHANGES = tuple(f.name for f in fields(Change))


def draw_change(section: AugmentSection, seed: int, path: str, number: int) -> Change:
    """The change of copy `number` of the image at `path`: uniform within the ranges, decided by the arguments alone.

    Every number is drawn whether it is used or not, so that switching one change off leaves the others as they are.
    """
    rng = np.random.default_rng(int.from_bytes(digest(f"{seed}:{number}:{path}"), "big"))

    def drawn(reach: float) -> float:
        # Rounded to what origins.csv holds.
        return round(float(rng.uniform(-1, 1)) * reach, 6)

    return Change(
        flip=bool(rng.random() < 0.5) and section.flip,
        shear=drawn(section.shear),
        rotation=drawn(section.rotation),
        zoom=drawn(section.zoom),
        shift_x=drawn(section.shift),
        shift_y=drawn(section.shift),
        contrast=drawn(section.contrast),
        brightness=drawn(section.brightness),
        gamma=drawn(section.gamma),
        blur=abs(drawn(section.blur)),
        compression=abs(drawn(section.compression)),
    )


def digest(text: str) -> bytes:
    """A pseudo-random key of a text, the same everywhere."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def change_pixels(pixels: Uint8Array, change: Change) -> Uint8Array:
    """A changed copy of an image (H, W) or (H, W, C) uint8: bilinear; places from outside repeat the border."""
    planes = np.atleast_3d(pixels)
    height, width, channels = planes.shape
    moved: FloatArray = np.empty((channels, height, width), np.float32)
    for c in range(channels):
        if change.moves:
            _resample(planes[..., c], change, moved[c], order=1)
        else:
            moved[c] = planes[..., c]
        if change.blur:
            ndimage.gaussian_filter(moved[c], change.blur, output=moved[c], mode="nearest", truncate=3)
    if change.gamma:
        moved = (255 * (moved / 255) ** (1 + change.gamma)).astype(np.float32)
    if change.contrast:
        mean = moved.mean(dtype=np.float64)
        moved = ((moved - mean) * (1 + change.contrast) + mean).astype(np.float32)
    moved += np.float32(255 * change.brightness)
    changed = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    whole = np.ascontiguousarray(np.moveaxis(changed, 0, -1)).reshape(pixels.shape)
    return _compressed(whole, change.compression) if change.compression else whole


def _compressed(pixels: Uint8Array, lost: float) -> Uint8Array:
    """An image (H, W) or (H, W, 3) uint8 as a JPEG file of quality 100 (1 - lost) gives it back."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=max(1, round(100 * (1 - lost))), subsampling=0)
    return np.asarray(PIL.Image.open(file))


def change_mask(mask: Uint8Array, change: Change) -> Uint8Array:
    """A mask (H, W) or (H, W, C) uint8 moved as its image is; each pixel has the value of the nearest one."""
    planes = np.atleast_3d(mask)
    moved = np.empty_like(planes)
    for c in range(planes.shape[2]):
        _resample(planes[..., c], change, moved[..., c], order=0)
    return moved.reshape(mask.shape)


def change_boxes(boxes: Sequence[Box], change: Change, size: tuple[int, int]) -> tuple[Box, ...]:
    """Where boxes (xmin, ymin, xmax, ymax) of an image of `size` (height, width) come to lie on its copy.

    A box that was turned becomes the smallest upright one around it, cut at the border; one moved out is left out.
    """
    matrix, offset = change.placement(size)
    moved: list[Box] = []
    for xmin, ymin, xmax, ymax in boxes:
        corners = np.array([(y, x) for y in (ymin, ymax) for x in (xmin, xmax)])
        placed = np.linalg.solve(matrix, (corners - offset).T).T
        (top, left), (bottom, right) = (np.clip(edge, 0, size).tolist() for edge in (placed.min(0), placed.max(0)))
        if bottom > top and right > left:
            moved.append((round(left, 2), round(top, 2), round(right, 2), round(bottom, 2)))
    return tuple(moved)


def _resample(plane: Uint8Array, change: Change, out: npt.NDArray[np.generic], order: int) -> None:
    """One channel (H, W) as `change` moves it, into `out` (H, W), by interpolation of `order` 0 or 1."""
    matrix, offset = change.placement((plane.shape[0], plane.shape[1]))
    # ndimage counts from the centre of the first pixel.
    ndimage.affine_transform(plane, matrix, offset + matrix @ (0.5, 0.5) - 0.5, output=out, order=order, mode="nearest")
