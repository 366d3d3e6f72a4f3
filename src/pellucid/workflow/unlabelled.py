"""Judge new images without labels by a run's own validation images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle, load
from ..bundle.run import RunFolder
from ..data.cache import cached_pixels
from ..data.dataset import Dataset, OmittedFile, Sample
from ..errors import DataError, InputError
from ..evaluation.unlabelled import AnsweredImages, Unlabelled, judge_unlabelled
from ..evaluation.validation import read_validation
from ..progress import Progress, Silent
from ..storage import cache_folder
from .evaluation import own_split
from .prediction import answers_on_pixels, find_images


def judge_new_images(
    run: Path, data: Path, *, progress: Progress | None = None
) -> tuple[Unlabelled, tuple[OmittedFile, ...]]:
    """What the model of a run is worth on the images of a folder, without labels, and the files that were skipped.

    The run's validation images are looked for where they lay; without them no shift of the images can be told, and the
    verdict is that nothing can be estimated. Raises InputError for a regression, DataError for too few images.
    """
    bundle, folder, shown = load(run), RunFolder(run), progress or Silent()
    if bundle.task == "regression":
        raise InputError("A score has no confidence: without labels nothing can be said of its error.")
    new, outside, skipped = _new_images(bundle, data, shown)
    home, labels = _home(bundle, folder, shown)
    return judge_unlabelled(home, labels, new, outside), skipped


def _new_images(
    bundle: Bundle, data: Path, progress: Progress
) -> tuple[AnsweredImages, float | None, tuple[OmittedFile, ...]]:
    files = find_images([data])
    root = data if data.is_dir() else data.parent
    samples = tuple(Sample(f.relative_to(root).as_posix(), 0) for f in files)
    side, _, skipped, outside = _answered(bundle, Dataset(root, bundle.classes, samples), progress)
    return side, outside, skipped


def _home(bundle: Bundle, folder: RunFolder, progress: Progress) -> tuple[AnsweredImages, npt.NDArray[np.int64]]:
    """The validation images: with features if the files are still there, else the answers that the run kept."""
    try:
        dataset = own_split(folder, bundle, "val")
    except DataError:
        kept = read_validation(folder.evaluation, bundle.classes, bundle.manifest.logits)
        if kept is None:
            raise
        return AnsweredImages(bundle.probabilities_of(kept.logits).astype(np.float64)), kept.labels
    side, labels, _, _ = _answered(bundle, dataset, progress)
    return side, labels


def _answered(
    bundle: Bundle, dataset: Dataset, progress: Progress
) -> tuple[AnsweredImages, npt.NDArray[np.int64], tuple[OmittedFile, ...], float | None]:
    """The answers to a dataset's readable images, their labels, unreadable files, and the share of unusual images."""
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=advance)
    with progress.bar("Predicting") as advance:
        logits, features = answers_on_pixels(bundle, cached.pixels, advance)
    wide = None if features is None else features.astype(np.float64)
    side = AnsweredImages(bundle.probabilities_of(logits).astype(np.float64), wide)
    scores = None if features is None else bundle.outside_scores(features, logits)
    outside = None if scores is None else float((scores > 1).mean())
    return side, cached.dataset.labels, cached.dataset.skipped, outside
