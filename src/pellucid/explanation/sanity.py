"""Does a map know the model? It must change when the model's weights are shuffled. Adebayo et al., arXiv:1810.03292."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..preprocessing import FloatArray
from .agreement import Doubles, coarse, rank_correlation
from .stability import MapsOf

STAGES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The shares of a model's layers that are randomised in turn, from the last one (0) to every layer (1)."""


def randomisation(maps: FloatArray, randomised: Iterable[MapsOf], batch: FloatArray) -> Doubles:
    """Rank correlations (S, N) of N maps (N, h, w) with those of S models that are more and more random.

    Their mean over images should be about 0, of whatever sign: a map that stays as it was, or is turned round in every
    image, shows the images and not the model. Single values scatter widely, since a map has few independent cells. NaN
    where a map is the same everywhere.
    """
    before = coarse(maps)
    found = [rank_correlation(before, coarse(maps_of(batch))) for maps_of in randomised]
    return np.stack(found) if found else np.zeros((0, len(maps)))
