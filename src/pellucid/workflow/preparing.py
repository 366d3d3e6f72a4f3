"""From the arguments of a training to what is trained: the recipe, the data read and split, the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._optional import require
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.disjointness import Disjointness
from ..data.folder import read_by_recipe
from ..data.labelling import are_numbers, numbers_as_labels
from ..data.split import split_dataset
from ..errors import DataError, InputError, WeightsError
from ..preprocessing import Uint8Array
from ..progress import Progress
from ..recipe import Recipe, load_recipe, validate_recipe
from ..storage import cache_folder
from .accused import parse_accused
from .decision import check_decision

if TYPE_CHECKING:
    from ..models.network import Network


DEFAULT, SMALL = "default", "small"
FEW = 10
"""Fewer training images of a class than this are remarked on."""


@dataclass(frozen=True)
class Prepared:
    """The data as the model sees them: sample i of `dataset` is `pixels[rows[i]]`, (height, width, 3) uint8."""

    dataset: Dataset
    pixels: Uint8Array
    rows: npt.NDArray[np.intp]
    proof: Disjointness
    reasons: tuple[str, ...]

    def positions(self, split: str) -> npt.NDArray[np.intp]:
        """Which samples are in a split."""
        return np.flatnonzero([s.split == split for s in self.dataset.samples])

    def source(self, split: str) -> tuple[Uint8Array, npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        """A split as training takes it: pixels, their rows, labels."""
        chosen = self.positions(split)
        return self.pixels, self.rows[chosen], self.dataset.labels[chosen]


def choose_recipe(
    recipe: str | Path | Recipe | None = None,
    *,
    overrides: Sequence[str] = (),
    backbone: str | None = None,
    weights: str | None = None,
    group_by: str | None = None,
    positive: str | None = None,
    merge: Mapping[str, Sequence[str]] | None = None,
    hide: Sequence[str] = (),
    progress: Progress | None = None,
) -> Recipe:
    """The recipe that the arguments of `train` describe; an unknown backbone or missing weights are found here.

    Without a `recipe` it is `default`; where nothing else was asked and its weights can be had from nowhere, `small`,
    which is said to `progress`. Needs the extra `train`, which knows the backbones.
    """
    require("torch", extra="train")
    if recipe is None:
        asked = bool(backbone or weights or any(o.startswith(("model.backbone", "model.weights")) for o in overrides))
        recipe = DEFAULT if asked else _default_or_small(progress)
    if isinstance(recipe, Recipe):
        if overrides:
            raise InputError(
                "Overrides go with a recipe's name or file; a Recipe is changed by model_copy(update=...)."
            )
        values = recipe.model_dump()
    else:
        values = load_recipe(recipe, overrides).model_dump()
    model = {"backbone": backbone, "weights": "none" if backbone == "cnn" and weights is None else weights}
    data = {"group_by": group_by, "positive": positive, "merge": merge, "hide": tuple(hide)}
    for section, given in (("model", model), ("data", data)):
        values[section] |= {key: value for key, value in given.items() if value}
    by_hand = {f"model.{key}" for key, value in model.items() if value}
    chosen = validate_recipe(values, str(values["name"])).chosen_by_hand(by_hand)
    _check_task(chosen, overrides)
    _check_names(chosen)
    return chosen


def _default_or_small(progress: Progress | None) -> str:
    """`default` where its ImageNet weights are on this machine or can be fetched, else `small`."""
    from ..models.weights import fetched

    backbone = load_recipe(DEFAULT).model.backbone
    try:
        fetched(backbone)
    except WeightsError as error:
        if progress is not None:
            progress.say(
                f"{error} Training continues without them, with the recipe `{SMALL}`, a small network that starts from "
                "nothing: expect it to be clearly less accurate."
            )
        return SMALL
    return DEFAULT


def _check_task(recipe: Recipe, overrides: Sequence[str]) -> None:
    """InputError for settings of anomaly detection with a recipe that has another task."""
    if recipe.task != "anomaly" and any(o.startswith("anomaly.") for o in overrides):
        raise InputError(
            f"The recipe {recipe.name} learns classes, and `anomaly.` settings are for one that learns from normal "
            "images alone: use `recipe=one-class`."
        )
    if recipe.task == "anomaly" and (recipe.data.merge or recipe.data.one_against_rest or recipe.data.leave_out):
        raise InputError(
            "Anomaly detection knows normal images and others, and merges or leaves out no classes: name the normal "
            "ones by `anomaly.normal`, and drop `merge=`, `leave_out=` and `one_against_rest=`."
        )
    if recipe.task == "anomaly" and recipe.data.positive:
        raise InputError(
            "Positive are the bad images of an anomaly detector: drop `positive=`, and name the normal images by "
            "`anomaly.normal` if their names do not say so."
        )
    trained = [o for o in overrides if o.startswith(("train.", "fine_tune.", "augment.", "decision.coverage="))]
    if recipe.task == "anomaly" and trained:
        raise InputError(
            f"Nothing is trained to detect anomalies, and no class has a probability: drop {', '.join(trained)}."
        )
    if recipe.task == "anomaly" and recipe.data.hide:
        raise InputError(
            "`hide=` changes training images; an anomaly detector is not trained: crop the images instead."
        )


def _check_names(recipe: Recipe) -> None:
    """Fail on an unknown backbone, a missing weights file or something that cannot be hidden before data are read."""
    from ..models.catalogue import find_backbone
    from ..models.weights import check_weights

    for text in recipe.data.hide:
        parse_accused(text)
    find_backbone(recipe.model.backbone)
    check_weights(recipe.model.backbone, recipe.model.weights)


def read_labelled(data: Path, recipe: Recipe) -> Dataset:
    """The dataset that a recipe's data section makes of a folder or CSV; DataError for numbers to fit."""
    dataset = read_by_recipe(data, recipe.data)
    if recipe.task == "regression" and are_numbers(dataset.classes, whole=True):
        raise DataError(numbers_as_labels(dataset.classes))
    return dataset


