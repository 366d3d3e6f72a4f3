"""Which images belong together, and the proof that splits share no images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .dataset import SPLITS, Dataset, Split
from .fingerprint import Fingerprints, IntArray, fingerprint, near_duplicates
from .labelling import counted

Criterion = Literal["content", "near-duplicate", "group"]
CRITERIA: tuple[Criterion, ...] = ("content", "near-duplicate", "group")
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Overlap:
    """How two splits overlap by one criterion.

    `images` counts the images of the second split that have a twin in the first, out of `total`; `examples` are pairs
    of paths (in the first split, in the second). By near-duplicate, only images without an exact copy are counted.
    """

    criterion: Criterion
    splits: tuple[Split, Split]
    images: int
    total: int
    examples: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        how = {
            "content": "byte for byte also in",
            "near-duplicate": "showing the same as an image of",
            "group": "sharing a group with",
        }
        first, second = self.splits
        many = f"{self.images:,} of {counted(self.total, f'{second} image')}"
        pairs = "; ".join(f"{b} and {a}" for a, b in self.examples[:2])
        return f"{many} {how[self.criterion]} {first}{f' (for example {pairs})' if pairs else ''}."


@dataclass(frozen=True, slots=True)
class Disjointness:
    """The proof that splits do not overlap, or where they do.

    `overlaps` has one entry for each pair of splits and each criterion of `checked`, those without any image included.
    Group is not among `checked` when no image has one. `threshold` is the correlation from which on two images were
    taken as near-duplicates.
    """

    overlaps: tuple[Overlap, ...]
    checked: tuple[Criterion, ...]
    threshold: float

    @property
    def leaks(self) -> tuple[Overlap, ...]:
        """The overlaps that hold at least one image."""
        return tuple(o for o in self.overlaps if o.images)

    def between(self, *splits: Split) -> Disjointness:
        """The part of the proof that concerns only `splits`."""
        return replace(self, overlaps=tuple(o for o in self.overlaps if set(o.splits) <= set(splits)))

    def sentences(self) -> tuple[str, ...]:
        """The proof in words, one sentence for each leak."""
        if self.leaks:
            return tuple(str(o) for o in self.leaks)
        unchecked = "" if "group" in self.checked else " Groups are unknown and were not compared (see `group_by=`)."
        return (f"No two splits share an image by {' or '.join(self.checked)}.{unchecked}",)


@dataclass(frozen=True, slots=True, eq=False)
class Kinship:
    """Who belongs with whom among N images: four arrays (N,) in which the same number means belonging together.

    `content`: the same file; `near`: showing the same; `group`: of one group (-1: of none); `unit`: tied by any of
    these, directly or through others, and never to be parted. `threshold` is that of `near_duplicates`.
    """

    content: IntArray
    near: IntArray
    group: IntArray
    unit: IntArray
    threshold: float


def prove_disjoint(dataset: Dataset, fingerprints: Fingerprints | None = None) -> Disjointness:
    """Compare the splits of a dataset by content, by near-duplicate and by group."""
    prints = fingerprint(dataset) if fingerprints is None else fingerprints.of(s.path for s in dataset.samples)
    return proof_of(dataset, kinship_of(dataset, prints))


def kinship_of(dataset: Dataset, prints: Fingerprints) -> Kinship:
    """Number the images of a dataset by content, look, group and unit; `prints` are in the dataset's order."""
    count = len(dataset)
    content = _numbered(prints.contents)
    group = _numbered([s.group for s in dataset.samples])
    _, representative = np.unique(content, return_index=True)
    alike = near_duplicates(prints.thumbnails[representative])
    near_edges = (representative[alike.first], representative[alike.second])
    content_edges, group_edges = _ties(content), _ties(group)
    return Kinship(
        content,
        _components(count, [content_edges, near_edges]),
        group,
        _components(count, [content_edges, near_edges, group_edges]),
        alike.threshold,
    )


def _numbered(names: Sequence[str]) -> IntArray:
    """The same number for the same name; -1 for "" ."""
    numbers: dict[str, int] = {"": -1}
    return np.array([numbers.setdefault(n, len(numbers) - 1) for n in names], np.int64)


def _ties(numbers: IntArray) -> tuple[IntArray, IntArray]:
    """Edges from each numbered image to the first of its number."""
    known = np.flatnonzero(numbers >= 0)
    _, first, inverse = np.unique(numbers[known], return_index=True, return_inverse=True)
    return known, known[first[inverse]]


def _components(count: int, edges: Sequence[tuple[IntArray, IntArray]]) -> IntArray:
    rows, columns = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    labels: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def proof_of(dataset: Dataset, kin: Kinship) -> Disjointness:
    """Compare the splits of a dataset whose kinship is known."""
    numbers = {"content": kin.content, "near-duplicate": kin.near, "group": kin.group}
    checked = tuple(c for c in CRITERIA if c != "group" or (kin.group >= 0).any())
    place = np.array([s.split for s in dataset.samples], dtype="<U5")
    present = [s for s in SPLITS if (place == s).any()]
    overlaps = []
    for first, second in combinations(present, 2):
        exact = _twins(kin.content, place == first, place == second)
        for criterion in checked:
            found = _twins(numbers[criterion], place == first, place == second)
            if criterion == "near-duplicate":
                found = found[~np.isin(found, exact)]
            overlaps.append(_overlap(dataset, criterion, numbers[criterion], (first, second), place, found))
    return Disjointness(tuple(overlaps), checked, kin.threshold)


def _twins(numbers: IntArray, first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> IntArray:
    """Indices of the images of `second` whose number also occurs in `first`."""
    return np.flatnonzero(second & (numbers >= 0) & np.isin(numbers, numbers[first]))


def _overlap(
    dataset: Dataset,
    criterion: Criterion,
    numbers: IntArray,
    splits: tuple[Split, Split],
    place: npt.NDArray[np.str_],
    found: IntArray,
) -> Overlap:
    pairs = []
    for i in found[:EXAMPLES]:
        other = int(np.flatnonzero((place == splits[0]) & (numbers == numbers[i]))[0])
        pairs.append((dataset.samples[other].path, dataset.samples[int(i)].path))
    return Overlap(criterion, splits, len(found), int((place == splits[1]).sum()), tuple(pairs))
