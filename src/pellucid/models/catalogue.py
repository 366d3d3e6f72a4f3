"""Which backbones can be asked for by name: pellucid's own `cnn`, torchvision's and timm's.

A torchvision name is taken from torchvision; anything else from timm. `timm/NAME` asks timm where both have the name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import timm
import torchvision

from ..errors import UnknownNameError

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
