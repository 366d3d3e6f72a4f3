"""The synthetic chest: a patient drawn at random, and what each pixel's ray meets in it, as an attenuation.

Shapes are formulas in the patient's own coordinates (u to the right of the picture, v down, both about -1..1), so that
a pose is an affine change of coordinates and nothing is ever resampled. Attenuations add up along a ray: air is about
0, lung 0.2, heart 0.7. It looks like a chest film and is no model of a real one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
from scipy import ndimage

FloatArray = npt.NDArray[np.floating[Any]]

WIDEST_VESSEL = 0.022
Coordinate = TypeVar("Coordinate", float, npt.NDArray[np.float64])
Segment = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Spot:
    """A small round shadow that is no finding (nipple, calcification, vessel seen end-on), in patient coordinates."""

    u: float
    v: float
    radius: float
    contrast: float


@dataclass(frozen=True, slots=True)
class Patient:
    """The anatomy that all films of a patient share; lengths in patient coordinates, densities in attenuation."""

    apex: float
    width: float
    medial: float
    dome: tuple[float, float]
    dome_curve: float
    body_width: float
    shoulder: float
    thickness: float
    heart: tuple[float, float]
    knob: float
    hilum: float
    rib_spacing: float
    rib_start: float
    rib_drop: float
    rib_thickness: float
    rib_density: float
    clavicle: tuple[float, float, float]
    scapula: float
    spine: float
    vertebra: float
    breast: float
    gas: float
    texture_seed: int
    vessels: tuple[Segment, ...]
    vessel_density: float
    spots: tuple[Spot, ...]


def draw_patient(rng: np.random.Generator) -> Patient:
    """A patient's anatomy."""
    normal, uniform = rng.normal, rng.uniform
    apex, dome, width, spacing = normal(-0.74, 0.03), normal(0.46, 0.05), normal(0.68, 0.035), uniform(0.135, 0.16)
    return Patient(
        apex=apex,
        width=width,
        medial=normal(0.12, 0.012),
        dome=(dome, dome + normal(0.05, 0.025)),
        dome_curve=uniform(0.09, 0.17),
        body_width=width + uniform(0.10, 0.32),
        shoulder=uniform(0.25, 0.5),
        thickness=normal(0.62, 0.04),
        heart=(normal(0.30, 0.035), normal(0.10, 0.02)),
        knob=uniform(0.03, 0.08),
        hilum=uniform(0.04, 0.09),
        rib_spacing=spacing,
        rib_start=apex + spacing * uniform(-0.5, 0.5),
        rib_drop=uniform(0.26, 0.40),
        rib_thickness=uniform(0.026, 0.034),
        rib_density=uniform(0.07, 0.13),
        clavicle=(normal(-0.40, 0.03), uniform(0.20, 0.36), uniform(0.015, 0.04)),
        scapula=uniform(0.0, 0.08),
        spine=uniform(0.05, 0.10),
        vertebra=uniform(0.13, 0.16),
        breast=uniform(0.03, 0.09) if rng.random() < 0.45 else 0.0,
        gas=uniform(0.08, 0.25) if rng.random() < 0.5 else 0.0,
        texture_seed=int(rng.integers(2**31)),
        vessels=_draw_vessels(rng),
        vessel_density=uniform(0.06, 0.12),
        spots=_draw_spots(rng),
    )


def _draw_spots(rng: np.random.Generator) -> tuple[Spot, ...]:
    spots: list[Spot] = []
    if rng.random() < 0.4:
        u, v, radius = rng.normal(0.40, 0.03), rng.normal(0.22, 0.05), rng.uniform(0.022, 0.034)
        spots += [Spot(side * u, v, radius, rng.uniform(0.03, 0.07)) for side in (-1, 1)]
    for _ in range(rng.integers(3, 8)):
        u, v = 0.22 + abs(rng.normal(0.0, 0.12)), rng.normal(0.02, 0.14)
        spots.append(Spot(float(rng.choice([-1, 1])) * u, v, rng.uniform(0.012, 0.024), rng.uniform(0.05, 0.12)))
    return tuple(spots)


