"""Score a bundle on labelled images, and keep figures honest about overlap with its training data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle, load
from ..bundle.run import RunFolder
from ..classifier import probabilities_from_logits
from ..data.cache import cached_pixels
from ..data.dataset import Dataset, Skipped, Split
from ..data.folder import read_dataset
from ..data.manifest import read_split
from ..errors import DataError
from ..evaluation.evaluate import evaluate_predictions
from ..evaluation.result import EvaluationResult
from ..evaluation.schema import write_evaluation
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Advance, Progress, Silent
from .leaks import overlap_with_training
from .storage import cache_folder

BATCH = 16


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The result, and the files that could not be scored."""

    result: EvaluationResult
    skipped: tuple[Skipped, ...]
    folder: Path | None


def evaluate_run(
    run: Path,
    data: Path | None = None,
    *,
    split: Split = "test",
    allow_leak: bool = False,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Evaluate a run on a split of its own data, or on `data`, and write `metrics.json` and `predictions.csv`.

    They go to `out`, by default `evaluation/` of the run for its own test split and `evaluation-<name>/` otherwise.
    Raises DataError when the images overlap with those trained on, unless `allow_leak`; then the notes say so.
    """
    bundle = load(run)
    folder = RunFolder(run)
    dataset = own_split(folder, bundle, split) if data is None else foreign_split(bundle, data, split)
    leaks = () if data is None else overlap_with_training(folder, dataset)
    if leaks and not allow_leak:
        raise DataError(
            f"{leaks[0]} Figures on images that were trained on mean nothing; "
            "--allow-leak gives them all the same, marked."
        )
    evaluated = evaluate_dataset(bundle, dataset, split or "all", leaks=leaks, progress=progress)
    target = out or (
        folder.evaluation if data is None and split == "test" else run / f"evaluation-{data.name if data else split}"
    )
    write_evaluation(evaluated.result, target)
    return replace(evaluated, folder=target)


def evaluate_dataset(
    bundle: Bundle, dataset: Dataset, split: str, *, leaks: tuple[str, ...] = (), progress: Progress | None = None
) -> Evaluated:
    """Score every image of a dataset whose classes are the bundle's, in its order."""
    progress = progress or Silent()
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=advance)
    samples = cached.dataset.samples
    if not samples:
        raise DataError(f"None of the {len(dataset)} images of {dataset.root} can be read.")
    with progress.bar("Predicting") as advance:
        logits = predict_pixels(bundle, cached.pixels, advance)
    outputs = logits[:, 0] if bundle.task == "regression" else None
    result = evaluate_predictions(
        task=bundle.task,
        classes=bundle.classes,
        labels=cached.dataset.labels,
        probabilities=None if bundle.task == "regression" else probabilities_from_logits(logits),
        outputs=outputs,
        paths=[s.path for s in samples],
        groups=[s.group for s in samples],
        split=split,
        threshold=bundle.manifest.threshold,
    )
    result = replace(result, leaks=leaks)
    return Evaluated(result, cached.dataset.skipped, None)


def predict_pixels(bundle: Bundle, pixels: Uint8Array, advance: Advance) -> FloatArray:
    """Logits (N, L) of resized images (N, height, width, 3) uint8."""
    found = []
    for start in range(0, len(pixels), BATCH):
        found.append(bundle.logits(bundle.preprocessing.normalise(pixels[start : start + BATCH])))
        advance(min(start + BATCH, len(pixels)), len(pixels))
    return np.concatenate(found)


def own_split(folder: RunFolder, bundle: Bundle, split: Split) -> Dataset:
    """A split of the data that the run was trained on; DataError when the data have moved or the split is empty."""
    source = Path(folder.read_record().data.source)
    root = source if source.is_dir() else source.parent
    if not root.is_dir():
        raise DataError(f"The data of this run lay in {source}, which is not there now. Give their new place as DATA.")
    dataset = read_split(folder.split, root, bundle.classes).split(split)
    if not len(dataset):
        raise DataError(f"The run has no images in its {split!r} split.")
    return dataset


def foreign_split(bundle: Bundle, data: Path, split: Split) -> Dataset:
    """Other data for the bundle's classes: its `split` where it has splits, all of it otherwise."""
    dataset = read_dataset(data, classes=bundle.classes)
    splits = {s.split for s in dataset.samples}
    if splits == {""}:
        return dataset
    if split not in splits:
        raise DataError(
            f"{data} has no split {split!r}, only {', '.join(sorted(splits - {''}))}. Choose one by --split."
        )
    return dataset.split(split)
