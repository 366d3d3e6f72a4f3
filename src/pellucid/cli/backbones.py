"""`pellucid backbones`: which networks can be asked for by name."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import out, print_json, print_table


def backbones(
    contains: Annotated[str | None, typer.Argument(metavar="TEXT", help="Only names with this text.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the backbones: pellucid's own, torchvision's and timm's. Needs the extra `train`."""
    from .._optional import require

    require("torch", extra="train")
    from ..models.catalogue import OWN, timm_names, torchvision_names

    rows = [(OWN, "pellucid"), *((n, "torchvision") for n in torchvision_names()), *((n, "timm") for n in timm_names())]
    rows = [row for row in rows if contains is None or contains.lower() in row[0].lower()]
    if json:
        print_json([{"name": name, "source": source} for name, source in rows])
        return
    print_table([("backbone", False), ("from", False)], rows)
    out.print(f"\n{len(rows)} backbones. timm/NAME asks timm for a name that torchvision has too.")
