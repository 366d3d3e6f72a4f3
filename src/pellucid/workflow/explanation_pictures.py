"""The pictures of all maps of one image: single maps, superpixels, and all maps side by side."""

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
from ..reporting.overlay import DIVERGING, SEQUENTIAL, Scale, display_limit, draw_map, verdict
from ..reporting.pictures import save_explanation, small_copy, stamped_pictures, with_colour_bar
from ..reporting.sheets import Cell, Pieces, cell_sized, comparison_sheet, superpixel_picture

# Maps with a value per pixel have peaks of single pixels: those that hold this share of the evidence share the top.
ABOVE = 0.1


@dataclass(frozen=True, slots=True)
class Drawing:
    """How maps are drawn: opacity 0..1, a matplotlib colour map, whether evidence against is shown too, and the scale.

    The scale `image` ends at each map's own largest value, `model` at one value for all images, which the bundle keeps.
    None is the bundle's usual scale where it has one for every method, and else `image`.
    """

    alpha: float = 0.45
    colormap: str | None = None
    signed: bool = False
    scale: Scale | None = None

    @property
    def named_colormap(self) -> str:
        """The colour map, the default one written out."""
        return self.colormap or (DIVERGING if self.signed else SEQUENTIAL)


DEFAULT_DRAWING = Drawing()


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """What every method said of one image; `settings` maps each method to its own.

    `image` is what is drawn on. `seen` is what the model saw: a large JPEG is decoded at a reduced size for it.
    """

    path: str
    image: Image
    seen: Image
    answers: tuple[Explained, ...]
    settings: Mapping[str, Any]

    def prediction(self, bundle: Bundle) -> Prediction:
        """The answer, which is the same whatever the method."""
        return bundle.answer(self.answers[0], path=self.path, warnings=self.image.warnings)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One map as it was drawn: `limit` at the top of its scale, the one-line reading, and its files by kind.

    `small` is the overlay at the size of a cell of the comparison sheet.
    """

    attribution: Attribution
    limit: float
    verdict: str
    files: dict[str, str]
    small: Uint8Array


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """All maps of one image, and the file that shows them side by side where there are several."""

    maps: tuple[Drawn, ...]
    sheet: str | None


@dataclass(frozen=True, slots=True)
class _Single:
    """What all maps of one image are drawn with."""

    bundle: Bundle
    found: ExplainedImage
    prediction: Prediction
    drawing: Drawing
    out: Path


def draw_maps(
    bundle: Bundle, found: ExplainedImage, limits: Mapping[str, float | None], drawing: Drawing, out: Path, stem: str
) -> DrawnImage:
    """Write the pictures of every map of one image into `out`; `limits` are the model's own scales, where used."""
    prediction = found.prediction(bundle)
    attributions = [a for answer in found.answers for a in answer.attributions]
    several_methods, several_targets = len(found.answers) > 1, len(found.answers[0].attributions) > 1
    copy = save_explanation(out, stem, {"image": small_copy(found.image.pixels)})
    picture = _Single(bundle, found, prediction, drawing, out)
    drawn = []
    for attribution in attributions:
        own_limit = limits[attribution.method]
        above = ABOVE if find_method(attribution.method).per_pixel else 0.0
        limit = display_limit(attribution, drawing.scale or "image", own_limit, signed=drawing.signed, above=above)
        parts = (attribution.method if several_methods else "", attribution.target if several_targets else "")
        own = "-".join([stem, *(re.sub(r"[^\w.+-]+", "_", p) for p in parts if p)])
        drawn.append(_draw(picture, attribution, limit, own, copy))
    if len(drawn) < 2:
        return DrawnImage(tuple(drawn), None)
    sheet = _comparison(found, prediction, drawn, drawing)
    return DrawnImage(tuple(drawn), save_explanation(out, stem, {"comparison": sheet})["comparison"])


def _draw(picture: _Single, attribution: Attribution, limit: float, stem: str, copy: dict[str, str]) -> Drawn:
    """Write the pictures of one map. Colours and the one-line reading are worked out once."""
    bundle, found, drawing = picture.bundle, picture.found, picture.drawing
    colormap, signed, reads = drawing.colormap, drawing.signed, verdict(attribution, picture.prediction)
    map_pictures = draw_map(
        found.image.pixels, attribution, limit=limit, alpha=drawing.alpha, colormap=colormap, signed=signed
    )
    pictures = stamped_pictures(map_pictures, attribution, limit, signed=signed)
    pictures["sheet"] = with_colour_bar(
        map_pictures.overlay,
        attribution,
        limit=limit,
        title=f"{_answer(picture.prediction)}. {reads}",
        colormap=colormap,
        signed=signed,
    )
    if find_method(attribution.method).pieces:
        pieces = _pieces(bundle, found, attribution)
        pictures["superpixels"] = superpixel_picture(
            found.image.pixels, pieces, bundle.preprocessing, title=title(picture.prediction, attribution)
        )
    files = {**copy, **save_explanation(picture.out, stem, pictures)}
    return Drawn(attribution, limit, reads, files, cell_sized(map_pictures.overlay))


def _pieces(bundle: Bundle, found: ExplainedImage, attribution: Attribution) -> Pieces:
    """The superpixels that the method weighed: cut again from what the model saw, which is the same every time."""
    settings, said = found.settings[attribution.method], attribution.settings["targets"][attribution.target]
    tensor = bundle.preprocessing.tensors([found.seen])[0]
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
    withheld = "" if prediction.label == prediction.predicted else f"; {prediction.label}"
    if prediction.confidence is None:
        return f"Predicted {prediction.predicted}, score {prediction.output:.3g}{withheld}"
    return f"Predicted {prediction.predicted}, {100 * prediction.confidence:.1f} %{withheld}"


def _comparison(found: ExplainedImage, prediction: Prediction, drawn: list[Drawn], drawing: Drawing) -> Uint8Array:
    """All maps of one image: methods side by side, classes side by side, or classes down and methods across."""
    image = Cell("image", found.image.pixels)
    targets = list(dict.fromkeys(d.attribution.target for d in drawn))

    def cell(d: Drawn, heading: str) -> Cell:
        return Cell(heading, d.small, d.attribution, d.limit)

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
