"""`answers.npz` of a bundle: what the original model answered for a few images, so that any machine can compare.

Values of `images` (N, 3, height, width) are rounded to half precision before the original is asked, so that a file of
half the size holds exactly what it was asked. `logits` (N, L); `map of NAME` (N, h, w), Grad-CAM's, for each explained
layer, for the class predicted; `input gradient` (N, 3, height, width) where the bundle has that graph.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BundleError
from ..preprocessing import FloatArray

ANSWERS = "answers.npz"
MOST_STORED = 2
IMAGES, LOGITS, MAP_OF, INPUT_GRADIENT = "images", "logits", "map of ", "input gradient"


def exactly_stored(images: FloatArray) -> FloatArray:
    """The first images (N, 3, height, width), rounded to what the file can hold."""
    largest = np.finfo(np.float16).max
    rounded: FloatArray = np.clip(images[:MOST_STORED], -largest, largest).astype(np.float16).astype(np.float32)
    return rounded


def pack_answers(images: FloatArray, answers: Mapping[str, FloatArray]) -> bytes:
    """The bytes of the file for `exactly_stored` images and what the original answers."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {IMAGES: images.astype(np.float16), **answers}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_answers(folder: Path) -> dict[str, FloatArray] | None:
    """The stored arrays as float32, None for a bundle without them; BundleError for a file that cannot be read."""
    path = folder / ANSWERS
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: np.asarray(found[name], np.float32) for name in found.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BundleError(f"{path} cannot be read. Copy the bundle again, or export it again.") from error
