"""Before a training: what its figures will be worth on images from elsewhere, by leaving each source out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ..data.acquisition import measure_acquisition
from ..data.areas import Area
from ..data.dataset import Sample
from ..data.sources import ImageSource, find_sources
from ..evaluation.abroad import Abroad, leave_sources_out
from ..evaluation.kept_out import AbroadRecord, SourceLeftOut
from ..preprocessing import Uint8Array
from ..progress import Progress
from ..recipe import Recipe
from .preparing import Prepared

if TYPE_CHECKING:
    from ..models.network import Network

MOST_IMAGES = 3000
"""A sample of this size bounds the time."""
BATCH = 64
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Training and validation images in which sources were looked for: `chosen` (N,) positions, sources of these."""

    chosen: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    sources: tuple[ImageSource, ...]


def search_sources(prepared: Prepared, most: int | None = MOST_IMAGES) -> Searched:
    """Look for sources among the training and validation images, or a sample of `most`; test images take no part."""
    chosen = _sample(prepared, most)
    samples = [prepared.dataset.samples[i] for i in chosen]
    labels = prepared.dataset.labels[chosen]
    named = replace(prepared.dataset, samples=tuple(samples))
    acquisition = measure_acquisition(named, prepared.pixels, prepared.rows[chosen])
    return Searched(
        chosen, labels, units_of(samples), tuple(find_sources([s.path for s in samples], labels, acquisition))
    )


def units_of(samples: Sequence[Sample]) -> npt.NDArray[np.int64]:
    """A number (N,) for each sample, the same for those of a group."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(s.group or s.path, len(number)) for s in samples], np.int64)


def estimate_abroad(network: Network, prepared: Prepared, recipe: Recipe, progress: Progress) -> AbroadRecord:
    """Leave each source of the training and validation images out of a quick model; test images take no part.

    `network` has its initial weights. The quick model is a linear head on its pooled features.
    """
    if recipe.task == "regression":
        return AbroadRecord(unknown="regression")
    if recipe.model.weights == "none":
        return AbroadRecord(unknown="no-weights")
    found = search_sources(prepared)
    if not found.sources:
        return AbroadRecord(unknown="no-sources", images=len(found.chosen))
    _, features = answered(network, prepared.pixels, recipe, prepared.rows[found.chosen], progress)
    judged = leave_sources_out(features, found.labels, found.units, found.sources)
    if judged is None:
        return AbroadRecord(unknown="few-images", images=len(found.chosen))
    return record_of(judged, len(found.chosen))


def _sample(prepared: Prepared, most: int | None) -> npt.NDArray[np.intp]:
    """Positions of training and validation images, sampled to `most`, in order."""
    positions = np.concatenate([prepared.positions("train"), prepared.positions("val")])
    return np.sort(np.random.default_rng(0).permutation(positions)[:most])


def answered(
    network: Network, images: Uint8Array, recipe: Recipe, rows: npt.NDArray[np.intp], progress: Progress
) -> tuple[Values, Values]:
    """Logits (N, K), of two classes with a column of zeros, and pooled features (N, D) by the network as it is.

    Of the `rows` (N,) of `images` (M, h, w, 3).
    """
    import torch

    from ..training.hardware import autocast, pick_device

    device, preprocessing = pick_device(), recipe.preprocessing()
    logits, found = [], []
    was_training = network.training
    network.to(device).eval()
    with progress.bar("Features") as advance, torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            pixels = np.ascontiguousarray(images[rows[start : start + BATCH]])
            batch = torch.from_numpy(preprocessing.normalise(pixels)).to(device)
            with autocast(device, recipe.train.precision):
                features = network.features(batch.contiguous(memory_format=torch.channels_last))
                logits.append(network.head(features).float().cpu())
            found.append(features.float().cpu())
            advance(min(start + BATCH, len(rows)), len(rows))
    network.to("cpu").train(was_training)
    outputs = torch.cat(logits).double().numpy()
    both = np.concatenate([np.zeros_like(outputs), outputs], axis=1) if outputs.shape[1] == 1 else outputs
    return both, torch.cat(found).double().numpy()


def record_of(judged: Abroad, images: int) -> AbroadRecord:
    """What was found, as it is kept."""
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
            kept=s.kept,
        )
        for s in judged.left_out
    )
    unknown: Literal["", "no-sources"] = "" if sources else "no-sources"
    return AbroadRecord(
        auc=_three(judged.area), accuracy=_three(judged.accuracy), sources=sources, images=images, unknown=unknown
    )


def _three(area: Area) -> tuple[float, float, float]:
    return area.value, area.low, area.high
