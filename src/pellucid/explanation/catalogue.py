"""Every explanation method by name, as literal rows. A new method is one function and one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors import UnknownNameError
from ..preprocessing import FloatArray
from . import cam

Family = Literal["cam", "gradient", "perturbation"]


@dataclass(frozen=True, slots=True)
class Method:
    """One row: `map_of` takes activations (N, C, h, w) and gradients (N, T, C, h, w) and gives maps (N, T, h, w)."""

    name: str
    family: Family
    map_of: Callable[[FloatArray, FloatArray], FloatArray]
    signed: bool
    unit: str
    passes: str
    reference: str
    avoid_when: str


METHODS: tuple[Method, ...] = (
    Method(
        name="grad-cam",
        family="cam",
        map_of=cam.grad_cam,
        signed=True,
        unit="{score} per cell, linearised",
        passes="1",
        reference="Selvaraju et al. 2017, arXiv:1610.02391",
        avoid_when="the layers behind the explained one care about position (a flattened map)",
    ),
)


def method_names() -> list[str]:
    """Names of all methods, in the catalogue's order."""
    return [m.name for m in METHODS]


def find_method(name: str) -> Method:
    """The method of a name; UnknownNameError with the nearest names otherwise."""
    for method in METHODS:
        if method.name == name:
            return method
    raise UnknownNameError("explanation method", name, method_names(), "`pellucid methods` lists them.")
