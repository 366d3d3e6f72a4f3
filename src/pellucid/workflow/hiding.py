"""`train --hide`: where training images show what an audit accused, so that it can be covered and exchanged there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle, load
from ..bundle.goes_by import KnownConcepts
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.labelling import counted
from ..errors import InputError, UnknownNameError
from ..evaluation.discovered import ConceptEntry
from ..evaluation.hiding import Sign, SignHiding, scaled_boxes
from ..evaluation.patches import Box, drawn_together
from ..evaluation.regions import average_picture, probed_regions
from ..explanation.known_concepts import ClassFactors, concept_maps
from ..preprocessing import GridGeometry, Preprocessing, Uint8Array
from ..progress import Advance, Progress
from ..storage import cache_folder
from .accused import Accused, parse_accused
from .class_scores import ClassScores
from .preparing import Prepared

BATCH = 16
CERTAIN = 0.3
"""From this share of a gallery's median evidence on, a cell counts as showing the concept."""
LEADS = 0.5
"""In such a cell the concept holds at least this share of what the strongest one holds."""
MOST_BOXES = 12
"""How many squares of one image are covered at most."""
KEEPS, TRIED = 0.7, 60
"""A smaller square will do if hiding it costs this share of what the whole one costs; asked of the first `TRIED`."""
RIM = 0.25

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FoundSign:
    """A concept of a run, and the squares (on that model's input, `size`) of each image, by number, that show it."""

    accused: Accused
    entry: ConceptEntry
    bundle: Bundle
    boxes: dict[int, tuple[Box, ...]]

    @property
    def size(self) -> tuple[int, int]:
        shape = self.bundle.preprocessing
        return shape.height, shape.width


def hiding_of(
    wanted: Sequence[str], prepared: Prepared, shape: Preprocessing, seed: int, progress: Progress
) -> SignHiding | None:
    """What a training hides in its images; None where nothing is wanted.

    Raises InputError for what cannot be hidden, or is found in hardly any training image.
    """
    if not wanted:
        return None
    train = prepared.rows[prepared.positions("train")]
    signs = []
    for found in find_signs(wanted, prepared.dataset, shape, progress):
        rows = {int(prepared.rows[i]): scaled_boxes(b, found.size, _size(shape)) for i, b in found.boxes.items()}
        shown = np.array(sorted(set(rows) & set(train.tolist())), np.intp)
        if len(shown) < 2:
            raise InputError(
                f"{found.accused.words} is found in {counted(len(shown), 'training image')}: there is nothing to hide."
            )
        progress.say(
            f"Hidden: {found.accused.words}, found in {len(shown):,} of {len(train):,} training images. It is covered, "
            "and put into images of every class."
        )
        signs.append(Sign(rows, shown))
    average = average_picture(prepared.pixels[np.sort(train)])
    return SignHiding(prepared.pixels, average, tuple(signs), region_masks(wanted, shape), train, seed)


def region_masks(wanted: Sequence[str], shape: Preprocessing) -> tuple[npt.NDArray[np.bool_], ...]:
    """The masks (height, width) of the regions among what is to be hidden."""
    masks = {r.name: r.mask for r in probed_regions(shape.height, shape.width)}
    return tuple(masks[a.region] for a in map(parse_accused, wanted) if a.region)


def _size(shape: Preprocessing) -> tuple[int, int]:
    return shape.height, shape.width


def find_signs(wanted: Sequence[str], dataset: Dataset, shape: Preprocessing, progress: Progress) -> list[FoundSign]:
    """The concepts among what is to be hidden, found in the images of a dataset; raises as `hiding_of`."""
    signs = []
    for accused in map(parse_accused, wanted):
        if accused.region:
            continue
        bundle = load(accused.run)
        own = bundle.preprocessing
        if (own.fit, own.crop_share) != (shape.fit, shape.crop_share):
            raise InputError(
                f"{accused.run} fits images by {own.fit}, this recipe by {shape.fit}: set `data.fit` alike to hide "
                f"{accused.concept}."
            )
        finder = SignFinder.of(accused, bundle)
        with progress.bar("Reading images") as advance:
            cached = cached_pixels(dataset, own, cache_folder(), progress=advance)
        with progress.bar(f"Looking for {accused.concept}") as advance:
            found = finder.boxes(cached.pixels, advance)
        at = cached.index.tolist()
        signs.append(FoundSign(accused, finder.entry, bundle, {at[i]: boxes for i, boxes in found.items()}))
    return signs


