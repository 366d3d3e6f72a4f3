"""Features of normal images to a detector, and to scores of images that it has not learnt from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..anomaly.crossfit import CrossFit, OutOfFold, cross_fit, scored
from ..anomaly.detector import Detector, ImageFeatures
from ..anomaly.fitting import with_units
from ..anomaly.suspects import Suspicion
from ..errors import DataError
from ..evaluation.operating_point import needed_for
from ..preprocessing import FloatArray
from ..recipe_anomaly import AnomalySection
from ..storage import cache_folder
from .kept_cells import KeptCells, kept_cells
from .normals import BATCH, Describer, Description, SeenImages
from .prediction import Rows

MOST_SCORED = 600
"""Normal images that choose the threshold at most, unless the promise takes more."""


@dataclass(frozen=True)
class FittedDetector:
    """A detector, and what was found on the way; all rows are samples.

    `judged` is about the normal images `judged_of`, which do not test. The detector is made of the images `learnt`. The
    images `held` choose the threshold: `scores` are by detectors that had not seen them, and `suspect` says which ones
    look bad. `usual` is the median of the scores of normal images.
    """

    detector: Detector
    judged: Suspicion
    judged_of: Rows
    learnt: Rows
    held: Rows
    scores: FloatArray
    suspect: np.ndarray
    usual: float


def fit_normals(describer: Describer, images: SeenImages) -> FittedDetector:
    """Fit to the normal images that do not test, without those that look bad if these are left out.

    Raises DataError where too few are left.
    """
    labels = images.dataset.labels
    pool = np.sort(np.concatenate([images.positions(split) for split in ("train", "val")]))
    rows, bad = pool[labels[pool] == 0], pool[labels[pool] != 0]
    chosen = _drawn(len(rows), describer.recipe.anomaly, describer.seed)
    used = describer.recipe.anomaly.method != "image-statistics"
    with kept_cells(cache_folder() if used else None, rows[chosen]) as cells:
        return _fitted(describer, images, rows, bad, chosen, cells)


def _fitted(
    describer: Describer, images: SeenImages, rows: Rows, bad: Rows, chosen: Rows, cells: KeptCells | None
) -> FittedDetector:
    """Fit to the normal samples `rows`; the `chosen` ones and the `bad` ones choose the threshold."""
    section = describer.recipe.anomaly
    description = describer.described(images, rows, keep=cells)
    judged = describer.judged(images, description)
    _tell(describer, judged)
    kept = ~judged.far if section.clean else np.ones(len(description.rows), bool)
    if kept.sum() < 2:
        raise DataError(
            "Too few normal images are left, as most look unlike one another: set anomaly.clean to false to learn from "
            "every image."
        )
    describer.progress.say("Choosing what to keep of the normal images ...")
    fitted = cross_fit(
        description.patches,
        description.statistics,
        describer.graph.grid,
        section,
        kept=kept,
        groups=images.groups(description.rows),
        seed=describer.seed,
    )
    order = chosen[np.argsort(fitted.fold[chosen], kind="stable")]
    parts = _out_of_fold(describer, images, description, fitted, order, cells)
    detector, parts = parts.placed(fitted.whole) if section.with_places else (fitted.whole, parts)
    detector = with_units(detector, parts.local, parts.image, section.whole)
    detector = parts.shown_above(detector, section.false_alarms, gathers=section.with_places)
    held, scores = description.rows[order], parts.scores(detector)
    usual = float(np.median(scores))
    if len(bad):
        passes = describer.passes(images, bad, "Scoring the bad images that help")
        theirs = OutOfFold.joined([scored(detector, features) for _, features in passes])
        held, scores = np.concatenate([held, bad]), np.concatenate([scores, theirs.scores(detector)])
    suspect = np.concatenate([judged.suspect[order], np.zeros(len(bad), bool)])
    return FittedDetector(detector, judged, description.rows, description.rows[kept], held, scores, suspect, usual)


def _tell(describer: Describer, judged: Suspicion) -> None:
    many, far = int(judged.suspect.sum()), int(judged.far.sum())
    if many:
        if not describer.recipe.anomaly.clean:
            end = "all are kept, as anomaly.clean is off"
        elif not far:
            end = "none is far enough to be left out"
        else:
            end = f"the {far:,} farthest {'is' if far == 1 else 'are'} left out"
        look, whole = "looks" if many == 1 else "look", len(judged.suspect)
        describer.progress.say(f"{many:,} of {whole:,} images taken as normal {look} unlike the others; {end}.")


def _drawn(images: int, section: AnomalySection, seed: int) -> Rows:
    """Which images choose the threshold: all, or as many as are worth the time."""
    most = max(MOST_SCORED, math.ceil(1.5 * needed_for(1 - section.false_alarms)))
    if images <= most:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).permutation(images)[:most])


def _out_of_fold(
    describer: Describer,
    images: SeenImages,
    description: Description,
    fitted: CrossFit,
    order: Rows,
    cells: KeptCells | None,
) -> OutOfFold:
    """What the detector of its own fold says of each image, in this `order` of places in the description."""
    parts: list[OutOfFold] = []
    if fitted.whole.local is None:
        for k, detector in enumerate(fitted.detectors):
            mine = order[fitted.fold[order] == k]
            if detector.whole is not None and len(mine):
                parts.append(OutOfFold(None, detector.whole.distances(description.statistics[mine])))
        return OutOfFold.joined(parts)
    for places, features in _features_again(describer, images, description, order, cells):
        fold = fitted.fold[places]
        for k in np.unique(fold):
            parts.append(scored(fitted.detectors[k], features.take(fold == k)))
    return OutOfFold.joined(parts)


def _features_again(
    describer: Describer, images: SeenImages, description: Description, order: Rows, cells: KeptCells | None
) -> Iterator[tuple[Rows, ImageFeatures]]:
    """The features of images at these places in the description, some at a time: those kept, or found once more."""
    what = "Scoring each normal image by a detector that has not seen it"
    rows = description.rows[order]
    if cells is None or not cells.complete:
        for samples, features in describer.passes(images, rows, what):
            yield np.searchsorted(description.rows, samples), features
        return
    with describer.progress.bar(what) as advance:
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            patches, *maps = cells.read(description.rows[places])
            yield places, ImageFeatures(patches, description.statistics[places], tuple(maps))
            advance(min(start + BATCH, len(order)), len(order))
