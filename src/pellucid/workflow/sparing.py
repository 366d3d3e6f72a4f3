"""Before a training: whether a recipe's changes of the training images would hide what tells the classes apart.

Blur, grain and compression make a classifier of organs or animals hold on images of other devices, and hide a hairline
crack. A quick model on features of the initial weights learns from changed images and is asked about images as they
are; where it certainly loses against one that learns from images as they are, the recipe's settings for details hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..data.areas import Area, area_lost
from ..data.dataset import Dataset
from ..evaluation.heads import FOLDS, answers_of_head, folds_of
from ..preprocessing import Uint8Array
from ..progress import Progress
from ..recipe import Recipe
from .abroad import answered, units_of

if TYPE_CHECKING:
    from ..models.network import Network

SAMPLES = 100, 300
"""Up to this many training images are looked at, the second number only where the first leaves it open."""
FEWEST = 10
"""Least number of groups of each class."""
LOST = 0.05
"""From this loss of AUC on, at the lower end of its 95 % interval, changes hide what tells the classes apart. With 300
images the loss of films was 0.02 to 0.04 (lower ends up to 0.016), of magnetic tiles 0.14 to 0.17 (from 0.07)."""
BATCH = 32
Rows = npt.NDArray[np.intp]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LookedAt:
    """Images to judge by: sample i of `dataset` is `pixels[rows[i]]`. Only its training images are looked at."""

    dataset: Dataset
    pixels: Uint8Array
    rows: Rows


def sparing_details(
    recipe: Recipe, network: Network, seen: LookedAt, progress: Progress
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe for this training, its settings for details taken where its changes hide too much; said, and returned.

    `network` has its initial weights. Nothing is measured without pretrained weights, for a regression, and where a
    class has fewer than 10 groups among 300 training images in which the classes take turns.
    """
    if not recipe.details:
        return recipe, ()
    without = recipe.model_copy(update={"details": {}})
    spared = recipe.for_details()
    if recipe.task != "classification" or recipe.model.weights == "none" or spared.augment == recipe.augment:
        return without, ()
    lost = _lost(recipe, network, seen, progress)
    if lost is None or lost.low <= LOST:
        return without, ()
    words = (
        "The recipe's changes of training images hide what tells these classes apart: a quick model that learns from "
        f"changed images loses {lost.value:.2f} [{lost.low:.2f}, {lost.high:.2f}] of its AUC. They are left out "
        f"({', '.join(f'{key} = {value:g}' for key, value in recipe.details.items())})."
    )
    progress.say(words)
    return spared, (words,)


def _lost(recipe: Recipe, network: Network, seen: LookedAt, progress: Progress) -> Area | None:
    """How much AUC a head loses by learning from changed images; None where there are too few to tell."""
    train = np.flatnonzero([s.split == "train" for s in seen.dataset.samples])
    labels, units = seen.dataset.labels[train], units_of([seen.dataset.samples[i] for i in train])
    drawn = _by_class_in_turn(labels)[: SAMPLES[-1]] if len(labels) else np.zeros(0, np.intp)
    if not _are_enough(labels[drawn], units[drawn]):
        return None
    given, found = list[tuple[Values, Values]](), None
    for before, most in zip((0, *SAMPLES), SAMPLES, strict=False):
        part = drawn[before:most]
        if not len(part):
            break
        images = np.ascontiguousarray(seen.pixels[seen.rows[train[part]]])
        rows, changed = np.arange(len(part)), _changed(images, recipe, before)
        features = [answered(network, each, recipe, rows, progress)[1] for each in (images, changed)]
        given.append((features[0], features[1]))
        used = drawn[:most]
        whole = [np.concatenate([g[i] for g in given]) for i in (0, 1)]
        found = lost_by(whole[0], whole[1], np.unique(labels[used], return_inverse=True)[1], units[used])
        if found is not None and found.high < LOST:
            break
    return found


def lost_by(plain: Values, changed: Values, labels: npt.NDArray[np.int64], units: npt.NDArray[np.int64]) -> Area | None:
    """How much AUC on images as they are a head loses by learning from changed ones.

    `plain` and `changed` are features (N, D) of the same images. None where a class has fewer than 10 units.
    """
    if not _are_enough(labels, units):
        return None
    classes = int(labels.max()) + 1
    fold = folds_of(labels, units, 0)
    both, twice = np.concatenate([plain, changed]), np.concatenate([labels, labels])
    of_plain, of_changed = np.zeros((len(labels), classes)), np.zeros((len(labels), classes))
    for number in range(FOLDS):
        held, none = fold == number, np.zeros(len(labels), bool)
        tested = np.concatenate([held, none])
        of_plain[held] = answers_of_head(both, twice, np.concatenate([~held, none]), tested)
        of_changed[held] = answers_of_head(both, twice, np.concatenate([none, ~held]), tested)
    if classes == 2:
        of_plain, of_changed = (scores[:, 1:] - scores[:, :1] for scores in (of_plain, of_changed))
    return area_lost(of_plain, of_changed, labels, units)


def _changed(images: Uint8Array, recipe: Recipe, seed: int) -> Uint8Array:
    """Images (N, h, w, 3) changed as the recipe changes training images."""
    import torch

    from ..training.augmentation import augment

    made, generator = np.empty_like(images), torch.Generator().manual_seed(seed)
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        whole = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float() / 255
        made[rows] = (augment(whole, recipe.augment, generator) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return made


def _are_enough(labels: npt.NDArray[np.int64], units: npt.NDArray[np.int64]) -> bool:
    """Whether there are two classes and 10 units of each."""
    classes = np.unique(labels)
    return len(classes) > 1 and min(len(np.unique(units[labels == c])) for c in classes) >= FEWEST


def _by_class_in_turn(labels: npt.NDArray[np.int64]) -> Rows:
    """Positions in a random order in which the classes alternate as long as they last."""
    rng = np.random.default_rng(0)
    own = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    return np.array(list(_in_turn(own)), np.intp)


def _in_turn(lists: list[Rows]) -> Iterator[int]:
    for i in range(max(len(own) for own in lists)):
        yield from (int(own[i]) for own in lists if i < len(own))
