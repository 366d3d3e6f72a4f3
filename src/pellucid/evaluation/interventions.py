"""Does the answer follow a patch? Hide it, and put it into other images, each against the same with other places.

Controls share all that an intervention does besides: a square of the same size is filled in, or put in, but one that
lies elsewhere in the same image. Effects are differences to them, so that a model that dislikes smooth spots or seams
is not taken for one that goes by the patch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.areas import clustered_mean
from ..preprocessing import FloatArray, Uint8Array
from .discovered import EffectEntry
from .figures import Estimate
from .patches import Box, drawn_together, put_in, replaced_by

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]
Asked = Callable[[Uint8Array], tuple[Values, Truth]]


PUT_IN = 1.7
"""How much wider than what was hidden a patch is put in, so that only what lies around it fades into its place."""


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Squares of `side` pixels in `images` (n,) around `centres` (n, 2), as (y, x); `groups` they come from in all."""

    images: Indices
    centres: Values
    side: int
    groups: int

    def boxes(self, pixels: Uint8Array) -> list[Box]:
        """The squares on pictures (N, height, width, 3)."""
        return [Box.around(y, x, self.side, *pixels.shape[1:3]) for y, x in self.centres]


@dataclass(frozen=True, slots=True, eq=False)
class Interventions:
    """Pictures to intervene on, for one class.

    `ask` turns pictures (n, height, width, 3) into the class's scores (n,) and whether it is the answer (n,); `whole`
    are these of the N pictures as they are. `units` (N,) number the groups, `average` is the mean picture.
    """

    ask: Asked
    pixels: Uint8Array
    units: Indices
    whole: tuple[Values, Truth]
    average: FloatArray

    def effect(self, patches: Patches, others: Truth, seed: int) -> tuple[EffectEntry, Values]:
        """What hiding the patches does, and putting them into pictures of other classes, `others` (N,).

        Also by how much the score falls for each patch (n,) that is drawn over.
        """
        rng = np.random.default_rng((seed, 1))
        boxes = patches.boxes(self.pixels)
        elsewhere = [self._elsewhere(box, rng) for box in boxes]
        drawn, drawn_control = self._hidden(patches.images, boxes, elsewhere, by_average=False)
        averaged, averaged_control = self._hidden(patches.images, boxes, elsewhere, by_average=True)
        scores, was = self.whole
        before, units = scores[patches.images], self.units[patches.images]
        falls = [before - drawn[0], before - averaged[0]]
        beyond = [falls[0] - (before - drawn_control[0]), falls[1] - (before - averaged_control[0])]
        changed = (was[patches.images] & ~drawn[1]).astype(np.float64)
        rise, changes, control = self._put_in(patches, boxes, elsewhere, others, rng)
        gap = float(scores[~others].mean() - scores[others].mean())
        entry = EffectEntry(
            images=len(boxes),
            drawn_over=Estimate.of(clustered_mean(beyond[0], units)),
            averaged=Estimate.of(clustered_mean(beyond[1], units)),
            put_in=rise,
            hidden_changes=_share(changed, units),
            put_in_changes=changes,
            control_changes=control,
            of_gap=float(min(b.mean() for b in beyond) / gap) if gap > 0 else 0.0,
        )
        return entry, falls[0]

    def decisive_halves(self, patches: Patches, kept: Indices) -> Values:
        """Where in the patches `kept` (n,) it lies: (n, 2), the middles of the halves that cost most to hide."""
        height, width = self.pixels.shape[1:3]
        boxes = patches.boxes(self.pixels)
        middles = []
        for at in kept:
            picture, halves = self.pixels[patches.images[at]], boxes[at].halves(height, width)
            scores, _ = self.ask(np.stack([drawn_together(picture, [half]) for half in halves]))
            middles.append(halves[int(scores.argmin())].centre)
        return np.array(middles)

    def _hidden(
        self, images: Indices, boxes: list[Box], elsewhere: list[Box], *, by_average: bool
    ) -> tuple[tuple[Values, Truth], tuple[Values, Truth]]:
        """The answers with each box hidden, and with the box elsewhere hidden."""
        answers = []
        for places in (boxes, elsewhere):
            pictures = [
                replaced_by(self.pixels[i], [box], self.average)
                if by_average
                else drawn_together(self.pixels[i], [box])
                for i, box in zip(images, places, strict=True)
            ]
            answers.append(self.ask(np.stack(pictures)))
        return answers[0], answers[1]

    def _put_in(
        self, patches: Patches, boxes: list[Box], elsewhere: list[Box], others: Truth, rng: np.random.Generator
    ) -> tuple[Estimate | None, Estimate | None, float | None]:
        """The rise of the score in other pictures beyond a control patch, and the shares of answers changed."""
        was = self.whole[1]
        room = np.flatnonzero(others & ~was)
        if len(room) < 5:
            return None, None, None
        hosts = np.resize(rng.permutation(room), len(boxes))
        height, width = self.pixels.shape[1:3]
        places = [box.wider(PUT_IN, height, width) for box in boxes]
        answers = []
        for sources in (boxes, elsewhere):
            pictures = [
                put_in(self.pixels[host], self.pixels[image], source.wider(PUT_IN, height, width), place)
                for host, image, source, place in zip(hosts, patches.images, sources, places, strict=True)
            ]
            answers.append(self.ask(np.stack(pictures)))
        units = self.units[hosts]
        rise = clustered_mean(answers[0][0] - answers[1][0], units)
        changes = _share(answers[0][1].astype(np.float64), units)
        return Estimate.of(rise), changes, float(answers[1][1].mean())

    def _elsewhere(self, box: Box, rng: np.random.Generator) -> Box:
        """A square of the same size that does not overlap, nor when put in; without room, the one farthest away."""
        height, width = self.pixels.shape[1:3]
        tall, wide = box.bottom - box.top, box.right - box.left
        tried = []
        for _ in range(30):
            top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
            other = Box(top, left, top + tall, left + wide)
            if not other.wider(PUT_IN, height, width).overlaps(box):
                return other
            tried.append(other)
        return max(tried, key=lambda b: abs(b.top - box.top) + abs(b.left - box.left))


def _share(happened: Values, units: Indices) -> Estimate:
    """The share of ones among zeros and ones (n,)."""
    found = clustered_mean(happened, units)
    return Estimate(value=found.value, low=max(found.low, 0.0), high=min(found.high, 1.0))
