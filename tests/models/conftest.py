"""Networks exported once for all tests of models."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.models.export import export_bundle
from pellucid.models.network import Network

# Each is another way from the explained layer to the logits.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "average pooling and a linear head": {"backbone": "resnet18", "size": 64, "classes": 3},
    "max pooling behind the layer and a hidden layer in the head": {
        "backbone": "vgg11",
        "size": 64,
        "classes": 2,
        "head": [{"dense": 16, "dropout": 0.5}],
    },
    "flattened map and a hidden layer": {
        "backbone": "cnn",
        "size": (24, 32),
        "classes": 3,
        "pool": "flatten",
        "head": [{"dense": 16}],
    },
    "global max pooling": {"backbone": "cnn", "size": 24, "classes": 2, "batch_norm": True, "pool": "max"},
    "convolutions behind the layer": {"backbone": "resnet18", "size": 64, "classes": 3, "layer": "backbone.layer3"},
}


@dataclass(frozen=True)
class Pair:
    """A network as it was trained, and the bundle that was exported from it."""

    network: Network
    bundle: Bundle


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """A function from a name in ARCHITECTURES to that network and its bundle."""

    @lru_cache
    def export(name: str) -> Pair:
        settings = dict(ARCHITECTURES[name])
        classes, size = settings.pop("classes"), settings["size"]
        recipe = recipe_of(**settings)
        network = network_of(recipe, classes)
        manifest = manifest_of(network, recipe.preprocessing(), classes, network.explained_layer)
        folder = tmp_path_factory.mktemp("exported") / "bundle"
        export_bundle(network, manifest, folder, images=noise(4, size, seed=9), source="noise")
        return Pair(network, load(folder, threads=1))

    return export


@pytest.fixture(params=sorted(ARCHITECTURES))
def pair(request: pytest.FixtureRequest, exported: Callable[[str], Pair]) -> Pair:
    """Each architecture in turn."""
    return exported(request.param)
