"""The quicker backward pass gives the gradients that torch's own gives, and leaves every other layer alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.training import depthwise
from pellucid.training.depthwise import quick_backward
from pellucid.training.hardware import autocast

CPU = torch.device("cpu")


def gradients(layer: nn.Conv2d, images: torch.Tensor, *, quick: bool, precision: str = "bf16") -> list[torch.Tensor]:
    """The gradients of the input, the weights and the bias for a fixed weighting of the output."""
    layer.zero_grad()
    given = images.clone().requires_grad_()
    with autocast(CPU, precision):  # type: ignore[arg-type]
        found = layer(given)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with quick_backward(CPU, precision if quick else "float32"):  # type: ignore[arg-type]
        (found * weights.to(found.dtype)).sum().backward()
    own = [given.grad, layer.weight.grad, *([] if layer.bias is None else [layer.bias.grad])]
    return [g.double() for g in own if g is not None]


LAYERS = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 0},
    {"kernel_size": 5, "stride": 1, "padding": 2},
    {"kernel_size": 5, "stride": 2, "padding": 2, "bias": True},
    {"kernel_size": (3, 5), "stride": (1, 2), "padding": (0, 1)},
    {"kernel_size": 7, "stride": 3, "padding": 4, "bias": True},
]


@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize("size", [(15, 18), (16, 13)])
def test_gradients_are_those_of_float64(options: dict[str, object], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, groups=6, **{"bias": False, **options})  # type: ignore[arg-type]
    images = torch.randn(3, 6, *size).contiguous(memory_format=torch.channels_last)
    found = gradients(layer, images, quick=True)
    own = gradients(layer, images, quick=False)
    exact = gradients(layer.double(), images.double(), quick=False, precision="float32")
    for ours, torchs, truth in zip(found, own, exact, strict=True):
        scale = truth.abs().max()
        assert (ours - truth).abs().max() / scale < 0.02
        assert (ours - truth).norm() <= 1.1 * (torchs - truth).norm() + 1e-6 * scale


@pytest.mark.parametrize(
    ("channels", "options", "precision"),
    [
        (6, {"kernel_size": 3, "groups": 6, "padding": 1}, "bf16"),
        (6, {"kernel_size": 3, "groups": 3, "stride": 2}, "bf16"),
        (6, {"kernel_size": 3, "groups": 6, "stride": 2, "dilation": 2}, "bf16"),
        (6, {"kernel_size": 3, "groups": 6, "stride": 2, "padding": 3}, "bf16"),
        (6, {"kernel_size": 5, "groups": 6, "stride": 2}, "float32"),
        (1, {"kernel_size": 3, "stride": 2}, "float32"),
    ],
)
def test_other_layers_are_left_alone(
    channels: int, options: dict[str, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(depthwise, "_gradients", never)
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, channels, **options)  # type: ignore[arg-type]
    images = torch.randn(2, channels, 16, 16)
    for ours, torchs in zip(
        gradients(layer, images, quick=True, precision=precision),
        gradients(layer, images, quick=False, precision=precision),
        strict=True,
    ):
        assert torch.equal(ours, torchs)


def test_frozen_weights_get_no_gradient() -> None:
    layer = nn.Conv2d(4, 4, 5, stride=2, groups=4, bias=False)
    layer.weight.requires_grad_(False)
    (of_images,) = gradients(layer, torch.randn(1, 4, 12, 12), quick=True)
    assert of_images.shape == (1, 4, 12, 12)
    assert layer.weight.grad is None
