"""The images that engines are measured on: validation images, and training images for int8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.run import RunFolder
from ...data.cache import CachedPixels, cached_pixels
from ...data.dataset import Dataset
from ...data.folder import read_dataset
from ...data.table import TableOptions
from ...errors import DataError
from ...preprocessing import Uint8Array
from ...progress import Progress
from ...storage import cache_folder
from ..evaluation import own_split

MOST, CALIBRATING = 2000, 300
"""The most validation images that answers are compared on, and training images that int8 takes its ranges from."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Resized images (N, height, width, 3) with their labels (N,) and groups, and those for int8 (none: None)."""

    pixels: Uint8Array
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]
    groups: tuple[str, ...]
    training: Uint8Array | None
    source: str


def images_for(
    run: Path, bundle: Bundle, data: Path | None, table: TableOptions | None, progress: Progress
) -> Compared:
    """Validation and training images of a run, or of `data`; without splits all of `data` is for comparing.

    Raises DataError where there are no labelled images.
    """
    if data is None:
        validation: Dataset = own_split(RunFolder(run), bundle, "val")
        training: Dataset | None = own_split(RunFolder(run), bundle, "train")
    else:
        dataset = read_dataset(data, classes=bundle.classes, table=table)
        splits = {s.split for s in dataset.samples}
        if splits != {""} and "val" not in splits:
            raise DataError(
                f"{data} has no validation images, only {', '.join(sorted(splits - {''}))}: engines are compared on "
                "images that neither trained the model nor test it."
            )
        validation = dataset if splits == {""} else dataset.split("val")
        training = dataset.split("train") if "train" in splits else None
    compared = _read(_some(validation, MOST), bundle, progress)
    if not len(compared.pixels):
        raise DataError("None of the validation images can be read.")
    known = None
    if training is not None and len(training):
        known = _read(_some(training, CALIBRATING), bundle, progress).pixels
    samples = compared.dataset.samples
    return Compared(
        compared.pixels,
        np.asarray(compared.dataset.labels, np.int64),
        tuple(s.group for s in samples),
        known if known is not None and len(known) else None,
        "validation images of the run" if data is None else f"images of {data.name}",
    )


def _read(dataset: Dataset, bundle: Bundle, progress: Progress) -> CachedPixels:
    with progress.bar("Reading images") as advance:
        return cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=advance)


def _some(dataset: Dataset, most: int) -> Dataset:
    """At most `most` images, in equal steps through the dataset."""
    from dataclasses import replace

    if len(dataset) <= most:
        return dataset
    rows = np.linspace(0, len(dataset) - 1, most).round().astype(int)
    return replace(dataset, samples=tuple(dataset.samples[i] for i in rows))