def _draw_vessels(rng: np.random.Generator) -> tuple[Segment, ...]:
    """Two trees that branch from the hila: segments (u0, v0, u1, v1, width), thin ones first."""
    found: list[Segment] = []
    for side in (-1, 1):
        fan = (np.linspace(-1.25, 1.35, 7) + rng.normal(0, 0.12, 7)).tolist()
        tips = [(side * 0.17, 0.1 * math.sin(a), a, rng.uniform(0.12, 0.2), WIDEST_VESSEL) for a in fan]
        for _ in range(4):
            grown = []
            for u, v, angle, length, width in tips:
                end_u, end_v = u + side * length * math.cos(angle), v + length * math.sin(angle)
                found.append((u, v, end_u, end_v, width))
                for turn in (-1, 1):
                    bend = angle + turn * rng.uniform(0.12, 0.5)
                    grown.append((end_u, end_v, bend, length * rng.uniform(0.6, 0.95), width * 0.68))
            tips = grown
    return tuple(sorted(found, key=lambda segment: segment[4]))


@dataclass(frozen=True, slots=True)
class Pose:
    """How a patient stands: `rotation` in radians, size on the film along u and v, shift and the rest in film halves.

    `lean` moves spine and windpipe off the midline (the patient turned), `breath` the diaphragm down; `air` is what the
    right and the left lung take from the attenuation.
    """

    rotation: float
    scale: tuple[float, float]
    shift: tuple[float, float]
    lean: float
    breath: float
    air: tuple[float, float]

    def on_film(self, u: Coordinate, v: Coordinate) -> tuple[Coordinate, Coordinate]:
        """A patient's points in shares of the film's side, (x right, y down)."""
        a, b = u * self.scale[0], v * self.scale[1]
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        return (cos * a - sin * b + self.shift[0] + 1) / 2, (sin * a + cos * b + self.shift[1] + 1) / 2


