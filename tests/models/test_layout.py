"""Where the map of a layer's output lies, whatever its shape."""

import pytest
import torch
from torch import nn

from pellucid.models.layout import Grids, Layout


class Says(nn.Module):
    """A part of a transformer that states its grid and its prefix, as timm's do."""

    def __init__(self, grid: tuple[int, int], prefix: int) -> None:
        super().__init__()
        self.grid_size, self.num_prefix_tokens = grid, prefix


@pytest.mark.parametrize(
    ("size", "shape", "kind", "grid", "prefix"),
    [
        ((224, 224), (1, 512, 7, 7), "channels first", (7, 7), 0),
        ((224, 224), (1, 7, 7, 768), "channels last", (7, 7), 0),
        ((64, 96), (1, 2, 3, 768), "channels last", (2, 3), 0),
        ((64, 96), (1, 768, 2, 3), "channels first", (2, 3), 0),
        ((224, 224), (1, 3, 12, 11), "channels first", (12, 11), 0),
        ((224, 224), (1, 197, 192), "tokens", (14, 14), 1),
        ((224, 224), (1, 198, 192), "tokens", (14, 14), 2),
        ((224, 224), (1, 196, 192), "tokens", (14, 14), 0),
        ((64, 96), (1, 25, 192), "tokens", (4, 6), 1),
    ],
)
def test_a_shape_is_laid_out(size, shape, kind, grid, prefix):
    expected = Layout(kind, grid, prefix, guessed=kind == "tokens")
    assert Grids(nn.Identity(), size).layout(torch.zeros(shape)) == expected


def test_what_a_model_states_comes_before_guesses():
    # 26 tokens are 5 x 5 and a class token, or 4 x 4 with ten others.
    assert Grids(nn.Identity(), (64, 64)).layout(torch.zeros(1, 26, 8)) == Layout("tokens", (5, 5), 1, guessed=True)
    assert Grids(Says((4, 4), 10), (64, 64)).layout(torch.zeros(1, 26, 8)) == Layout("tokens", (4, 4), 10)


def test_registers_are_found_by_the_grid_of_a_convolution():
    model = nn.Sequential(nn.Conv2d(3, 8, 14, 14))
    grids = Grids(model, (224, 224))
    assert grids.layout(torch.zeros(1, 261, 8)) is None
    with grids.watching(model):
        model(torch.zeros(1, 3, 224, 224))
    assert grids.layout(torch.zeros(1, 261, 8)) == Layout("tokens", (16, 16), 5)
    assert not model[0]._forward_hooks


def test_of_several_tensors_the_last_map_counts():
    grids = Grids(nn.Identity(), (64, 64))
    assert grids.layout([torch.zeros(1, 17, 8), torch.zeros(1, 10, 8)]) == Layout("tokens", (3, 3), 1, 1, guessed=True)
    assert grids.layout((torch.zeros(1, 8, 4, 4), torch.zeros(1, 8))) == Layout("channels first", (4, 4), 0, element=0)
    assert grids.layout((torch.zeros(1, 9, 8), (3, 3))) == Layout("tokens", (3, 3), 0, 0, guessed=True)


@pytest.mark.parametrize(
    "output", [torch.zeros(1, 512), torch.zeros(1, 7, 3), torch.zeros(3), None, {"a": 1}, torch.zeros(1, 9, 8).long()]
)
def test_what_is_no_map_has_no_layout(output):
    assert Grids(nn.Identity(), (64, 64)).layout(output) is None


@pytest.mark.parametrize(
    "layout", [Layout("channels first", (2, 3)), Layout("channels last", (2, 3)), Layout("tokens", (2, 3))]
)
def test_maps_go_back_to_where_they_came_from(layout):
    maps = torch.arange(24.0).reshape(1, 4, 2, 3)
    assert torch.equal(layout.maps(layout.tensor(maps)), maps)


def test_tokens_are_laid_out_row_by_row_and_without_their_prefix():
    tokens = torch.arange(7.0).reshape(1, 7, 1)
    assert Layout("tokens", (2, 3), 1).maps(tokens).tolist() == [[[[1, 2, 3], [4, 5, 6]]]]
    with pytest.raises(ValueError, match="without a place"):
        Layout("tokens", (2, 3), 1).tensor(torch.zeros(1, 1, 2, 3))
