"""The validation images that a bundle keeps, as its model answers them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..evaluation.home import read_home
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.second_head import KeptOut
from ..evaluation.unlabelled import AnsweredImages
from ..preprocessing import FloatArray
from .bundle import Bundle


@dataclass(frozen=True, slots=True, eq=False)
class HomeSide:
    """Validation images as they were answered, with labels (N,), and the group of each."""

    side: AnsweredImages
    labels: npt.NDArray[np.int64]
    groups: tuple[str, ...]


def home_of(bundle: Bundle) -> HomeSide | None:
    """The validation images that a bundle keeps; None for a bundle of an older build, or a regression."""
    kept = read_home(bundle.folder) if bundle.task != "regression" else None
    if kept is None:
        return None
    side = answered_side(bundle, kept.logits, kept.features.astype(np.float64))
    return HomeSide(side, kept.labels, tuple(map(str, kept.units)))


def answered_side(bundle: Bundle, logits: FloatArray, features: npt.NDArray[np.float64] | None) -> AnsweredImages:
    """Images with logits (N, L) as the bundle answers them, and features (N, C) of the explained layer."""
    probabilities = bundle.probabilities_of(logits)
    return AnsweredImages(probabilities.astype(np.float64), features, bundle.manifest.predicted(logits, probabilities))


def kept_of(record: AbroadRecord | None) -> tuple[KeptOut, ...]:
    """What sources have lost that were kept out of a training, by the whole recipe where that was asked."""
    return () if record is None else tuple(s.kept for s in record.best.sources if s.kept is not None)
