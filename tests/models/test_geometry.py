"""The geometry of a layer against where its cells' receptive fields are seen to lie."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from tests.small_networks import recipe_of
from torch import nn

from pellucid.models.evidence_graph import trace_evidence
from pellucid.models.export import frozen_copy
from pellucid.models.geometry import grid_geometry
from pellucid.models.network import Network, build_network
from pellucid.preprocessing import GridGeometry

KEPT = (nn.Conv2d, nn.AvgPool2d, nn.ZeroPad2d)


def all_paths_open(module: nn.Module) -> nn.Module:
    """A copy that only adds up: kernels of ones, maxima as means, no nonlinearity, no normalisation."""
    opened = copy.deepcopy(module)
    for name, child in list(opened.named_modules()):
        parent = opened.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        if isinstance(child, nn.Conv2d):
            nn.init.constant_(child.weight, 1.0 / child.weight[0].numel())
            child.bias = None
        elif isinstance(child, nn.MaxPool2d):
            setattr(parent, leaf, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
        elif name and not list(child.children()) and not isinstance(child, KEPT):
            setattr(parent, leaf, nn.Identity())
    return opened.eval()


def seen_geometry(network: Network, size: tuple[int, int]) -> tuple[list[float], list[float], tuple[int, int]]:
    """Centres of the receptive fields of a cell in the middle and the one diagonally after it, and the grid's size."""
    opened = all_paths_open(network)
    kept: list[torch.Tensor] = []
    opened.get_submodule(network.explained_layer).register_forward_hook(lambda m, i, output: kept.append(output))
    image = torch.ones(1, 3, *size, requires_grad=True)
    opened.backbone(image)
    cells = (kept[0].shape[2], kept[0].shape[3])
    middle = cells[0] // 2, cells[1] // 2
    centres = []
    for y, x in (middle, (middle[0] - 1, middle[1] - 1)):
        (gradient,) = torch.autograd.grad(kept[0][0, :, y, x].sum(), image, retain_graph=True)
        extents = [gradient[0].abs().sum((0, 2 - axis)).nonzero().flatten() for axis in (0, 1)]
        centres.append([(int(e[0]) + int(e[-1]) + 1) / 2 for e in extents])
    return centres[0], centres[1], cells


def derived_geometry(network: Network, size: tuple[int, int], cells: tuple[int, int]) -> GridGeometry:
    frozen = frozen_copy(network)
    graph, _ = trace_evidence(frozen, frozen.get_submodule(network.explained_layer), size, 1)
    return grid_geometry(graph, cells, size)


def small_densenet(size: tuple[int, int]) -> Network:
    """A DenseNet of few blocks: its average poolings shift each grid by half of a finer cell."""
    net = torchvision.models.DenseNet(4, (2, 2, 2), 8)
    backbone = nn.Sequential(net.features)
    return Network(backbone, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(16, 1), "backbone.0")


def oblong(size: tuple[int, int]) -> Network:
    """Each axis has windows, strides and padding of its own."""
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), stride=(1, 2), padding=(1, 0)),
        nn.MaxPool2d((2, 3), stride=(2, 1), padding=(0, 1)),
        nn.Conv2d(4, 4, (4, 2), stride=(2, 3), padding=(0, 1), dilation=(2, 1)),
        nn.AvgPool2d((1, 2)),
        nn.ZeroPad2d((3, 0, 1, 0)),
        nn.Conv2d(4, 4, 3),
    )
    return Network(backbone, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 1), "backbone.5")


def built(backbone: str, size: int | tuple[int, int], **settings: Any) -> Network:
    return build_network(recipe_of(backbone, size, **settings), 2)


