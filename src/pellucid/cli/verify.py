"""`pellucid verify`: whether a bundle gives on this machine the answers that it was exported with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from .console import PARTLY, out, print_json, print_table

if TYPE_CHECKING:
    from ..workflow.verify import Checked, Verification


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or bundle folder.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE...]", help="Image files or folders to answer in several ways (at most 32)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was checked as one JSON document.")] = False,
) -> None:
    """Check a model's files and its stored answers. PyTorch is not needed; exits with 1 if an answer differs."""
    from ..workflow.prediction import find_images
    from ..workflow.verify import verify as checked

    found = checked(run, find_images(images) if images else ())
    if json:
        print_json(_document(found))
    else:
        _show(found)
    raise typer.Exit(0 if found.holds else PARTLY)


def _document(found: Verification) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "folder": str(found.folder),
        "holds": found.holds,
        "findings": [asdict(f) for f in found.findings],
        "left_out": list(found.left_out),
    }


def _show(found: Verification) -> None:
    files = [f for f in found.findings if f.kind == "checksum"]
    good = sum(f.holds for f in files)
    rows = [("checksums", f"{good} of {len(files)} files", "" if good == len(files) else "DIFFERS")]
    rows += [(f.kind, f.subject, _words(f)) for f in found.findings if f.kind != "checksum" or not f.holds]
    print_table([("check", False), ("of", False), ("", False)], rows)
    for sentence in found.left_out:
        out.print(Text(f"Not checked: {sentence}.", style="yellow"))
    verdict = "Everything checked holds." if found.holds else "This machine or copy gives other answers."
    out.print(f"\n{found.folder}: {verdict}", markup=False)


def _words(finding: Checked) -> str:
    if finding.difference is None:
        return "ok" if finding.holds else f"DIFFERS: {finding.reason}"
    return f"{'ok' if finding.holds else 'DIFFERS'}: by {finding.difference:.1e} (limit {finding.tolerance:g})"
