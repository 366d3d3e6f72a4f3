"""From raw evidence to pictures: grey map, coloured map and overlay, and the one sentence that reads them.

Values become colours here and nowhere else. `limit` is the value, in the attribution's own unit, that is drawn at the
top of the scale; larger ones are drawn like it. An attribution that speaks for nothing gives the plain image: it is
never stretched until noise looks like evidence (compare Adebayo et al. 2018, arXiv:1810.03292).
"""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from ..bundle.manifest import Manifest
from ..classifier import Against, Prediction
from ..errors import InputError, UnknownNameError
from ..explanation.attribution import Attribution
from ..preprocessing import FloatArray, Uint8Array
from .words import percent

Scale = Literal["image", "model"]

DRAWN = "q95"
"""The quantile that is the top of a model's own scale."""
SEQUENTIAL, DIVERGING = "inferno", "RdBu_r"
NO_EVIDENCE = "no positive evidence"
LITTLE_EVIDENCE = "almost no evidence on this scale"
# An odd number of colours, so that zero of a signed map falls on the one in the middle.
COLOURS = 257
_BREWER_DIVERGING = ("PiYG", "PRGn", "BrBG", "PuOr", "RdGy", "RdBu", "RdYlBu", "RdYlGn", "Spectral")
DIVERGING_MAPS = frozenset((*_BREWER_DIVERGING, "coolwarm", "bwr", "seismic", "berlin", "managua", "vanimo"))
# From this share of the scale's top on, an overlay has its full opacity.
_OPAQUE_FROM = 0.7
# Below this share of the scale's top a picture looks empty, so it has to say so.
_VISIBLE_SHARE = 0.05
# A map whose stronger half takes more of the image than this points nowhere; an even one takes 50 %.
_SPREAD_SHARE = 0.3
_PLACES = (
    ("in the upper left", "at the top", "in the upper right"),
    ("on the left", "in the centre", "on the right"),
    ("in the lower left", "at the bottom", "in the lower right"),
)


def own_limit(manifest: Manifest, attribution: Attribution) -> float | None:
    """The value at the top of the model's own scale for a map of its usual layer; None where it has none."""
    kept, layer = manifest.scales.get(attribution.method), manifest.layer
    if not kept or kept[DRAWN] <= 0 or layer is None or attribution.layer != layer.name:
        return None
    return kept[DRAWN]


def usual_limit(manifest: Manifest, attribution: Attribution) -> float:
    """The value at the top of the scale that is usual for the model's maps: the model's own, or that of this map."""
    own = own_limit(manifest, attribution) if manifest.usual_scale == "model" else None
    return display_limit(attribution) if own is None else own


def display_limit(
    attribution: Attribution,
    scale: Scale = "image",
    model_limit: float | None = None,
    *,
    signed: bool = False,
    above: float = 0.0,
) -> float:
    """The value drawn at the top of the scale, in the attribution's unit; at least 0.

    `image`: the largest value of this map (with `signed`, the largest in size), 0 when nothing speaks for the target.
    With `above`, the value that holds this share of the evidence at or above it, so that a few single pixels do not
    make all the rest look empty; where the evidence is a single pixel, or even noise, that is the largest value too.
    `model`: `model_limit`, one value for every image, so that maps can be compared by eye and weak ones look weak.

    Raises InputError for an unknown scale, for values that are not finite, and when `model` is asked of a model
    without a positive `model_limit`.
    """
    if scale == "image":
        values = _finite(attribution)
        sizes = np.abs(values) if signed else np.maximum(values, 0)
        return _value_below(sizes, above) if above and sizes.any() else float(sizes.max(initial=0))
    if scale != "model":
        raise UnknownNameError("scale", scale, ("image", "model"), "Use 'image' or 'model'.")
    if model_limit is None or not model_limit > 0:
        raise InputError(f"This model has no scale of its own (its limit is {model_limit}). Use the scale 'image'.")
    return float(model_limit)


class MapPictures(NamedTuple):
    """One map drawn three ways, uint8: `attention` (H, W), `heatmap` (H, W, 3) and `overlay` (H, W, 3)."""

    attention: Uint8Array
    heatmap: Uint8Array
    overlay: Uint8Array


def attention_map(attribution: Attribution, limit: float) -> Uint8Array:
    """Evidence for the target as brightness: (H, W) uint8, 0 without evidence, 255 at `limit` and above."""
    return _brightness(_share(attribution, limit))


