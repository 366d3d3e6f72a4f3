"""Where a network is cut, that the parts are the whole to the bit, and what is left whole."""

import pytest
import torch
from tests.small_networks import recipe_of
from torch import nn

from pellucid.models.network import build_network
from pellucid.training.cutting import Cut, cut_network
from pellucid.training.session import freeze

# Each is another way to build a backbone, and to freeze a part of it.
CASES = [
    ("cnn", 24, "conv2", "backbone.pool1"),
    ("cnn", 24, "all", "pool"),
    ("vgg11", 64, "features.16", "backbone.features.15"),
    ("mobilenet_v2", 64, "features.14", "backbone.features.13"),
    ("resnet18", 64, "layer4", "backbone.layer3"),
    ("resnet18", 64, "layer4.1.conv2", "backbone.layer4.0"),
    ("densenet121", 64, "features.denseblock4.denselayer10", "backbone.features.transition3"),
    ("efficientnet_b0", 64, "half", "backbone.features.4"),
    ("convnext_tiny", 64, "features.5", "backbone.features.4"),
    ("timm/resnet18", 64, "layer4", "backbone.layer3"),
    ("timm/convnext_atto", 64, "stages.3", "backbone.stages.2"),
    ("timm/vit_tiny_patch16_224", 64, "all", "pool"),
]


@pytest.mark.parametrize(("backbone", "size", "frozen", "layer"), CASES)
def test_the_parts_are_the_whole(backbone, size, frozen, layer):
    torch.manual_seed(0)
    network = build_network(recipe_of(backbone, size), 3)
    freeze(network, frozen)
    images = torch.randn(2, 3, size, size)
    cut = cut_network(network, images)
    assert isinstance(cut, Cut)
    assert cut.layer == layer
    assert not any(p.requires_grad for p in cut.frozen.parameters())
    network.eval()
    with torch.no_grad():
        assert torch.equal(cut.rest(cut.frozen(images)), network(images))
    trains = {id(p) for p in network.parameters() if p.requires_grad}
    assert {id(p) for p in cut.rest.parameters() if p.requires_grad} == trains


def with_backbone(backbone):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = backbone, nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.backbone(x))

    backbone.requires_grad_(False)
    return Whole()


def test_random_layers_and_statistics_without_parameters_are_not_frozen():
    """Dropout between frozen layers drops while training: the cut comes before it."""
    whole = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4), nn.Linear(4, 2))
    whole[0].requires_grad_(False)
    whole[2].requires_grad_(False)
    assert cut_network(whole, torch.randn(2, 4)).layer == "0"
    whole[1] = nn.BatchNorm1d(4, affine=False)
    assert cut_network(whole, torch.randn(2, 4)).layer == "0"


def test_dropout_inside_what_is_wholly_frozen_does_not_matter():
    assert cut_network(with_backbone(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))), torch.randn(2, 4)).layer == (
        "backbone"
    )


class Skipping(nn.Module):
    """What the first layer gives goes around the second."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        a = self.first(x)
        return self.third(self.second(a) + a)


def test_two_tensors_that_cross_are_not_cut_through():
    whole = Skipping()
    whole.first.requires_grad_(False)
    assert cut_network(whole, torch.randn(2, 4)).layer == "first"

    class Late(Skipping):
        def forward(self, x):
            a = self.first(x)
            return self.third(self.second(a)) + a[:, :2]

    whole = Late()
    whole.first.requires_grad_(False)
    whole.second.requires_grad_(False)
    assert cut_network(whole, torch.randn(2, 4)).layer == "first"


def test_what_cannot_be_followed_stays_whole_and_says_why():
    class Deciding(Skipping):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    whole = Deciding()
    whole.first.requires_grad_(False)
    assert "cannot be followed" in cut_network(whole, torch.randn(2, 4))
    assert cut_network(nn.Linear(4, 2), torch.randn(2, 4)) == "no layer is frozen"

    class Functional(Skipping):
        def forward(self, x):
            return self.third(nn.functional.dropout(self.first(x), 0.5, self.training))

    whole = Functional()
    whole.first.requires_grad_(False)
    assert "dropout is no module" in cut_network(whole, torch.randn(2, 4))
    whole = Skipping()
    whole.third.requires_grad_(False)
    assert cut_network(whole, torch.randn(2, 4)) == "nothing frozen comes before the first layer that trains"
