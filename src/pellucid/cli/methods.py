"""`pellucid methods`: how a decision can be explained."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import print_json, print_table


def methods(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the explanation methods."""
    from ..explanation.catalogue import METHODS

    if json:
        keys = ("name", "family", "signed", "unit", "passes", "reference", "avoid_when")
        print_json([{k: getattr(m, k) for k in keys} for m in METHODS])
        return
    rows = [(m.name, m.family, m.passes, m.reference, m.avoid_when) for m in METHODS]
    print_table(
        [("method", False), ("family", False), ("passes", False), ("reference", False), ("not when", False)], rows
    )
