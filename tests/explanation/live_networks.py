"""Live torch networks behind TorchClassifier, and scores in plain words, for tests of explanation methods."""

from typing import Any

import numpy as np
import torch
from tests.small_networks import manifest_of, network_of
from torch import nn

from pellucid.bundle.manifest import Layer
from pellucid.models.network import Network
from pellucid.models.torch_classifier import TorchClassifier
from pellucid.preprocessing import GridGeometry
from pellucid.recipe import Recipe


def live(
    recipe: Recipe, classes: int, network: nn.Module | None = None, geometry: GridGeometry | None = None
) -> tuple[Network, TorchClassifier]:
    """The recipe's network, or the one given, and a classifier that runs it."""
    whole: Any = network or network_of(recipe, classes)
    manifest = manifest_of(whole, recipe.preprocessing(), classes, whole.explained_layer)
    if geometry:
        place = Layer(
            name=whole.explained_layer, channels=1, height=1, width=1, stride=geometry.stride, offset=geometry.offset
        )
        manifest = manifest.model_copy(update={"layer": place})
    return whole, TorchClassifier(whole, manifest)


class Colours(nn.Module):
    """Three classes, each as likely as its colour is bright: hiding the winner's colour changes the prediction."""

    explained_layer = "layer"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ReLU()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 4 * self.layer(image).mean((2, 3))


def log_odds(logits: np.ndarray, index: int) -> float:
    """Of one class, from the logits (L,) of one image."""
    if len(logits) == 1:
        return float(logits[0] if index == 1 else -logits[0])
    return float(logits[index] - np.log(sum(np.exp(z) for j, z in enumerate(logits) if j != index)))
