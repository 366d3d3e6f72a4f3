"""A linear head that is trained on standardised features, and kept for the features as they are.

Pooled features of a pretrained backbone have deviations that differ a hundredfold. On images far from those that it was
pretrained on, most of what tells classes apart lies in features that hardly vary, where a linear layer learns slowly.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..models.network import Network
from .batches import FeatureBatches, ImageBatches
from .features import frozen_features

MOST = 1024
"""Without cached features, this many images are run for the moments; cached ones are read this many at a time."""
LEAST = 0.1
"""No deviation counts as less than this share of the mean one, so that a feature without variance gets no weight that a
new image could run away with."""
NAME = "standardized"


class Standardized(nn.Module):
    """Features (N, D) less their mean, over their deviation; neither is trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features.float() - self.mean) / self.deviation


def put_before_head(network: Network) -> bool:
    """Let the head see standardised features, as they are until `settle`; False where this cannot be undone.

    It can where the whole backbone is frozen and the first layer of the head that has weights is a linear one.
    """
    linear = _first_linear(network.head)
    if linear is None or any(p.requires_grad for p in network.backbone.parameters()):
        return False
    layers = OrderedDict(network.head.named_children())
    network.head = nn.Sequential(OrderedDict({NAME: Standardized(linear.in_features), **layers}))
    return True


@torch.no_grad()
def settle(network: Network, batches: FeatureBatches | ImageBatches) -> None:
    """Measure the moments on training images and put them in place; the logits stay what they were."""
    layer, linear = network.head.get_submodule(NAME), _first_linear(network.head)
    assert isinstance(layer, Standardized)
    assert linear is not None
    mean, deviation = (torch.from_numpy(values).to(linear.weight) for values in _moments(network, batches))
    layer.mean.copy_(mean)
    layer.deviation.copy_(deviation)
    linear.bias.copy_(linear.bias + linear.weight @ mean)
    linear.weight.mul_(deviation)


@torch.no_grad()
def take_out(network: Network) -> None:
    """Give the first linear layer the weights that do the same on features as they are."""
    layers = OrderedDict(network.head.named_children())
    layer, linear = layers.pop(NAME), _first_linear(network.head)
    assert isinstance(layer, Standardized)
    assert linear is not None
    # In float64, since a mean can be many deviations away from 0.
    weight = linear.weight.double() / layer.deviation.double()
    linear.bias.copy_(linear.bias.double() - weight @ layer.mean.double())
    linear.weight.copy_(weight)
    network.head = nn.Sequential(layers)


def _first_linear(head: nn.Module) -> nn.Linear | None:
    """The first layer of a head that has parameters, where only dropout comes before it."""
    for layer in head.children():
        if isinstance(layer, nn.Linear):
            return layer if layer.bias is not None else None
        if not isinstance(layer, nn.Dropout | Standardized):
            return None
    return None


def _moments(network: Network, batches: FeatureBatches | ImageBatches) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (D,) of each pooled feature, of all views where features are cached."""
    if isinstance(batches, FeatureBatches):
        total = square = np.zeros(1)
        for view in range(batches.features.views):
            for start in range(0, len(batches.rows), MOST):
                rows = batches.rows[start : start + MOST]
                part = batches.features.read(np.full(len(rows), view), rows).double().numpy()
                total, square = total + part.sum(axis=0), square + (part**2).sum(axis=0)
        count = batches.features.views * len(batches.rows)
        mean = total / count
        deviation = np.sqrt(np.maximum(square / count - mean**2, 0))
    else:
        chosen = np.unique(np.linspace(0, len(batches.rows) - 1, min(MOST, len(batches.rows))).round().astype(int))
        few = replace(batches.alone(), rows=batches.rows[chosen], labels=batches.labels[chosen])
        found = frozen_features(network, few, advance=lambda done, of: None).astype(np.float64)
        mean, deviation = found.mean(axis=0), found.std(axis=0)
    return mean, np.maximum(deviation, max(LEAST * float(deviation.mean()), 1e-12))
