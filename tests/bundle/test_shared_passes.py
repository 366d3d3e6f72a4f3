"""Several methods of one batch: the passes that they share run once, and the maps are those of each method alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.bundle.onnx_classifier import OnnxClassifier
from pellucid.explanation.catalogue import METHODS, find_method, settings_of
from pellucid.images import Image, from_array
from pellucid.models.export import export_bundle

QUICK = {"samples": 64, "superpixels": 8, "steps": 8, "channels": 6, "window": 0.34, "stride": 0.34}


FITTING = [m for m in METHODS if m.family != "anomaly"]
"""The methods that a classifier can be explained by."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with every graph."""
    recipe = recipe_of("cnn", (24, 32), batch_norm=True)
    network = network_of(recipe, 3, seed=5)
    folder: Path = tmp_path_factory.mktemp("shared") / "bundle"
    manifest = manifest_of(network, recipe.preprocessing(), 3, network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(2, (24, 32)), source="noise", every_method=True)
    return load(folder, threads=1)


def picture(seed: int) -> Image:
    return from_array(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8))


def settings() -> dict[str, object]:
    found = {}
    for method in FITTING:
        known = set(method.settings.__dataclass_fields__)
        found[method.name] = settings_of(method, overrides={k: v for k, v in QUICK.items() if k in known})
    return found


@pytest.mark.parametrize("target", [None, ("ant", "cat")])
def test_maps_beside_other_methods_are_those_of_each_alone(bundle: Bundle, target: tuple[str, ...] | None) -> None:
    images, chosen = [picture(0), picture(1)], settings()
    together = bundle.explain_by_methods(images, chosen, target=target)
    for (name, own), answers in zip(chosen.items(), together, strict=True):
        alone = bundle.explain_images(images, method=name, target=target, settings=own)
        for one, other in zip(answers, alone, strict=True):
            assert np.array_equal(one.probabilities, other.probabilities)
            for a, b in zip(one.attributions, other.attributions, strict=True):
                assert (a.method, a.target) == (name, b.target)
                assert np.array_equal(a.values, b.values), name


def test_quick_methods_share_one_pass_of_each_kind(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()

    def counted(name: str) -> None:
        run = getattr(OnnxClassifier, name)

        def wrapped(self: OnnxClassifier, *arguments: object) -> object:
            asked[name] += 1
            return run(self, *arguments)

        monkeypatch.setattr(OnnxClassifier, name, wrapped)

    for name in ("evidence", "layered_evidence", "input_gradients", "logits"):
        counted(name)
    quick = {m.name: None for m in FITTING if not m.cost().slow}
    assert len(quick) == 10
    bundle.explain_by_methods([picture(0)], quick)
    assert asked == {"evidence": 1, "layered_evidence": 1, "input_gradients": 1}


def test_a_further_layer_is_for_the_methods_that_look_at_one(bundle: Bundle) -> None:
    layer = bundle.layers[0]
    cam, other = bundle.explain_by_methods([picture(0)], {"grad-cam": None, "saliency": None}, layer=layer)
    assert cam[0].attributions[0].layer == layer
    assert other[0].attributions[0].layer is None
    assert find_method("grad-cam").looks_at_layer
