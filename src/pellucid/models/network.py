"""The network that is trained: backbone, pooling, head. One module, so that training and export see the same thing."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from ..classifier import Task
from ..errors import InputError
from ..recipe import Recipe
from ..recipe_sections import ModelSection
from .backbones import build_backbone, last_feature_layer
from .catalogue import OWN
from .evidence_graph import check_layer
from .layers import find_layer


class Network(nn.Module):
    """Images (N, 3, H, W) to logits (N, L).

    `features` gives the pooled vector (N, D) that the head sees; `head` maps it to logits. `explained_layer` is the
    default layer for explanations, a name that `get_submodule` takes.
    """

    def __init__(self, backbone: nn.Module, pool: nn.Module, head: nn.Module, explained_layer: str) -> None:
        super().__init__()
        self.backbone, self.pool, self.head = backbone, pool, head
        self.explained_layer = explained_layer

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Pooled features (N, D) of a batch of images."""
        # Pooling a map whose channels come last in memory leaves steps in a traced gradient that no exporter knows.
        pooled: torch.Tensor = self.pool(self.backbone(image).contiguous())
        return pooled

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(image))
        return logits


def number_of_logits(task: Task, classes: int) -> int:
    """One for a binary model or a regression, otherwise one per class."""
    return classes if task == "multiclass" else 1


def task_of(recipe: Recipe, classes: int) -> Task:
    """What a recipe means for a number of classes."""
    if recipe.task == "regression":
        if classes != 2:
            raise InputError(
                f"A regression recipe scores one class against another and needs two classes, not {classes}: choose "
                "another recipe, or tell one class from the rest by `one_against_rest=`."
            )
        return "regression"
    return "binary" if classes == 2 else "multiclass"


def build_network(recipe: Recipe, classes: int) -> Network:
    """The untrained network of a recipe for a number of classes. Seed torch before for repeatable weights.

    Raises UnknownNameError for an unknown backbone or layer, InputError when the two cannot be explained.
    """
    preprocessing = recipe.preprocessing()
    size = (preprocessing.height, preprocessing.width)
    backbone = build_backbone(recipe.model, size)
    pool = _pool(recipe.model)
    width = _width(backbone, pool, size)
    logits = number_of_logits(task_of(recipe, classes), classes)
    head = _head(recipe.model, width, logits)
    if recipe.model.backbone == OWN and not recipe.model.batch_norm:
        _keep_variance(backbone, head)
    network = Network(backbone, pool, head, last_feature_layer(backbone, "backbone")).eval()
    if recipe.model.layer is not None:
        network.explained_layer = find_layer(network, recipe.model.layer)
    for name in (network.explained_layer, *recipe.model.layers):
        check_layer(network, explained_module(network, name), size, logits)
    return network.train()


def explained_module(network: nn.Module, layer: str) -> nn.Module:
    """The module named `layer`; UnknownNameError with the nearest names when there is no such module."""
    return network.get_submodule(find_layer(network, layer))


def _pool(section: ModelSection) -> nn.Module:
    if section.pool == "flatten":
        return nn.Flatten()
    pooling = nn.AdaptiveAvgPool2d(1) if section.pool == "average" else nn.AdaptiveMaxPool2d(1)
    return nn.Sequential(pooling, nn.Flatten())


def _width(backbone: nn.Module, pool: nn.Module, size: tuple[int, int]) -> int:
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, *size))
        if features.ndim != 4:
            raise InputError(
                f"The backbone gives a tensor of shape {tuple(features.shape)}, not a feature map (N, C, h, w)."
            )
        width = int(pool(features).shape[1])
    backbone.train(was_training)
    return width


def _keep_variance(backbone: nn.Module, head: nn.Module) -> None:
    """Draw the weights before each ReLU so that signals keep their size from layer to layer.

    Without normalisation torch's own initial weights shrink a signal by about 2.4 per layer, and a network of a few
    layers then learns nothing. Reference: He et al., ICCV 2015.
    """
    for module in (*backbone.modules(), *list(head.children())[:-1]):
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _head(section: ModelSection, width: int, logits: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, hidden in enumerate(section.head, 1):
        layers[f"dense{i}"] = nn.Linear(width, hidden.dense)
        if hidden.activation == "relu":
            layers[f"relu{i}"] = nn.ReLU()
        if hidden.dropout:
            layers[f"dropout{i}"] = nn.Dropout(hidden.dropout)
        width = hidden.dense
    if section.dropout:
        layers["dropout"] = nn.Dropout(section.dropout)
    layers["output"] = nn.Linear(width, logits)
    return nn.Sequential(layers)