@dataclass(frozen=True, slots=True, eq=False)
class SignFinder:
    """Finds a concept in other images: where the model finds as much evidence as in half of the concept's gallery."""

    bundle: Bundle
    entry: ConceptEntry
    factors: ClassFactors
    factor: int

    @classmethod
    def of(cls, accused: Accused, bundle: Bundle) -> SignFinder:
        """Of a concept of a run's audit. Raises UnknownNameError, or InputError for one that has no place."""
        folder = accused.run / "audit"
        known = KnownConcepts.of_audit(folder, bundle)
        if known is None:
            raise InputError(
                f"The audit in {folder} is of another model or an older version: audit again with `discover=`, then "
                f"hide {accused.concept}."
            )
        names = [c.name for c in known.concepts]
        if accused.concept not in names:
            raise UnknownNameError("concept", accused.concept, names, f"The audit found {', '.join(names)}.")
        entry = known.concepts[names.index(accused.concept)]
        if entry.factor is None:
            raise InputError(
                f"{entry.name} lies all over the image and has no place to be covered: remove the pattern from the "
                "images, or add images of each class with and without it."
            )
        return cls(bundle, entry, known.factors[bundle.classes.index(entry.label)], entry.factor)

    def boxes(self, pixels: Uint8Array, advance: Advance) -> dict[int, tuple[Box, ...]]:
        """The squares of pictures (N, height, width, 3) that show the concept, by the picture's number."""
        least = CERTAIN * float(np.median([p.evidence for p in self.entry.patches]))
        found: dict[int, tuple[Box, ...]] = {}
        for start in range(0, len(pixels), BATCH):
            batch = self.bundle.preprocessing.normalise(np.asarray(pixels[start : start + BATCH]))
            maps = concept_maps(self.bundle, batch, self.entry.label, self.factors)
            for i, amounts in enumerate(maps.amounts):
                leads = amounts[self.factor] >= LEADS * amounts.max(axis=0)
                squares = self._squares(np.where(leads, amounts[self.factor], 0.0), maps.geometry, least)
                if squares:
                    found[start + i] = squares
            advance(min(start + BATCH, len(pixels)), len(pixels))
        return self._tightened(pixels, found)

    def _squares(self, amounts: Values, geometry: GridGeometry, least: float) -> tuple[Box, ...]:
        """Squares around the cells (h, w) with at least so much of the concept, the strongest first, apart."""
        left = amounts.copy()
        squares: list[Box] = []
        shape = self.bundle.preprocessing
        ys = geometry.offset[0] + geometry.stride[0] * np.arange(left.shape[0])
        xs = geometry.offset[1] + geometry.stride[1] * np.arange(left.shape[1])
        while len(squares) < MOST_BOXES and left.max() >= least:
            row, column = divmod(int(left.argmax()), left.shape[1])
            near = 0.75 * self.entry.side
            around = np.ix_(np.abs(ys - ys[row]) < near, np.abs(xs - xs[column]) < near)
            # An object lies between cells: its middle is the mean place of what the cells near the strongest hold.
            weights = amounts[around] / amounts[around].sum()
            y, x = weights.sum(axis=1) @ ys[around[0].ravel()], weights.sum(axis=0) @ xs[around[1].ravel()]
            squares.append(Box.around(y, x, self.entry.side, shape.height, shape.width))
            left[around] = 0
        return tuple(squares)

    def _tightened(self, pixels: Uint8Array, found: dict[int, tuple[Box, ...]]) -> dict[int, tuple[Box, ...]]:
        """Smaller squares where hiding those alone does about as much: less of the image is lost with them."""
        asked = ClassScores(self.bundle).of(self.bundle.classes.index(self.entry.label))
        parts: list[float] = []
        tight: dict[int, tuple[Box, ...]] = {}
        for image, boxes in found.items():
            smaller = []
            for box in boxes:
                if len(parts) == TRIED and np.median(parts) < KEEPS:
                    return found
                inner, part = _inner(np.asarray(pixels[image]), box, lambda p: asked(p)[0])
                parts.append(part)
                smaller.append(inner if part >= KEEPS else box)
            tight[image] = tuple(smaller)
        return tight if np.median(parts or [0]) >= KEEPS else found


def _inner(picture: Uint8Array, box: Box, score: Callable[[Uint8Array], Values]) -> tuple[Box, float]:
    """The part of a square, half its side and a rim, that costs most to hide; and its share of the whole cost."""
    height, width = picture.shape[:2]
    inner = box.halves(height, width)
    answers = score(np.stack([picture, *(drawn_together(picture, [b]) for b in (box, *inner))]))
    falls = answers[0] - answers[1:]
    best = int(falls[1:].argmax())
    share = float(falls[1 + best] / falls[0]) if falls[0] > 0 else 0.0
    side = round((inner[best].bottom - inner[best].top) * (1 + RIM))
    return Box.around(*inner[best].centre, side, height, width), share
