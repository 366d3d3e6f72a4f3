"""One synthetic chest X-ray: pose, exposure and opacities are random, and the image is a pure function of these.

The opacities are rendered separately, so that the same image exists with and without opacities. The difference is the
true contribution of the opacities to each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..preprocessing import Uint8Array
from .phantom_anatomy import Chest, FloatArray, Patient, Pose, around, cloud, edge

BoolArray = npt.NDArray[np.bool_]

MASK_SHARE = 0.3
"""The mask holds the pixels that an opacity alone brightens by at least this share of its largest brightening."""

RADIUS = (0.045, 0.095)
CONTRAST = (0.14, 0.205)


@dataclass(frozen=True, slots=True)
class Opacity:
    """A finding: centre (x right, y down) and radius in shares of the film's side, peak attenuation, outline's seed."""

    x: float
    y: float
    radius: float
    contrast: float
    seed: int


@dataclass(frozen=True, slots=True)
class Film:
    """Everything that decides the pixels of a film of `size` x `size`.

    `window` holds the attenuations shown as black and as white, `tilt` the attenuation added towards the right and
    lower edge (uneven beam), `shutters` the shares of the side cut off at (top, right, bottom, left), `noise` the
    standard deviation of the quantum noise where nothing is in the beam.
    """

    patient: Patient
    pose: Pose
    size: int
    window: tuple[float, float]
    gamma: float
    tilt: tuple[float, float]
    shutters: tuple[float, ...]
    noise: float
    noise_seed: int
    opacities: tuple[Opacity, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A film as it is written: grey levels, what the opacities cover, what the lung fields cover; all (size, size)."""

    pixels: Uint8Array
    mask: BoolArray
    lungs: BoolArray


def draw_film(rng: np.random.Generator, patient: Patient, size: int) -> Film:
    """Pose, exposure and noise of one film, without opacities."""
    normal, uniform = rng.normal, rng.uniform
    zoom, black, air = uniform(0.9, 1.08), uniform(-0.02, 0.08), normal(0.40, 0.025)
    pose = Pose(
        rotation=normal(0, 0.045),
        scale=(zoom * normal(1, 0.02), zoom * normal(1, 0.02)),
        shift=(normal(0, 0.045), normal(0.02, 0.045)),
        lean=normal(0, 0.02),
        breath=normal(0, 0.025),
        air=(air + normal(0, 0.012), air + normal(0, 0.012)),
    )
    return Film(
        patient=patient,
        pose=pose,
        size=size,
        window=(black, black + uniform(0.85, 1.1)),
        gamma=float(np.exp(normal(0, 0.13))),
        tilt=(normal(0, 0.03), normal(0, 0.03)),
        shutters=tuple(uniform(0.01, 0.06) if rng.random() < 0.35 else 0.0 for _ in range(4)),
        noise=uniform(0.010, 0.022),
        noise_seed=int(rng.integers(2**31)),
    )


def draw_opacities(rng: np.random.Generator, film: Film) -> tuple[Opacity, ...]:
    """One to three opacities that fit into the lung fields of `film`, apart from each other."""
    grid = 64
    room = np.pad(_seen_lungs(film, Chest(film.patient, film.pose, grid)), 1)
    ys, xs = (np.indices(room.shape) - 0.5) / grid
    found: list[Opacity] = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))):
        depth = ndimage.distance_transform_edt(room)[1:-1, 1:-1] / grid
        radius = float(min(rng.uniform(*RADIUS), depth.max()))
        if found and radius < RADIUS[0]:
            break
        rows, columns = np.nonzero(depth >= radius)
        pick = rng.integers(len(rows))
        y, x = (float(cells[pick] + 0.5) / grid for cells in (rows, columns))
        # Large ones are fainter, so that all sizes are about as hard to see.
        contrast = float(rng.uniform(*CONTRAST) * (0.07 / radius) ** 0.5)
        found.append(Opacity(x, y, radius, contrast, int(rng.integers(2**31))))
        room &= np.hypot(ys - y, xs - x) > 1.7 * radius
    return tuple(found)


