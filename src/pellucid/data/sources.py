"""Where images may come from: sources told apart by file names, sizes, compression, or by how images look.

A source is a device, a hospital, a year, an export: something that images of one kind share and that says nothing of
the class. Nobody records it, so it is looked for. What a classifier is worth on images from elsewhere can then be
estimated by leaving one source out of the training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal

import numpy as np
import numpy.typing as npt

from .acquisition import LOOKS, MEASURES, Acquisition
from .heaps import valley

Kind = Literal[
    "name", "size", "compression", "look",
    "brightness", "contrast", "detail", "border", "colour", "bytes", "pixels", "shape",
]  # fmt: skip
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FEWEST_IMAGES = 20
"""Fewer images are no source: no figure on them would have a useful interval."""
SMALLEST, LARGEST = 0.04, 0.7
"""A source holds at least and at most such a share of the images of each class that it occurs in."""
COMMON = 0.02
"""A part of the file names counts as a category where such a share of the names has it."""
CLUSTERS = 5
APART = 0.2
"""Mean silhouette from which a cluster of looks counts as a source of its own (Rousseeuw 1987)."""
MARGIN = 0.1
"""By so much a cluster's silhouette exceeds that of one cut out of a cloud without clusters."""
MEASURED = 1000
MOST = 8
SAME = 0.8
"""Overlap from which two sources count as one."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """Some images that seem to have one origin: `rows` (N,) of the dataset, and what they have in common.

    `kind` says by what they were told apart, `value` what it is: a pattern of names in which # stands for digits, a
    size, a JPEG quality, "low" or "high" of a measure, or nothing for the images of each class that look most unlike
    the others.
    """

    kind: Kind
    value: str
    rows: Mask

    @property
    def images(self) -> int:
        """How many images it has."""
        return int(self.rows.sum())


def find_sources(paths: Sequence[str], labels: Labels, acquisition: Acquisition) -> list[ImageSource]:
    """Sources of N images with `paths` and `labels` (N,); at most 8, of different images.

    The first of each kind come first, in the order names, sizes, compression, measures, looks; then the second.
    """
    words: tuple[tuple[Kind, Sequence[str]], ...] = (
        ("name", name_patterns(paths, labels)),
        ("size", acquisition.sizes),
        ("compression", acquisition.qualities),
    )
    kinds = [list(_by_word(kind, values, labels)) for kind, values in words]
    kinds += [list(_by_measure(acquisition.looks, labels)), list(_by_look(acquisition.looks[:, :LOOKS], labels))]
    different: list[ImageSource] = []
    for source in chain.from_iterable(kinds):
        if all(_overlap(source.rows, other.rows) < SAME for other in different):
            different.append(source)
    turns = zip_longest(*([s for s in kind if s in different] for kind in kinds))
    found = [source for turn in turns for source in turn if source is not None][:MOST]
    return found


def name_patterns(paths: Sequence[str], labels: Labels | None = None) -> list[str]:
    """The pattern of each path's file name and inner folders, in which # stands for digits and * for what is rare.

    Words that many paths have in common ("exp3", "site2") are kept: they are categories. With `labels` (N,), folders
    that only name the class or the split are left out; without, the first two.
    """
    split = [_tokens(name) for name in _inner(paths, labels)]
    common = _common(split)
    plain = [[t if t in common else re.sub(r"\d+", "#", t) for t in tokens] for tokens in split]
    known = _common(plain)
    return _alike(["".join(t if t in known or not re.search(r"\w", t) else "*" for t in tokens) for tokens in plain])


def _alike(patterns: list[str]) -> list[str]:
    """The same with one pattern where some have * and some #: a hash may be made of digits alone."""
    mixed = {p.replace("#", "*") for p in patterns if "*" in p}
    return [p.replace("#", "*") if p.replace("#", "*") in mixed else p for p in patterns]


def _common(split: Sequence[Sequence[str]]) -> set[str]:
    """What enough names have in common to be kept; numbers are not."""
    counts = Counter(token for tokens in split for token in set(tokens))
    return {t for t, n in counts.items() if n >= max(FEWEST_IMAGES, COMMON * len(split)) and not t.isdigit()}


def _inner(paths: Sequence[str], labels: Labels | None) -> list[str]:
    """File names without their ending, with the folders that may tell sources apart."""
    parts = [path.split("/") for path in paths]
    if labels is None:
        folders = [p[-2:-1] if len(p) > 3 else [] for p in parts]
    else:
        telling = [d for d in range(max(map(len, parts)) - 1) if _tells(parts, labels, d)]
        folders = [[p[d] for d in telling if d < len(p) - 1] for p in parts]
    return ["/".join([*inner, p[-1].rpartition(".")[0] or p[-1]]) for inner, p in zip(folders, parts, strict=True)]


def _tells(parts: Sequence[Sequence[str]], labels: Labels, depth: int) -> bool:
    """Whether the folder at a depth names something else than the class and the split, and takes several values."""
    names = [p[depth] if depth < len(p) - 1 else "" for p in parts]
    if set(names) <= SPLITS:
        return False
    return any(len({n for n, k in zip(names, labels, strict=True) if k == label}) > 1 for label in np.unique(labels))