def heat_map(attribution: Attribution, colormap: str | None, limit: float, *, signed: bool = False) -> Uint8Array:
    """Evidence as colour: (H, W, 3) uint8.

    0 gets the low end of `colormap` (None: inferno) and `limit` its high end. With `signed` the map is diverging
    (None: blue, white, red): evidence against the target on the low side, none in the middle, evidence for it on the
    high side. Raises UnknownNameError for an unknown map, InputError for a one-sided map of signed values.
    """
    name = _checked_name(colormap, signed)
    return _colours(_share(attribution, limit, signed), name, signed)


def overlay(
    image: Uint8Array,
    attribution: Attribution,
    *,
    limit: float,
    alpha: float = 0.45,
    colormap: str | None = None,
    signed: bool = False,
) -> Uint8Array:
    """The coloured map over the image: (H, W, 3) uint8; arguments and errors are those of `draw_map`."""
    return draw_map(image, attribution, limit=limit, alpha=alpha, colormap=colormap, signed=signed).overlay


def check_opacity(alpha: float) -> None:
    """Raise InputError for an opacity outside [0, 1]."""
    if not 0 <= alpha <= 1:
        raise InputError(
            f"The opacity alpha must lie between 0 (only the image) and 1 (only the heat map), not {alpha}."
        )


def draw_map(
    image: Uint8Array,
    attribution: Attribution,
    *,
    limit: float,
    alpha: float = 0.45,
    colormap: str | None = None,
    signed: bool = False,
) -> MapPictures:
    """The grey map, the coloured map, and the coloured map over the image (H, W, 3) uint8.

    The opacity of a pixel of the overlay is `alpha * s(v)`, where v in [0, 1] is the size of its value against `limit`.
    s rises smoothly, as u^2 (3 - 2u) of u = v / 0.7, from 0, where the image is unchanged, to 1 at v = 0.7 and above.

    Raises InputError when `alpha` lies outside [0, 1] or the map and the image differ in size, and as `heat_map` does.
    """
    check_opacity(alpha)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"An overlay needs an 8-bit RGB image (H, W, 3), not {image.dtype} of shape {image.shape}.")
    if image.shape[:2] != attribution.values.shape:
        sizes = f"{attribution.values.shape} and the image {image.shape[:2]}"
        raise InputError(f"The heat map has (height, width) {sizes}. Explain the image that is drawn.")
    name = _checked_name(colormap, signed)
    share = _share(attribution, limit, signed)
    colours = _colours(share, name, signed)
    return MapPictures(_brightness(share), colours, _blended(image, colours, share, alpha))


def _brightness(share: FloatArray) -> Uint8Array:
    grey: Uint8Array = np.rint(255 * np.maximum(share, 0)).astype(np.uint8)
    return grey


def _colours(share: FloatArray, name: str, signed: bool) -> Uint8Array:
    """The colours (H, W, 3) of shares (H, W) in [0, 1], or in [-1, 1] when signed."""
    position = (share + 1) / 2 if signed else share
    places = np.rint(position * (COLOURS - 1)).astype(np.intp)
    colours: Uint8Array = np.take(colour_table(name), places, axis=0)
    return colours


def _blended(image: Uint8Array, colours: Uint8Array, share: FloatArray, alpha: float) -> Uint8Array:
    """Colours over the image, by the opacity that `draw_map` describes."""
    rise = np.minimum(np.abs(share) / np.float32(_OPAQUE_FROM), 1)
    opacity = (np.float32(alpha) * rise * rise * (3 - 2 * rise))[..., None]
    background = image.astype(np.float32)
    mixed = colours - background
    mixed *= opacity
    mixed += background
    np.rint(mixed, out=mixed)
    blended: Uint8Array = mixed.astype(np.uint8)
    return blended


@cache
def grey_blends(colormap: str = SEQUENTIAL, alpha: float = 0.45) -> Uint8Array:
    """What `draw_map` makes of each grey value under each of the 257 steps of the map: (257, 256, 3) uint8, read-only.

    A lookup in it draws the overlay of a grey image several times faster, from a map rounded to these steps.
    """
    share = (np.arange(COLOURS, dtype=np.float32) / np.float32(COLOURS - 1))[:, None]
    grey = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (COLOURS, 256, 3))
    table = _blended(grey, colour_table(colormap)[:, None, :], share, alpha)
    table.flags.writeable = False
    return table


