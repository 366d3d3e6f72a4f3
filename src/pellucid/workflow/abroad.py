"""Before a training: what its figures will be worth on images from elsewhere, by leaving each source out in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ..data.acquisition import measure_acquisition
from ..data.areas import Area
from ..data.sources import find_sources
from ..evaluation.abroad import Abroad, leave_sources_out
from ..evaluation.kept_out import AbroadRecord, SourceLeftOut
from ..progress import Progress
from ..recipe import Recipe
from .preparing import Prepared

if TYPE_CHECKING:
    from ..models.network import Network

MOST_IMAGES = 3000
"""A sample of this size bounds the time."""
BATCH = 64


def estimate_abroad(network: Network, prepared: Prepared, recipe: Recipe, progress: Progress) -> AbroadRecord:
    """Leave each source of the training and validation images out of a quick model; test images take no part.

    `network` has its initial weights. The quick model is a linear head on its pooled features.
    """
    if recipe.task == "regression":
        return AbroadRecord(unknown="regression")
    if recipe.model.weights == "none":
        return AbroadRecord(unknown="no-weights")
    chosen = _sample(prepared)
    samples = [prepared.dataset.samples[i] for i in chosen]
    labels = prepared.dataset.labels[chosen]
    rows = prepared.rows[chosen]
    acquisition = measure_acquisition(replace(prepared.dataset, samples=tuple(samples)), prepared.pixels, rows)
    sources = find_sources([s.path for s in samples], labels, acquisition)
    if not sources:
        return AbroadRecord(unknown="no-sources", images=len(chosen))
    features = _initial_features(network, prepared, recipe, rows, progress)
    number: dict[str, int] = {}
    units = np.array([number.setdefault(s.group or s.path, len(number)) for s in samples])
    judged = leave_sources_out(features, labels, units, sources)
    if judged is None:
        return AbroadRecord(unknown="few-images", images=len(chosen))
    return _record(judged, len(chosen))


def _sample(prepared: Prepared) -> npt.NDArray[np.intp]:
    """Positions of training and validation images, sampled to `MOST_IMAGES`, in order."""
    positions = np.concatenate([prepared.positions("train"), prepared.positions("val")])
    drawn = np.random.default_rng(0).permutation(positions)[:MOST_IMAGES]
    return np.sort(drawn)


def _initial_features(
    network: Network, prepared: Prepared, recipe: Recipe, rows: npt.NDArray[np.intp], progress: Progress
) -> npt.NDArray[np.float64]:
    """Pooled features (N, D) of images by the network as it is."""
    import torch

    from ..training.hardware import autocast, pick_device

    device, preprocessing, found = pick_device(), recipe.preprocessing(), []
    was_training = network.training
    network.to(device).eval()
    with progress.bar("Features of the initial weights") as advance, torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            pixels = np.ascontiguousarray(prepared.pixels[rows[start : start + BATCH]])
            batch = torch.from_numpy(preprocessing.normalise(pixels)).to(device)
            with autocast(device, recipe.train.precision):
                found.append(network.features(batch.contiguous(memory_format=torch.channels_last)).float().cpu())
            advance(min(start + BATCH, len(rows)), len(rows))
    network.to("cpu").train(was_training)
    return torch.cat(found).double().numpy()


def _record(judged: Abroad, images: int) -> AbroadRecord:
    sources = tuple(
        SourceLeftOut(
            kind=s.kind,
            value=s.value,
            images=s.images,
            auc=_three(s.area),
            accuracy=_three(s.accuracy),
            auc_loss=_three(s.area_loss),
            accuracy_loss=_three(s.accuracy_loss),
            sure=s.sure,
        )
        for s in judged.left_out
    )
    unknown: Literal["", "no-sources"] = "" if sources else "no-sources"
    return AbroadRecord(
        auc=_three(judged.area), accuracy=_three(judged.accuracy), sources=sources, images=images, unknown=unknown
    )


def _three(area: Area) -> tuple[float, float, float]:
    return area.value, area.low, area.high