SPLITS = {"", "train", "training", "val", "valid", "validation", "test", "testing", "images"}


def _tokens(name: str) -> list[str]:
    return [t for t in re.split(r"([-_ ./()]+)", name) if t]


def _by_word(kind: Kind, values: Sequence[str], labels: Labels) -> Iterator[ImageSource]:
    """One source for each value that enough images share, the largest first; none where only one value is frequent."""
    counts = Counter(values)
    array = np.array(values, dtype=object)
    frequent = [v for v, n in counts.most_common(4 * MOST) if v and n >= FEWEST_IMAGES]
    for value in frequent:
        rows: Mask = array == value
        if _sized(rows, labels):
            yield ImageSource(kind, value, rows)


def _sized(rows: Mask, labels: Labels) -> bool:
    """Whether the rows are neither too few nor too many of each class that they belong to."""
    if rows.sum() < FEWEST_IMAGES:
        return False
    shares = [float((rows & (labels == c)).sum() / (labels == c).sum()) for c in np.unique(labels[rows])]
    return max(shares) <= LARGEST and max(shares) >= SMALLEST


def _by_measure(looks: Values, labels: Labels) -> Iterator[ImageSource]:
    """Of each measure whose values fall into two heaps within some class, the images of each heap; clearest first."""
    found = []
    for column, kind in zip(looks.T, MEASURES, strict=False):
        low: Mask = np.zeros(len(labels), bool)
        high: Mask = np.zeros(len(labels), bool)
        clear = 0.0
        for label, between in _valleys(column, labels).items():
            own = labels == label
            low |= own & (column < between)
            high |= own & (column >= between)
            clear = max(clear, _separation(column[own & low], column[own & high]))
        for side, rows in (("low", low), ("high", high)):
            if rows.any() and _sized(rows, labels):
                found.append((-clear, int(rows.sum()), ImageSource(kind, side, rows)))
    yield from (source for *_, source in sorted(found, key=lambda f: f[:2]))


def _separation(low: Values, high: Values) -> float:
    """How many deviations lie between the means of two heaps (Ashman et al., Astron. J. 108 (1994) 2348)."""
    return float((high.mean() - low.mean()) / np.sqrt((low.var() + high.var()) / 2 + 1e-12))


def _valleys(column: Values, labels: Labels) -> dict[int, float]:
    """Where the values of each class fall into two heaps; where one class surely does, the others may be less sure."""
    classes = [int(c) for c in np.unique(labels)]
    if not any(valley(column[labels == c]) is not None for c in classes):
        return {}
    found = {c: valley(column[labels == c], sure=LESS_SURE) for c in classes}
    return {c: between for c, between in found.items() if between is not None}


LESS_SURE = 1.5


def _by_look(looks: Values, labels: Labels) -> Iterator[ImageSource]:
    """The cluster of each class that looks most unlike the rest, of the classes whose clusters are apart."""
    deviation = looks.std(axis=0)
    standard = (looks - looks.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    away: Mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        far = _far_cluster(standard[rows])
        if far is not None:
            away[rows[far]] = True
    if away.sum() >= FEWEST_IMAGES:
        yield ImageSource("look", "", away)


def _far_cluster(values: Values) -> Mask | None:
    """Which of some images (n, D) are the cluster farthest from the others; None where none is apart.

    A cluster is apart by its silhouette, and by more than the farthest cluster of as many draws from the normal
    distribution of the same covariance has: any cloud can be cut into clusters.
    """
    if len(values) < 5 * CLUSTERS or len(np.unique(values, axis=0)) <= CLUSTERS:
        return None
    found, apart = _farthest(values)
    if found is None or apart < APART:
        return None
    drawn = np.random.default_rng(0).multivariate_normal(values.mean(axis=0), np.cov(values.T), len(values))
    by_chance = _farthest(drawn)[1]
    return found if apart > by_chance + MARGIN else None


def _farthest(values: Values) -> tuple[Mask | None, float]:
    """The farthest cluster of fitting size, and its mean silhouette."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_samples

    cluster = KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(values)
    sampled = np.random.default_rng(0).permutation(len(values))[:MEASURED]
    if len(np.unique(cluster[sampled])) < 2:
        return None, 0.0
    silhouettes = silhouette_samples(values[sampled], cluster[sampled])
    shares = {c: float((cluster == c).mean()) for c in range(CLUSTERS)}
    fit = [c for c in range(CLUSTERS) if 0.05 <= shares[c] <= 0.5 and (cluster[sampled] == c).any()]
    if not fit:
        return None, 0.0
    far = max(fit, key=lambda c: _distance(values, cluster == c))
    return cluster == far, float(silhouettes[cluster[sampled] == far].mean())


def _distance(values: Values, inside: Mask) -> float:
    return float(np.linalg.norm(values[inside].mean(axis=0) - values[~inside].mean(axis=0)))


def _overlap(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    either, both = float((one | other).sum()), float((one & other).sum())
    return both / either if either else 1.0
