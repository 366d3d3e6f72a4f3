"""Take an accused sign out of training: pictures in which it says nothing of the class.

Each picture is changed in the same two steps, whatever its class. First what is accused is covered in it; a picture
that does not show it has squares covered where another picture shows it. Then, in half of the draws, the sign of
another picture is put in. So neither the sign, nor a covered spot, nor a seam goes with a class any more. A region is
exchanged for that of another picture, or for the average one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Uint8Array
from .interventions import PUT_IN
from .patches import Box, drawn_together, put_in, replaced_by

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Boxes = Mapping[int, tuple[Box, ...]]

SHOWN = 0.5
"""How often a picture shows the sign of another one after its own was covered."""


@dataclass(frozen=True, slots=True, eq=False)
class Sign:
    """The squares of the pictures that show a sign, by row; `donors` (n,) are those of training images among them."""

    boxes: Boxes
    donors: Rows


@dataclass(frozen=True, slots=True, eq=False)
class SignHiding:
    """What is hidden in pictures (N, height, width, 3): signs and regions.

    `regions` (height, width) are exchanged for those of `donors`, rows of training images. `average` is their mean.
    """

    pixels: Uint8Array
    average: FloatArray
    signs: tuple[Sign, ...]
    regions: tuple[Mask, ...]
    donors: Rows
    seed: int

    def applied(self, pictures: Uint8Array, rows: Rows, epoch: int) -> Uint8Array:
        """Pictures (n, height, width, 3) of `rows` as an epoch shows them; seed, epoch and row decide all draws."""
        changed = np.empty_like(pictures)
        for i, row in enumerate(rows.tolist()):
            rng = np.random.default_rng((self.seed, epoch, row))
            changed[i] = self._changed(pictures[i], row, rng, shown=None)
        return changed

    def covered(self, row: int) -> Uint8Array:
        """A picture without the signs, and with the average picture in the regions."""
        picture: Uint8Array = np.array(self.pixels[row])
        for sign in self.signs:
            picture = drawn_together(picture, sign.boxes.get(row, ()))
        for mask in self.regions:
            picture = np.where(mask[:, :, None], np.rint(self.average).astype(np.uint8), picture)
        return picture

    def shown(self, row: int) -> Uint8Array:
        """A picture with the signs of another one put in, and with its regions."""
        rng = np.random.default_rng((self.seed, row, 1))
        return self._changed(np.array(self.pixels[row]), row, rng, shown=True)

    def _changed(self, picture: Uint8Array, row: int, rng: np.random.Generator, shown: bool | None) -> Uint8Array:
        for sign in self.signs:
            picture = self._exchanged(picture, row, sign, rng, shown)
        for mask in self.regions:
            average = shown is None and rng.random() < 1 - SHOWN
            other = self.average if average else self.pixels[rng.choice(self.donors)]
            picture = np.where(mask[:, :, None], np.rint(other).astype(np.uint8), picture)
        return picture

    def _exchanged(
        self, picture: Uint8Array, row: int, sign: Sign, rng: np.random.Generator, shown: bool | None
    ) -> Uint8Array:
        """The picture with its own sign covered and, where `shown` (None: as drawn), another picture's put in."""
        donor, places = (int(rng.choice(sign.donors)) for _ in range(2))
        boxes = sign.boxes
        own = boxes.get(row) or boxes[places]
        covered = drawn_together(picture, own) if rng.random() < 0.5 else replaced_by(picture, own, self.average)
        if not (rng.random() < SHOWN if shown is None else shown):
            return covered
        height, width = picture.shape[:2]
        for i, own_box in enumerate(boxes[donor]):
            box = own_box.wider(PUT_IN, height, width)
            place = _moved(box, boxes[places][i % len(boxes[places])], height, width)
            covered = put_in(covered, self.pixels[donor], box, place)
        return covered


def _moved(box: Box, to: Box, height: int, width: int) -> Box:
    """A box of the same size around the middle of another one, inside the picture."""
    tall, wide = box.bottom - box.top, box.right - box.left
    top = int(np.clip((to.top + to.bottom - tall) // 2, 0, height - tall))
    left = int(np.clip((to.left + to.right - wide) // 2, 0, width - wide))
    return Box(top, left, top + tall, left + wide)


def scaled_boxes(boxes: Sequence[Box], size: tuple[int, int], to: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes on pictures of `size` (height, width) as they lie on the same pictures of another size."""
    down, across = to[0] / size[0], to[1] / size[1]
    return tuple(
        Box(
            min(int(b.top * down), to[0] - 1),
            min(int(b.left * across), to[1] - 1),
            max(int(np.ceil(b.bottom * down)), int(b.top * down) + 1),
            max(int(np.ceil(b.right * across)), int(b.left * across) + 1),
        )
        for b in boxes
    )
