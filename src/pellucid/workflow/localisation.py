"""Score heat maps against the true masks or boxes of a dataset, beside chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..bundle.run import LocalisationRecord
from ..data.dataset import Dataset, Sample
from ..errors import ImageError
from ..explanation.localisation import energy_inside, mask_share, pointing_game
from ..images import read_image
from ..progress import Progress

MOST, BATCH = 500, 16


def localise(
    bundle: Bundle, dataset: Dataset, progress: Progress, *, method: str | None = None
) -> LocalisationRecord | None:
    """Mean scores over up to 500 images of a dataset that have a mask or boxes; None when none has.

    Each image is explained for its true class. An image without any evidence for it counts as a miss, with no energy
    inside: a model is not scored on the images that it likes only.
    """
    method = method or bundle.usual_method
    marked = [s for s in dataset.samples if s.mask is not None or s.boxes][:MOST]
    if not marked:
        return None
    scores: list[tuple[float, float, float]] = []
    with progress.bar("Heat maps against the masks") as advance:
        for label in sorted({s.label for s in marked}):
            mine = [s for s in marked if s.label == label]
            for start in range(0, len(mine), BATCH):
                scores += _score(bundle, dataset, mine[start : start + BATCH], bundle.classes[label], method)
                advance(len(scores), len(marked))
    if not scores:
        return None
    pointing, energy, chance = (float(v) for v in np.mean(scores, axis=0))
    return LocalisationRecord(
        method=method,
        images=len(scores),
        pointing=pointing,
        pointing_chance=chance,
        energy_inside=energy,
        energy_chance=chance,
    )


def _score(
    bundle: Bundle, dataset: Dataset, samples: list[Sample], target: str, method: str
) -> list[tuple[float, float, float]]:
    images = [bundle.read(dataset.file(s)) for s in samples]
    found = []
    for sample, image, answer in zip(
        samples, images, bundle.explain_images(images, method=method, target=target), strict=True
    ):
        mask = true_mask(dataset, sample, image.size)
        if mask is not None:
            attribution = answer.attributions[0]
            hit, energy = pointing_game(attribution, mask), energy_inside(attribution, mask)
            found.append((float(hit or False), energy or 0.0, mask_share(mask)))
    return found


def true_mask(dataset: Dataset, sample: Sample, size: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """The mask (H, W) of a sample, from its picture or its boxes; None when it does not fit the image or is empty."""
    mask = np.zeros(size, bool)
    for xmin, ymin, xmax, ymax in sample.boxes:
        mask[round(ymin) : round(ymax), round(xmin) : round(xmax)] = True
    if sample.mask is not None:
        try:
            picture = read_image(dataset.root / sample.mask).pixels[..., 0]
        except ImageError:
            return None
        if picture.shape != size:
            return None
        # Half of the brightest value: right for masks of 0 and 255 and of 0 and 1 alike.
        mask |= picture > picture.max() / 2
    return mask if mask.any() else None
