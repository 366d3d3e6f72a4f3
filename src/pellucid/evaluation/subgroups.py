"""Is the model as good for everyone? Each subgroup against all other images, with intervals.

The interval of a difference of two independent figures is made from their own intervals (MOVER): Zou and Donner,
Statistics in Medicine 27 (2008) 1693; for proportions with Wilson's intervals it is Newcombe's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.areas import Area, clustered_area
from ..errors import InputError
from .intervals import wilson
from .shortcuts import Indices, Scores

# A subgroup smaller than this, or one with fewer images of a class, is counted and not judged.
FEWEST, FEWEST_OF_A_CLASS = 20, 5


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One subgroup: number of images and metrics; `accuracy_gap` and `area_gap` are its value minus that of the rest.

    `area` and `area_gap` are None if a class has too few images; all metrics are None in a subgroup that is too small.
    """

    name: str
    images: int
    accuracy: Area | None = None
    accuracy_gap: Area | None = None
    area: Area | None = None
    area_gap: Area | None = None


def by_subgroup(names: Sequence[str], whole: Scores, labels: Indices, units: Indices) -> list[Subgroup]:
    """Figures of each subgroup of N images; `names` (N,) say which each belongs to, "" for none."""
    of = np.array(names)
    right = whole.answers == labels
    found = []
    for name in sorted(set(names) - {""}):
        mine, rest = of == name, of != name
        if min(mine.sum(), rest.sum()) < FEWEST:
            found.append(Subgroup(name, int(mine.sum())))
            continue
        accuracy, others = (_share(right[chosen]) for chosen in (mine, rest))
        areas = [_area(whole, labels, units, chosen) for chosen in (mine, rest)]
        gap = difference(areas[0], areas[1]) if areas[0] and areas[1] else None
        found.append(Subgroup(name, int(mine.sum()), accuracy, difference(accuracy, others), areas[0], gap))
    return found


def subgroup_names(paths: Iterable[str], pattern: str) -> list[str]:
    """The subgroup of each file name by a regular expression: its first group that matched, or the whole match.

    InputError for a pattern that is no regular expression, or that puts all images into one subgroup or none.
    """
    names = subgroups_of(paths, pattern)
    if len(set(names)) < 2:
        where = "no file name" if set(names) == {""} else "every file name alike"
        raise InputError(f"`subgroup={pattern!r}` matches {where}: it tells no subgroups apart.")
    return names


def subgroups_of(paths: Iterable[str], pattern: str) -> list[str]:
    """The same for any images, also where they are all alike or of no subgroup."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"`subgroup={pattern!r}` is not a regular expression: {error}.") from error
    names = []
    for path in paths:
        match = expression.search(path)
        groups = [g for g in match.groups() if g] if match else []
        names.append(groups[0] if groups else match.group() if match else "")
    return names


def difference(first: Area, second: Area) -> Area:
    """`first - second` of two independent figures, with the interval that their own intervals give."""
    gap = first.value - second.value
    low = gap - math.hypot(first.value - first.low, second.high - second.value)
    high = gap + math.hypot(first.high - first.value, second.value - second.low)
    return Area(gap, low, high)


def _share(right: npt.NDArray[np.bool_]) -> Area:
    count, n = int(right.sum()), len(right)
    return Area(count / n, *wilson(count, n))


def _area(whole: Scores, labels: Indices, units: Indices, chosen: npt.NDArray[np.bool_]) -> Area | None:
    classes = 2 if whole.ranking.shape[1] == 1 else whole.ranking.shape[1]
    counts = np.bincount(labels[chosen], minlength=classes)
    if counts.min() < FEWEST_OF_A_CLASS:
        return None
    return clustered_area(whole.ranking[chosen], labels[chosen], units[chosen])
