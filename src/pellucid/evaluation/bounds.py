"""Every metric of an evaluation with its 95 % interval, and a note on each interval that is not the usual one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import LEVEL, Resampling, Values, percentiles, wilson
from .metrics import CLASS_METRICS, METRICS, Base
from .result import Metric
from .tally import Answers, Tally

MOST_NAMED = 5
"""The most classes of a metric that a note names."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: the metric's stable name, what it is a share of, and the class it is about.

    `of_class` is False for a metric of all classes together, whose `index` is then that of the positive class.
    """

    name: str
    base: Base
    index: int
    of_class: bool


class MetricTable:
    """All figures of an evaluation as the rows of one array: the metrics, then each class metric class by class."""

    def __init__(self, metrics: Sequence[str], classes: int, *, per_class: bool = True) -> None:
        self.metrics = list(metrics)
        self.class_metrics = CLASS_METRICS if per_class else {}
        overall = 1 if classes == 2 else None
        self.rows: list[TableRow] = []
        for name in self.metrics:
            base = METRICS[name].base
            about_class = base not in ("", "all")
            self.rows.append(TableRow(name, "" if about_class and overall is None else base, overall or 0, False))
        self.rows += [
            TableRow(name, row.base, k, True) for name, row in self.class_metrics.items() for k in range(classes)
        ]

    def compute(self, tally: Tally) -> Values:
        """Every figure under each of B weightings, (rows, B)."""
        top = [METRICS[name].compute(tally)[None] for name in self.metrics]
        return np.concatenate([*top, *(row.compute(tally) for row in self.class_metrics.values())])


@dataclass(frozen=True, slots=True)
class ResampledTallies:
    """The counts of all images as they are, and of every resample; of no resample where there is one unit only."""

    resampling: Resampling
    point: Tally
    tallies: list[Tally]

    @classmethod
    def of(cls, answers: Answers, resampling: Resampling) -> ResampledTallies:
        point = answers.tally(np.ones((len(answers.labels), 1)))
        weights = resampling.weights() if resampling.units > 1 else ()
        return cls(resampling, point, [answers.tally(w) for w in weights])


@dataclass(frozen=True, slots=True)
class Unusual:
    """Rows whose interval is Wilson's because they are exactly 0 or 1, and rows that have none at all."""

    exact: Sequence[TableRow]
    flat: Sequence[TableRow]

    def notes(self, classes: Sequence[str], resampling: Resampling) -> list[str]:
        """A sentence on either kind, with the class of each metric that is about one."""
        notes = []
        if self.exact:
            notes.append(
                "Exactly 0 or 1, where a bootstrap has no width, so the interval is Wilson's, counting"
                f" {resampling.unit_name}: {_listed(self.exact, classes)}."
            )
        if self.flat:
            notes.append(
                "Without an interval, because every resample gives the same value; that shows that the images are too"
                f" few to tell, not that the value is certain: {_listed(self.flat, classes)}."
            )
        return notes


def with_bounds(table: MetricTable, answers: Answers, drawn: ResampledTallies) -> tuple[list[Metric], Unusual]:
    """Every row of the table with its interval, and which intervals are not the usual ones."""
    resampling, point, tallies = drawn.resampling, drawn.point, drawn.tallies
    values = table.compute(point)[:, 0]
    low, high = np.full((2, len(values)), np.nan)
    if tallies:
        low, high = percentiles(np.concatenate([table.compute(tally) for tally in tallies], axis=1))
        if "ece" in table.metrics:
            ece = table.metrics.index("ece")
            low[ece], high[ece] = _calibration_bounds(values[ece], low[ece], point, tallies)
    exact, flat = list[TableRow](), list[TableRow]()
    for i, row in enumerate(table.rows):
        extreme = bool(row.base) and values[i] in (0, 1)
        if extreme or (row.base not in ("", "pairs") and not resampling.grouped):
            n = _base_units(row.base, row.index, answers, resampling)
            low[i], high[i] = wilson(round(float(np.nan_to_num(values[i])) * n), n)
            if resampling.grouped or row.base == "pairs":
                exact.append(row)
        elif low[i] == high[i]:
            low[i] = high[i] = math.nan
            flat.append(row)
    bounded = [Metric(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]
    return bounded, Unusual(exact, flat)


def _calibration_bounds(value: float, low: float, point: Tally, tallies: list[Tally]) -> tuple[float, float]:
    """Bounds of the calibration error, whose percentile interval would lie above both the value and the truth.

    Chance alone gives every bin a gap, and pushes the error up once in the sample and once more in each resample. The
    upper bound is reflected about the value, which takes the push out (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 5.2). For the lower one: the error differs from the truth by no more than the bins' gaps
    do in sum, so it is taken off the value; a calibrated model's lower bound is then 0.
    """
    gap = point.sums["gaps"] / point.total
    noise = np.concatenate([np.abs(t.sums["gaps"] / t.total - gap).sum(axis=0) for t in tallies])
    return max(0.0, value - float(np.quantile(noise, (1 + LEVEL) / 2))), max(value, 2 * value - low)


def _base_units(base: Base, k: int, answers: Answers, resampling: Resampling) -> int:
    """How many images or groups a share is a share of."""
    actual, predicted = answers.labels == k, answers.predicted == k
    if base == "pairs":
        # The variance of an area A is at most A (1 - A) / min(positives, negatives), that of a proportion of that many
        # (Birnbaum and Klose, Ann. Math. Stat. 28 (1957) 933), so Wilson's interval for that number is a safe one.
        return min(resampling.units_among(actual), resampling.units_among(~actual))
    among = {
        "all": np.ones_like(actual),
        "actual": actual,
        "not-actual": ~actual,
        "predicted": predicted,
        "not-predicted": ~predicted,
    }
    return resampling.units_among(among[base])


def _listed(rows: Sequence[TableRow], classes: Sequence[str]) -> str:
    """The metrics of some rows by title, those of single classes with the names of the classes."""
    overall = [METRICS[row.name].title for row in rows if not row.of_class and METRICS[row.name].twin_of is None]
    of_classes: dict[str, list[str]] = {}
    for row in rows:
        # Of two classes, a figure of the positive one is the overall figure, and so is an area for either class.
        if row.of_class and (len(classes) > 2 or (row.index == 0 and row.base != "pairs")):
            of_classes.setdefault(CLASS_METRICS[row.name].title, []).append(classes[row.index])
    return ", ".join([*overall, *(f"{title} of {_some(names)}" for title, names in of_classes.items())])


def _some(names: list[str]) -> str:
    """`a`, `a and b`, or the first few and how many more."""
    shown, more = names[:MOST_NAMED], len(names) - MOST_NAMED
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
