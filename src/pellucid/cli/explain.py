"""`pellucid explain`: heat maps over the original images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import TerminalProgress, out, print_json, print_table, report_skipped


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or bundle folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files or folders of them.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the pictures and manifest.json.")] = Path(
        "explanations"
    ),
    method: Annotated[str, typer.Option(help="Explanation method (`pellucid methods`).")] = "grad-cam",
    target: Annotated[str | None, typer.Option(help="Class to explain; the predicted one by default.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method, for example samples=500."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Opacity of the map over the image, 0 to 1.")] = 0.45,
    colormap: Annotated[str | None, typer.Option(help="Any matplotlib colour map; inferno by default.")] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Show evidence against the class too, on a diverging map.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show where the evidence lies: attention map, coloured map and overlay of each image. Needs no torch."""
    from ..bundle.bundle import load
    from ..explanation.catalogue import parse_settings
    from ..workflow.explanation import Drawing, ToExplain, check_folder, explain_files
    from ..workflow.prediction import find_images

    bundle = load(run)
    items = [ToExplain(file, str(file)) for file in find_images(images)]
    check_folder(folder)
    manifest = explain_files(
        bundle,
        items,
        folder,
        method=method,
        target=target,
        settings=parse_settings(method, settings or []),
        drawing=Drawing(alpha, colormap, signed),
        progress=TerminalProgress(quiet=json),
    )
    if json:
        print_json(manifest.model_dump(mode="json"))
    elif manifest.images:
        rows = [
            (r.path, r.label, "" if r.confidence is None else f"{100 * r.confidence:.1f} %", r.verdict)
            for r in manifest.images
        ]
        print_table([("image", False), ("class", False), ("confidence", True), ("what the map says", False)], rows)
        out.print(f"\n{len(manifest.images)} explained; pictures and manifest.json in {folder}")
        if bundle.manifest.medical:
            out.print("For research and education, not for diagnosis.")
    raise typer.Exit(report_skipped(manifest.skipped))