class Chest:
    """A patient in a pose, sampled at the pixel centres of a film of `size` x `size` pixels."""

    def __init__(self, patient: Patient, pose: Pose, size: int) -> None:
        self.patient, self.pose, self.size = patient, pose, size
        line = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
        across, down = line[None, :] - pose.shift[0], line[:, None] - pose.shift[1]
        cos, sin = math.cos(pose.rotation), math.sin(pose.rotation)
        self.u: FloatArray = (cos * across + sin * down) / pose.scale[0]
        self.v: FloatArray = (cos * down - sin * across) / pose.scale[1]
        self.x = np.abs(self.u)
        self.wall = self._wall()
        self.below = self._below_diaphragm()
        self.beside = self._beside_mediastinum()
        self.lungs = edge(self.wall - self.x, 0.05) * edge(self.beside, 0.05) * edge(-self.below, 0.03)
        """How far each pixel lies in the lung fields, 0..1: inside the chest wall, beside the heart, above the dome."""

    def _wall(self) -> FloatArray:
        """Distance of the lung's outer border from the midline at each pixel's height; 0 above the apex."""
        t = np.clip((self.v - self.patient.apex) / 1.25, 0, 1)
        wall: FloatArray = self.patient.width * np.sqrt(1 - (1 - t) ** 2.8)
        return wall

    def _below_diaphragm(self) -> FloatArray:
        """Signed distance below the two domes."""
        right, left = (np.float32(top + self.pose.breath) for top in self.patient.dome)
        arch = self.patient.dome_curve * ((self.x - 0.30) / 0.36) ** 2
        return self.v - np.where(self.u > 0, left, right) - arch

    def _beside_mediastinum(self) -> FloatArray:
        """Signed distance from the outline of spine, great vessels and heart, positive in the lung."""
        left, right = (value for value in self.patient.heart)
        base, dome = self.patient.medial + 0.02 * self.v, self.patient.dome[0]
        knob = self.patient.knob * self._bump(-0.26, 0.08)
        left_edge = base + knob + left * self._bump(dome - 0.03, 0.22)
        right_edge = base + right * self._bump(dome - 0.18, 0.17)
        return np.where(self.u > 0, self.u - left_edge, -self.u - right_edge)

    def _bump(self, middle: float, width: float) -> FloatArray:
        """A bell of height 1 along v."""
        bell: FloatArray = np.exp(-0.5 * ((self.v - middle) / width) ** 2)
        return bell

    def _ellipse(self, u: float, v: float, radius_u: float, radius_v: float, softness: float) -> FloatArray:
        """1 inside an ellipse, 0 outside."""
        across, down = (self.u - u) / radius_u, (self.v - v) / radius_v
        return edge((1 - np.sqrt(across**2 + down**2)) * min(radius_u, radius_v), softness)

    def attenuation(self) -> FloatArray:
        """Everything together, without opacities, (size, size)."""
        patient, shape = self.patient, (self.size, self.size)
        rng = np.random.default_rng(patient.texture_seed)
        total = self._soft_tissue() + self._bones()
        total += (patient.vessel_density * self._vessels() + self._spots()) * self.lungs
        total += 0.010 * cloud(rng, shape, 5) + 0.006 * cloud(rng, shape, 14)
        return total

    def _soft_tissue(self) -> FloatArray:
        """Chest wall, mediastinum, heart, abdomen, minus the air in lungs, windpipe and stomach."""
        patient = self.patient
        side = patient.body_width + patient.shoulder * edge(-self.v - 0.42, 0.5)
        neck = (0.27 - self.x) * 0.7
        top = np.maximum(self.v + 0.93 - 0.3 * self.x**2, neck)
        body = edge(side - self.x, 0.03) * (0.3 * edge(top, 0.05) + 0.7 * edge(top - 0.1, 0.35))
        depth = np.sqrt(np.clip(1 - (self.x / side) ** 2, 0, 1))
        total: FloatArray = patient.thickness * (0.35 + 0.65 * depth)
        total += 0.16 * edge(self.below - 0.02, 0.12)
        total += 0.14 * edge(0.05 - self.beside, 0.3)
        total *= body
        right, left = (np.float32(air) for air in self.pose.air)
        total -= np.where(self.u > 0, left, right) * self.lungs * (0.75 + 0.25 * depth)
        windpipe = edge(0.04 - np.abs(self.u - (self.pose.lean + 0.01)), 0.03)
        total -= 0.11 * windpipe * edge(-self.v - 0.2, 0.15) * body
        for sign in (-1, 1):
            total += patient.hilum * self._ellipse(sign * 0.21, 0.02, 0.09, 0.17, 0.15)
            if patient.breast:
                total += patient.breast * self._ellipse(sign * 0.40, 0.16, 0.33, 0.30, 0.10)
        if patient.gas:
            height = patient.dome[1] + self.pose.breath + 0.17
            total -= patient.gas * self._ellipse(0.36, height, 0.15, 0.075, 0.06)
        return total

    def _bones(self) -> FloatArray:
        """Ribs, clavicles, spine and shoulder blades."""
        patient, x, v = self.patient, self.x, self.v
        height, slope, wave = (value for value in patient.clavicle)
        clavicle = _tube(v - height + slope * x + wave * np.sin(x * 7.0), 0.036)
        clavicle *= edge(x - 0.09, 0.06) * edge(0.86 - x, 0.1)
        disc = np.cos(v * (2 * math.pi / patient.vertebra))
        half = 0.085 + 0.02 * v + 0.008 * disc
        spine = edge(half - np.abs(self.u - self.pose.lean), 0.03)
        spine *= 0.85 + 0.15 * np.clip(disc * 2, -1, 1)
        blade = edge(x - 0.60 - 0.2 * (v + 0.3) ** 2, 0.02)
        blade *= edge(v + 0.62 - 0.1 * x, 0.1) * edge(0.02 - v, 0.3)
        total: FloatArray = patient.rib_density * (self._ribs() + 1.15 * clavicle)
        total += patient.spine * spine
        total += patient.scapula * blade
        return total

    def _ribs(self) -> FloatArray:
        """Posterior and, fainter, anterior arcs of ten ribs; all arcs of a kind are level lines of one function."""
        patient = self.patient
        chest = np.maximum(self.wall + 0.03, 1e-3)
        q = self.x / chest
        arc = np.sqrt(np.clip(1 - q * q, 1e-4, 1))
        fall = 0.45 * q + 0.55 * (1 - arc)
        fall_slope = (0.45 + 0.55 * np.minimum(q / arc, 25)) / chest
        drop, spacing = patient.rib_drop, patient.rib_spacing
        total = np.zeros_like(q)
        for height, share, strength in ((0.0, 1.0, 1.0), (1.9, -0.9, 0.55)):
            level = self.v - patient.rib_start - drop * (height + share * fall)
            number = np.rint(level / spacing)
            # The distance along v becomes the distance across the bone.
            across = (level - number * spacing) / np.sqrt(1 + (drop * share * fall_slope) ** 2)
            rib = _tube(across, patient.rib_thickness) * ((number >= 0) & (number <= 9))
            total += strength * (rib if share > 0 else rib * edge(q - 0.42, 0.25))
        ribs: FloatArray = total * ((q < 1) * (1 - 0.6 * edge(self.below, 0.1)))
        return ribs

    def _vessels(self) -> FloatArray:
        """The vessel trees, drawn twice as large and reduced, 0..1."""
        double = 2 * self.size
        sheet = PIL.Image.new("L", (double, double))
        pen = PIL.ImageDraw.Draw(sheet)
        segments = np.array(self.patient.vessels)
        ends = np.stack(self.pose.on_film(segments[:, 0:4:2], segments[:, 1:4:2]), axis=2).reshape(-1, 4) * double
        for line, width in zip(ends.tolist(), segments[:, 4].tolist(), strict=True):
            shade = int(255 * (width / WIDEST_VESSEL) ** 0.6)
            pen.line(line, fill=shade, width=max(1, round(width * self.size)))
        drawn = np.asarray(sheet.reduce(2), np.float32) / 255
        soft: FloatArray = ndimage.uniform_filter(drawn, 1 + 2 * round(self.size / 224), mode="constant")
        return soft

    def _spots(self) -> FloatArray:
        total = np.zeros((self.size, self.size), np.float32)
        for spot in self.patient.spots:
            radius = spot.radius * self.pose.scale[0] * self.size / 2
            rows, columns, distance = around(self.size, self.pose.on_film(spot.u, spot.v), 1.4 * radius + 2)
            total[rows, columns] += spot.contrast * edge(radius - distance, max(1.0, 0.5 * radius))
        return total


