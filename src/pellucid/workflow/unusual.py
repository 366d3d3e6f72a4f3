"""Fit how unusual images are recognised: describe the training images in several ways, and keep the best of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import DataError, ImageError
from ..evaluation.detectors import (
    FLAGGED,
    Flag,
    OutsideDetector,
    describe_classes,
    describe_energy,
    describe_neighbours,
)
from ..evaluation.intervals import Indices, Values
from ..evaluation.outside import Reference, describe_surroundings
from ..evaluation.stand_ins import EACH, best_detector, stand_ins
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Progress
from .prediction import Rows, answers_on_pixels, find_images

FEWEST = 20
"""Fewer images than this say nothing of what is unusual."""
DESCRIBED = 1000
"""The most training images that are described: more do not change the description."""
MOST_OTHERS = 500
STEPS = 201
"""The number of quantiles kept of the validation images' outside scores: all scores where there are no more."""
OTHERS, WITH_OTHERS = "other", "neighbours and other"
Passed = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True)
class UnusualFit:
    """The `reference` and the bytes of its file, and the outside scores (N,) of the validation images."""

    reference: Reference
    content: bytes
    outside: Values


@dataclass(frozen=True, slots=True)
class HomeImages:
    """Resized images `pixels` (M, height, width, 3), their rows `train` and `validation`, and what is known of each.

    `labels` are those of the training rows; `features` (N, C), `logits` (N, L) and `groups` of the validation rows.
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
        logits, known = answers_on_pixels(bundle, images.pixels, advance, images.train[spread])
    if known is None:
        return None
    others = _others(bundle, Path(other), progress) if other else None
    candidates = _candidates(known, logits, images.labels[spread], None if others is None else others[0][::2])
    away = _away(bundle, images, progress)
    if others is not None:
        away[OTHERS] = (others[0][1::2], others[1][1::2])
    name, measured = best_detector(candidates, (images.features, images.logits), away, others=OTHERS)
    detector = describe_neighbours(known, others[0]) if others is not None and name == WITH_OTHERS else candidates[name]
    flag = Flag(detector).fitted(images.features, images.logits, images.groups)
    outside = flag.scores(images.features, images.logits)
    return UnusualFit(
        _reference(bundle, images, name, flag, measured, len(spread), outside), detector.to_bytes(), outside
    )


def _reference(
    bundle: Bundle,
    images: HomeImages,
    name: str,
    flag: Flag,
    measured: dict[str, dict[str, float]],
    trained: int,
    outside: Values,
) -> Reference:
    groups = images.groups
    steps = np.quantile(outside, np.linspace(0, 1, min(STEPS, len(outside)))).round(4)
    return Reference(
        method="neighbours" if name == WITH_OTHERS else name,
        layer=bundle.manifest.explained_layer.name,
        channels=images.features.shape[1],
        trained=trained,
        images=len(images.features),
        groups=len({g or i for i, g in enumerate(groups)}) if any(groups) else None,
        threshold=flag.threshold,
        quantile=FLAGGED,
        quantiles=tuple(steps.tolist()),
        measured={n: {kind: round(area, 4) for kind, area in of.items()} for n, of in measured.items()},
    )


def _candidates(
    features: FloatArray, logits: FloatArray, labels: Indices, others: FloatArray | None
) -> dict[str, OutsideDetector]:
    """Every detector, described by training images."""
    found: dict[str, OutsideDetector] = {
        "mahalanobis": describe_surroundings(features),
        "class": describe_classes(features, labels),
        "neighbours": describe_neighbours(features),
        "energy": describe_energy(logits),
    }
    if others is not None:
        found[WITH_OTHERS] = describe_neighbours(features, others)
    return found


def _away(bundle: Bundle, images: HomeImages, progress: Progress) -> dict[str, Passed]:
    """Features and logits of stand-ins for unusual images, by kind."""
    chosen = np.unique(np.linspace(0, len(images.validation) - 1, EACH).round().astype(int))
    made = stand_ins(images.pixels[np.sort(images.validation[chosen])])
    found: dict[str, Passed] = {}
    with progress.bar("Looking at stand-ins for unusual images") as advance:
        for number, (kind, pixels) in enumerate(made.items(), start=1):
            logits, features = answers_on_pixels(bundle, pixels, lambda done, total: None)
            if features is not None:
                found[kind] = features, logits
            advance(number, len(made))
    return found


def _others(bundle: Bundle, folder: Path, progress: Progress) -> Passed:
    """Features and logits of the images in a folder, at most 500 spread over it."""
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
        logits, features = answers_on_pixels(bundle, np.stack(resized), advance)
    if features is None:
        raise DataError("This model gives no features, and so cannot be taught images of other things.")
    return features, logits
