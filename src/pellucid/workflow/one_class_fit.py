"""Features of normal images to a detector, and to scores of images that it has not learnt from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..anomaly.crossfit import CrossFit, OutOfFold, cross_fit, scored
from ..anomaly.detector import Detector
from ..anomaly.fitting import Suspicion, with_units
from ..errors import DataError
from ..evaluation.operating_point import needed_for
from ..preprocessing import FloatArray
from ..recipe_anomaly import AnomalySection
from .normals import Describer, Description, SeenImages
from .prediction import Rows

MOST_SCORED = 600
"""Normal images that choose the threshold at most, unless the promise takes more."""


@dataclass(frozen=True)
class FittedDetector:
    """A detector, and what was found on the way; all rows are samples.

    `judged` is about the normal images `judged_of`, which do not test. The detector is made of the images `learnt`. The
    images `held` choose the threshold: `scores` are by detectors that had not seen them, and `suspect` says which ones
    look bad.
    """

    detector: Detector
    judged: Suspicion
    judged_of: Rows
    learnt: Rows
    held: Rows
    scores: FloatArray
    suspect: np.ndarray


def fit_normals(describer: Describer, images: SeenImages) -> FittedDetector:
    """Fit to the normal images that do not test, without those that look bad if these are left out.

    Raises DataError where too few are left.
    """
    section, labels = describer.recipe.anomaly, images.dataset.labels
    pool = np.sort(np.concatenate([images.positions(split) for split in ("train", "val")]))
    description = describer.described(images, pool[labels[pool] == 0])
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
    chosen = _drawn(len(description.rows), section, describer.seed)
    order, parts = _out_of_fold(describer, images, description, fitted, chosen)
    detector = with_units(fitted.whole, parts.local, parts.image, section.whole)
    held, scores = description.rows[order], parts.scores(detector)
    bad = pool[labels[pool] != 0]
    if len(bad):
        passes = describer.passes(images, bad, "Scoring the bad images that help")
        theirs = OutOfFold.joined([scored(detector, features) for _, features in passes])
        held, scores = np.concatenate([held, bad]), np.concatenate([scores, theirs.scores(detector)])
    suspect = np.concatenate([judged.suspect[order], np.zeros(len(bad), bool)])
    return FittedDetector(detector, judged, description.rows, description.rows[kept], held, scores, suspect)


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
    describer: Describer, images: SeenImages, description: Description, fitted: CrossFit, chosen: Rows
) -> tuple[Rows, OutOfFold]:
    """What the detector of its own fold says of each image, and the images' places in the description."""
    order = chosen[np.argsort(fitted.fold[chosen], kind="stable")]
    parts: list[OutOfFold] = []
    if fitted.whole.local is None:
        for k, detector in enumerate(fitted.detectors):
            mine = order[fitted.fold[order] == k]
            if detector.whole is not None and len(mine):
                parts.append(OutOfFold(None, detector.whole.distances(description.statistics[mine])))
        return order, OutOfFold.joined(parts)
    what = "Scoring each normal image by a detector that has not seen it"
    for samples, features in describer.passes(images, description.rows[order], what):
        fold = fitted.fold[np.searchsorted(description.rows, samples)]
        for k in np.unique(fold):
            parts.append(scored(fitted.detectors[k], features.take(fold == k)))
    return order, OutOfFold.joined(parts)
