"""How well an anomaly detector does by kind of defect, and how well its map finds the defective pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..classifier import reaches
from ..documents import FiniteDocument
from ..preprocessing import FloatArray
from .intervals import Indices, wilson
from .pixels import PixelTally
from .tally import Ranking

KIND_FIELDS = ("images", "roc_auc", "sensitivity", "aupro")


class DefectEntry(FiniteDocument):
    """One kind of defect against all normal images.

    `roc_auc` is None without normal images. `sensitivity` is the share of these `images` that the threshold finds,
    with Wilson's 95 % interval. `aupro` is None where no such image has a mask.
    """

    kind: str
    images: int
    roc_auc: float | None
    sensitivity: tuple[float, float, float]
    aupro: float | None = None


class DefectFigures(FiniteDocument):
    """Figures of an anomaly detector beside those of every model.

    `kinds` are in the order of their names. `masked` bad images have a mask; over their pixels and those of all normal
    images `pixel_roc_auc` is the area under the ROC curve and `aupro` that under the per-region overlap up to a
    false-positive rate of 0.3, divided by 0.3. Both are None without masks.
    """

    kinds: tuple[DefectEntry, ...] = ()
    masked: int = 0
    pixel_roc_auc: float | None = None
    aupro: float | None = None


def defect_figures(
    scores: FloatArray, labels: Indices, kinds: Sequence[str], threshold: float, tally: PixelTally | None, masked: int
) -> DefectFigures | None:
    """The figures of N images from their scores and labels (N,), and the kind of each bad one; None without bad ones.

    `tally` has the pixels of the `masked` images and of the normal ones, where there are masks.
    """
    named = np.array(kinds, dtype=object)
    bad, normal = labels != 0, labels == 0
    if not bad.any():
        return None
    entries = []
    for kind in sorted(set(named[bad])):
        mine = bad & (named == kind)
        found = int(reaches(scores[mine], threshold).sum())
        many = int(mine.sum())
        entries.append(
            DefectEntry(
                kind=kind,
                images=many,
                roc_auc=_area(scores, mine, normal),
                sensitivity=(found / many, *wilson(found, many)),
                aupro=None if tally is None else _finite(tally.aupro(kind=kind)),
            )
        )
    return DefectFigures(
        kinds=tuple(entries),
        masked=masked,
        pixel_roc_auc=None if tally is None else _finite(tally.roc_auc()),
        aupro=None if tally is None else _finite(tally.aupro()),
    )


def _area(scores: FloatArray, bad: npt.NDArray[np.bool_], normal: npt.NDArray[np.bool_]) -> float | None:
    if not normal.any():
        return None
    chosen = bad | normal
    ranking = Ranking.of(scores[chosen], bad[chosen])
    return float(ranking.areas(np.ones((int(chosen.sum()), 1)))[0][0])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
