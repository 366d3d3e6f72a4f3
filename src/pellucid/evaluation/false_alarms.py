"""How often an anomaly detector flags normal images when light, place or focus change: one table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..documents import FiniteDocument
from ..preprocessing import Uint8Array
from ..progress import Advance
from .intervals import wilson
from .robustness import Change, Disturbance, blurred, shifted

Flags = Callable[[Uint8Array], npt.NDArray[np.bool_]]


class FalseAlarmEntry(FiniteDocument):
    """The share of normal images that are flagged after a change, with Wilson's 95 % interval."""

    kind: str
    amount: str
    rate: float
    low: float
    high: float


class FalseAlarmTable(FiniteDocument):
    """False alarms on `images` normal images as they are (`usual`), and after each change."""

    images: int
    usual: FalseAlarmEntry
    changed: tuple[FalseAlarmEntry, ...]


def exposed(factor: float) -> Change:
    """Every value times a factor, as another exposure or lamp does it."""
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return lambda pixels: table[pixels]


def rotated(degrees: float) -> Change:
    """Turned about the centre, bilinearly; what comes in at the edges is the mirrored picture."""

    def one(picture: Uint8Array) -> Uint8Array:
        height, width = picture.shape[:2]
        around = np.pad(picture, ((height // 4,) * 2, (width // 4,) * 2, (0, 0)), mode="reflect")
        turned = PIL.Image.fromarray(around).rotate(degrees, PIL.Image.Resampling.BILINEAR)
        top, left = height // 4, width // 4
        return np.asarray(turned)[top : top + height, left : left + width]

    return lambda pixels: np.stack([one(picture) for picture in pixels])


SENSITIVITIES: tuple[Disturbance, ...] = (
    Disturbance("exposure", "20 % less", "strong", exposed(0.8)),
    Disturbance("exposure", "10 % less", "mild", exposed(0.9)),
    Disturbance("exposure", "10 % more", "mild", exposed(1.1)),
    Disturbance("exposure", "20 % more", "strong", exposed(1.2)),
    Disturbance("rotation", "2 degrees", "mild", rotated(2)),
    Disturbance("rotation", "5 degrees", "strong", rotated(5)),
    Disturbance("shift", "2 % right", "mild", shifted(0, 0.02)),
    Disturbance("shift", "5 % down and right", "strong", shifted(0.05, 0.05)),
    Disturbance("blur", "0.3 % of the side", "mild", blurred(0.003)),
    Disturbance("blur", "1 % of the side", "strong", blurred(0.01)),
)


def false_alarms(flags: Flags, pixels: Uint8Array, advance: Advance) -> FalseAlarmTable | None:
    """The table for normal pictures (N, height, width, 3) as the model sees them; None without any.

    `flags` says which pictures the model flags.
    """
    if not len(pixels):
        return None
    entries = [_entry("none", "", flags(pixels))]
    for done, change in enumerate(SENSITIVITIES, 1):
        entries.append(_entry(change.kind, change.amount, flags(change.change(pixels))))
        advance(done, len(SENSITIVITIES))
    return FalseAlarmTable(images=len(pixels), usual=entries[0], changed=tuple(entries[1:]))


def _entry(kind: str, amount: str, flagged: npt.NDArray[np.bool_]) -> FalseAlarmEntry:
    many, n = int(flagged.sum()), len(flagged)
    low, high = wilson(many, n)
    return FalseAlarmEntry(kind=kind, amount=amount, rate=many / n, low=low, high=high)
