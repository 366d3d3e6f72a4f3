"""Does the model's score follow what a map marks? Deletion and insertion curves, beside maps that know nothing of it.

Petsiuk et al. 2018, arXiv:1806.07421. The score is the one explained, in its own unit: a probability saturates, so that
deleting all but a little of the evidence would seem to cost nothing. Baselines matter more than the areas themselves: a
blob in the centre or an edge filter can have fair areas without a look at the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..classifier import Classifier, Score
from ..errors import InputError
from ..preprocessing import FloatArray, Preprocessing
from .maps import target_scores
from .masking import check_at_least
from .replacement import check_replacement, replaced

Doubles = npt.NDArray[np.float64]
Rule = Literal["trapezium", "simpson"]

BASELINE_ORDER = ("random", "centre", "edges")

# A random map's lattice has as many cells along each side as a usual last layer.
_RANDOM_CELLS = 7
_CENTRE_SHARE = 1 / 4
_EDGE_SHARE = 1 / 75
_SMOOTH_SHARE = 1 / 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveSettings:
    """How curves are measured.

    `steps` points after the first, which lie closer where little is hidden: at shares (k / steps)² of the pixels.
    `replacement` is what a hidden pixel becomes (see replacement.py). `batch_size` pictures go through the classifier
    at a time. Areas are by the trapezium rule, or with an even number of steps by Simpson's, for which fewer do.
    """

    steps: int = 16
    rule: Rule = "trapezium"
    replacement: str = "blur"
    batch_size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least("steps", self.steps, 2)
        check_at_least("batch_size", self.batch_size, 1)
        check_replacement(self.replacement)
        if self.rule == "simpson" and self.steps % 2:
            raise InputError(f"Simpson's rule takes an even number of steps, not {self.steps}.")

    @property
    def shares(self) -> Doubles:
        """The shares of pixels at which a curve is measured, (steps + 1,), from 0 to 1."""
        return np.square(np.arange(self.steps + 1) / self.steps)


@dataclass(frozen=True, slots=True)
class Curves:
    """Scores while pixels are hidden (`deletion`) or shown (`insertion`), the map's highest first.

    `shares` (K,) of the pixels; the curves (N, K) in the score's unit. Deletion begins and insertion ends with the
    whole image.
    """

    shares: Doubles
    deletion: Doubles
    insertion: Doubles
    rule: Rule = "trapezium"

    @property
    def deletion_area(self) -> Doubles:
        """The mean score (N,) along the deletion curve; lower is better."""
        return area(self.shares, self.deletion, self.rule)

    @property
    def insertion_area(self) -> Doubles:
        """The mean score (N,) along the insertion curve; higher is better."""
        return area(self.shares, self.insertion, self.rule)

    @property
    def gap(self) -> Doubles:
        """Insertion less deletion (N,): how far the score follows the map, both ways. About 0 for a random order."""
        return self.insertion_area - self.deletion_area


def area(shares: Doubles, curve: Doubles, rule: Rule = "trapezium") -> Doubles:
    """The mean height (N,) of curves (N, K) over shares (K,) from 0 to 1, by one of two rules.

    Simpson's is for shares that are squares of equal steps u = k / steps: the integral of f(u²) 2u over u.
    """
    if rule == "simpson":
        steps = len(shares) - 1
        weights = np.where(np.arange(steps + 1) % 2, 4.0, 2.0)
        weights[[0, -1]] = 1.0
        by_simpson: Doubles = curve @ (weights * 2 * np.sqrt(shares) / (3 * steps))
        return by_simpson
    widths = np.diff(shares)
    found: Doubles = ((curve[:, 1:] + curve[:, :-1]) / 2) @ widths
    return found


@dataclass(frozen=True, slots=True)
class Ends:
    """What all curves of N images have in common: the images hidden (N, 3, h, w), and the scores at both ends (N,)."""

    pictures: FloatArray
    whole: Doubles
    hidden: Doubles


def ends_of(
    classifier: Classifier,
    batch: FloatArray,
    targets: Sequence[str],
    *,
    score: Score | None = None,
    settings: CurveSettings = CurveSettings(),
) -> Ends:
    """Hide each image (N, 3, h, w), and score it whole and hidden for its own target of N: 2 passes per image."""
    pictures = replaced(batch, classifier.preprocessing, settings.replacement, settings.seed)
    both = np.empty((2, len(batch)))
    for row, images in zip(both, (batch, pictures), strict=True):
        for start in range(0, len(batch), settings.batch_size):
            some = slice(start, start + settings.batch_size)
            row[some] = own_scores(classifier, images[some], targets[some], score)
    return Ends(pictures, *both)


def deletion_insertion(
    classifier: Classifier,
    batch: FloatArray,
    maps: FloatArray,
    targets: Sequence[str],
    *,
    score: Score | None = None,
    settings: CurveSettings = CurveSettings(),
    ends: Ends | None = None,
) -> Curves:
    """Curves of N images (N, 3, h, w) for maps (N, h, w) on the model's input, each for its own target of N.

    Pixels of equal value come in random order, under the seed. Takes 2 steps passes per image, 2 fewer where `ends`
    are known; memory is that of one batch. Raises InputError for maps that do not fit the images.
    """
    if maps.shape != (len(batch), *batch.shape[2:]) or len(targets) != len(batch):
        raise InputError(
            f"{len(batch)} images of {batch.shape[2:]} pixels need as many maps of that size and targets, not "
            f"{maps.shape} and {len(targets)}."
        )
    ends = ends or ends_of(classifier, batch, targets, score=score, settings=settings)
    places = places_of(maps, settings.seed)
    shares = settings.shares
    inner = shares[1:-1]
    rows = 2 * len(inner)  # each inner share deleted, then each inserted
    scores = np.empty((len(batch), rows))
    for start in range(0, len(batch) * rows, settings.batch_size):
        image, row = np.divmod(np.arange(start, min(start + settings.batch_size, len(batch) * rows)), rows)
        visible = _visible(places[image], row, inner)
        pictures = np.where(visible[:, None], batch[image], ends.pictures[image])
        scores[image, row] = own_scores(classifier, pictures, [targets[i] for i in image], score)
    whole, none = ends.whole[:, None], ends.hidden[:, None]
    deleted, inserted = np.split(scores, 2, axis=1)
    return Curves(
        shares,
        np.concatenate([whole, deleted, none], axis=1),
        np.concatenate([none, inserted, whole], axis=1),
        settings.rule,
    )


def _visible(places: FloatArray, row: npt.NDArray[np.intp], inner: Doubles) -> npt.NDArray[np.bool_]:
    """Which pixels (b, h, w) are shown in each of b rows; `places` (b, h, w) are the pixels' places, 0 to 1."""
    share = np.concatenate([inner, inner])[row].astype(np.float32)
    later = places >= share[:, None, None]
    inserting = row >= len(inner)
    return np.asarray(later ^ inserting[:, None, None])


