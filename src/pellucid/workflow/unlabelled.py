"""Judge new images without labels by a run's own validation images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle, load
from ..bundle.home_side import HomeSide, answered_side, home_of, kept_of
from ..bundle.run import RunFolder
from ..classifier import gives_score
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

    They are held against the validation images that the bundle keeps; for one of an older build against those where
    they lay, and without these nothing can be estimated. Raises InputError for a regression, DataError for too few
    images.
    """
    bundle, folder, shown = load(run), RunFolder(run), progress or Silent()
    if gives_score(bundle.task):
        raise InputError("A score has no confidence: without labels nothing can be said of its error.")
    new, outside, skipped = _new_images(bundle, data, shown)
    home = _home(bundle, folder, shown)
    abroad = bundle.manifest.abroad or (folder.read_record().abroad if folder.record.is_file() else None)
    return judge_unlabelled(home.side, home.labels, new, outside, groups=home.groups, kept=kept_of(abroad)), skipped


def _new_images(
    bundle: Bundle, data: Path, progress: Progress
) -> tuple[AnsweredImages, float | None, tuple[OmittedFile, ...]]:
    files = find_images([data])
    root = data if data.is_dir() else data.parent
    samples = tuple(Sample(f.relative_to(root).as_posix(), 0) for f in files)
    side, answered, outside = _answered(bundle, Dataset(root, bundle.classes, samples), progress)
    return side, outside, answered.skipped


def _home(bundle: Bundle, folder: RunFolder, progress: Progress) -> HomeSide:
    """The validation images: those in the bundle, else by their files, else the answers alone that the run kept."""
    known = home_of(bundle)
    if known is not None:
        return known
    try:
        dataset = own_split(folder, bundle, "val")
    except DataError:
        kept = read_validation(folder.evaluation, bundle.classes, bundle.manifest.logits)
        if kept is None:
            raise
        return HomeSide(answered_side(bundle, kept.logits, None), kept.labels, kept.groups)
    side, answered, _ = _answered(bundle, dataset, progress)
    return HomeSide(side, answered.labels, tuple(s.group for s in answered.samples))


def _answered(bundle: Bundle, dataset: Dataset, progress: Progress) -> tuple[AnsweredImages, Dataset, float | None]:
    """The answers to a dataset's readable images, these, and the share of unusual ones."""
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=advance)
    with progress.bar("Predicting") as advance:
        logits, features = answers_on_pixels(bundle, cached.pixels, advance)
    scores = None if features is None else bundle.outside_scores(features, logits)
    outside = None if scores is None else float((scores > 1).mean())
    side = answered_side(bundle, logits, None if features is None else bundle.of_layer(features).astype(np.float64))
    return side, cached.dataset, outside
