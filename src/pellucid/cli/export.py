"""`pellucid export`: a run as a page for the browser alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .console import TerminalProgress, out


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
) -> None:
    """Write a model in a form for use elsewhere."""
    from ..errors import InputError
    from ..private_page.export import export_page

    if web is None:
        raise InputError("Say what to write: `web='page.html'` for one file, `web='page/'` for a folder.")
    written = export_page(run, web, runtime=runtime, progress=TerminalProgress())
    out.print(f"Written: {written.path} ({written.size / 2**20:.1f} MB)")
