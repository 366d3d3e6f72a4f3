"""How a model answers when pictures change in ways that change nothing about what they show.

Each change is made to what the model sees, (height, width, 3) uint8; lengths are shares of a side, so that the same
change is asked of models of any input size. `mild` changes happen between one machine, scan or upload and the next;
`strong` ones show where the model breaks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import PIL.Image

from ..data.areas import Area, area_lost
from ..preprocessing import Uint8Array
from ..progress import Advance
from .intervals import wilson
from .shortcuts import Indices, Scorer, Scores

Change = Callable[[Uint8Array], Uint8Array]
Strength = Literal["mild", "strong"]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A change of pictures (N, height, width, 3) uint8, with its kind and amount in words."""

    kind: str
    amount: str
    strength: Strength
    change: Change


@dataclass(frozen=True, slots=True)
class DisturbanceProbe:
    """What a disturbance did: the share of answers changed (Wilson interval), and the area under the curve lost."""

    kind: str
    amount: str
    strength: Strength
    changed: Area
    lost: Area


def shifted(down: float, right: float) -> Change:
    """Move by shares of the sides; the outermost pixels are repeated."""

    def change(pixels: Uint8Array) -> Uint8Array:
        height, width = pixels.shape[1:3]
        rows = np.clip(np.arange(height) - round(down * height), 0, height - 1)
        columns = np.clip(np.arange(width) - round(right * width), 0, width - 1)
        return pixels[:, rows][:, :, columns]

    return change


def toned(gain: float = 1.0, offset: float = 0.0) -> Change:
    """Contrast about mid-grey times `gain`, brightness plus `offset` of the full range."""
    table = np.clip(np.rint((np.arange(256) - 127.5) * gain + 127.5 + 255 * offset), 0, 255).astype(np.uint8)
    return lambda pixels: table[pixels]


def blurred(share: float) -> Change:
    """A Gaussian blur whose standard deviation is a share of the longer side."""

    def change(pixels: Uint8Array) -> Uint8Array:
        from scipy.ndimage import gaussian_filter

        sigma = share * max(pixels.shape[1:3])
        soft = gaussian_filter(pixels.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")
        blurry: Uint8Array = np.rint(soft).astype(np.uint8)
        return blurry

    return change


def compressed(quality: int) -> Change:
    """Saved as JPEG of a quality (1 to 95) and read again."""

    def one(picture: Uint8Array) -> Uint8Array:
        buffer = io.BytesIO()
        PIL.Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        with PIL.Image.open(buffer) as again:
            return np.asarray(again.convert("RGB"))

    return lambda pixels: np.stack([one(picture) for picture in pixels])


def noisy(deviation: float, seed: int = 0) -> Change:
    """Gaussian noise, grey, of a standard deviation given as a share of the full range."""

    def change(pixels: Uint8Array) -> Uint8Array:
        noise = np.random.default_rng(seed).normal(0, 255 * deviation, (*pixels.shape[:3], 1)).astype(np.float32)
        grainy: Uint8Array = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
        return grainy

    return change


DISTURBANCES: tuple[Disturbance, ...] = (
    Disturbance("shift", "2 % up", "mild", shifted(-0.02, 0)),
    Disturbance("shift", "2 % down", "mild", shifted(0.02, 0)),
    Disturbance("shift", "2 % left", "mild", shifted(0, -0.02)),
    Disturbance("shift", "2 % right", "mild", shifted(0, 0.02)),
    Disturbance("shift", "6 % down and right", "strong", shifted(0.06, 0.06)),
    Disturbance("brightness", "5 % darker", "mild", toned(offset=-0.05)),
    Disturbance("brightness", "5 % brighter", "mild", toned(offset=0.05)),
    Disturbance("brightness", "15 % darker", "strong", toned(offset=-0.15)),
    Disturbance("brightness", "15 % brighter", "strong", toned(offset=0.15)),
    Disturbance("contrast", "15 % less", "mild", toned(gain=0.85)),
    Disturbance("contrast", "15 % more", "mild", toned(gain=1.15)),
    Disturbance("contrast", "halved", "strong", toned(gain=0.5)),
    Disturbance("blur", "0.3 % of the side", "mild", blurred(0.003)),
    Disturbance("blur", "1 % of the side", "strong", blurred(0.01)),
    Disturbance("JPEG", "quality 75", "mild", compressed(75)),
    Disturbance("JPEG", "quality 30", "strong", compressed(30)),
    Disturbance("noise", "1 % of the range", "mild", noisy(0.01)),
    Disturbance("noise", "4 % of the range", "strong", noisy(0.04)),
)


def probe_disturbances(
    scorer: Scorer,
    pixels: Uint8Array,
    whole: Scores,
    labels: Indices,
    units: Indices,
    advance: Advance,
    disturbances: Iterable[Disturbance] = DISTURBANCES,
) -> list[DisturbanceProbe]:
    """Ask the model again after each disturbance of pictures (N, height, width, 3); `whole` is what it said before."""
    chosen = tuple(disturbances)
    found = []
    for done, disturbance in enumerate(chosen, 1):
        after = scorer(_in_pieces(disturbance.change, pixels))
        changed = int((after.answers != whole.answers).sum())
        found.append(
            DisturbanceProbe(
                disturbance.kind,
                disturbance.amount,
                disturbance.strength,
                Area(changed / len(pixels), *wilson(changed, len(pixels))),
                area_lost(whole.ranking, after.ranking, labels, units),
            )
        )
        advance(done, len(chosen))
    return found


def _in_pieces(change: Change, pixels: Uint8Array, size: int = 64) -> Uint8Array:
    """A change made to `size` pictures at a time, because some changes compute in floats."""
    changed = np.empty_like(pixels)
    for start in range(0, len(pixels), size):
        changed[start : start + size] = change(pixels[start : start + size])
    return changed