def places_of(maps: FloatArray, seed: int = 0) -> FloatArray:
    """The place of each pixel of maps (N, h, w) in falling order of value, from 0 to below 1; ties at random."""
    flat = maps.reshape(len(maps), -1)
    mixed = np.random.default_rng(seed).permutation(flat.shape[1])
    order = mixed[np.argsort(-flat[:, mixed], axis=1, kind="stable")]
    places = np.empty(flat.shape, np.float32)
    np.put_along_axis(places, order, (np.arange(flat.shape[1]) / flat.shape[1]).astype(np.float32)[None], axis=1)
    return places.reshape(maps.shape)


def own_scores(classifier: Classifier, batch: FloatArray, targets: Sequence[str], score: Score | None) -> Doubles:
    """The score (N,) of each image of a batch for its own target."""
    names = tuple(dict.fromkeys(targets))
    scores = target_scores(classifier, batch, names, score)
    return scores[np.arange(len(batch)), [names.index(t) for t in targets]].astype(np.float64)


def random_maps(batch: FloatArray, preprocessing: Preprocessing, seed: int = 0) -> FloatArray:
    """Maps (N, h, w) that know nothing: smooth noise of 7 cells along a side, as coarse as a usual class map."""
    from scipy.ndimage import zoom

    height, width = batch.shape[2:]
    cells = np.random.default_rng(seed).random((len(batch), _RANDOM_CELLS, _RANDOM_CELLS)).astype(np.float32)
    factors = (1, height / _RANDOM_CELLS, width / _RANDOM_CELLS)
    return np.asarray(zoom(cells, factors, order=1, grid_mode=True, mode="nearest"), np.float32)


def centre_maps(batch: FloatArray, preprocessing: Preprocessing, seed: int = 0) -> FloatArray:
    """Maps (N, h, w) that know only that people put things in the centre: a blob of a quarter of each side."""
    (height, width) = batch.shape[2:]
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    blob = np.exp(-(y[:, None] ** 2 + x**2) / (2 * _CENTRE_SHARE**2)).astype(np.float32)
    return np.broadcast_to(blob, (len(batch), height, width))


def edge_maps(batch: FloatArray, preprocessing: Preprocessing, seed: int = 0) -> FloatArray:
    """Maps (N, h, w) that know the image and not the model: the strength of its edges, a little smoothed."""
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

    grey = preprocessing.to_pixels(batch).astype(np.float32).mean(axis=-1)
    side = max(grey.shape[1:])
    edges = np.stack([gaussian_gradient_magnitude(g, max(_EDGE_SHARE * side, 1.0)) for g in grey])
    spread = _SMOOTH_SHARE * side
    return np.asarray(gaussian_filter(edges, (0, spread, spread)), np.float32)


def baseline_curves(
    classifier: Classifier,
    batch: FloatArray,
    targets: Sequence[str],
    *,
    score: Score | None = None,
    settings: CurveSettings = CurveSettings(),
    ends: Ends | None = None,
    names: Sequence[str] = BASELINE_ORDER,
) -> dict[str, Curves]:
    """The curves of baselines, by name.

    A random map is taken together with itself turned round, so that its gap is 0 but for the trapezium rule and no
    method wins or loses by the luck of a draw: what one deletes first the other inserts last.
    """
    ends = ends or ends_of(classifier, batch, targets, score=score, settings=settings)
    found = {}
    for name in names:
        maps = BASELINES[name](batch, classifier.preprocessing, settings.seed)
        pair = (maps, -maps) if name == "random" else (maps,)
        curves = [
            deletion_insertion(classifier, batch, m, targets, score=score, settings=settings, ends=ends) for m in pair
        ]
        deletion, insertion = (np.mean([getattr(c, k) for c in curves], axis=0) for k in ("deletion", "insertion"))
        found[name] = Curves(settings.shares, deletion, insertion, settings.rule)
    return found


BASELINES: dict[str, Callable[[FloatArray, Preprocessing, int], FloatArray]] = {
    "random": random_maps,
    "centre": centre_maps,
    "edges": edge_maps,
}
"""What a method has to beat, by name: functions of a batch, its preprocessing and a seed."""
