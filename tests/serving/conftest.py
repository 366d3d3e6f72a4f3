from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving.running import Running, running
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.bundle.io import write_bundle
from pellucid.evaluation.outside import REFERENCE, Reference, describe_surroundings, with_threshold
from pellucid.images import from_array
from pellucid.models.export import export_bundle
from pellucid.serving.attacks.files import film

SIZE = (48, 64)


def _films(bundle: Bundle, count: int, seed: int) -> np.ndarray:
    """Features of pictures like the film: moved, brighter, darker."""
    rng, images = np.random.default_rng(seed), []
    for _ in range(count):
        moved = np.roll(film(), rng.integers(-6, 7, 2), (0, 1)) * rng.uniform(0.85, 1.1) + rng.normal(
            0, 2, film().shape
        )
        images.append(from_array(np.clip(moved, 0, 255).astype(np.uint8)))
    features = bundle.logits_and_features(bundle.preprocessing.tensors(images))[1]
    assert features is not None
    return features


@pytest.fixture(scope="session")
def served_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binary model of random weights that knows pictures like the film; not to be changed."""
    recipe = recipe_of("cnn", SIZE, batch_norm=True)
    network = network_of(recipe, 2, seed=5)
    folder = tmp_path_factory.mktemp("served")
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    export_bundle(network, manifest, folder / "plain", images=noise(2, SIZE), source="noise")
    plain = load(folder / "plain")
    known = with_threshold(describe_surroundings(_films(plain, 80, 0)), _films(plain, 80, 1))
    layer = plain.manifest.explained_layer
    reference = Reference(layer=layer.name, channels=layer.channels, trained=80, images=80, threshold=known.threshold)
    with write_bundle(folder / "small", plain.manifest.model_copy(update={"reference": reference})) as draft:
        for name in plain.manifest.files:
            shutil.copy(plain.folder / name, draft.folder / name)
        (draft.folder / REFERENCE).write_bytes(known.to_bytes())
    return folder / "small"


@pytest.fixture(scope="session")
def server(served_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a store, small limits and URLs switched on."""
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    with running({"small": served_bundle}, store=str(store), allow_url=True, queue=8) as server:
        yield server
