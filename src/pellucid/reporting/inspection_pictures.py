"""The pictures of an inspection: images as they are, averages of classes, and how a measure is spread."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from ..data.inspection import Inspection, MeasureEntry
from ..data.statistics import ImageMeasurements, Values
from ..data.verdicts import LEADING
from ..errors import ImageError
from ..images import read_image
from ..preprocessing import FloatArray
from . import style
from .overlay import DIVERGING, colour_table
from .pictures import smaller
from .words import number, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 288
QUALITY = 80
# The effect size at the ends of the colour bar; Cohen calls 0.8 large.
STRONGEST = 1.0
_BINS = 40
MOST_CLASSES = 12


@dataclass(frozen=True, slots=True)
class Average:
    """An average picture as a data address, and what it is of."""

    title: str
    picture: str


def picture_of(path: Path) -> str:
    """An image file as a JPEG data address, its longer side at most 288 pixels; "" when it cannot be read any more."""
    try:
        picture = smaller(read_image(path, at_least=(SIDE, SIDE)).upright, SIDE)
    except ImageError:
        return ""
    return _address(picture, "JPEG", quality=QUALITY)


def averages(found: ImageMeasurements) -> list[Average]:
    """The average picture of each class that has images, at most 12."""
    sizes = np.bincount(found.dataset.labels, minlength=len(found.dataset.classes))
    return [
        Average(name, _address(PIL.Image.fromarray(np.rint(mean).astype(np.uint8)), "PNG"))
        for name, mean, size in zip(found.dataset.classes, found.means, sizes, strict=True)
        if size
    ][:MOST_CLASSES]


def difference(found: ImageMeasurements) -> Average | None:
    """Where two classes differ: Cohen's d pixel by pixel, second class minus the first, from -1 (blue) to 1 (red)."""
    if len(found.dataset.classes) != 2:
        return None
    colours = colour_table(DIVERGING)
    places = np.clip((effect_size(found) / STRONGEST + 1) / 2, 0, 1) * (len(colours) - 1)
    picture = PIL.Image.fromarray(colours[np.rint(places).astype(np.intp)])
    return Average(f"{found.dataset.classes[1]} less {found.dataset.classes[0]}", _address(picture, "PNG"))


def effect_size(found: ImageMeasurements) -> FloatArray:
    """The difference of the two classes' average pictures over their pooled standard deviation, (96, 96)."""
    # One grey value of variance for the rounding of pixels, so that what is flat in all images is 0.
    pooled = np.sqrt((found.deviations**2).mean(axis=0) + 1)
    size: FloatArray = (found.means[1] - found.means[0]) / pooled
    return size


def spread_figure(measure: MeasureEntry, values: Values, labels: Sequence[str], classes: Sequence[str]) -> Figure:
    """How a measure is spread in the class that it tells best and in the others; the title says what differs."""
    known = np.isfinite(values)
    own = np.array([label == measure.label for label in labels])
    panels = [(measure.label, own, style.CLASS_COLOURS[classes.index(measure.label) % len(style.CLASS_COLOURS)])]
    if len(classes) == 2:
        other = 1 - classes.index(measure.label)
        panels.insert(other, (classes[other], ~own, style.CLASS_COLOURS[other]))
    else:
        panels.append(("the rest", ~own, style.SOFT))
    low, high = np.quantile(values[known], (0.005, 0.995))
    edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
    with style.drawing():
        figure = style.new_figure(style.WIDTH, 2.5)
        for axes, (name, chosen, colour) in zip(figure.subplots(2, sharex=True), panels, strict=True):
            mine = values[known & chosen]
            axes.hist(mine, edges, weights=np.full(len(mine), 1 / max(len(mine), 1)), color=colour)
            axes.axvline(float(np.median(mine)), color=style.INK, linewidth=0.9)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.set_title(f"{printable(name)}, n = {len(mine):,}", loc="left", fontsize=10, color=style.INK, pad=3)
        axes.set_xlabel(f"{measure.title.lower()}{f', {measure.unit}' if measure.unit else ''}")
        axes.set_xlim(edges[0], edges[-1])
        style.state_finding(figure, f"{measure.sentence}; alone, AUC {number(strength(measure))}")
    return figure


def leading(inspection: Inspection, found: ImageMeasurements) -> list[MeasureEntry]:
    """The measures that alone tell the classes well, the best first; without those that only say yes or no."""
    measures = inspection.metadata.measures if inspection.metadata else ()
    return [m for m in measures if m.name in found.values and strength(m) >= LEADING]


def strength(measure: MeasureEntry) -> float:
    """The area of a measure as if higher values spoke for the class: 0.5 to 1."""
    return max(measure.area.value, 1 - measure.area.value)


def spread_figures(inspection: Inspection, found: ImageMeasurements, most: int = 4) -> Iterator[style.InlineFigure]:
    """The figures of the measures that tell the classes best, ready for the page."""
    names = [inspection.classes[k] for k in found.dataset.labels]
    for measure in leading(inspection, found)[:most]:
        figure = spread_figure(measure, found.values[measure.name], names, inspection.classes)
        yield style.inline_svg(figure, f"spread-{measure.name}")


def ends_of(found: ImageMeasurements, name: str, each: int = 6) -> tuple[list[int], list[int]]:
    """Indices of the images with the lowest and with the highest values of a measure."""
    values = found.values[name]
    order = [int(i) for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]
    return order[:each], order[: -each - 1 : -1]


def _address(picture: PIL.Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
