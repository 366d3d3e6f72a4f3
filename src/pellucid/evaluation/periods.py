"""A pattern of one period all over the pictures of one class: found in the spectrum, taken out, and put in.

Nature's spectra are smooth; a line in them is made by a machine (a grid, a screen, an interference, blocks of a
compression). A line is a frequency at which the mean log amplitude of a class exceeds that of the others by far more
than at neighbouring frequencies do. Taken out, the amplitude there falls by the difference; put in, it rises by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data.areas import clustered_mean
from ..preprocessing import Uint8Array
from .discovered import EffectEntry
from .figures import Estimate

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]
Asked = Callable[[Uint8Array], tuple[Values, Truth]]

NEIGHBOURS = 7
"""Side of the square of frequencies that a line is compared with."""
LEAST = 0.7
"""A line exceeds its neighbours by at least this much, as a logarithm: twice their amplitude."""
PERMUTATIONS = 199
CHANCE = 0.01
MOST = 24


@dataclass(frozen=True, slots=True, eq=False)
class Period:
    """A line of the spectrum: `factor` (height, width // 2 + 1) is the log amplitude that it adds, 0 elsewhere.

    `strength` (N,) is the mean log amplitude of each picture there. `pixels` is the period in pixels, (down, across)
    say how often it repeats over the picture in each direction. `chance` is that of a line as strong among shuffled
    labels.
    """

    factor: Values
    strength: Values
    pixels: float
    down: int
    across: int
    chance: float


def find_period(pixels: Uint8Array, mine: Truth, seed: int) -> Period | None:
    """The strongest line in the spectra of pictures (N, height, width, 3) where `mine` (N,); None without any."""
    spectra = _log_amplitudes(pixels)
    excess = _excess(spectra[mine].mean(axis=0) - spectra[~mine].mean(axis=0))
    peak = np.unravel_index(int(excess.argmax()), excess.shape)
    highest = float(excess[peak])
    if highest < LEAST:
        return None
    rng = np.random.default_rng((seed, 3))
    above = 1
    for _ in range(PERMUTATIONS):
        mixed = rng.permutation(mine)
        above += bool(_excess(spectra[mixed].mean(axis=0) - spectra[~mixed].mean(axis=0)).max() >= highest)
    chance = above / (1 + PERMUTATIONS)
    if chance > CHANCE:
        return None
    factor = np.where(excess >= highest / 2, excess, 0.0)
    height = pixels.shape[1]
    down, across = int(peak[0]), int(peak[1])
    down = down if down <= height // 2 else down - height
    length = float(1 / np.hypot(down / height, across / pixels.shape[2]))
    return Period(factor, spectra[:, factor > 0].mean(axis=1), length, abs(down), across, chance)


def _log_amplitudes(pixels: Uint8Array) -> Values:
    """The log amplitude (N, height, width // 2 + 1) of each grey picture's frequencies."""
    grey = pixels.mean(axis=3, dtype=np.float64)
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    logs: Values = np.log(np.abs(np.fft.rfft2(grey)) + 1.0).astype(np.float32).astype(np.float64)
    return logs


def _excess(difference: Values) -> Values:
    """By how much each frequency exceeds the median of its neighbours; the slowest ones are left out."""
    from scipy.ndimage import median_filter

    margin = NEIGHBOURS // 2
    padded = np.pad(np.pad(difference, ((margin, margin), (0, 0)), mode="wrap"), ((0, 0), (margin, margin)), "reflect")
    around = median_filter(padded, NEIGHBOURS)[margin:-margin, margin:-margin]
    excess: Values = difference - around
    slow = max(3, min(difference.shape) // 16)
    excess[:slow, :slow] = excess[-slow + 1 :, :slow] = 0
    return excess


def scaled(pixels: Uint8Array, factor: Values) -> Uint8Array:
    """Pictures (n, height, width, 3) with the amplitude of each frequency multiplied by exp(factor)."""
    spectrum = np.fft.rfft2(pixels.astype(np.float64), axes=(1, 2)) * np.exp(factor)[None, :, :, None]
    changed = np.fft.irfft2(spectrum, s=pixels.shape[1:3], axes=(1, 2))
    return np.rint(np.clip(changed, 0, 255)).astype(np.uint8)


def effect_of_period(
    ask: Asked, pixels: Uint8Array, units: Indices, whole: tuple[Values, Truth], mine: Truth, period: Period, seed: int
) -> EffectEntry:
    """What taking the line out of pictures of the class does, and putting it into the others; see EffectEntry.

    The control is the same change at other frequencies.
    """
    scores, was = whole
    rng = np.random.default_rng((seed, 4))
    with_it = np.flatnonzero(mine & was)
    with_it = with_it[np.argsort(-period.strength[with_it], kind="stable")][:MOST]
    without = rng.permutation(np.flatnonzero(~mine & ~was))[:MOST]
    elsewhere = _elsewhere(period.factor)
    out, out_control = (ask(scaled(pixels[with_it], -factor)) for factor in (period.factor, elsewhere))
    falls = out_control[0] - out[0]
    fall = Estimate.of(clustered_mean(falls, units[with_it]))
    gap = float(scores[mine].mean() - scores[~mine].mean())
    put, put_control = (ask(scaled(pixels[without], factor)) for factor in (period.factor, elsewhere))
    return EffectEntry(
        images=len(with_it),
        drawn_over=fall,
        averaged=fall,
        put_in=Estimate.of(clustered_mean(put[0] - put_control[0], units[without])),
        hidden_changes=_share(~out[1], units[with_it]),
        put_in_changes=_share(put[1], units[without]),
        control_changes=float(put_control[1].mean()),
        of_gap=float(falls.mean() / gap) if gap > 0 else 0.0,
    )


def _elsewhere(factor: Values) -> Values:
    """The same factors at other frequencies: shifted along the spectrum by a fifth of its height."""
    moved: Values = np.where(factor > 0, 0.0, np.roll(factor, len(factor) // 5, axis=0))
    return moved


def _share(happened: Truth, units: Indices) -> Estimate:
    found = clustered_mean(happened.astype(np.float64), units)
    return Estimate(value=found.value, low=max(found.low, 0.0), high=min(found.high, 1.0))
