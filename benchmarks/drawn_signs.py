"""Further signs to plant on synthetic films, of which nothing in the audit was tuned: dark, coloured, several, turned.

`draw_on_films` draws one kind on films that `generate_phantoms` has written, and notes where in `phantom.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from scipy import ndimage

Film = npt.NDArray[np.float32]
Rng = np.random.Generator


def _grid(size: int, y: float, x: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    ys, xs = np.mgrid[:size, :size]
    return ys - y, xs - x


def _place(size: int, rng: Rng, margin: float = 0.12) -> tuple[float, float]:
    y, x = rng.uniform(margin * size, (1 - margin) * size, 2)
    return float(y), float(x)


def _cover(distance: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """1 inside a shape, by the signed distance to its edge in pixels, 0 outside, and a soft edge."""
    return np.clip(0.5 - distance, 0, 1)


def hole(film: Film, rng: Rng) -> Film:
    """A dark disc of a size of its own."""
    size = len(film)
    down, across = _grid(size, *_place(size, rng))
    cover = _cover(np.hypot(down, across) - rng.uniform(1 / 34, 1 / 22) * size)[..., None]
    return film + cover * (12 - film)


def dots(film: Film, rng: Rng) -> Film:
    """Three to five small bright dots, each anywhere."""
    size = len(film)
    for _ in range(int(rng.integers(3, 6))):
        down, across = _grid(size, *_place(size, rng))
        cover = _cover(np.hypot(down, across) - size / 60)[..., None]
        film = film + cover * (225 - film)
    return film


def ring(film: Film, rng: Rng) -> Film:
    """A bright ring, up to a third larger or smaller from film to film."""
    size = len(film)
    down, across = _grid(size, *_place(size, rng))
    radius = size / 18 * rng.uniform(0.75, 1.35)
    cover = _cover(np.abs(np.hypot(down, across) - radius) - size / 130)[..., None]
    return film + cover * (220 - film)


def ruler(film: Film, rng: Rng) -> Film:
    """A straight line with ticks, at any angle, some third of the film long."""
    size, angle = len(film), rng.uniform(0, 2 * math.pi)
    down, across = _grid(size, *_place(size, rng, 0.3))
    along, off = across * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - across * math.sin(angle)
    inside = np.abs(along) < size / 5
    line = inside & (np.abs(off) < size / 130)
    ticks = inside & (off > 0) & (off < size / 24) & (np.abs(along % (size / 16) - size / 32) < size / 110)
    return np.where((line | ticks)[..., None], np.float32(215), film)


def arrow(film: Film, rng: Rng) -> Film:
    """A small arrow at any angle, bright on some films and dark on others."""
    size, angle = len(film), rng.uniform(0, 2 * math.pi)
    down, across = _grid(size, *_place(size, rng))
    along, off = across * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - across * math.sin(angle)
    shaft = (np.abs(along) < size / 16) & (np.abs(off) < size / 100)
    head = (along > size / 40) & (along < size / 14) & (np.abs(off) < (size / 14 - along) * 0.8)
    grey = np.float32(rng.choice([235, 10]))
    return np.where((shaft | head)[..., None], grey, film)


def sticker(film: Film, rng: Rng) -> Film:
    """A blue disc of the brightness of its place: in grey there is nothing to see but a smooth spot."""
    size = len(film)
    down, across = _grid(size, *_place(size, rng))
    cover = _cover(np.hypot(down, across) - size / 24)[..., None]
    tint = np.array([-45, -10, 55], np.float32)
    return film + cover * tint


def weave(film: Film, rng: Rng) -> Film:
    """Faint oblique lines all over, of one period."""
    ys, xs = np.mgrid[: len(film), : len(film)]
    waves = np.sin((0.8 * ys + 0.6 * xs) * (2 * math.pi / 4.3) + rng.uniform(0, 2 * math.pi))
    return film + (6 * waves[..., None]).astype(np.float32)


def smear(film: Film, rng: Rng) -> Film:
    """A square without grain: smoothed as if something had been wiped away."""
    size, side = len(film), max(8, len(film) // 7)
    top, left = (int(v) for v in rng.integers(0, size - side + 1, 2))
    smooth = ndimage.gaussian_filter(film, (2.2, 2.2, 0))
    changed = film.copy()
    changed[top : top + side, left : left + side] = smooth[top : top + side, left : left + side]
    return changed


DRAWN: dict[str, Callable[[Film, Rng], Film]] = {
    f.__name__: f for f in (hole, dots, ring, ruler, arrow, sticker, weave, smear)
}


def draw_on_films(folder: Path, kind: str, agreement: float, seed: int) -> None:
    """Draw a kind on the films of a phantom dataset so that it agrees with the class in this share of each split."""
    about = json.loads((folder / "phantom.json").read_text())
    for split in ("train", "val", "test"):
        films = [f for f in about["films"] if f["split"] == split]
        rng = np.random.default_rng((seed, len(films), 11))
        wrong = set()
        for label in ("normal", "opacity"):
            own = [f["path"] for f in films if f["label"] == label]
            wrong |= set(rng.permutation(own)[: round((1 - agreement) * len(own))].tolist())
        for number, film in enumerate(films):
            if (film["label"] == "opacity") == (film["path"] not in wrong):
                where = _draw(folder / film["path"], kind, (seed, number, len(films), 12))
                film["signs"] = {kind: where} if where else {}
    (folder / "phantom.json").write_text(json.dumps(about))


def _draw(path: Path, kind: str, seed: tuple[int, ...]) -> list[int]:
    with PIL.Image.open(path) as picture:
        before = np.asarray(picture.convert("RGB"), np.float32)
    after = np.rint(np.clip(DRAWN[kind](before, np.random.default_rng(seed)), 0, 255)).astype(np.uint8)
    grey = (after == after[..., :1]).all()
    PIL.Image.fromarray(after[..., 0] if grey else after).save(path)
    rows, columns = np.nonzero((after != before.astype(np.uint8)).any(axis=2))
    if not len(rows):
        return []
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
