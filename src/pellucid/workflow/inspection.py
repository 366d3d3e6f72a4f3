"""Audit a dataset before anything is trained on it: read, measure, compare, judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..bundle.bundle import load
from ..data.audit import audit
from ..data.cache import CachedPixels, cached_pixels
from ..data.dataset import Dataset
from ..data.disjointness import Kinship, kinship_of
from ..data.folder import read_dataset
from ..data.groups import assign_groups, suggest_group_pattern
from ..data.inspection import Inspection
from ..data.label_errors import LabelCheck, check_labels
from ..data.metadata import metadata_test
from ..data.statistics import Measurements, measure_images
from ..errors import InputError
from ..preprocessing import FloatArray
from ..progress import Progress, Silent
from .storage import cache_folder

BATCH = 32
WITHOUT_FEATURES = (
    "That takes features of a pretrained network: add --backbone NAME --weights FILE, or --bundle RUN with a model "
    "that was not trained on these images."
)


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """The findings, and the measurements that they were drawn from (for pictures)."""

    inspection: Inspection
    measurements: Measurements


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """What gives the features by which labels are doubted: a backbone with weights, or a bundle.

    `weights` is a file or `imagenet`.
    """

    backbone: str = "mobilenet_v2"
    weights: str | None = None
    bundle: Path | None = None

    @property
    def in_words(self) -> str:
        """For people."""
        if self.bundle is not None:
            return f"features of the model in {self.bundle.name}"
        return f"features of {self.backbone}"


def inspect_data(
    source: str | Path,
    *,
    positive: str | None = None,
    grouping: Mapping[str, Sequence[str]] | None = None,
    group_by: str | None = None,
    features: FeatureSource | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inspected:
    """Audit the labelled images at `source`, a folder or CSV as `read_dataset` takes it with the same options.

    Where no groups are known, those that file names suggest keep images together in the cross-validated tests, and are
    reported as a guess. With `features` labels are checked too. Raises DataError when there is nothing to audit,
    WeightsError or BundleError when the features cannot be had.
    """
    shown: Progress = progress or Silent()
    extract = _extractor(features)
    dataset = read_dataset(Path(source), positive=positive, grouping=grouping, group_by=group_by)
    with shown.bar("Reading images") as advance:
        found = measure_images(dataset, progress=advance)
    pattern = suggest_group_pattern(found.dataset)
    grouped = _with_groups(found.dataset, pattern)
    shown.say(f"Comparing {len(grouped):,} images with each other ...")
    kin = kinship_of(grouped, found.fingerprints)
    metadata = metadata_test(found, kin.unit, seed=seed)
    labels = None
    if extract is not None:
        labels = _label_check(extract, found.dataset, kin, seed, shown)
    inspection = audit(
        found,
        kin,
        source=str(source),
        groups=[s.group for s in grouped.samples],
        pattern=pattern,
        metadata=metadata,
        labels=labels,
        features=features.in_words if features else "",
        labels_absent=WITHOUT_FEATURES if features is None else "A class has too few independent images to judge by.",
    )
    return Inspected(inspection, found)
