"""Audit a dataset before anything is trained on it: read, measure, compare, judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .._optional import require
from ..bundle.bundle import load
from ..data.cache import CachedPixels, cached_pixels
from ..data.companions import check_companions
from ..data.dataset import Dataset
from ..data.disjointness import Kinship, kinship_of
from ..data.folder import read_dataset
from ..data.groups import assign_groups, suggest_group_pattern
from ..data.inspection import Inspection
from ..data.label_errors import LabelCheck, check_labels
from ..data.metadata import metadata_test
from ..data.one_class import read_one_class
from ..data.statistics import ImageMeasurements, measure_images
from ..data.summary import audit
from ..data.table import TableOptions
from ..errors import InputError
from ..preprocessing import FloatArray, Preprocessing
from ..progress import Advance, Progress, Silent
from ..recipe import Recipe, load_recipe
from ..recipe_sections import AugmentSection, DataSection, ModelSection
from ..storage import cache_folder
from .normals import odd_normals

BATCH = 32
WITHOUT_FEATURES = (
    "That takes a pretrained network: add `weights=FILE` and its `backbone=NAME`, or `bundle=RUN` with a model that "
    "was not trained on these images."
)


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """The findings, and the measurements that they were drawn from (for pictures)."""

    inspection: Inspection
    measurements: ImageMeasurements


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
    merge: Mapping[str, Sequence[str]] | None = None,
    group_by: str | None = None,
    leave_out: Sequence[str] = (),
    one_against_rest: str | None = None,
    table: TableOptions | None = None,
    features: FeatureSource | None = None,
    one_class: bool = False,
    normal: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inspected:
    """Audit the labelled images at `source`, a folder or CSV as `read_dataset` takes it with the same options.

    Where no groups are known, those that file names suggest keep images together in the cross-validated tests, and are
    reported as a guess. With `features` labels are checked too. With `one_class` the data are read as the recipe of
    that name reads them (`normal` names the normal images), and bad images are looked for among the normal ones, by its
    backbone or that of `features`. Raises DataError when there is nothing to audit, WeightsError or BundleError when
    the features cannot be had.
    """
    shown: Progress = progress or Silent()
    if one_class:
        recipe = _one_class_recipe(features, positive or merge or leave_out or one_against_rest)
        dataset = read_one_class(Path(source), normal=normal, group_by=group_by, table=table)
        if not dataset.labels.any():
            dataset = replace(dataset, classes=dataset.classes[:1])
        extract = None
    else:
        extract = _extractor(features)
        dataset = read_dataset(
            Path(source),
            positive=positive,
            merge=merge,
            group_by=group_by,
            leave_out=leave_out,
            one_against_rest=one_against_rest,
            table=table,
        )
    with shown.bar("Reading images") as advance:
        found = measure_images(dataset, progress=advance)
    with shown.bar("Reading masks") as advance:
        companions = check_companions(dataset, search=Path(source).is_dir(), progress=advance)
    pattern = suggest_group_pattern(found.dataset)
    grouped = _with_groups(found.dataset, pattern)
    shown.say(f"Comparing {len(grouped):,} images with each other ...")
    kin = kinship_of(grouped, found.fingerprints)
    metadata = metadata_test(found, kin.unit, seed=seed)
    labels = None
    if extract is not None:
        labels = _label_check(extract, found.dataset, kin, seed, shown)
    odd = odd_normals(found.dataset, recipe, seed, shown) if one_class else None
    inspection = audit(
        found,
        kin,
        companions=companions,
        source=str(source),
        groups=[s.group for s in grouped.samples],
        pattern=pattern,
        metadata=metadata,
        labels=labels,
        features=features.in_words if features else "",
        labels_absent=WITHOUT_FEATURES if features is None else "A class has too few independent images to judge by.",
        odd=odd,
    )
    return Inspected(inspection, found)


def _one_class_recipe(features: FeatureSource | None, of_classes: object) -> Recipe:
    """The recipe by which bad images are looked for; InputError for options that it has no use for."""
    if of_classes:
        raise InputError(
            "With `one_class=` images are normal or bad, and nothing else: drop `positive=`, `merge=`, `leave_out=` "
            "and `one_against_rest=`."
        )
    if features is None:
        return load_recipe("one-class")
    if features.bundle is not None:
        raise InputError("With `one_class=` features come from a backbone, not from `bundle=`: give `backbone=`.")
    weights = features.weights or "imagenet"
    return load_recipe("one-class", [f"model.backbone={features.backbone}", f"model.weights={weights}"])


def _with_groups(dataset: Dataset, pattern: str | None) -> Dataset:
    """The dataset with the groups that a pattern reads off its file names."""
    if pattern is None:
        return dataset
    groups = assign_groups([s.path for s in dataset.samples], pattern, [])
    return replace(dataset, samples=tuple(replace(s, group=g) for s, g in zip(dataset.samples, groups, strict=True)))


@dataclass(frozen=True, slots=True)
class _Extractor:
    """A way from decoded images to features (N, D), and the preprocessing that it wants."""

    preprocessing: Preprocessing
    run: Callable[[CachedPixels, Advance], FloatArray]


def _extractor(source: FeatureSource | None) -> _Extractor | None:
    if source is None:
        return None
    if source.bundle is not None:
        return _of_bundle(source.bundle)
    if source.weights is None:
        raise InputError(f"`backbone={source.backbone}` needs `weights=`: a file, or imagenet to fetch them.")
    return _of_backbone(source.backbone, source.weights)


def _of_bundle(path: Path) -> _Extractor:
    """Mean activations of the explained layer, without torch."""
    bundle = load(path)

    def run(cached: CachedPixels, advance: Advance) -> FloatArray:
        rows: list[FloatArray] = []
        for start in range(0, len(cached.pixels), BATCH):
            batch = bundle.preprocessing.normalise(cached.pixels[start : start + BATCH])
            rows.append(bundle.evidence(batch).activations.mean(axis=(2, 3), dtype=np.float32))
            advance(min(start + BATCH, len(cached.pixels)), len(cached.pixels))
        return np.concatenate(rows)

    return _Extractor(bundle.preprocessing, run)


def _of_backbone(name: str, weights: str) -> _Extractor:
    """Pooled features of a frozen backbone with its published weights."""
    require("torch", extra="train")
    from ..models.network import build_network
    from ..models.weights import load_initial_weights
    from ..training.batches import ImageBatches
    from ..training.features import frozen_features
    from ..training.hardware import pick_device

    recipe = Recipe(data=DataSection(values="imagenet"), model=ModelSection(backbone=name, weights="none"))
    preprocessing = recipe.preprocessing()
    network = build_network(recipe, classes=2)
    load_initial_weights(network.backbone, name, weights)

    def run(cached: CachedPixels, advance: Advance) -> FloatArray:
        rows = np.arange(len(cached.pixels))
        batches = ImageBatches(
            cached.pixels,
            rows,
            cached.dataset.labels,
            preprocessing,
            AugmentSection(),
            batch_size=BATCH,
            seed=0,
            device=pick_device(),
        )
        return frozen_features(network, batches, advance=advance)

    return _Extractor(preprocessing, run)


def _label_check(
    extractor: _Extractor, dataset: Dataset, kin: Kinship, seed: int, progress: Progress
) -> LabelCheck | None:
    with progress.bar("Decoding for the backbone") as advance:
        cached = cached_pixels(dataset, extractor.preprocessing, cache_folder(), progress=advance)
    if len(cached.dataset) < len(dataset):
        raise InputError(f"Files in {dataset.root} were changed while they were read; run it again.")
    with progress.bar("Features") as advance:
        features = extractor.run(cached, advance)
    return check_labels(features, dataset.labels, kin.unit, [s.path for s in dataset.samples], seed=seed)
