"""Which backbones can be asked for by name: pellucid's own `cnn`, torchvision's and timm's.

A torchvision name is taken from torchvision; anything else from timm. `timm/NAME` asks timm where both have the name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import timm
import torchvision

from ..errors import InputError, UnknownNameError
from ..recipe import IMAGENET_DEVIATION, IMAGENET_MEAN

Source = Literal["own", "torchvision", "timm"]
OWN = "cnn"
TIMM_PREFIX = "timm/"


@lru_cache(maxsize=1)
def torchvision_names() -> tuple[str, ...]:
    """Image classifiers of torchvision, sorted."""
    return tuple(sorted(torchvision.models.list_models(module=torchvision.models)))


@lru_cache(maxsize=1)
def timm_names() -> tuple[str, ...]:
    """Models of timm, sorted, without the tag of their weights."""
    return tuple(sorted(timm.list_models()))


def find_backbone(name: str) -> tuple[Source, str]:
    """Where a backbone comes from and its name there; UnknownNameError with the nearest names otherwise."""
    if name == OWN:
        return "own", name
    if name.startswith(TIMM_PREFIX):
        bare = name.removeprefix(TIMM_PREFIX)
        if bare.split(".")[0] in timm_names():
            return "timm", bare
    elif name in torchvision_names():
        return "torchvision", name
    elif name.split(".")[0] in timm_names():
        return "timm", name
    remedy = "`pellucid backbones` lists them."
    # torchvision's names first, so that of two equally near ones the plainer is offered.
    raise UnknownNameError("backbone", name, [OWN, *torchvision_names(), *timm_names()], remedy)


def trained_with(name: str) -> Literal["unit", "symmetric", "imagenet"]:
    """The pixel values that a backbone's published weights were trained with.

    Raises InputError where they are none of the three that a recipe knows.
    """
    source, bare = find_backbone(name)
    if source != "timm":
        return "unit" if source == "own" else "imagenet"
    config = timm.get_pretrained_cfg(bare)
    pair = (tuple(config.mean), tuple(config.std)) if config else (IMAGENET_MEAN, IMAGENET_DEVIATION)
    known: dict[object, Literal["unit", "symmetric", "imagenet"]] = {
        (IMAGENET_MEAN, IMAGENET_DEVIATION): "imagenet",
        ((0.5,) * 3, (0.5,) * 3): "symmetric",
        ((0.0,) * 3, (1.0,) * 3): "unit",
    }
    if pair not in known:
        raise InputError(
            f"The weights of {name} were trained with mean {pair[0]} and deviation {pair[1]}, which no recipe knows: "
            "set `data.values` to unit, symmetric or imagenet, or take another backbone."
        )
    return known[pair]
