"""Choose how unusual images are recognised: several detectors, of which the best against stand-ins becomes the flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..preprocessing import FloatArray
from .detectors import OutsideDetector, describe_classes, describe_energy, describe_neighbours
from .flags import Flag
from .intervals import Indices
from .joint import LOOKING, Joint, describe_looks, joined
from .outside import describe_surroundings
from .stand_ins import best_detector

JOINT, OTHERS, WITH_OTHERS = "joint", "other", "neighbours and other"
TOGETHER = {"neighbours": 1.5, LOOKING: 1.0}
"""The detectors that are one together, with what each counts. With equal weights fewer raccoons were told from cats and
dogs, with the class means beside these more of a model's own X-rays were flagged."""


@dataclass(frozen=True, slots=True)
class ImageViews:
    """N images as the model sees them: `features` (N, C) of the explained layer, `looks` (N, 31), `logits` (N, L)."""

    features: FloatArray
    looks: FloatArray
    logits: FloatArray

    @property
    def whole(self) -> FloatArray:
        """Features with looks behind them, (N, C + 31)."""
        return np.concatenate([self.features, self.looks], axis=1)

    def every_other(self, first: int) -> ImageViews:
        """Every second image."""
        return ImageViews(self.features[first::2], self.looks[first::2], self.logits[first::2])


@dataclass(frozen=True, slots=True)
class ChosenFlag:
    """The `flag`, the `method` that its bundle names, and the area of each detector against each kind of stand-in."""

    flag: Flag
    method: str
    measured: dict[str, dict[str, float]]


def choose_flag(
    known: ImageViews,
    labels: Indices,
    home: ImageViews,
    groups: Sequence[str],
    away: Mapping[str, ImageViews],
    others: ImageViews | None = None,
) -> ChosenFlag:
    """Describe training images `known` with `labels` (N,) in every way, and choose by `home` against `away`.

    `home` are validation images in `groups` ("" for none); the threshold is theirs. `away` are stand-ins by kind.
    `others` are images of other things that the user gave: detectors are tried that learn from one half, the other
    half is a kind to be told from home, and the flag learns from both.
    """
    kinds = {name: (seen.whole, seen.logits) for name, seen in away.items()}
    if others is not None:
        kinds[OTHERS] = (others.every_other(1).whole, others.logits[1::2])
    tried = _candidates(known, labels, home, None if others is None else others.every_other(0))
    name, measured = best_detector(tried, (home.whole, home.logits), kinds, others=OTHERS)
    joint = (tried if others is None else _candidates(known, labels, home, others))[name]
    if LOOKING not in joint.parts:
        flag = Flag(next(iter(joint.parts.values()))).fitted(home.features, home.logits, groups)
        return ChosenFlag(flag, "neighbours" if name == WITH_OTHERS else name, measured)
    return ChosenFlag(Flag(joint).fitted(home.whole, home.logits, groups), JOINT, measured)


def _candidates(known: ImageViews, labels: Indices, home: ImageViews, others: ImageViews | None) -> dict[str, Joint]:
    """Every detector, described by training images, alone and together; the scales are those of `home`."""
    found: dict[str, OutsideDetector] = {
        "mahalanobis": describe_surroundings(known.features),
        "class": describe_classes(known.features, labels),
        "neighbours": describe_neighbours(known.features),
        "energy": describe_energy(known.logits),
    }
    several: dict[str, dict[str, OutsideDetector]] = {name: {name: part} for name, part in found.items()}
    several[JOINT] = {"neighbours": found["neighbours"], LOOKING: describe_looks(known.looks)}
    if others is not None:
        taught = describe_neighbours(known.features, others.features)
        several[WITH_OTHERS] = {"neighbours": taught}
        several[f"{JOINT} and {OTHERS}"] = {**several[JOINT], "neighbours": taught}
    alone = dict.fromkeys(found, 1.0)
    return {
        name: joined(parts, TOGETHER if LOOKING in parts else alone).fitted(home.whole, home.logits)
        for name, parts in several.items()
    }
