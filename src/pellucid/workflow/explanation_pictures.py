"""The pictures of all maps of one image, by what was asked: single maps, superpixels, and all of them side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..classifier import Prediction
from ..explanation.attribution import Attribution
from ..explanation.catalogue import find_method
from ..explanation.explain import Explained
from ..images import Image
from ..preprocessing import Uint8Array
from ..reporting.overlay import DIVERGING, SEQUENTIAL, Scale, display_limit, overlay, verdict
from ..reporting.pictures import explanation_pictures, save_explanation, with_colour_bar
from ..reporting.sheets import Cell, Pieces, comparison_sheet, superpixel_picture

# Maps with a value per pixel have peaks of single pixels: those that hold this share of the evidence share the top.
ABOVE = 0.1


@dataclass(frozen=True, slots=True)
class Drawing:
    """How maps are drawn: opacity 0..1, a matplotlib colour map, whether evidence against is shown too, and the scale.

    The scale `image` ends at each map's own largest value, `model` at one value for all images, which the bundle keeps.
    """

    alpha: float = 0.45
    colormap: str | None = None
    signed: bool = False
    scale: Scale = "image"

    @property
    def named_colormap(self) -> str:
        """The colour map, the default one written out."""
        return self.colormap or (DIVERGING if self.signed else SEQUENTIAL)


DEFAULT_DRAWING = Drawing()


@dataclass(frozen=True, slots=True)
class Maps:
    """What every method said of one image; `settings` are the methods' own."""

    path: str
    true_label: str | None
    image: Image
    answers: tuple[Explained, ...]
    settings: Mapping[str, Any]

    def prediction(self, bundle: Bundle) -> Prediction:
        """The answer, which is the same whatever the method."""
        return bundle.answer(self.answers[0], path=self.path, warnings=self.image.warnings)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One map as it was drawn: `limit` at the top of its scale, the one-line reading, and its files by kind."""

    attribution: Attribution
    limit: float
    verdict: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """All maps of one image, and the file that shows them side by side where there are several."""

    maps: tuple[Drawn, ...]
    sheet: str | None


def draw_maps(
    bundle: Bundle, found: Maps, limits: Mapping[str, float | None], drawing: Drawing, out: Path, stem: str
) -> DrawnImage:
    """Write the pictures of every map of one image into `out`; `limits` are the model's own scales, where used."""
    prediction = found.prediction(bundle)
    attributions = [a for answer in found.answers for a in answer.attributions]
    several_methods, several_targets = len(found.answers) > 1, len(found.answers[0].attributions) > 1
    copy: dict[str, str] = {}
    drawn = []
    for attribution in attributions:
        own_limit = limits[attribution.method]
        above = ABOVE if find_method(attribution.method).per_pixel else 0.0
        limit = display_limit(attribution, drawing.scale, own_limit, signed=drawing.signed, above=above)
        pictures = _pictures(bundle, found, prediction, attribution, limit, drawing)
        copy = copy or save_explanation(out, stem, {"image": pictures["image"]})
        del pictures["image"]
        parts = (attribution.method if several_methods else "", attribution.target if several_targets else "")
        own = "-".join([stem, *(re.sub(r"[^\w.+-]+", "_", p) for p in parts if p)])
        files = {**copy, **save_explanation(out, own, pictures)}
        drawn.append(Drawn(attribution, limit, verdict(attribution, prediction), files))
    if len(drawn) < 2:
        return DrawnImage(tuple(drawn), None)
    sheet = _comparison(found, prediction, drawn, drawing)
    return DrawnImage(tuple(drawn), save_explanation(out, stem, {"comparison": sheet})["comparison"])


def _pictures(
    bundle: Bundle, found: Maps, prediction: Prediction, attribution: Attribution, limit: float, drawing: Drawing
) -> dict[str, Uint8Array]:
    colormap, signed = drawing.colormap, drawing.signed
    pictures = explanation_pictures(
        found.image.pixels, attribution, limit=limit, alpha=drawing.alpha, colormap=colormap, signed=signed
    )
    reads = f"{_answer(prediction)}. {verdict(attribution, prediction)}"
    pictures["sheet"] = with_colour_bar(
        pictures["overlay"], attribution, limit=limit, title=reads, colormap=colormap, signed=signed
    )
    if find_method(attribution.method).pieces:
        pieces = _pieces(bundle, found, attribution)
        pictures["superpixels"] = superpixel_picture(
            found.image.pixels, pieces, bundle.preprocessing, title=title(prediction, attribution)
        )
    return pictures


def _pieces(bundle: Bundle, found: Maps, attribution: Attribution) -> Pieces:
    """The superpixels that the method weighed: cut again from what the model saw, which is the same every time."""
    settings, said = found.settings[attribution.method], attribution.settings["targets"][attribution.target]
    tensor = bundle.preprocessing.tensors([found.image])[0]
    cut = find_method(attribution.method).pieces
    assert cut is not None
    labels = cut(bundle.preprocessing.to_pixels(tensor), settings)
    return Pieces(
        labels,
        np.asarray(said["weights"], np.float32),
        np.asarray(said["standard_errors"], np.float32),
        said["top"],
        attribution.unit,
    )


def title(prediction: Prediction, attribution: Attribution) -> str:
    """What is shown, for the head of a picture: the answer, how sure, and which class's evidence."""
    return f"{_answer(prediction)}. Evidence for {attribution.target} by {attribution.method}"


def _answer(prediction: Prediction) -> str:
    if prediction.confidence is None:
        return f"Predicted {prediction.label}, score {prediction.output:.3g}"
    return f"Predicted {prediction.label}, {100 * prediction.confidence:.1f} %"


def _comparison(found: Maps, prediction: Prediction, drawn: list[Drawn], drawing: Drawing) -> Uint8Array:
    """All maps of one image: methods side by side, classes side by side, or classes down and methods across."""
    pixels = found.image.pixels
    image = Cell("image", pixels)
    targets = list(dict.fromkeys(d.attribution.target for d in drawn))

    def cell(d: Drawn, heading: str) -> Cell:
        picture = overlay(
            pixels,
            d.attribution,
            limit=d.limit,
            alpha=drawing.alpha,
            colormap=drawing.colormap,
            signed=drawing.signed,
        )
        return Cell(heading, picture, d.attribution, d.limit)

    def of_class(name: str) -> str:
        share = prediction.probabilities.get(name)
        return name if share is None else f"{name} {100 * share:.1f} %"

    if len(targets) == 1:
        rows: list[list[Cell | None]] = [[image, *(cell(d, d.attribution.method) for d in drawn)]]
        about = f"{_answer(prediction)}. Evidence for {targets[0]}"
    elif len(found.answers) == 1:
        rows = [[image, *(cell(d, of_class(d.attribution.target)) for d in drawn)]]
        about = f"{_answer(prediction)}. Evidence for each class by {drawn[0].attribution.method}"
    else:
        rows = [
            [
                image if i == 0 else None,
                *(cell(d, f"{d.attribution.method}: {of_class(name)}") for d in drawn if d.attribution.target == name),
            ]
            for i, name in enumerate(targets)
        ]
        about = f"{_answer(prediction)}. Evidence for each class by each method"
    return comparison_sheet(about, rows, colormap=drawing.colormap, signed=drawing.signed)
