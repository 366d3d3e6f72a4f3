"""What a bundle says of one film: the answer, the map, and the region of its strongest evidence."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..classifier import Prediction
from ..explanation.attribution import Attribution
from ..preprocessing import Uint8Array
from ..reporting.overlay import usual_limit
from .source import FilmSource

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Findings:
    """One film's answer. `picture` (H, W, 3) uint8 is the film as shown, of the size of the map; `when` in its zone.

    `attribution` is None for a bundle without an explained layer; `limit` is the value of a map that is drawn in full.
    """

    source: FilmSource
    picture: Uint8Array
    prediction: Prediction
    attribution: Attribution | None
    when: datetime.datetime
    limit: float = 0.0

    @cached_property
    def region(self) -> BoolArray | None:
        """The mask (H, W) of the strongest evidence; None where nothing speaks for the class explained."""
        return None if self.attribution is None else strongest_region(self.attribution)

    @property
    def unusual(self) -> bool | None:
        """Whether the film does not resemble the training images; None for a bundle that does not know."""
        return None if self.prediction.outside_score is None else self.prediction.outside_score > 1


def find(bundle: Bundle, data: bytes, source: FilmSource, when: datetime.datetime) -> Findings:
    """Predict and explain one film in one pass. Raises ImageError for pixels that cannot be used."""
    image = bundle.read(data)
    local = source.local(when)
    picture = np.asarray(image.pixels)
    if bundle.manifest.layer is None:
        return Findings(source, picture, bundle.predict_images([image])[0], None, local)
    explained = bundle.explain_images([image], method=bundle.usual_method)[0]
    prediction = bundle.answer(explained, warnings=image.warnings)
    attribution = explained.attributions[0]
    picture = _fitting(picture, attribution.values.shape)
    return Findings(source, picture, prediction, attribution, local, usual_limit(bundle.manifest, attribution))


def _fitting(picture: Uint8Array, size: Sequence[int]) -> Uint8Array:
    """The picture at the size (height, width) of the map: it was read no larger than the model needs."""
    if picture.shape[:2] == tuple(size):
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def strongest_region(attribution: Attribution) -> BoolArray | None:
    """The connected pixels around the strongest one with at least half of its evidence, as a mask (H, W).

    None where no value is evidence for the class.
    """
    values = attribution.values
    peak = int(values.argmax())
    if not values.flat[peak] > 0:
        return None
    return connected_part(values >= values.flat[peak] / 2, peak)


def connected_part(mask: BoolArray, inside: int) -> BoolArray:
    """The part of a mask (H, W) that is connected, by sides, to its pixel number `inside`.

    Rows fall into runs of pixels, a few thousand for a film; what overlaps from row to row is connected. Labelling each
    pixel takes four times as long.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    width = mask.shape[1] + 1
    padded = np.zeros((mask.shape[0], width), bool)
    padded[:, :-1] = mask
    flat = padded.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        edges = np.concatenate(([0], edges))
    starts, stops = edges[::2], edges[1::2]
    # The runs of the next row that overlap: those that end after this one begins, and begin before it ends.
    first = np.searchsorted(stops, starts + width, side="right")
    counts = np.maximum(np.searchsorted(starts, stops + width, side="left") - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    links = coo_array((np.ones(len(upper), bool), (upper, lower)), shape=(len(starts), len(starts)))
    part = connected_components(links, directed=False)[1]
    row, column = divmod(inside, mask.shape[1])
    wanted = part[np.searchsorted(starts, row * width + column, side="right") - 1]
    kept = np.zeros(flat.shape, bool)
    for start, stop in zip(starts[part == wanted].tolist(), stops[part == wanted].tolist(), strict=True):
        kept[start:stop] = True
    return kept.reshape(padded.shape)[:, :-1]


def outline(mask: BoolArray) -> list[float]:
    """The bounding box of a mask as a closed line on pixel edges: column, row, column, row, ... (10 numbers)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = (float(n) for n in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    return [left, top, right, top, right, bottom, left, bottom, left, top]
