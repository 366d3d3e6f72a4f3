"""The scores and maps of an anomaly detector on a dataset, against its masks."""

from __future__ import annotations

import numpy as np

from ..bundle.bundle import Bundle
from ..data.dataset import Dataset
from ..data.one_class import defect_kind
from ..errors import ImageError
from ..evaluation.defects import DefectFigures, defect_figures
from ..evaluation.pixels import PixelTally
from ..images import read_image
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Advance, Progress
from .localisation import true_mask
from .prediction import BATCH

LARGEST_SIDE = 1024
"""Pixels of the longer side at which maps and masks are compared: larger images are reduced by a whole factor."""


def scores_and_maps(bundle: Bundle, pixels: Uint8Array, advance: Advance) -> tuple[FloatArray, FloatArray]:
    """Logits (N, 1) and maps (N, h, w) of resized images (N, height, width, 3)."""
    scores, maps = [], []
    for start in range(0, len(pixels), BATCH):
        evidence = bundle.evidence(bundle.preprocessing.normalise(pixels[start : start + BATCH]))
        scores.append(evidence.logits)
        maps.append(evidence.activations[:, 0])
        advance(min(start + BATCH, len(pixels)), len(pixels))
    return np.concatenate(scores), np.concatenate(maps)


def against_masks(
    bundle: Bundle, dataset: Dataset, scores: FloatArray, maps: FloatArray, progress: Progress
) -> DefectFigures | None:
    """The figures by kind of defect, and those of pixels where bad images have masks."""
    kinds = [defect_kind(s.path) if s.label else "" for s in dataset.samples]
    tally, masked = None, 0
    if any(s.label and (s.mask or s.boxes) for s in dataset.samples):
        with progress.bar("Maps against masks") as advance:
            tally, masked = _tallied(bundle, dataset, maps, kinds, advance)
    return defect_figures(
        scores[:, 0], dataset.labels, kinds, bundle.manifest.threshold, tally if masked else None, masked
    )


def _tallied(
    bundle: Bundle, dataset: Dataset, maps: FloatArray, kinds: list[str], advance: Advance
) -> tuple[PixelTally, int]:
    geometry = bundle.manifest.explained_layer.geometry
    tally, masked = PixelTally(min(0.0, float(maps.min())), float(maps.max())), 0
    for i, sample in enumerate(dataset.samples):
        advance(i + 1, len(dataset))
        try:
            size = read_image(dataset.file(sample), at_least=(8, 8)).size
        except (ImageError, OSError):
            continue
        mask = true_mask(dataset, sample, size) if sample.label else None
        if sample.label and mask is None:
            continue
        step = -(-max(size) // LARGEST_SIDE)
        shown = (-(-size[0] // step), -(-size[1] // step))
        values = bundle.preprocessing.to_original(maps[i][None], geometry, shown)[0]
        tally.add(values, None if mask is None else _reduced(mask, step), kinds[i])
        masked += mask is not None
    return tally, masked


def _reduced(mask: np.ndarray, step: int) -> np.ndarray:
    """A mask in which each block of `step` x `step` pixels is one pixel, set where the block has any."""
    if step == 1:
        return mask
    height, width = mask.shape
    padded = np.zeros((-(-height // step) * step, -(-width // step) * step), bool)
    padded[:height, :width] = mask
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    return np.asarray(blocks.any(axis=(1, 3)))
