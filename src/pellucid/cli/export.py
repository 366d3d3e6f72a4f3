"""`pellucid export`: a run as a page for the browser alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .console import TerminalProgress, out

if TYPE_CHECKING:
    from ..private_page.proof import Proof


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder or bundle.")],
    web: Annotated[
        Optional[Path],
        typer.Option(metavar="OUT", help="Write a page that needs no server: a new folder, or one file OUT.html."),
    ] = None,
    runtime: Annotated[
        Optional[Path],
        typer.Option(
            metavar="PATH", help="The package file of onnxruntime-web, or the folder that it was unpacked to."
        ),
    ] = None,
    images: Annotated[
        Optional[Path],
        typer.Option(metavar="DIR", help="Images to verify the page with in Chromium.", show_default="the run's own"),
    ] = None,
    every_method: Annotated[
        Optional[bool],
        typer.Option(
            "--every-method/--quick-methods",
            help="Add saliency, integrated gradients and ablation-cam, which doubles the size.",
            show_default="in a folder",
        ),
    ] = None,
    proof: Annotated[
        bool, typer.Option("--proof/--no-proof", help="Verify the page in Chromium against Python.")
    ] = True,
) -> None:
    """Write a model in a form for use elsewhere."""
    from ..errors import InputError
    from ..private_page.export import export_page

    if web is None:
        raise InputError("Say what to write: `web='page.html'` for one file, `web='page/'` for a folder.")
    written = export_page(
        run,
        web,
        runtime=runtime,
        images=images,
        proof=proof,
        every_method=every_method,
        progress=TerminalProgress(),
    )
    if written.proof is not None:
        out.print(_in_words(written.proof))
    out.print(f"Written: {written.path} ({written.size / 2**20:.1f} MB)")


def _in_words(proof: Proof) -> str:
    """What was measured, on one line."""
    what = "the output" if proof.probability is None else "any probability"
    most = proof.output if proof.probability is None else proof.probability
    maps = "" if proof.correlation is None else f", heat maps correlated by at least {proof.correlation:.6f}"
    return (
        f"In {proof.browser}, {proof.images} images: {what} within {most:.2g} of Python{maps}, "
        f"{proof.changed} decisions changed."
    )
