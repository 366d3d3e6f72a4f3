"""Train a network as its recipe says: freeze, choose between images and cached features, fit, keep the best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.torch import save
from torch import nn

from ..errors import InputError, UnknownNameError
from ..models.network import Network, task_of
from ..preprocessing import Uint8Array
from ..progress import Progress
from ..recipe import AugmentSection, Recipe
from .batches import FeatureBatches, ImageBatches, Rows
from .features import frozen_features
from .hardware import pick_device
from .loop import Fitted, fit
from .objective import class_weights

Labels = npt.NDArray[np.int64]
Source = tuple[Uint8Array, Rows, Labels]


def train_network(
    network: Network,
    recipe: Recipe,
    *,
    train: Source,
    validation: Source,
    classes: int,
    seed: int,
    checkpoints: Path,
    progress: Progress,
) -> Fitted:
    """Train a network in place, leaving it on the CPU with the weights of its best epoch.

    `train` and `validation` are (pixels, rows of them, labels). A wholly frozen backbone runs once per image and view;
    only the head is then trained, on its features. The best weights are also kept in `checkpoints/best.safetensors`.
    """
    freeze(network, recipe.model.freeze)
    device = pick_device()
    section = recipe.train

    def images(source: Source, augmentation: AugmentSection) -> ImageBatches:
        pixels, rows, labels = source
        return ImageBatches(pixels, rows, labels, recipe.preprocessing(), augmentation, section.batch_size, seed)

    stream, check = images(train, recipe.augment), images(validation, AugmentSection())
    weights = class_weights(train[2], classes) if section.class_weights == "balanced" else None
    checkpoints.mkdir(parents=True, exist_ok=True)

    def keep(module: nn.Module) -> None:
        state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        # Written by Python, so that a full disk is an OSError; safetensors' own writer raises an error of its own.
        (checkpoints / "best.safetensors").write_bytes(save(state))

    task = task_of(recipe, classes)
    if recipe.model.freeze != "all":
        fitted = fit(
            network, stream, check, section, task, device=device, weights=weights, progress=progress, keep=keep
        )
    else:
        views = section.cached_views if recipe.augment.active else 1
        progress.say(
            f"The backbone is frozen: it runs once for each of {views} views of {len(train[2])} images, "
            "then only the head trains."
        )
        with progress.bar("Features of the training images") as advance:
            known = frozen_features(
                network, stream, views=views, precision=section.precision, device=device, advance=advance
            )
        with progress.bar("Features of the validation images") as advance:
            known_check = frozen_features(network, check, views=1, precision="float32", device=device, advance=advance)
        head, batch = network.head, section.batch_size
        fitted = fit(
            head,
            FeatureBatches(known, train[2], batch, seed),
            FeatureBatches(known_check, validation[2], batch, seed),
            section,
            task,
            device=device,
            weights=weights,
            progress=progress,
            keep=keep,
        )
    network.to("cpu").eval()
    return fitted


def freeze(network: Network, wanted: int | str) -> None:
    """Stop the gradient of `none`, `all` of the backbone, its first layers by count, or those below a named layer.

    Layers are the backbone's convolutions and normalisations in order, those with parameters of their own. Raises
    UnknownNameError for a layer that is not there, InputError for more layers than there are.
    """
    layers = [(n, m) for n, m in network.backbone.named_modules() if list(m.parameters(recurse=False))]
    if wanted == "none":
        return
    if wanted == "all":
        count = len(layers)
    elif isinstance(wanted, int):
        if wanted > len(layers):
            raise InputError(f"model.freeze = {wanted}: the backbone has {len(layers)} layers; `all` freezes them all.")
        count = wanted
    else:
        names = [n for n, _ in layers]
        bare = wanted.removeprefix("backbone.")
        below = [i for i, n in enumerate(names) if n == bare or n.startswith(bare + ".")]
        if not below:
            raise UnknownNameError("layer", wanted, names, "model.freeze takes none, all, a count or a layer.")
        count = below[0]
    for _, module in layers[:count]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