def render(film: Film, *, with_opacities: bool = True, noise: bool = True) -> FloatArray:
    """Grey levels (size, size) float32 in 0..255, not rounded. Without opacities: the same film of a healthy chest."""
    chest = Chest(film.patient, film.pose, film.size)
    attenuation, grain = _exposure(film, chest)
    if noise:
        attenuation += grain
    for opacity in film.opacities if with_opacities else ():
        attenuation += _opacity(opacity, chest)
    return _tone(film, attenuation)


def expose(film: Film) -> Picture:
    """The picture of a film with its masks; the opacity mask follows the rule of `MASK_SHARE` on noiseless films."""
    chest = Chest(film.patient, film.pose, film.size)
    healthy, grain = _exposure(film, chest)
    plain = _tone(film, healthy)
    mask = np.zeros((film.size, film.size), np.bool_)
    attenuation = healthy + grain
    for opacity in film.opacities:
        added = _opacity(opacity, chest)
        brightening = _tone(film, healthy + added) - plain
        mask |= brightening >= max(MASK_SHARE * float(brightening.max()), 1e-3)
        attenuation += added
    pixels = np.rint(_tone(film, attenuation)).astype(np.uint8)
    return Picture(pixels, mask, _seen_lungs(film, chest))


def _seen_lungs(film: Film, chest: Chest) -> BoolArray:
    """The lung fields, where no shutter hides them."""
    lungs: BoolArray = (chest.lungs > 0.5) & ~_shut(film, chest.size)
    return lungs


def _shut(film: Film, size: int) -> BoolArray:
    top, right, bottom, left = (round(share * size) for share in film.shutters)
    shut = np.ones((size, size), np.bool_)
    shut[top : size - bottom, left : size - right] = False
    return shut


def _exposure(film: Film, chest: Chest) -> tuple[FloatArray, FloatArray]:
    """Attenuation of the healthy chest with scatter and uneven beam, and the noise to add to it."""
    shape = (film.size, film.size)
    rng = np.random.default_rng(film.noise_seed)
    line = np.linspace(-1, 1, film.size, dtype=np.float32)
    healthy = chest.attenuation()
    # Fewer photons reach the film behind dense tissue: the relative noise grows with the attenuation.
    grain = film.noise * np.exp(np.clip(healthy, 0, 1)) * rng.standard_normal(shape, dtype=np.float32)
    healthy += film.tilt[0] * line[None, :] + film.tilt[1] * line[:, None]
    healthy += 0.015 * cloud(rng, shape, 3)
    return healthy, grain


def _opacity(opacity: Opacity, chest: Chest) -> FloatArray:
    """Attenuation of one opacity: an irregular soft blob, exactly 0 outside the lung fields."""
    rng = np.random.default_rng(opacity.seed)
    radius = opacity.radius * chest.size
    rows, columns, distance = around(chest.size, (opacity.x, opacity.y), 1.8 * radius)
    relative = distance / radius * (1 + 0.12 * cloud(rng, distance.shape, 4))
    blob = np.exp(-1.3 * relative**2) * edge(1.55 - relative, 0.4)
    texture = np.maximum(1 + 0.2 * cloud(rng, blob.shape, 7), 0)
    total = np.zeros_like(chest.lungs)
    total[rows, columns] = opacity.contrast * blob * texture * edge(chest.lungs[rows, columns] - 0.65, 0.3)
    return total


def _tone(film: Film, attenuation: FloatArray) -> FloatArray:
    """Attenuation to grey levels; behind the shutters hardly anything is left."""
    black, white = film.window
    shown = np.clip((attenuation - black) / (white - black), 0, 1)
    grey: FloatArray = 255 * shown**film.gamma
    grey[_shut(film, film.size)] *= 0.08
    return grey
