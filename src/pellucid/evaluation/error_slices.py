"""Groups of images that are alike to the model and on which it errs more, with a correction for having searched.

Images are clustered by their features into several numbers of groups. A group counts by how many more of its answers
are wrong than the error rates of its classes let expect, in standard deviations. Errors are shuffled among images of
the same class many times, and the highest figure of any group is noted each time: `chance` is how often that reaches
the figure seen, which pays for the search over all groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Uint8Array

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]

GROUPS = (3, 5, 8)
COMPONENTS = 10
FEWEST, FEWEST_WRONG = 10, 5
SHUFFLES = 999
CHANCE = 0.05
TELLS = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class ErrorSlice:
    """Images `members` (N,) on which the model errs more, by chance as seldom as `chance` says."""

    members: Truth
    chance: float


def error_slices(features: FloatArray, wrong: Truth, labels: Indices, seed: int) -> list[ErrorSlice]:
    """The slices of images with features (N, C) on which answers are `wrong` (N,) more often, the worst first.

    No slice overlaps another by more than half.
    """
    if wrong.sum() < FEWEST_WRONG or len(wrong) < 2 * FEWEST:
        return []
    groups = _groups(features, seed)
    if not len(groups):
        return []
    expected = np.zeros(len(wrong))
    for label in np.unique(labels):
        expected[labels == label] = wrong[labels == label].mean()
    spread = np.sqrt(groups @ (expected * (1 - expected)))
    spread = np.where(spread > 0, spread, np.inf)
    seen = (groups @ (wrong - expected)) / spread
    rng = np.random.default_rng((seed, 5))
    shuffles = (_shuffled(wrong, labels, rng) for _ in range(SHUFFLES))
    highest = np.array([((groups @ (mixed - expected)) / spread).max() for mixed in shuffles])
    found: list[ErrorSlice] = []
    for at in np.argsort(-seen):
        chance = float((1 + (highest >= seen[at]).sum()) / (1 + SHUFFLES))
        members = groups[at] > 0
        apart = all((members & s.members).sum() <= 0.5 * min(members.sum(), s.members.sum()) for s in found)
        if chance <= CHANCE and apart and wrong[members].sum() >= FEWEST_WRONG:
            found.append(ErrorSlice(members, chance))
    return found


def _groups(features: FloatArray, seed: int) -> Values:
    """Clusters (G, N) as zeros and ones, of every number of groups."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    scale = features.std(axis=0)
    standard = (features - features.mean(axis=0))[:, scale > 0] / scale[scale > 0]
    if not standard.shape[1]:
        return np.zeros((0, len(features)))
    reduced = PCA(min(COMPONENTS, *standard.shape), random_state=seed).fit_transform(standard)
    found = []
    for count in GROUPS:
        of = KMeans(min(count, len(reduced)), n_init=4, random_state=seed).fit_predict(reduced)
        found += [(of == k).astype(np.float64) for k in range(count) if FEWEST <= (of == k).sum() <= len(of) // 2]
    return np.array(found).reshape(-1, len(features))


def _shuffled(wrong: Truth, labels: Indices, rng: np.random.Generator) -> Truth:
    mixed = wrong.copy()
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mixed[members] = wrong[rng.permutation(members)]
    return mixed


def described(members: Truth, known: dict[str, Values]) -> tuple[str, ...]:
    """What sets members (N,) apart from the other images, of figures (N,) known by name, in words."""
    said = []
    for name, values in known.items():
        mine, others = values[members], values[~members]
        order = (mine[:, None] > others[None]).mean() + 0.5 * (mine[:, None] == others[None]).mean()
        if max(order, 1 - order) >= TELLS:
            than = "higher" if order > 0.5 else "lower"
            said.append(f"{name} {than} than elsewhere (median {np.median(mine):.3g}, others {np.median(others):.3g})")
    return tuple(said)


def sharing(members: Truth, sources: Mapping[str, Truth]) -> tuple[str, ...]:
    """The sources (N,), by name, that hold far more of the images `members` (N,) than of the others, in words."""
    said = []
    for name, rows in sources.items():
        mine, others = float(rows[members].mean()), float(rows[~members].mean())
        if mine - others >= 2 * TELLS - 1:
            said.append(f"{100 * mine:.0f} % are of the source {name} (others {100 * others:.0f} %)")
    return tuple(said)


def figures_of(pixels: Uint8Array) -> dict[str, Values]:
    """Brightness, contrast and sharpness (N,) of pictures (N, height, width, 3), in grey levels."""
    grey = pixels.mean(axis=3, dtype=np.float32)
    return {
        "brightness": grey.mean(axis=(1, 2)).astype(np.float64),
        "contrast": grey.std(axis=(1, 2)).astype(np.float64),
        "sharpness": np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2)).astype(np.float64),
    }
