"""Fit how unusual images are recognised: describe the training images in several ways, and keep the best of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import DataError, ImageError
from ..evaluation.flag_choice import ChosenFlag, ImageViews, choose_flag
from ..evaluation.flags import FLAGGED, SURE
from ..evaluation.intervals import Indices, Values
from ..evaluation.looks import looks_of
from ..evaluation.outside import Reference
from ..evaluation.stand_ins import EACH, stand_ins
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Advance, Progress
from .prediction import BATCH, Rows, answers_on_pixels, find_images

FEWEST = 20
"""Fewer images than this say nothing of what is unusual."""
DESCRIBED = 1000
"""The most training images that are described: more do not change the description."""
MOST_OTHERS = 500
STEPS = 201
"""The number of quantiles kept of the validation images' outside scores: all scores where there are no more."""


@dataclass(frozen=True, slots=True)
class UnusualFit:
    """The `reference` and the bytes of its file, and the outside scores (N,) of the validation images."""

    reference: Reference
    content: bytes
    outside: Values


@dataclass(frozen=True, slots=True)
class HomeImages:
    """Resized images `pixels` (M, height, width, 3), their rows `train` and `validation`, and what is known of each.

    `labels` are those of the training rows; `features` (N, C) of the explained layer, `logits` (N, L) and `groups` of
    the validation rows.
    """

    pixels: Uint8Array
    train: Rows
    labels: Indices
    validation: Rows
    features: FloatArray
    logits: FloatArray
    groups: Sequence[str]


def fit_unusual(bundle: Bundle, images: HomeImages, other: str, progress: Progress) -> UnusualFit | None:
    """Fit all detectors of unusual images, choose the best by stand-ins, and set its threshold on validation images.

    `other` is a folder of images outside all classes, or "". None where there are fewer than 20 images to fit to, or no
    features. Raises DataError for a folder without 10 readable images.
    """
    if min(len(images.validation), len(images.train)) < FEWEST:
        return None
    spread = np.linspace(0, len(images.train) - 1, min(DESCRIBED, len(images.train))).round().astype(int)
    with progress.bar("Describing the training images") as advance:
        known = _seen(bundle, images.pixels, images.train[spread], advance)
    if known is None:
        return None
    others = _others(bundle, Path(other), progress) if other else None
    looks = _looks(bundle, images.pixels, images.validation)
    home = ImageViews(images.features, looks, images.logits)
    away = _away(bundle, images, progress)
    chosen = choose_flag(known, images.labels[spread], home, images.groups, away, others)
    outside = chosen.flag.scores(home.whole if chosen.flag.looks else home.features, home.logits)
    return UnusualFit(
        _reference(bundle, images, chosen, len(spread), outside), chosen.flag.detector.to_bytes(), outside
    )


def _reference(bundle: Bundle, images: HomeImages, chosen: ChosenFlag, trained: int, outside: Values) -> Reference:
    groups = images.groups
    steps = np.quantile(outside, np.linspace(0, 1, min(STEPS, len(outside)))).round(4)
    return Reference(
        method=chosen.method,
        layer=bundle.manifest.explained_layer.name,
        channels=images.features.shape[1],
        trained=trained,
        images=len(images.features),
        groups=len({g or i for i, g in enumerate(groups)}) if any(groups) else None,
        threshold=chosen.flag.threshold,
        quantile=FLAGGED,
        confidence=SURE,
        quantiles=tuple(steps.tolist()),
        measured={n: {kind: round(area, 4) for kind, area in of.items()} for n, of in chosen.measured.items()},
    )


def _seen(bundle: Bundle, pixels: Uint8Array, rows: Rows, advance: Advance) -> ImageViews | None:
    """The rows (N,) of resized images as the model sees them; None for a model without features."""
    logits, features = answers_on_pixels(bundle, pixels, advance, rows)
    return None if features is None else ImageViews(bundle.of_layer(features), _looks(bundle, pixels, rows), logits)


def _looks(bundle: Bundle, pixels: Uint8Array, rows: Rows) -> FloatArray:
    """How the images in these rows look, (N, 31)."""
    shape = bundle.preprocessing
    parts = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    return np.concatenate([looks_of(shape.normalise(pixels[part]), shape) for part in parts])


def _away(bundle: Bundle, images: HomeImages, progress: Progress) -> dict[str, ImageViews]:
    """Stand-ins for unusual images, by kind."""
    chosen = np.unique(np.linspace(0, len(images.validation) - 1, EACH).round().astype(int))
    made = stand_ins(images.pixels[np.sort(images.validation[chosen])])
    found: dict[str, ImageViews] = {}
    with progress.bar("Looking at stand-ins for unusual images") as advance:
        for number, (kind, pixels) in enumerate(made.items(), start=1):
            seen = _seen(bundle, pixels, np.arange(len(pixels)), lambda done, total: None)
            if seen is not None:
                found[kind] = seen
            advance(number, len(made))
    return found


def _others(bundle: Bundle, folder: Path, progress: Progress) -> ImageViews:
    """The images in a folder, at most 500 spread over it."""
    files = find_images([folder])
    files = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, MOST_OTHERS).round().astype(int))]
    resized = []
    with progress.bar("Reading images of other things") as advance:
        for number, file in enumerate(files, start=1):
            try:
                resized.append(bundle.preprocessing.resize_image(bundle.read(file)))
            except ImageError as error:
                progress.say(f"{file} is left out: {error.reason}")
            advance(number, len(files))
    if len(resized) < 10:
        raise DataError(f"At least 10 readable images of other things are needed, and {folder} has {len(resized)}.")
    with progress.bar("Looking at images of other things") as advance:
        seen = _seen(bundle, np.stack(resized), np.arange(len(resized)), advance)
    if seen is None:
        raise DataError("This model gives no features, and so cannot be taught images of other things.")
    return seen
