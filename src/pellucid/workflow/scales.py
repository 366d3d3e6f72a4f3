"""The model's scale for drawing maps: how large they are on its validation images, by method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle, load
from ..bundle.io import amend_bundle
from ..bundle.manifest import Manifest
from ..errors import InputError
from ..explanation import anomaly_map
from ..explanation.catalogue import METHODS, Method
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Advance
from ..reporting.overlay import DRAWN, Scale

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}

MOST, BATCH = 400, 16
Rows: TypeAlias = npt.NDArray[np.intp]


def cheap_methods() -> list[Method]:
    """The methods that are quick and need nothing but the evidence of the usual pass."""
    return [m for m in METHODS if m.looks_at_layer and not m.cost().slow]


def keep_scales(bundle: Bundle, pixels: Uint8Array, rows: Rows, advance: Advance) -> Bundle:
    """Measure the scales of the cheap methods on resized images `pixels[rows]`, and store them in the manifest.

    Returns the bundle with the new manifest. A bundle without an explained layer is returned unchanged.
    """
    if bundle.manifest.layer is None:
        return bundle
    some = rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(np.intp)]
    scales = measure_scales(bundle, pixels, np.sort(some), advance)
    amend_bundle(bundle.folder, {"scales": scales})
    return load(bundle.folder)


def scales_by_threshold(manifest: Manifest, threshold: float) -> dict[str, dict[str, float]]:
    """The scales of an anomaly detector with this threshold: that of its map goes from a usual score to the threshold.

    Where the threshold is no higher than a usual score, the map has no scale.
    """
    usual = 0.0 if manifest.anomaly is None else manifest.anomaly.usual or 0.0
    others = {name: scale for name, scale in manifest.scales.items() if name != anomaly_map.NAME}
    return {**others, anomaly_map.NAME: anomaly_map.scale_of(threshold, usual)} if threshold > usual else others


def measure_scales(bundle: Bundle, pixels: Uint8Array, rows: Rows, advance: Advance) -> dict[str, dict[str, float]]:
    """Quantiles, by method, of the largest value of each image's map for the predicted class.

    As in drawing, the largest value of a map without positive values is 0.
    """
    methods = cheap_methods()
    largest: dict[str, list[FloatArray]] = {m.name: [] for m in methods}
    for start in range(0, len(rows), BATCH):
        batch = bundle.preprocessing.normalise(pixels[rows[start : start + BATCH]])
        for method in methods:
            maps = method.run(bundle, batch, None, None, method.settings())
            largest[method.name].append(np.maximum(maps.values.max(axis=(1, 2, 3)), 0))
        advance(min(start + BATCH, len(rows)), len(rows))
    return {
        name: {
            key: float(f"{value:.5g}")
            for key, value in zip(QUANTILES, np.quantile(np.concatenate(found), list(QUANTILES.values())), strict=True)
        }
        for name, found in largest.items()
        if found
    }


def usual_scale(bundle: Bundle, methods: Sequence[str], *, score: str | None, layer: str | None) -> Scale:
    """The scale on which maps of these methods are drawn together unless another is asked for."""
    usual = None if bundle.manifest.layer is None else bundle.manifest.layer.name
    known = score != "logit" and layer in (None, usual) and all(name in bundle.manifest.scales for name in methods)
    return bundle.manifest.usual_scale if known else "image"


def model_limit(bundle: Bundle, method: str, *, score: str | None = None, layer: str | None = None) -> float:
    """The value at the top of the model's scale. Raises InputError if the bundle has no scale for this."""
    usual = None if bundle.manifest.layer is None else bundle.manifest.layer.name
    if score == "logit" or layer not in (None, usual):
        raise InputError("The model has a scale for the default score and layer only: use `scale='image'`.")
    kept = bundle.manifest.scales.get(method)
    if kept is None:
        known = bundle.manifest.scales
        have = f"it has one for {', '.join(known)}" if known else "it was trained before scales were stored"
        raise InputError(
            f"The model has no scale for {method}: {have}. Use `scale='image'`{'.' if known else ', or train again.'}"
        )
    return kept[DRAWN]
