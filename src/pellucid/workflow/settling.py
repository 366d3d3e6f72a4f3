"""What a recipe leaves to the data: settings for photographs, crop or stretch, how pixel values are scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from ..errors import ImageError, WeightsError
from ..images import read_image
from ..progress import Progress
from ..recipe import Recipe

LOOKED_AT = 200
GREY = 3.0
"""A picture whose channels differ by less than this on the mean (of 255) counts as grey."""
VARIOUS = 0.1
"""Standard deviation of log(width / height) from which shapes count as various: about one picture in three is then a
tenth wider or narrower than the typical one."""


@dataclass(frozen=True)
class _LookedAt:
    """Width over height of some images, and the share that is grey."""

    shapes: np.ndarray
    grey: float


def settled_recipe(recipe: Recipe, dataset: Dataset, progress: Progress) -> Recipe:
    """The recipe with what it takes for photographs, `data.fit` and `data.values` decided and said.

    Up to 200 images are looked at, unless the recipe decides all of it.
    """
    if recipe.data.fit == "auto" or recipe.photographs:
        seen = _seen(dataset)
        recipe = _decided_fit(_for_photographs(recipe, seen, progress), seen, progress)
    return _decided_values(recipe)


def _decided_values(recipe: Recipe) -> Recipe:
    if recipe.data.values != "backbone":
        return recipe
    from ..models.catalogue import trained_with

    values = trained_with(recipe.model.backbone)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"values": values})})


def _for_photographs(recipe: Recipe, seen: _LookedAt, progress: Progress) -> Recipe:
    """The recipe for photographs where most images are in colour; where its weights cannot be had, the recipe as is."""
    if not recipe.photographs:
        return recipe
    without = recipe.model_copy(update={"photographs": {}})
    if recipe.medical or seen.grey > 0.5:
        return without
    from ..models.weights import fetched

    wanted = recipe.for_photographs()
    try:
        if wanted.model.weights == "imagenet":
            fetched(wanted.model.backbone)
    except WeightsError as error:
        progress.say(f"{error} Training continues with {recipe.model.backbone}, which is less accurate on photographs.")
        return without
    settings = ", ".join(f"{key} = {value}" for key, value in recipe.photographs.items())
    progress.say(f"Most images are in colour: the recipe's settings for photographs are used ({settings}).")
    return wanted


def _decided_fit(recipe: Recipe, seen: _LookedAt, progress: Progress) -> Recipe:
    """The recipe with `data.fit` decided.

    Films and other grey pictures are never cropped: what matters may lie at the border. Colour photographs of various
    shapes are cropped, since stretching each by another factor changes what the model sees.
    """
    if recipe.data.fit != "auto":
        return recipe
    spread = float(np.log(seen.shapes).std()) if len(seen.shapes) else 0.0
    if recipe.medical or seen.grey > 0.5:
        fit, reason = "stretch", "grey pictures are never cropped" if seen.grey > 0.5 else "films are never cropped"
    elif spread > VARIOUS:
        fit, reason = "crop", f"colour photographs whose shapes vary (width / height {_range(seen.shapes)})"
    else:
        fit, reason = "stretch", "all images have about the same shape"
    progress.say(f"Images are {'cropped' if fit == 'crop' else 'stretched'} to the model's input: {reason}.")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"fit": fit})})


def _seen(dataset: Dataset) -> _LookedAt:
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
    return _LookedAt(np.array(shapes), float(np.mean(grey)) if grey else 0.0)


def _range(shapes: np.ndarray) -> str:
    low, high = np.quantile(shapes, [0.1, 0.9])
    return f"{low:.2f} to {high:.2f}"
