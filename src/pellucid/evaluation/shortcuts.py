"""Can the model tell the classes from what should not matter? Corners and border, shown alone and hidden.

Shown alone, with all else replaced by the average picture, a corner should leave a model guessing; hidden, it should
not be missed. A model that took a shortcut through a corner fails both, and the failing corner has a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.areas import Area, area_lost, clustered_area
from ..preprocessing import Uint8Array
from ..progress import Advance
from .regions import Region, average_picture, hide

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of N pictures: `ranking` (N, 1) or (N, K), higher for the class; `answers` (N,) class index."""

    ranking: Values
    answers: Indices


Scorer = Callable[[Uint8Array], Scores]


@dataclass(frozen=True, slots=True)
class RegionProbe:
    """What the model makes of one region.

    `share` of the picture; `alone` is the area under the ROC curve when only the region is shown, `lost` how much is
    lost when it is hidden, `changed` the share of answers that hiding it changes (0 to 1).
    """

    region: str
    share: float
    alone: Area
    lost: Area
    changed: float


def probe_regions(
    scorer: Scorer,
    pixels: Uint8Array,
    whole: Scores,
    labels: Indices,
    units: Indices,
    regions: tuple[Region, ...],
    advance: Advance,
) -> list[RegionProbe]:
    """Show each region alone and hide it in pictures (N, height, width, 3); `whole` is the answer to the pictures."""
    average = average_picture(pixels)
    found = []
    for done, region in enumerate(regions, 1):
        alone = scorer(hide(pixels, ~region.mask, average))
        hidden = scorer(hide(pixels, region.mask, average))
        found.append(
            RegionProbe(
                region=region.name,
                share=region.share,
                alone=clustered_area(alone.ranking, labels, units),
                lost=area_lost(whole.ranking, hidden.ranking, labels, units),
                changed=float((hidden.answers != whole.answers).mean()),
            )
        )
        advance(done, len(regions))
    return found
