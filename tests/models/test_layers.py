"""Layers by their names, and which of them give a feature map."""

import pytest
import torch
from tests.small_networks import network_of, recipe_of
from torch import nn

from pellucid.errors import UnknownNameError
from pellucid.models.layers import find_layer, keras_names, spatial_layers
from pellucid.models.network import build_network
from pellucid.training.session import freeze


@pytest.fixture(scope="module")
def vgg16() -> nn.Module:
    return build_network(recipe_of("vgg16", 32, layer="block5_conv3"), 2).eval()


# Keras's layers of VGG16 in order, with torchvision's places, where each activation is a layer of its own.
VGG16 = {
    "block1_conv1": 0, "block1_conv2": 2, "block1_pool": 4,
    "block2_conv1": 5, "block2_conv2": 7, "block2_pool": 9,
    "block3_conv1": 10, "block3_conv2": 12, "block3_conv3": 14, "block3_pool": 16,
    "block4_conv1": 17, "block4_conv2": 19, "block4_conv3": 21, "block4_pool": 23,
    "block5_conv1": 24, "block5_conv2": 26, "block5_conv3": 28, "block5_pool": 30,
}  # fmt: skip


def test_keras_s_names_of_vgg16_are_torchvision_s_places(vgg16):
    assert keras_names(vgg16) == {name: f"backbone.features.{place}" for name, place in VGG16.items()}
    assert vgg16.explained_layer == "backbone.features.28"
    assert vgg16.get_submodule(find_layer(vgg16, "block5_conv3")).weight.shape == (512, 512, 3, 3)


def test_a_vgg_with_normalisations_counts_its_convolutions_alone():
    names = keras_names(build_network(recipe_of("vgg11_bn", 32), 2))
    assert names["block3_conv2"] == "backbone.features.11"
    assert names["block5_pool"] == "backbone.features.28"


def test_other_networks_have_no_such_names():
    assert keras_names(network_of(recipe_of())) == {}
    assert keras_names(build_network(recipe_of("resnet18", 32), 2)) == {}


def test_freezing_takes_keras_s_names_too(vgg16):
    freeze(vgg16, "block5_conv1")
    trained = [name for name, p in vgg16.backbone.named_parameters() if p.requires_grad]
    assert sorted({int(name.split(".")[1]) for name in trained}) == [24, 26, 28]


@pytest.mark.parametrize("wanted", ["backbone.features.7", "features.7", "block2_conv2"])
def test_a_layer_is_found_by_any_of_its_names(vgg16, wanted):
    assert find_layer(vgg16, wanted) == "backbone.features.7"


@pytest.mark.parametrize(
    ("wanted", "near"), [("block5_conv4", "block5_conv3"), ("features.99", "features.9"), ("", "")]
)
def test_an_unknown_layer_is_refused_with_the_nearest(vgg16, wanted, near):
    with pytest.raises(UnknownNameError) as caught:
        find_layer(vgg16, wanted)
    assert near == "" or near in str(caught.value)


def test_the_list_has_each_map_once_with_its_true_shape():
    network = network_of(recipe_of(size=(24, 32), filters=(6, 8)))
    found = {layer.name: layer for layer in spatial_layers(network, (24, 32))}
    assert list(found)[:4] == ["backbone.conv1", "backbone.relu1", "backbone.pool1", "backbone.conv2"]
    for name, layer in found.items():
        kept: list[torch.Tensor] = []
        handle = network.get_submodule(name).register_forward_hook(lambda m, i, output, kept=kept: kept.append(output))
        with torch.no_grad():
            network(torch.zeros(1, 3, 24, 32))
        handle.remove()
        assert kept[0].shape == (1, layer.channels, layer.height, layer.width)
    assert not any(module._forward_hooks for module in network.modules())


def test_what_is_used_twice_or_gives_no_map_is_not_listed():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.output = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.output(self.relu(self.relu(self.conv(image)) + 1).mean((2, 3)))

    assert [layer.name for layer in spatial_layers(Twice(), (8, 8))] == ["conv"]