# The sides hold the receptive fields of two cells in the middle whole; 32 marks an axis that is not looked at.
CASES: dict[str, tuple[Callable[..., Network], tuple[int, int]]] = {
    "cnn, kernel 3": (partial(built, "cnn", filters=(4, 4, 4), kernel=3), (48, 48)),
    "cnn, kernel 4": (partial(built, "cnn", filters=(4, 4, 4), kernel=4), (64, 64)),
    "cnn, kernel 2": (partial(built, "cnn", filters=(4, 4), kernel=2), (40, 40)),
    "cnn, kernel 5, flattened": (partial(built, "cnn", filters=(4, 4), kernel=5, pool="flatten"), (48, 48)),
    "vgg11": (partial(built, "vgg11"), (192, 32)),
    "resnet18": (partial(built, "resnet18"), (512, 32)),
    "resnet18 before its last stage": (partial(built, "resnet18", layer="backbone.layer3"), (256, 32)),
    "mobilenet_v2": (partial(built, "mobilenet_v2"), (576, 32)),
    "shufflenet_v2_x0_5": (partial(built, "shufflenet_v2_x0_5"), (640, 32)),
    "densenet": (small_densenet, (384, 32)),
    "oblong windows": (oblong, (96, 200)),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_cells_lie_where_their_receptive_fields_are_centred(name):
    build, size = CASES[name]
    torch.manual_seed(0)
    network = build(size).eval()
    centre, before, cells = seen_geometry(network, size)
    geometry = derived_geometry(network, size, cells)
    for axis in (0, 1):
        if size[axis] == 32:
            continue  # a field cut by both borders is centred on the image, whatever the cell
        assert centre[axis] - before[axis] == geometry.stride[axis]
        assert geometry.offset[axis] + (cells[axis] // 2) * geometry.stride[axis] == centre[axis]


def test_plain_resize_would_put_the_cells_of_a_resnet_elsewhere():
    network = built("resnet18", 224)
    geometry = derived_geometry(network, (224, 224), (7, 7))
    assert geometry == GridGeometry((32.0, 32.0), (0.5, 0.5))
    half_a_cell = 224 / 7 / 2
    assert half_a_cell - geometry.offset[0] == 15.5


def test_a_coarse_map_that_is_added_to_a_fine_one_moves_no_cell():
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(3, 4, 2, stride=2), nn.Conv2d(4, 4, 4, stride=4)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            fine = self.fine(image)
            return fine + nn.functional.interpolate(self.coarse(fine), scale_factor=4.0)

    backbone = Pyramid()
    network = Network(backbone, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 1), "backbone")
    assert derived_geometry(network.eval(), (32, 48), (16, 24)) == GridGeometry((2.0, 2.0), (1.0, 1.0))


def test_a_sum_of_paths_that_lie_apart_lies_between_them():
    class Halved(nn.Module):
        """As in a ResNet-D: the shortcut averages 2 x 2 cells, whose centre is half a pixel after the convolution's."""

        def __init__(self) -> None:
            super().__init__()
            self.main, self.shortcut = nn.Conv2d(3, 4, 3, 2, 1), nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(3, 4, 1))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.main(image) + self.shortcut(image)

    network = Network(Halved(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 1), "backbone")
    assert derived_geometry(network.eval(), (32, 48), (16, 24)) == GridGeometry((2.0, 2.0), (0.75, 0.75))


def test_where_positions_mix_the_cells_tile_the_input():
    class Mixed(nn.Module):
        """Slices, as hierarchical transformers merge patches: no window says that the grid is halved."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 4, stride=4)
            self.layer = nn.Identity()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            inner = self.stem(image)
            merged = inner[..., ::2, ::2] + inner[..., 1::2, 1::2]
            return self.layer(merged[..., ::2, ::2] + merged[..., 1::2, 1::2]).mean((2, 3))

    model = Mixed().eval().requires_grad_(False)
    graph, _ = trace_evidence(model, model.layer, (64, 96), 4)
    assert grid_geometry(graph, (4, 6), (64, 96)) == GridGeometry((16.0, 16.0), (8.0, 8.0))