def prepare(dataset: Dataset, recipe: Recipe, seed: int, progress: Progress) -> Prepared:
    """Decode and split a dataset as a recipe says, telling what was decided."""
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, recipe.preprocessing(), cache_folder(), progress=advance)
    progress.say("Splitting, and comparing images across splits ...")
    wanted = recipe.data
    plan = split_dataset(
        cached.dataset, seed=seed, validation=wanted.validation, test=wanted.test, leave_out_twins=True
    )
    place = {s.path: i for i, s in enumerate(cached.dataset.samples)}
    rows = np.array([place[s.path] for s in plan.dataset.samples], np.intp)
    prepared = Prepared(plan.dataset, cached.pixels, rows, plan.proof, plan.reasons)
    for line in (*plan.dataset.notes, *plan.reasons, *plan.proof.sentences()):
        progress.say(line)
    for split, share in (("train", "data.test"), ("val", "data.validation"), ("test", "data.test")):
        if not len(prepared.positions(split)):
            raise DataError(f"There are no {split} images: give a folder for them, or change {share}.")
    if (remark := few_images(prepared, recipe)) is not None:
        progress.say(remark)
    return prepared


def few_images(prepared: Prepared, recipe: Recipe) -> str | None:
    """What to expect where a class has fewer than 10 training images, and which recipe suits so few; else None."""
    counts = np.bincount(prepared.dataset.labels[prepared.positions("train")], minlength=len(prepared.dataset.classes))
    few = [f"{c} ({n})" for c, n in zip(prepared.dataset.classes, counts, strict=True) if n < FEW]
    if not few:
        return None
    if recipe.model.weights == "none":
        advice = f"A network that starts from nothing learns little from them: use the recipe `{DEFAULT}`."
    elif recipe.fine_tune.epochs or recipe.model.freeze != "all":
        advice = "Training only the head of a pretrained network is safer: set `fine_tune.epochs` to 0."
    else:
        advice = "Training only the head, as this recipe does, is the safest choice."
    return (
        f"Fewer than {FEW} training images: {', '.join(few)}. Expect a model that depends on single images, and wide "
        f"intervals. {advice}"
    )


def build(recipe: Recipe, classes: int, seed: int) -> tuple[Network, dict[str, str]]:
    """The network of a recipe with its initial weights, and where those come from."""
    from ..models.network import build_network, task_of
    from ..models.weights import load_initial_weights
    from ..training.hardware import seed_torch
    from ..training.session import freeze, stages

    check_decision(recipe.decision, task_of(recipe, classes))
    seed_torch(seed)
    network = build_network(recipe, classes)
    for frozen, _ in stages(recipe):
        freeze(network, frozen)  # a layer that is not there is found before any image is read
    return network, load_initial_weights(network.backbone, recipe.model.backbone, recipe.model.weights)
