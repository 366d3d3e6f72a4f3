"""`pellucid backbones`: the networks that can be trained."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import out, print_json, print_table

WEIGHTS_HERE = {"package": "yes: package", "cache": "yes: cache", "hub": "hub", "none": "-"}


def backbones(
    contains: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="Show only names that contain this text.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="List the explainable layers of the backbone TEXT.")] = False,
    size: Annotated[int, typer.Option(help="With --layers: input size in pixels.")] = 224,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List backbones (pellucid, torchvision, timm) or the layers of a backbone. Needs the `train` extra."""
    from .._optional import require

    require("torch", extra="train")
    if layers:
        show_layers(contains or "", size, json=json)
        return
    from ..models.catalogue import OWN, timm_names, torchvision_names
    from ..models.weights import where_weights_are

    rows = [(OWN, "pellucid"), *((n, "torchvision") for n in torchvision_names()), *((n, "timm") for n in timm_names())]
    rows = [row for row in rows if contains is None or contains.lower() in row[0].lower()]
    asked = [f"timm/{name}" if source == "timm" else name for name, source in rows]
    places = [where_weights_are(name) for name in asked]
    if json:
        print_json(
            [
                {"name": name, "source": source, "weights": place}
                for (name, source), place in zip(rows, places, strict=True)
            ]
        )
        return
    shown = [(*row, WEIGHTS_HERE[place]) for row, place in zip(rows, places, strict=True)]
    print_table([("backbone", False), ("from", False), ("weights here", False)], shown)
    out.print(
        f"\n{len(rows)} backbones. timm/NAME selects timm for a name that torchvision also has. Weights here: a "
        "package or the hub's cache on this machine has ImageNet weights; hub: they would be downloaded."
    )


def show_layers(backbone: str, size: int, *, json: bool) -> None:
    """The layers of a backbone that give a feature map, from input to output."""
    from dataclasses import asdict

    from ..models.layers import spatial_layers
    from ..models.network import build_network
    from ..recipe import Recipe
    from ..recipe_sections import DataSection, ModelSection

    model = ModelSection(backbone=backbone, weights="none")
    network = build_network(Recipe(data=DataSection(size=size), model=model), 2)
    found = spatial_layers(network.eval(), (size, size))
    if json:
        print_json([{**asdict(layer), "default": layer.name == network.explained_layer} for layer in found])
        return
    print_table(
        [("layer", False), ("kind", False), ("channels", True), ("cells", True), ("also", False)],
        [(n.name, n.kind, str(n.channels), f"{n.height} x {n.width}", ", ".join(n.also)) for n in found],
    )
    out.print(f"\n{len(found)} layers. {network.explained_layer} is explained by default.")
