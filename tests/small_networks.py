"""Small networks with random weights, and what goes with them into a bundle."""

from typing import Any

import numpy as np
import torch

from pellucid.bundle.manifest import Layer, Manifest
from pellucid.models.network import Network, build_network, number_of_logits, task_of
from pellucid.preprocessing import FloatArray, Preprocessing
from pellucid.recipe import Recipe
from pellucid.recipe_sections import DataSection, ModelSection

CLASSES = ("ant", "bee", "cat")


def recipe_of(backbone: str = "cnn", size: int | tuple[int, int] = 24, **model: Any) -> Recipe:
    section = ModelSection(**{"backbone": backbone, "weights": "none", "filters": (6, 8), **model})
    return Recipe(name="small", data=DataSection(size=size), model=section)


def network_of(recipe: Recipe, classes: int = 2, seed: int = 0) -> Network:
    """The recipe's network in evaluation mode; its normalisations know the statistics of noise."""
    torch.manual_seed(seed)
    network = build_network(recipe, classes)
    with torch.no_grad():
        network(torch.randn(8, 3, recipe.preprocessing().height, recipe.preprocessing().width))
    return network.eval()


def manifest_of(network: torch.nn.Module, preprocessing: Preprocessing, classes: int, layer: str) -> Manifest:
    task = task_of(Recipe(), classes)
    return Manifest(
        pellucid_version="0.0.0",
        name="small",
        task=task,
        classes=CLASSES[:classes],
        preprocessing=preprocessing,
        layer=Layer(name=layer, channels=1, height=1, width=1, stride=(1, 1), offset=(0.5, 0.5)),
        logits=number_of_logits(task, classes),
        architecture={"backbone": type(network).__name__},
    )


def noise(images: int, size: int | tuple[int, int], seed: int = 0) -> FloatArray:
    height, width = (size, size) if isinstance(size, int) else size
    return np.random.default_rng(seed).normal(size=(images, 3, height, width)).astype(np.float32)
