"""`pellucid data ...`: prepare and check datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import data_augment, data_download, data_split, inspect
from .console import TerminalProgress, out, print_json, print_table

app = typer.Typer(help="Prepare and check datasets.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Prepare and check datasets."""


@app.command("phantom")
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, new or empty.")],
    images: Annotated[int, typer.Option(help="Number of images, at least 20.")] = 600,
    size: Annotated[int, typer.Option(help="Width and height of the images in pixels.")] = 224,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same files.")] = 0,
    shortcut: Annotated[
        list[str] | None,
        typer.Option(
            help="Plant a shortcut with its agreement with the label, such as clip=0.95 (0.5 tells nothing): "
            "corner-tag, border, blur, clip, tube, grid, stamp, tint or patch."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """Generate synthetic chest X-rays with known ground truth (not for diagnosis)."""
    from ..data.phantom import Shortcut, generate_phantoms

    shortcuts = [Shortcut.parse(text) for text in shortcut or []]
    with TerminalProgress(quiet=json).bar("Drawing") as advance:
        summary = generate_phantoms(folder, images=images, size=size, seed=seed, shortcuts=shortcuts, progress=advance)
    if json:
        print_json(
            {"out": str(folder), "counts": summary.counts, "patients": summary.patients, "opacities": summary.opacities}
        )
        return
    rows = [(s, *(str(n) for n in by.values()), str(summary.patients[s])) for s, by in summary.counts.items()]
    classes = next(iter(summary.counts.values()))
    print_table([("split", False), *((c, True) for c in classes), ("patients", True)], rows)
    out.print(f"Synthetic X-rays in {folder}, with masks of the {summary.opacities} opacities in {folder / 'masks'}.")
    out.print(f"Next: pellucid train {folder} --recipe scratch-cnn --out runs/phantom")


app.command("inspect")(inspect.inspect)
app.command("split")(data_split.split)
app.command("augment")(data_augment.augment)
app.command("download")(data_download.download)