def reading(attribution: Attribution, limit: float, *, signed: bool = False) -> str | None:
    """What a picture must say in words because it shows nothing; None when it shows something."""
    if attribution.says_nothing and not (signed and attribution.values.any()):
        return NO_EVIDENCE
    largest = display_limit(attribution, "image", signed=signed)
    return LITTLE_EVIDENCE if largest < _VISIBLE_SHARE * limit else None


def verdict(attribution: Attribution, prediction: Prediction | None = None) -> str:
    """One sentence that says where the evidence lies.

    For example "Evidence for opacity is strongest in the upper left; half of it lies in 6 % of the image."

    Left and right are those of the picture. The share is that of the fewest pixels that hold half of the positive
    evidence. With a `prediction` for another class, that class is named too.
    """
    subject = f"evidence for {attribution.target}"
    own = attribution.target.target if isinstance(attribution.target, Against) else attribution.target
    if prediction is not None and prediction.predicted != own:
        is_or = "is" if prediction.label == prediction.predicted else "would be"
        subject += f" (the answer {is_or} {prediction.predicted})"
    positive = np.maximum(_finite(attribution), 0)
    if not positive.any():
        return f"No positive {subject}."
    half = _half_share(positive)
    if half > _SPREAD_SHARE:
        return f"The {subject} is spread out; half of it covers {percent(half)} of the image."
    return f"E{subject[1:]} is strongest {_place(positive)}; half of it lies in {percent(half)} of the image."


@cache
def colour_table(name: str) -> Uint8Array:
    """The 257 colours of a matplotlib colour map, low to high: (257, 3) uint8, read-only."""
    from matplotlib import colormaps

    if name not in colormaps:
        remedy = "Try inferno, viridis, magma, jet or, for signed evidence, RdBu_r."
        raise UnknownNameError("colour map", name, list(colormaps), remedy)
    table: Uint8Array = np.rint(255 * colormaps[name](np.linspace(0, 1, COLOURS))[:, :3]).astype(np.uint8)
    table.flags.writeable = False
    return table


def is_diverging(colormap: str) -> bool:
    """Whether a matplotlib colour map has a neutral middle, as signed evidence needs."""
    return colormap.removesuffix("_r") in DIVERGING_MAPS


def _checked_name(colormap: str | None, signed: bool) -> str:
    name = colormap or (DIVERGING if signed else SEQUENTIAL)
    colour_table(name)
    if signed and not is_diverging(name):
        needed = f"a diverging colour map such as {DIVERGING}, coolwarm or PuOr"
        raise InputError(f"Signed evidence needs {needed}, and {name!r} is not one.")
    return name


def _finite(attribution: Attribution) -> FloatArray:
    values = attribution.values
    if not np.isfinite(values).all():
        raise InputError(
            f"The {attribution.method} map holds values that are not finite numbers, so it cannot be drawn."
        )
    return values


def _share(attribution: Attribution, limit: float, signed: bool = False) -> FloatArray:
    """Values against the limit, clipped to [0, 1], or to [-1, 1] when signed; all 0 when the limit is 0."""
    values = _finite(attribution)
    if not np.isfinite(limit) or limit < 0:
        raise InputError(f"The limit of the colour scale must be a finite number of at least 0, not {limit}.")
    if limit == 0:
        return np.zeros_like(values, dtype=np.float32)
    # In float64, because a very small limit would be 0 in float32.
    return np.clip(np.divide(values, limit, dtype=np.float64), -1 if signed else 0, 1).astype(np.float32)


def _value_below(sizes: FloatArray, above: float) -> float:
    """The largest value so that those at or above it hold at least the share `above` of the sum."""
    falling = np.sort(sizes.ravel())[::-1]
    held = np.cumsum(falling, dtype=np.float64)
    return float(falling[int(np.searchsorted(held, above * held[-1]))])


def _half_share(positive: FloatArray) -> float:
    """The smallest share of pixels that together hold half of the evidence."""
    falling = np.sort(positive[positive > 0])[::-1]
    held = np.cumsum(falling, dtype=np.float64)
    return (int(np.searchsorted(held, held[-1] / 2)) + 1) / positive.size


def _place(positive: FloatArray) -> str:
    """Which ninth of the picture holds the peak (the middle of the peak's pixels where several share it)."""
    rows, columns = np.nonzero(positive == positive.max())
    height, width = positive.shape
    row = int(3 * (rows.mean() + 0.5) / height)
    column = int(3 * (columns.mean() + 0.5) / width)
    return _PLACES[row][column]
