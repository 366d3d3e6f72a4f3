"""What a recipe leaves to the data and the backbone: crop or stretch, and how pixel values are scaled."""

from __future__ import annotations

import numpy as np

from ..data.dataset import Dataset
from ..errors import ImageError
from ..images import read_image
from ..progress import Progress
from ..recipe import Recipe

LOOKED_AT = 200
GREY = 3.0
"""A picture whose channels differ by less than this on the mean (of 255) counts as grey."""
VARIOUS = 0.1
"""Standard deviation of log(width / height) from which shapes count as various: about one picture in three is then a
tenth wider or narrower than the typical one."""


def settled_recipe(recipe: Recipe, dataset: Dataset, progress: Progress) -> Recipe:
    """The recipe with `data.fit` and `data.values` decided; unchanged where the recipe decides both."""
    return _decided_values(decided_fit(recipe, dataset, progress))


def _decided_values(recipe: Recipe) -> Recipe:
    if recipe.data.values != "backbone":
        return recipe
    from ..models.catalogue import trained_with

    values = trained_with(recipe.model.backbone)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"values": values})})


def decided_fit(recipe: Recipe, dataset: Dataset, progress: Progress) -> Recipe:
    """The recipe with `data.fit` decided from up to 200 images, and said; unchanged where the recipe decides.

    Films and other grey pictures are never cropped: what matters may lie at the border. Colour photographs of various
    shapes are cropped, since stretching each by another factor changes what the model sees.
    """
    if recipe.data.fit != "auto":
        return recipe
    shapes, grey = _looked_at(dataset)
    spread = float(np.log(shapes).std()) if len(shapes) else 0.0
    if recipe.medical or grey > 0.5:
        fit, reason = "stretch", "grey pictures are never cropped" if grey > 0.5 else "films are never cropped"
    elif spread > VARIOUS:
        fit, reason = "crop", f"colour photographs whose shapes vary (width / height {_range(shapes)})"
    else:
        fit, reason = "stretch", "all images have about the same shape"
    progress.say(f"Images are {'cropped' if fit == 'crop' else 'stretched'} to the model's input: {reason}.")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"fit": fit})})


def _looked_at(dataset: Dataset) -> tuple[np.ndarray, float]:
    """Width over height of some images, and the share that is grey."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).round().astype(int))
    shapes, grey = [], []
    for i in chosen:
        try:
            image = read_image(dataset.root / dataset.samples[i].path, at_least=(64, 64))
        except (ImageError, OSError):
            continue  # reported where every image is read
        height, width = image.decoded_size
        shapes.append(width / height)
        pixels = image.pixels.astype(np.int16)
        grey.append(float((pixels.max(axis=2) - pixels.min(axis=2)).mean()) < GREY)
    return np.array(shapes), float(np.mean(grey)) if grey else 0.0


def _range(shapes: np.ndarray) -> str:
    low, high = np.quantile(shapes, [0.1, 0.9])
    return f"{low:.2f} to {high:.2f}"
