"""Nature does not copy itself: how alike are patches of different patients once each is shifted and turned to fit?

Patches are compared in coordinates in which the other pictures' patches vary equally in all directions (whitened by
their covariance), so that edges, slow shades and grain, which all pictures share, weigh little, and what no other
picture has weighs most. The comparison is a normalised correlation: a change of grey does not matter. A patch is
turned, scaled and shifted over the other to its best fit, as an object lies differently in every picture. The best fit
of any two patches is above 0, so the figure is judged against patches from pictures of the other classes, by
permutation. These lie at the same places: ribs of different patients resemble each other more than ribs and a heart do.
Pictures with colours are compared in their grey and in two differences of colours.

A texture is measured as it is, and beside the rest of its own picture: sets of pictures differ in sharpness and grain
all over, but what was added at one place differs from the rest of its picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..preprocessing import FloatArray, Uint8Array
from .discovered import SamenessEntry

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

WORKING_SIDE = 128
"""Pictures are reduced to about this shorter side first."""
RADIUS, SHIFT = 7, 8
"""Radius of the round patch that is compared, and the largest shift, in pixels of the reduced picture."""
TURNS, SCALES = 36, (0.8, 1.0, 1.25)
COLOURED, COLOURED_SHARE = 8.0, 5e-4
"""Pictures have colours if differences of colours exceed this many grey levels in this share of the pixels."""
SAMPLED = 4000
"""How many patches of other pictures the covariance is estimated from."""
FLOOR = 0.03
"""Directions that vary less than this share of the mean variance count as if they varied that much."""
BANDS = 6
"""Into how many bands, from what varies most in other pictures to what varies least, a texture is divided."""
AREA = 3
"""A texture is measured over shifts of up to this many pixels."""
GROUND = 10
"""At how many other places of its picture the texture around a patch is measured."""
PLACES = 24
"""How many other pictures patches are compared with, one of each group."""
ALIKE_SHARE = 0.5
"""The share of the other patches that the best patch must be alike with: the figure is this quantile."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkingPictures:
    """Pictures (N, h, w, P), reduced by `factor`: grey alone, or grey and two differences of colours."""

    planes: FloatArray
    factor: int

    @classmethod
    def of(cls, pixels: Uint8Array) -> WorkingPictures:
        """Of pictures (N, height, width, 3)."""
        factor = max(1, round(min(pixels.shape[1:3]) / WORKING_SIDE))
        height, width = (side // factor * factor for side in pixels.shape[1:3])
        cut = pixels[:, :height, :width]
        shape = (len(cut), height // factor, factor, width // factor, factor, 3)
        colours = cut.reshape(shape).mean(axis=(2, 4), dtype=np.float32)
        grey = colours.mean(axis=3)
        differences = [colours[..., 0] - colours[..., 1], colours[..., 2] - grey]
        if not any((np.abs(d) > COLOURED).mean() > COLOURED_SHARE for d in differences):
            differences = []
        return cls(np.stack([grey, *differences], axis=3), factor)

    def windows(self, image: int, y: float, x: float, reach: int) -> FloatArray:
        """All round patches whose centres lie within `reach` of a point of the full picture: (shifts, D)."""
        half = RADIUS + reach
        padded = np.pad(self.planes[image], ((half, half), (half, half), (0, 0)), mode="reflect")
        size = self.planes.shape[1:3]
        top, left = (int(np.clip(v / self.factor, 0, n - 1)) for v, n in zip((y, x), size, strict=True))
        area = padded[top : top + 2 * half + 1, left : left + 2 * half + 1]
        return np.concatenate([_round_patches(area[..., p]) for p in range(area.shape[2])], axis=1)


def _disc() -> npt.NDArray[np.bool_]:
    line = np.arange(-RADIUS, RADIUS + 1)
    return np.hypot(line[:, None], line[None]) <= RADIUS + 0.5


def _round_patches(area: FloatArray) -> FloatArray:
    """Every round patch that lies inside an area, with its mean subtracted: (n, D)."""
    every = np.lib.stride_tricks.sliding_window_view(area, (2 * RADIUS + 1, 2 * RADIUS + 1))
    flat = every.reshape(-1, (2 * RADIUS + 1) ** 2)[:, _disc().ravel()]
    centred: FloatArray = flat - flat.mean(axis=1, keepdims=True)
    return centred


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """The matrix (D, D) after which the patches of other pictures vary equally in all directions.

    Its columns are these directions, those that vary most first.
    """

    matrix: FloatArray

    @classmethod
    def of(cls, pictures: WorkingPictures, images: Indices, rng: np.random.Generator) -> Whitening:
        """From patches at random places of `images`."""
        each = max(1, SAMPLED // max(len(images), 1))
        height, width = pictures.planes.shape[1:3]
        rows = []
        for image in images:
            for y, x in zip(rng.integers(0, height, each), rng.integers(0, width, each), strict=True):
                rows.append(pictures.windows(image, float(y * pictures.factor), float(x * pictures.factor), 0)[0])
        patches = np.array(rows, np.float64)
        variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
        floor = FLOOR * variances.mean() + 1e-9
        scaled = directions / np.sqrt(np.maximum(variances, floor))
        return cls(scaled[:, ::-1].astype(np.float32))

    def __call__(self, patches: FloatArray) -> FloatArray:
        """Patches (n, D) whitened."""
        whitened: FloatArray = patches @ self.matrix
        return whitened


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """n places in pictures: their own patch, turned and scaled, (n, fits, D), and all shifts of it, whitened.

    `shifted` (n, shifts, D). All are of length 1. `bands` (n, BANDS) is the logarithm of the mean square of the patches
    around each place, before, in each band; `ground` (n, BANDS) that of other places of the same picture, on average.
    """

    turned: FloatArray
    shifted: FloatArray
    bands: Values
    ground: Values

    @classmethod
    def of(cls, pictures: WorkingPictures, whiten: Whitening, images: Indices, centres: Values, reach: float) -> Places:
        """At the strangest point within `reach` pixels of each centre (n, 2), as (y, x), of `images` (n,)."""
        turned, shifted, bands, ground = [], [], [], []
        for image, (y, x) in zip(images, centres, strict=True):
            near = max(1, round(reach / pictures.factor))
            lengths = np.linalg.norm(whiten(pictures.windows(int(image), y, x, near)), axis=1)
            row, column = divmod(int(lengths.argmax()), 2 * near + 1)
            y, x = y + pictures.factor * (row - near), x + pictures.factor * (column - near)
            around = whiten(pictures.windows(int(image), y, x, SHIFT))
            bands.append(_bands(around, SHIFT))
            ground.append(_ground(pictures, whiten, int(image), y, x))
            shifted.append(_unit(around))
            turned.append(_unit(whiten(_turned(pictures, int(image), y, x))))
        return cls(np.array(turned), np.array(shifted), np.array(bands), np.array(ground))

    def __len__(self) -> int:
        return len(self.turned)

    def joined(self, other: Places) -> Places:
        return Places(
            np.concatenate([self.turned, other.turned]),
            np.concatenate([self.shifted, other.shifted]),
            np.concatenate([self.bands, other.bands]),
            np.concatenate([self.ground, other.ground]),
        )


def _bands(around: FloatArray, reach: int) -> Values:
    """The mean square in each band, (BANDS,), as a logarithm, over the inner ones of all shifts up to `reach`."""
    side = 2 * reach + 1
    inner = slice(reach - AREA, reach + AREA + 1, AREA)
    squares = around.reshape(side, side, -1)[inner, inner].astype(np.float64) ** 2
    parts = np.array_split(squares.mean(axis=(0, 1)), BANDS)
    return np.log([max(float(part.mean()), 1e-9) for part in parts])


def _ground(pictures: WorkingPictures, whiten: Whitening, image: int, y: float, x: float) -> Values:
    """The mean of `_bands` over places of a picture that do not touch the patch at a point."""
    rng = np.random.default_rng(image)
    height, width = (side * pictures.factor for side in pictures.planes.shape[1:3])
    found: list[Values] = []
    for _ in range(4 * GROUND):
        down, across = rng.uniform(0.08, 0.92) * height, rng.uniform(0.08, 0.92) * width
        if np.hypot(down - y, across - x) > 2 * RADIUS * pictures.factor:
            found.append(_bands(whiten(pictures.windows(image, down, across, AREA)), AREA))
        if len(found) == GROUND:
            break
    mean: Values = np.mean(found or [np.zeros(BANDS)], axis=0)
    return mean


def _unit(vectors: FloatArray) -> FloatArray:
    scaled: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return scaled


def _turned(pictures: WorkingPictures, image: int, y: float, x: float) -> FloatArray:
    """The patch at a point at every scale, turned by `TURNS` equal steps: (len(SCALES) * TURNS, D)."""
    from scipy.ndimage import map_coordinates

    line = np.arange(-RADIUS, RADIUS + 1, dtype=np.float64)
    down, across = (v[_disc()] for v in np.meshgrid(line, line, indexing="ij"))
    angles = np.tile(2 * math.pi * np.arange(TURNS) / TURNS, len(SCALES))[:, None]
    scales = np.repeat(SCALES, TURNS)[:, None]
    ys = y / pictures.factor + scales * (np.cos(angles) * down - np.sin(angles) * across)
    xs = x / pictures.factor + scales * (np.sin(angles) * down + np.cos(angles) * across)
    planes = []
    for plane in np.moveaxis(pictures.planes[image], 2, 0):
        values = map_coordinates(plane, [ys, xs], order=1, mode="reflect").astype(np.float32)
        planes.append(values - values.mean(axis=1, keepdims=True))
    return np.concatenate(planes, axis=1)


def correlations(places: Places) -> Values:
    """The best correlation (n, n) of each place's patch, turned, scaled and shifted, with each other place."""
    n, _, size = places.shifted.shape
    templates = places.turned.reshape(-1, size)
    best = np.empty((n, n))
    for j in range(n):
        fits = places.shifted[j] @ templates.T
        best[:, j] = fits.max(axis=0).reshape(n, -1).max(axis=1)
    return best


@dataclass(frozen=True, slots=True, eq=False)
class PatchComparison:
    """What the patches of a class are compared with: `others`, pictures of other classes, one of each group."""

    pictures: WorkingPictures
    whiten: Whitening
    others: Indices
    reach: float
    seed: int

    @classmethod
    def against(
        cls, pixels: Uint8Array, units: Indices, other: npt.NDArray[np.bool_], reach: float, seed: int
    ) -> PatchComparison:
        """Against pictures (N, height, width, 3) where `other` (N,) is true; `units` (N,) number their groups.

        A place is moved to the strangest point within `reach` pixels, as it is known no better.
        """
        rng = np.random.default_rng((seed, 2))
        pictures = WorkingPictures.of(pixels)
        images = np.flatnonzero(other)
        whiten = Whitening.of(pictures, images, rng)
        mixed = rng.permutation(images)
        first = np.sort(np.unique(units[mixed], return_index=True)[1])[:PLACES]
        return cls(pictures, whiten, mixed[first], reach, seed)

    def of(self, images: Indices, centres: Values) -> SamenessEntry:
        """How alike patches of `images` (n,) around `centres` (n, 2) are, and those of `others` at these places."""
        mine = Places.of(self.pictures, self.whiten, images, centres, self.reach)
        same = np.resize(centres, (len(self.others), 2))
        return sameness(mine, Places.of(self.pictures, self.whiten, self.others, same, self.reach), seed=self.seed)


def sameness(mine: Places, others: Places, *, draws: int = 999, seed: int = 0) -> SamenessEntry:
    """How alike `mine` are, against as many drawn from `mine` and `others` together."""
    n = len(mine)
    both = mine.joined(others)
    every = correlations(both)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(both)) for _ in range(draws)]
    alike = typical(every[:n, :n])
    drawn = np.array([typical(every[np.ix_(o[:n], o[:n])]) for o in orders])
    rest = every[n:, n:]
    size = min(n, len(rest))
    usual = [typical(rest[np.ix_(c, c)]) for c in (rng.permutation(len(rest))[:size] for _ in range(50))]
    texture = _texture(both.bands, n, orders)
    within = _texture(both.bands - both.ground, n, orders)
    return SamenessEntry(
        patches=n,
        alike=alike,
        usual=float(np.mean(usual)),
        chance=_chance(drawn, alike),
        texture=texture[0],
        texture_chance=texture[1],
        texture_spread=texture[2],
        within=within[0],
        within_chance=within[1],
        within_spread=within[2],
    )


def _texture(bands: Values, n: int, orders: list[Indices]) -> tuple[float, float, float]:
    """How far the textures of the first n lie from the others', its chance, and the ratio of their spreads."""
    seen = texture_distance(bands[:n], bands[n:])
    drawn = np.array([texture_distance(bands[o[:n]], bands[o[n:]]) for o in orders])
    spread = (bands[:n].std(axis=0, ddof=1) / np.maximum(bands[n:].std(axis=0, ddof=1), 1e-9)).mean()
    return seen, _chance(drawn, seen), float(spread)


def _chance(drawn: Values, seen: float) -> float:
    return float((1 + (drawn >= seen).sum()) / (1 + len(drawn)))


def texture_distance(mine: Values, others: Values) -> float:
    """How far textures (n, bands) lie above others (m, bands), in standard deviations within both, averaged."""
    spread = np.sqrt((mine.var(axis=0, ddof=1) + others.var(axis=0, ddof=1)) / 2)
    return float(((mine.mean(axis=0) - others.mean(axis=0)) / np.maximum(spread, 1e-9)).mean())


def typical(fits: Values) -> float:
    """Of correlations (n, n) between patches, what the most typical patch reaches with half of the others."""
    n = len(fits)
    if n < 2:
        return 0.0
    others = fits[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return float(np.quantile(others, 1 - ALIKE_SHARE, axis=1).max())
