"""A spot that alone decides: a few steps of training teach it, and the map must lie on it.

`python -m tests.families.spots NAME...` prints a line of JSON for each family.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import nn

from pellucid.explanation.cam import hirescam
from pellucid.models.evidence_graph import evidence_function
from pellucid.models.layer_choice import last_deciding_layer
from pellucid.models.traced_layer import frozen_copy

from .catalogue import FAMILIES, Family, build

STEPS, BATCH, PROBES, SETTLING = 60, 8, 32, 4
LEAST_CELLS = 4
"""Along each side of the map: with fewer a map that says nothing would lie on most spots."""

LEARNT, IN_A_ROW = 0.05, 5
"""Training ends early after so many steps in a row with a loss below this."""


@dataclass(frozen=True)
class OnSpot:
    """Accuracy on new images with and without a spot, and the share of maps whose strongest cell is at the spot.

    `chance` is the share that cells drawn at random would have.
    """

    accuracy: float
    hits: float
    chance: float
    layer: str


def pictures(family: Family, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Noise with a bright spot in every second image: images, labels (1 with a spot) and the places (y, x) of spots."""
    size, side = family.size, max(8, family.size // 8)
    images = 0.3 * torch.randn(count, 3, size, size, generator=generator)
    labels = torch.arange(count) % 2
    places = torch.randint(0, size - side, (count, 2), generator=generator)
    for image, label, (y, x) in zip(images, labels, places.tolist(), strict=True):
        if label:
            image[:, y : y + side, x : x + side] += 3.0
    return images, labels, places.numpy() + side / 2


def train(model: nn.Module, family: Family) -> None:
    """Teach a model that the spot decides."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    model.train()
    row = 0
    for _ in range(STEPS):
        images, labels, _ = pictures(family, BATCH, generator)
        answer = model(images)
        loss = nn.functional.cross_entropy(answer[0] if isinstance(answer, tuple) else answer, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        row = row + 1 if loss.item() < LEARNT else 0
        if row == IN_A_ROW:
            break
    settle(model, family, generator)


def settle(model: nn.Module, family: Family, generator: torch.Generator) -> None:
    """Put a model in evaluation mode, its normalisation with the statistics of the weights that it has now.

    Running averages lag behind so few steps, and most networks would then answer one class only.
    """
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    with torch.no_grad():
        for _ in range(SETTLING if norms else 0):
            model(pictures(family, 2 * BATCH, generator)[0])
    model.eval()


def share_on_spot(family: Family) -> OnSpot:
    """Train a family's model on spots, and look where the maps of the layer chosen by itself lie on new images."""
    family = replace(family, size=max(family.size, LEAST_CELLS * family.stride))
    model = build(family, classes=2)
    train(model, family)
    frozen = frozen_copy(model)
    size = (family.size, family.size)
    skip = {name: isinstance(m, nn.Sequential | nn.Identity | nn.Dropout) for name, m in frozen.named_modules()}
    layer = last_deciding_layer(frozen, size, 2, skip)
    assert layer is not None, "no layer can be explained"
    images, labels, places = pictures(family, PROBES, torch.Generator().manual_seed(2))
    target = torch.tensor([-1.0, 1.0]).expand(PROBES, 1, 2)
    logits, activations, gradients = (
        t.detach().numpy()
        for t in evidence_function(frozen, frozen.get_submodule(layer))(images, target, torch.tensor(0.0))
    )
    right = logits.argmax(1) == labels.numpy()
    maps = hirescam(activations, gradients)[:, 0]
    height, width = maps.shape[1:]
    hits, chances = [], []
    for grid, label, place in zip(maps, labels, places, strict=True):
        if label:
            cell = np.array([[[family.size / height]], [[family.size / width]]])
            # Neighbours count: a spot may lie between cells.
            near = (np.abs((np.indices(grid.shape) + 0.5) * cell - place[:, None, None]) <= cell).all(0)
            hits.append(bool(near.flat[grid.argmax()]))
            chances.append(near.mean())
    return OnSpot(float(right.mean()), float(np.mean(hits)), float(np.mean(chances)), layer)


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        try:
            row = asdict(share_on_spot(next(f for f in FAMILIES if f.name == wanted)))
        except Exception as error:  # one family that breaks must not take the others with it
            row = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps({"family": wanted, **row}) + "\n")
        sys.stdout.flush()
