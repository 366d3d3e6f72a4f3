"""What a model must offer before a method can explain it, and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Needs = Literal["evidence", "tail", "several layers", "probabilities", "input gradients", "anomaly map"]
"""`evidence`: activations and gradients of a layer. `tail`: these, and the layers behind it as a graph of their own.
`several layers`: activations and gradients of several layers from one pass."""

LAYER_NEEDS = ("evidence", "tail")


class LayerFacts(Protocol):
    """What must be known of an explained layer."""

    @property
    def name(self) -> str: ...
    @property
    def tail(self) -> str | None: ...


class ModelFacts(Protocol):
    """What must be known of a model; a bundle's manifest says it."""

    @property
    def task(self) -> str: ...
    @property
    def layer(self) -> LayerFacts | None: ...
    @property
    def input_gradients(self) -> str | None: ...
    @property
    def layered(self) -> object | None: ...
    @property
    def missing(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a model cannot be explained by `method`: it lacks `what`. `reason` says why it does, or is empty.

    `what` is `layer` (no activations and gradients), `several layers` (no graph that gives several together), `tail`
    (no graph of the layers behind the explained one),
    `input gradients` (no graph of the gradients with respect to the pixels), `class` (no evidence for a class, only
    distances from normal images) or `anomaly map` (no such distances).
    """

    method: str
    what: Literal["layer", "several layers", "tail", "input gradients", "class", "anomaly map"]
    reason: str = ""


def lack_of(method: str, needs: Needs, model: ModelFacts) -> Lack | None:
    """What a model lacks for a method with such needs; None when it lacks nothing."""
    if needs == "probabilities":
        return None
    anomaly = model.task == "anomaly"
    if needs == "anomaly map":
        return None if anomaly and model.layer is not None else Lack(method, "anomaly map")
    if anomaly:
        return Lack(method, "class")
    if needs == "input gradients":
        if model.input_gradients is not None:
            return None
        return Lack(method, "input gradients", model.missing.get("input gradients", ""))
    if model.layer is None:
        return Lack(method, "layer")
    if needs == "several layers":
        return None if model.layered is not None else Lack(method, needs, model.missing.get(needs, ""))
    if needs == "tail" and model.layer.tail is None:
        return Lack(method, "tail", model.missing.get(f"tail of {model.layer.name}", ""))
    return None
