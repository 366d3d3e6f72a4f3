"""`pellucid methods`: the explanation methods."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import print_json, print_table

if TYPE_CHECKING:
    from ..explanation.catalogue import Method


def methods(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the explanation methods."""
    from ..explanation.catalogue import METHODS
    from ..reporting.words import cost_words

    if json:
        keys = ("name", "family", "signed", "looks_at_layer", "unit", "reference", "avoid_when")
        print_json([{**{k: getattr(m, k) for k in keys}, **_cost(m)} for m in METHODS])
        return
    rows = [(m.name, m.family, cost_words(m.cost()), m.reference, m.avoid_when) for m in METHODS]
    columns = [("method", False), ("family", False), ("cost (F: one forward pass)", False)]
    print_table([*columns, ("reference", False), ("avoid when", False)], rows)


def _cost(method: Method) -> dict[str, Any]:
    """The cost with the default settings, in words under the older name and as numbers."""
    from ..reporting.words import cost_words

    cost = method.cost()
    return {"passes": cost_words(cost), "cost": {**asdict(cost), "slow": cost.slow}}
