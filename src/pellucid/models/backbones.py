"""A backbone by name: a module from images (N, 3, H, W) to a feature map (N, C, h, w), before any global pooling."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import timm
import torch
import torchvision
from torch import nn

from ..errors import InputError
from ..recipe_sections import ModelSection
from .catalogue import find_backbone
from .dilation import dilate

# Children that come after the last feature map, by torchvision's names for them.
HEAD_CHILDREN = {"avgpool", "fc", "classifier", "dropout", "head", "heads", "AuxLogits", "aux1", "aux2", "flatten"}
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class TokensToGrid(nn.Module):
    """A vision transformer of timm or torchvision as a backbone: its patch tokens laid out as a feature map.

    Tokens that stand for no patch (the class token, registers) are left out.
    """

    def __init__(self, transformer: nn.Module, grid: tuple[int, int], prefix: int) -> None:
        super().__init__()
        self.transformer, self.grid, self.prefix = transformer, grid, prefix

    def tokens(self, image: torch.Tensor) -> torch.Tensor:
        """All tokens (N, prefix + h * w, C) after the last block and its normalisation."""
        net = cast("Any", self.transformer)
        if hasattr(net, "forward_features"):
            return cast(torch.Tensor, net.forward_features(image))
        patches = net._process_input(image)
        return cast(
            torch.Tensor, net.encoder(torch.cat([net.class_token.expand(patches.shape[0], -1, -1), patches], 1))
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.tokens(image)[:, self.prefix :].transpose(1, 2)
        return patches.reshape(patches.shape[0], patches.shape[1], *self.grid)


class ChannelsFirst(nn.Module):
    """Feature maps (N, h, w, C) to (N, C, h, w), as hierarchical transformers need."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.permute(0, 3, 1, 2)


def own_cnn(section: ModelSection) -> nn.Sequential:
    """Blocks of convolution, ReLU and 2 x 2 max-pooling, with 'same' padding; one block per entry of `filters`."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for i, filters in enumerate(section.filters, 1):
        # What follows takes off the mean: a bias would only drift, on gradients that are nothing but rounding.
        bias = not section.batch_norm
        layers[f"conv{i}"] = nn.Conv2d(channels, filters, section.kernel, padding=section.kernel // 2, bias=bias)
        if section.batch_norm:
            layers[f"norm{i}"] = nn.BatchNorm2d(filters)
        layers[f"relu{i}"] = nn.ReLU()
        layers[f"pool{i}"] = nn.MaxPool2d(2)
        channels = filters
    return nn.Sequential(layers)


def torchvision_backbone(name: str, size: tuple[int, int]) -> nn.Module:
    """The part of a torchvision classifier up to its last feature map; parameter names stay torchvision's own."""
    options: dict[str, object] = {}
    if name in {"googlenet", "inception_v3"}:
        options = {"init_weights": True, "aux_logits": False}
    elif name.startswith("vit"):
        if size[0] != size[1]:
            raise InputError(
                f"torchvision's {name} takes square images only: data.size must be one number, not {list(size)}."
            )
        options = {"image_size": size[0]}
    elif name.startswith("maxvit"):
        options = {"input_size": size}
    whole: Any = torchvision.models.get_model(name, weights=None, **options)
    if name.startswith("vit"):
        whole.heads = nn.Identity()
        side = size[0] // whole.patch_size
        return TokensToGrid(whole, (side, side), 1)
    if name.startswith("maxvit"):
        return nn.Sequential(OrderedDict(stem=whole.stem, blocks=nn.Sequential(*whole.blocks)))
    if name not in {"googlenet", "inception_v3"} and isinstance(getattr(whole, "features", None), nn.Module):
        layers: OrderedDict[str, nn.Module] = OrderedDict(features=whole.features)
        if name.startswith("densenet"):
            layers["relu"] = nn.ReLU()
        if name.startswith("swin"):
            layers["norm"], layers["permute"] = whole.norm, ChannelsFirst()
        return nn.Sequential(layers)
    children = OrderedDict((n, m) for n, m in whole.named_children() if n not in HEAD_CHILDREN)
    return nn.Sequential(children)


def timm_backbone(name: str, size: tuple[int, int]) -> nn.Module:
    """A timm model without its pooling and head; a vision transformer's tokens become a feature map."""
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "global_pool": ""}
    try:
        try:
            model: Any = timm.create_model(name, img_size=size, **options)
        except TypeError:  # only models that depend on the image's size take it
            model = timm.create_model(name, **options)
    except Exception as error:  # a model that does not go without its pooling, or with this size, says so as it likes
        reason = f"timm's {name} cannot be built for {size[0]} x {size[1]} pixels without its pooling: {error}"
        raise InputError(f"{reason.rstrip('.')}. Choose another backbone or data.size.") from error
    if hasattr(model, "num_prefix_tokens") and hasattr(model, "patch_embed"):
        return TokensToGrid(model, tuple(model.patch_embed.grid_size), int(model.num_prefix_tokens))
    if str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC"):
        return nn.Sequential(OrderedDict(features=model, permute=ChannelsFirst()))
    return cast(nn.Module, model)


def build_backbone(section: ModelSection, size: tuple[int, int]) -> nn.Module:
    """The untrained backbone that a recipe's model section asks for, for inputs of `size` (height, width)."""
    backbone = _as_published(section, size)
    if section.output_stride is not None:
        dilate(backbone, size, section.output_stride)
    return backbone


def _as_published(section: ModelSection, size: tuple[int, int]) -> nn.Module:
    """The backbone with its own strides."""
    source, name = find_backbone(section.backbone)
    if source == "own":
        smallest = 2 ** len(section.filters)
        if min(size) < smallest:
            raise InputError(
                f"{len(section.filters)} blocks halve the image {len(section.filters)} times: "
                f"data.size must be at least {smallest}, not {min(size)}."
            )
        return own_cnn(section)
    if source == "torchvision":
        return torchvision_backbone(name, size)
    return timm_backbone(name, size)


def last_feature_layer(backbone: nn.Module, prefix: str) -> str:
    """The last layer with spatial extent, by name: the backbone's output, or what goes into a pooling that ends it.

    The pooled map says the same at half the resolution, so VGG16's answer is the ReLU after its last convolution.
    """
    name, module = prefix, backbone
    while isinstance(module, nn.Sequential) and len(module):
        children = list(module.named_children())
        while len(children) > 1 and isinstance(children[-1][1], POOLING):
            children.pop()
        last, inner = children[-1]
        if not isinstance(inner, nn.Sequential):
            return f"{name}.{last}" if len(children) < len(module) else name
        name, module = f"{name}.{last}", inner
    return name
