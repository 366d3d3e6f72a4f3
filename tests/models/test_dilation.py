"""Strides that become dilations: the same map with cells between those that there were."""

import pytest
import torch
from torch import nn

from pellucid.errors import InputError
from pellucid.models.backbones import build_backbone
from pellucid.models.dilation import dilate
from pellucid.models.network import Network
from pellucid.models.traced_layer import frozen_copy, trace_layer
from pellucid.recipe_sections import ModelSection

SIZE = (64, 96)


class Small(nn.Sequential):
    """Two strided convolutions, the second beside a strided shortcut, and one of three cells behind them."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.shortcut = nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 1, 2)

        def forward(self, x):
            return torch.relu(self.conv(x)) + self.shortcut(x)

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 8, 4, 4), self.Block(), nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 5, 1, 2))


def of(backbone, size=SIZE):
    with torch.no_grad():
        return backbone.eval()(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("stride", "every"), [(8, 2), (4, 4)])
def test_cells_lie_between_those_that_there_were(stride, every):
    finer = Small()
    dilate(finer, SIZE, stride)
    coarse, fine = of(Small()), of(finer)
    assert fine.shape[2:] == (SIZE[0] // stride, SIZE[1] // stride)
    torch.testing.assert_close(fine[..., ::every, ::every], coarse)
    assert finer.state_dict().keys() == Small().state_dict().keys()


@pytest.mark.parametrize(("name", "first"), [("mobilenet_v2", 0), ("resnet18", 0), ("tf_efficientnet_lite0", 1)])
def test_weights_of_a_backbone_give_the_same_features_on_a_finer_grid(name, first):
    """TensorFlow's padding puts the first cell of a stride on the second place."""
    weights = build_backbone(ModelSection(backbone=name), SIZE).state_dict()
    found = []
    for stride in (None, 16):
        backbone = build_backbone(ModelSection(backbone=name, output_stride=stride), SIZE)
        backbone.load_state_dict(weights)
        found.append(of(backbone))
    assert [tuple(f.shape[2:]) for f in found] == [(2, 3), (4, 6)]
    largest = float(found[0].abs().max())
    torch.testing.assert_close(found[1][..., first::2, first::2], found[0], atol=1e-4 * largest, rtol=0)


def test_the_bundle_knows_where_the_finer_cells_lie():
    backbone = Small()
    dilate(backbone, SIZE, 8)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = frozen_copy(Network(backbone, pool, nn.Sequential(nn.Linear(8, 2)), "backbone.3"))
    layer = trace_layer(network, "backbone.3", SIZE, 2).layer
    assert (layer.height, layer.width, layer.stride, layer.offset) == (8, 12, (8.0, 8.0), (2.0, 2.0))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (ModelSection(backbone="resnet18", output_stride=32), "must be less than the backbone's own, 32"),
        (ModelSection(backbone="cnn", output_stride=4), "stands for 16 pixels then"),
        (ModelSection(backbone="mobilenet_v2", output_stride=12), "powers of 2"),
    ],
)
def test_what_cannot_be_is_said(model, said):
    with pytest.raises(InputError, match=said):
        build_backbone(model, SIZE)
