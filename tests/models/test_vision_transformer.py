"""A vision transformer of timm from its name to its maps, at its end and at a block inside, from a bundle."""

import numpy as np
import pytest
import torch
from tests.models.conftest import Pair
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import load
from pellucid.classifier import Evidence
from pellucid.errors import InputError
from pellucid.explanation.cam import grad_cam
from pellucid.models.export import export_bundle

SIZE = 64
BLOCK = "backbone.transformer.blocks.3"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    recipe = recipe_of("timm/test_vit", SIZE)
    network = network_of(recipe, 2)
    folder = tmp_path_factory.mktemp("transformer") / "bundle"
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    images = noise(2, SIZE)
    export_bundle(network, manifest, folder, images=images, source="noise", layers=(BLOCK,), every_method=True)
    return Pair(network, load(folder, threads=1))


def by_autograd(pair: Pair, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patch tokens (cells, C) after the block, and the gradient of the logit by them, of one image."""
    kept: list[torch.Tensor] = []
    handle = pair.network.get_submodule(BLOCK).register_forward_hook(lambda module, inputs, out: kept.append(out))
    logit = pair.network(torch.from_numpy(image[None]))[0, 0]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    # The class token comes first and stands for no place.
    return kept[0].detach().numpy()[0, 1:], gradient.numpy()[0, 1:]


def test_the_map_of_a_block_has_each_token_at_its_patch(transformer):
    image = noise(1, SIZE, seed=2)
    evidence: Evidence = transformer.bundle.at(BLOCK).evidence(image, "bee")
    tokens, gradient = by_autograd(transformer, image[0])
    assert evidence.activations.shape[2:] == (4, 4)
    largest = np.abs(gradient).max()
    for cell in range(16):
        y, x = divmod(cell, 4)
        assert np.allclose(evidence.activations[0, :, y, x], tokens[cell], atol=1e-4)
        assert np.allclose(evidence.gradients[0, 0, :, y, x], gradient[cell], atol=1e-4 * largest)
    assert evidence.geometry.stride == (16, 16)
    assert evidence.geometry.offset == (8, 8)


def test_maps_lie_on_the_original_at_both_layers(transformer):
    pixels = np.random.default_rng(3).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    assert transformer.bundle.layers == ("backbone", BLOCK)
    maps = [transformer.bundle.explain(pixels, target="bee", layer=layer) for layer in transformer.bundle.layers]
    for attribution in maps:
        assert attribution.values.shape == (80, 120)
        assert np.abs(attribution.values).max() > 0
    tensor = transformer.bundle.preprocessing.tensors([transformer.bundle.read(pixels)])
    evidence = transformer.bundle.at(BLOCK).evidence(tensor, "bee")
    assert np.array_equal(maps[1].grid, grad_cam(evidence.activations, evidence.gradients)[0, 0])


def test_gradients_of_pixels_go_through_attention(transformer):
    image = noise(2, SIZE, seed=4)
    leaf = torch.from_numpy(image).requires_grad_(True)
    (expected,) = torch.autograd.grad(transformer.network(leaf).sum(), leaf)
    found = transformer.bundle.input_gradients(image, "bee").gradients[:, 0]
    assert np.abs(found - expected.numpy()).max() < 1e-4 * float(expected.abs().max())


def test_a_tail_from_a_block_would_lack_the_class_token(transformer):
    evidence = transformer.bundle.at(BLOCK).evidence(noise(1, SIZE))
    with pytest.raises(InputError, match="no graph for the tail"):
        transformer.bundle.at(BLOCK).tail(evidence.activations)
    whole = transformer.bundle.evidence(noise(1, SIZE))
    assert np.allclose(transformer.bundle.tail(whole.activations), whole.logits, atol=1e-4)
