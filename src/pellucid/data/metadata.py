"""The metadata-only test: how well the class can be told from files and simple statistics, without looking.

A small model (gradient-boosted trees) sees sizes, compression, brightness, borders and corners, nothing of what a
picture shows, and is judged on images that it was not trained on. Where it succeeds, a classifier can cheat.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .areas import Area, clustered_area
from .fingerprint import IntArray
from .split import divide
from .statistics import MEASURES, Family, ImageMeasurements, Measure, Values

FOLDS = 5
# With fewer independent images (or groups) of a class there is nothing to learn from and nothing to judge on.
FEWEST_UNITS = 10
# A format or mode held by a smaller or larger share of the images than these cannot tell much.
RARE = 0.02
FAMILIES: dict[Family, str] = {
    "file": "the file alone",
    "edge": "borders and corners",
    "picture": "brightness, contrast, colour and sharpness",
}


@dataclass(frozen=True, slots=True)
class Separation:
    """How one measure differs between a class and the rest.

    `area` is the chance that an image of class number `label` has a higher value than one of another class; it is that
    of the class for which it lies furthest from one half (of two classes: the second).
    """

    name: str
    measure: Measure
    label: int
    area: Area

    @property
    def strength(self) -> float:
        """The area as if higher values spoke for the class: 0.5 to 1."""
        return max(self.area.value, 1 - self.area.value)


@dataclass(frozen=True, slots=True)
class MetadataTest:
    """What the metadata-only test found.

    `area` is that of all measures together, for more than two classes the mean of each against the rest; `families`
    the same from the measures of one family; `separations` has one entry for each measure, the strongest first.
    """

    area: Area
    families: dict[Family, Area]
    separations: tuple[Separation, ...]
    folds: int
    units: int


def metadata_test(found: ImageMeasurements, units: IntArray, *, seed: int = 0) -> MetadataTest | None:
    """Predict the class from MEASURES, by cross-validation in which `units` (N,) stay whole.

    None where a class has fewer than 10 units, and where there is one class only.
    """
    labels = found.dataset.labels
    classes = len(found.dataset.classes)
    if classes < 2 or not enough_units(labels, units, classes):
        return None
    columns = _columns(found)
    folds = folds_of(labels, units, found.fingerprints.paths, seed)
    families = {family: _of_family(columns, family) for family in FAMILIES}
    areas = {family: _judge(chosen, labels, units, folds) for family, chosen in families.items() if chosen}
    separations = [
        s for name, (measure, values) in columns.items() if (s := separate(name, measure, values, labels, units))
    ]
    separations.sort(key=lambda s: -s.strength)
    area = _judge(columns, labels, units, folds)
    return MetadataTest(area, areas, tuple(separations), FOLDS, len(np.unique(units)))


def folds_of(labels: IntArray, units: IntArray, names: Sequence[str], seed: int) -> IntArray:
    """The fold (N,), 0 to 4, of each image: classes spread evenly, units whole. `names` (N,) tie it to no order."""
    wanted = np.tile(np.bincount(labels) / FOLDS, (FOLDS, 1))
    keys = [hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).hexdigest() for name in names]
    return divide(labels, units, wanted, keys)


def enough_units(labels: IntArray, units: IntArray, classes: int) -> bool:
    """Whether each class has the 10 independent units without which cross-validation says nothing."""
    return all(len(np.unique(units[labels == k])) >= FEWEST_UNITS for k in range(classes))


def _of_family(columns: dict[str, tuple[Measure, Values]], family: Family) -> dict[str, tuple[Measure, Values]]:
    return {name: column for name, column in columns.items() if column[0].family == family}


def _columns(found: ImageMeasurements) -> dict[str, tuple[Measure, Values]]:
    """Every measure that is not the same for all images, formats and modes as yes or no among them."""
    columns = {name: (MEASURES[name], values) for name, values in found.values.items()}
    for kind, names in (("format", found.formats), ("mode", found.modes)):
        for name, count in Counter(names).items():
            if RARE <= count / len(names) <= 1 - RARE:
                words = Measure(
                    f"Stored as {name}", "file", f"more often stored as {name}", f"less often stored as {name}"
                )
                columns[f"{kind}_{name}"] = (words, np.array([n == name for n in names], np.float64))
    return {n: (m, v) for n, (m, v) in columns.items() if len(np.unique(v[np.isfinite(v)])) > 1}


def _judge(columns: dict[str, tuple[Measure, Values]], labels: IntArray, units: IntArray, folds: IntArray) -> Area:
    """The area under the curve of predictions for the held-out folds."""
    # Before the limit: that holds for what is loaded already, and this brings its OpenMP.
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    classes = int(labels.max()) + 1
    if not columns:
        return Area(0.5, 0.5, 0.5)
    table = np.stack([values for _, values in columns.values()], axis=1)
    scores = np.zeros((len(labels), classes))
    # The work is in small pieces: threads that wait for each other took 30 times as long on a busy machine.
    with threadpool_limits(1, user_api="openmp"):
        for fold in range(FOLDS):
            held = folds == fold
            model = HistGradientBoostingClassifier(**_settings(int((~held).sum()), classes), random_state=0)
            scores[held] = model.fit(table[~held], labels[~held]).predict_proba(table[held])
    return clustered_area(scores[:, 1:] if classes == 2 else scores, labels, units)


def _settings(count: int, classes: int) -> dict[str, Any]:
    """Small trees, fewer rounds where a round grows many (one a class), and smaller leaves for few images."""
    rounds = 100 if classes <= 6 else max(10, 600 // classes)
    smallest = min(20, max(5, count // 20))
    return {"max_iter": rounds, "max_leaf_nodes": 8, "min_samples_leaf": smallest, "early_stopping": False}


def separate(name: str, measure: Measure, values: Values, labels: IntArray, units: IntArray) -> Separation | None:
    """How a measure (N,) differs between classes; None when fewer than two classes have at least 5 values."""
    known = np.isfinite(values)
    classes = int(labels.max()) + 1
    able = [k for k in range(classes) if (known & (labels == k)).sum() >= 5]
    if len(able) < 2:
        return None
    wanted = [1] if classes == 2 else able
    areas = {
        k: clustered_area(values[known][:, None], (labels[known] == k).astype(np.int64), units[known]) for k in wanted
    }
    label = max(areas, key=lambda k: abs(areas[k].value - 0.5))
    return Separation(name, measure, label, areas[label])
