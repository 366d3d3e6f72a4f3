"""Which training images look bad beside the others: each is judged without itself and without those that look like it.

Where one object was photographed several times, its pictures would vouch for each other. On tiles, pictures of one
object are told from others by the correlation of their whitened statistics (85 % of the pairs are found, and 90 % of
those found are right). Bad images among the normal ones then rank above 84, 90 and 76 % of these in three divisions,
instead of 72, 71 and 48 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray
from ..recipe_anomaly import AnomalySection
from .fitting import fit_memory
from .gaussian import Matrix
from .memory import Rows

FAR_OUT = 3.5
"""Robust z-score from which a training image is suspect: Iglewicz and Hoaglin's limit of the modified z-score."""
LEFT_OUT = 6.0
"""Robust z-score from which it is not learnt from. From 3.5 on, that cost 0.008 of the area under the ROC curve on
tiles, by means and deviations alone: rare normal images were left out, and others like them were then false alarms."""
FEWEST = 10
"""Images below which none is called unlike the others."""
ROUNDS = 2
ALIKE_RIDGE = 0.3
"""Share of the identity in the covariance by which pictures of one thing are told best."""
RIDGE = 0.03
"""The same for the distances by which images are judged."""
ALIKE = 0.2
"""Correlation of whitened statistics from which two images count as pictures of one thing."""
BY_CHANCE = 5.0
"""Deviations of unrelated correlations that it must exceed, too: statistics of few channels are alike easily."""
SMALL_MEMORY, SMALL_CANDIDATES = 500, 8000
"""For judging training images: their order needs less than a model does."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How unlike the others each training image is: `scores` (N,), robust z-scores, and which are `suspect` (N,)."""

    scores: FloatArray
    suspect: Mask

    @property
    def far(self) -> Mask:
        """Which suspects (N,) are so far out that they should not be learnt from."""
        return self.suspect & (self.scores > LEFT_OUT)


def judge(
    patches: FloatArray, statistics: FloatArray, groups: Sequence[str], section: AnomalySection, *, seed: int = 0
) -> Suspicion:
    """Which training images look bad beside the others, found without each image's own group and its likes.

    `patches` (N, P, C) and `statistics` (N, S) as for `fit_detector`. In a second round the images found are left out
    of what the others are compared with, since bad images widen what counts as normal. Scores are robust z-scores of
    the image's greatest patch distances and of its own distance, whichever is larger.
    """
    n = len(patches)
    suspect = np.zeros(n, bool)
    scores = np.zeros(n, np.float32)
    if n < FEWEST:
        return Suspicion(scores, suspect)
    for _ in range(ROUNDS):
        kept = ~suspect
        likes = alike(whitened(statistics, kept, ALIKE_RIDGE)[0], groups)
        white, weight = whitened(statistics, kept, RIDGE)
        whole = left_out_distances(white, weight, likes, kept)
        local = _patch_distances(patches, likes, kept, section, seed)
        scores = np.maximum(_robust(local, kept), _robust(whole, kept))
        suspect = scores > FAR_OUT
    return Suspicion(scores, suspect)


def whitened(statistics: FloatArray, kept: Mask, ridge: float) -> tuple[Matrix, float]:
    """Statistics (N, S) in units in which the Gaussian of those `kept` (N,) is round, and the weight of one of these.

    The Gaussian's covariance is (1 - ridge) times that of the channels, scaled to 1, plus ridge times the identity. The
    weight is what the outer product of one whitened row adds to it.
    """
    rows = np.asarray(statistics, np.float64)
    mean, deviation = rows[kept].mean(axis=0), rows[kept].std(axis=0)
    usable = deviation > 1e-6 * max(float(deviation.max()), 1e-30)
    scaled = (rows[:, usable] - mean[usable]) / deviation[usable]
    weight = (1 - ridge) / int(kept.sum())
    covariance = weight * scaled[kept].T @ scaled[kept] + ridge * np.eye(scaled.shape[1])
    return np.linalg.solve(np.linalg.cholesky(covariance), scaled.T).T, weight


def alike(white: Matrix, groups: Sequence[str]) -> list[Rows]:
    """For each of N images with whitened statistics (N, S) itself, its group, and those that look like it."""
    lengths = np.linalg.norm(white, axis=1)
    units = np.divide(white, lengths[:, None], out=np.zeros_like(white), where=lengths[:, None] > 0)
    sample = units[np.linspace(0, len(units) - 1, min(len(units), 500)).round().astype(int)]
    chance = 1.4826 * float(np.median(np.abs(sample @ sample.T)))
    least = max(ALIKE, BY_CHANCE * chance)
    most = max(1, len(white) // 10)
    named = np.array(list(groups), dtype=object)
    found = []
    for i, unit in enumerate(units):
        correlations = units @ unit
        correlations[i] = np.inf
        nearest = np.argsort(-correlations, kind="stable")[: most + 1]
        chosen = nearest[correlations[nearest] > least]
        own = np.flatnonzero(named == named[i]) if named[i] else chosen[:1]
        found.append(np.union1d(chosen, own))
    return found


def left_out_distances(white: Matrix, weight: float, likes: Sequence[Rows], kept: Mask) -> Matrix:
    """How far each of N images (N, S) is from a Gaussian of those `kept` without its `likes`, which it may be among.

    By Woodbury's formula from the Gaussian of all that are kept, whose covariance is the identity here: taking out rows
    R leaves I - weight R'R. The mean stays as it is.
    """
    found = np.empty(len(white))
    for i, row in enumerate(white):
        rows = white[likes[i][kept[likes[i]]]]
        along = rows @ row
        inner = np.eye(len(rows)) - weight * rows @ rows.T
        found[i] = row @ row + weight * along @ np.linalg.solve(inner, along)
    return np.sqrt(found)


def _patch_distances(
    patches: FloatArray, likes: Sequence[Rows], kept: Mask, section: AnomalySection, seed: int
) -> Matrix:
    """The mean of the greatest patch distances of each image to a memory without the patches of its likes."""
    memory, owner = fit_memory(patches[kept], _small(section), seed)
    owner = np.flatnonzero(kept)[owner]
    middle = memory.rows.mean(axis=0)
    rows = memory.rows - middle
    squares = np.einsum("mc,mc->m", rows, rows)
    top = max(1, round(section.top * patches.shape[1]))
    found = np.empty(len(patches))
    for i, own in enumerate(patches):
        others = ~np.isin(owner, likes[i])
        if not others.any():  # so few patches differ
            others[:] = True
        scaled = memory.scaled(own) - middle
        squared = squares - 2 * (scaled @ rows.T) + np.einsum("pc,pc->p", scaled, scaled)[:, None]
        least = squared[:, others].min(axis=1)
        found[i] = np.sqrt(np.maximum(np.sort(least)[-top:], 0)).mean()
    return found


def _small(section: AnomalySection) -> AnomalySection:
    return section.model_copy(
        update={
            "memory": min(section.memory, SMALL_MEMORY),
            "candidates": min(section.candidates, SMALL_CANDIDATES),
        }
    )


def _robust(values: Matrix, kept: Mask) -> FloatArray:
    """Distances above the median in units of the spread, by the logarithm, of those kept: distances are skewed."""
    logs = np.log(np.maximum(values, 1e-12))
    middle = float(np.median(logs[kept]))
    spread = float(np.median(np.abs(logs[kept] - middle))) * 1.4826
    scores: FloatArray = ((logs - middle) / max(spread, 1e-9)).astype(np.float32)
    return scores