def edge(distance: FloatArray, width: float) -> FloatArray:
    """0 to 1 across an edge `width` wide at distance 0; smooth, and exactly 0 and 1 beyond it."""
    t = distance / width
    t += 0.5
    np.clip(t, 0, 1, out=t)
    smooth: FloatArray = 3 - 2 * t
    smooth *= t
    smooth *= t
    return smooth


def _tube(distance: FloatArray, half: float) -> FloatArray:
    """A hollow bone across its axis: dense cortex, lighter middle, 0 outside."""
    r = np.minimum((distance / half) ** 2, 1)
    profile: FloatArray = np.sqrt(1 - r) * (0.6 + 0.9 * r)
    return profile


def around(size: int, centre: tuple[float, float], reach: float) -> tuple[slice, slice, FloatArray]:
    """The pixels within `reach` pixels of `centre` (x, y, in shares of the side): rows, columns, distances."""
    x, y = (share * size for share in centre)
    rows, columns = (slice(max(0, int(c - reach)), max(0, min(size, int(c + reach) + 1))) for c in (y, x))
    down = np.arange(rows.start, rows.stop, dtype=np.float32) + (0.5 - y)
    across = np.arange(columns.start, columns.stop, dtype=np.float32) + (0.5 - x)
    return rows, columns, np.hypot(down[:, None], across[None, :])


def cloud(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> FloatArray:
    """Smooth noise of unit variance and mean 0: random values in `cells` x `cells` cells, joined by cubic B-splines."""
    coarse = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    return _spread(_spread(coarse, shape[1]).T, shape[0])


def _spread(values: FloatArray, size: int) -> FloatArray:
    """Lay values (cells + 3, m) smoothly along `size` pixels: (size, m)."""
    first, weights = _spline(size, len(values) - 3)
    total: FloatArray = weights[0] * values[first]
    for k in (1, 2, 3):
        total += weights[k] * values[first + k]
    return total


@lru_cache(maxsize=256)
def _spline(size: int, cells: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """For each pixel the first of the four values that reach it, (size,), and their weights, (4, size, 1), norm 1."""
    position = (np.arange(size) + 0.5) * (cells / size)
    first = position.astype(np.intp)
    t = position - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3])
    return first, (weights / np.linalg.norm(weights, axis=0)).astype(np.float32)[:, :, None]
