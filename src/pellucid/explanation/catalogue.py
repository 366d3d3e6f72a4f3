"""Every explanation method by name, as literal rows. A new method is one function and one row.

A row's `run` takes (classifier, batch, target, score, settings) and gives Maps. `settings` is an instance of the row's
own frozen dataclass, whose defaults are what is advised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ..classifier import Classifier, Score, Target
from ..errors import InputError, UnknownNameError, nearest
from ..preprocessing import FloatArray
from . import cam
from .maps import Maps

Family = Literal["cam", "gradient", "perturbation"]
Needs = Literal["evidence", "probabilities", "input gradients"]


@dataclass(frozen=True, slots=True)
class NoSettings:
    """A method without settings."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row. `passes` is the cost in words, F being one forward pass; `signed` whether values speak against too."""

    name: str
    family: Family
    needs: Needs
    run: Callable[[Classifier, FloatArray, Target, Score | None, Any], Maps]
    signed: bool
    unit: str
    passes: str
    reference: str
    avoid_when: str
    settings: type[Any] = NoSettings


METHODS: tuple[Method, ...] = (
    Method(
        name="grad-cam",
        family="cam",
        needs="evidence",
        run=cam.explainer(cam.grad_cam, "grad-cam"),
        signed=True,
        unit="{score} per cell, linearised",
        passes="1 F",
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


def settings_of(method: Method, given: Any = None, overrides: dict[str, Any] | None = None) -> Any:
    """A method's settings: `given`, or its defaults, with `overrides` by name.

    Raises InputError for settings of another method and for an unknown or unsuitable value.
    """
    if given is not None and not isinstance(given, method.settings):
        raise InputError(f"{method.name} takes {method.settings.__name__}, not {type(given).__name__}.")
    settings = method.settings() if given is None else given
    known = {f.name: f for f in fields(settings)}
    for name, value in (overrides or {}).items():
        if name not in known:
            near = nearest(name, known) or list(known)
            hint = f" It takes {', '.join(near)}." if near else " It takes none."
            raise InputError(f"{method.name} has no setting {name!r}.{hint}")
        wanted = type(getattr(settings, name))
        if not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise InputError(f"{method.name}: {name} must be of type {wanted.__name__}, not {value!r}.")
        settings = replace(settings, **{name: value})
    return settings
