"""Classify image files, leaving out those that cannot be read, and images that were resized before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..classifier import Prediction
from ..data.dataset import OmittedFile
from ..data.walk import has_image_suffix, walk
from ..errors import DataError, ImageError, InputError
from ..images import Image
from ..images.formats import IMAGE_SUFFIXES
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Advance

BATCH = 16
Rows = npt.NDArray[np.intp]


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and the images in the folders among them, sorted within each folder.

    Raises InputError for a path that does not exist, or if there is no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            met = (f.path for f in walk(path, once=True) if f.what == "file" and has_image_suffix(f.path))
            found += sorted(path / name for name in met)
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"There is no image or folder {path}: check the path.")
    if not found:
        raise InputError(f"No image files ({', '.join(sorted(IMAGE_SUFFIXES))}) in {', '.join(map(str, paths))}.")
    return found


def predict_files(
    bundle: Bundle, files: Sequence[Path], *, batch_size: int, advance: Advance
) -> tuple[list[Prediction], list[OmittedFile]]:
    """Predictions of the readable files, in order, and the other files with the reason."""
    predictions: list[Prediction] = []
    skipped: list[OmittedFile] = []
    for start in range(0, len(files), batch_size):
        readable: list[tuple[Path, Image]] = []
        for file in files[start : start + batch_size]:
            try:
                readable.append((file, bundle.read(file)))
            except ImageError as error:
                skipped.append(OmittedFile(str(file), error.reason))
        if readable:
            found = [image for _, image in readable]
            predictions += bundle.predict_images(found, paths=[str(file) for file, _ in readable])
        advance(min(start + batch_size, len(files)), len(files))
    return predictions, skipped


def answers_on_pixels(
    bundle: Bundle, pixels: Uint8Array, advance: Advance, rows: Rows | None = None
) -> tuple[FloatArray, FloatArray | None]:
    """Logits (N, L) and features (N, C) of resized images (M, height, width, 3), or of their `rows` (N,).

    The features are None for a bundle without an explained layer. Raises DataError without images.
    """
    chosen = np.arange(len(pixels)) if rows is None else rows
    found = []
    for start in range(0, len(chosen), BATCH):
        part = pixels[chosen[start : start + BATCH]]
        found.append(bundle.logits_and_features(bundle.preprocessing.normalise(part)))
        advance(min(start + BATCH, len(chosen)), len(chosen))
    if not found:
        raise DataError("There are no images to classify.")
    logits = np.concatenate([one for one, _ in found])
    features = [two for _, two in found if two is not None]
    return logits, np.concatenate(features) if features else None
