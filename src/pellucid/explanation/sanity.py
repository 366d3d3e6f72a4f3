"""Does a map know the model? It must change when the model's weights are shuffled. Adebayo et al., arXiv:1810.03292."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..preprocessing import FloatArray
from .agreement import Doubles, coarse, rank_correlation
from .stability import MapsOf

STAGES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The shares of a model's layers that are randomised in turn, from the last one (0) to all of them (1)."""


def randomisation(maps: FloatArray, randomised: Iterable[MapsOf], batch: FloatArray) -> Doubles:
    """Rank correlations (S, N) of N maps (N, h, w) with those of S models that are more and more random.

    About 0 is right: a map that stays as it was shows the image and not the model. The size of the correlation counts,
    since a map turned round shows the same things. NaN where a map is the same everywhere, of which a method can not be
    blamed here.
    """
    before = coarse(maps)
    found = [np.abs(rank_correlation(before, coarse(maps_of(batch)))) for maps_of in randomised]
    return np.stack(found) if found else np.zeros((0, len(maps)))
