"""`pellucid compare`: two batches, from two models or two months."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .console import out, print_findings, print_json, print_table

if TYPE_CHECKING:
    from ..evaluation.comparison import Comparison, Share


def compare(
    a: Annotated[Path, typer.Argument(metavar="OUT_A", help="Output folder of `pellucid predict --out`.")],
    b: Annotated[Path, typer.Argument(metavar="OUT_B", help="Second output folder.")],
    folder: Annotated[
        Optional[Path], typer.Option("--out", help="Output folder for compare.html (with pictures) and compare.json.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare two batches: agreement on shared images, changed answers, and drift of the input."""
    from ..workflow.batch.compare import compare_batches, write_comparison

    comparison, pictures = compare_batches(a, b)
    page = write_comparison(folder, comparison, pictures) if folder else None
    if json:
        print_json(comparison.model_dump(mode="json"))
        return
    _show(comparison)
    again = (
        f"Next, for a page with pictures: pellucid compare {shlex.quote(str(a))} {shlex.quote(str(b))} --out comparison"
    )
    out.print("\n" + (again if page is None else f"Written to {page.parent}: {page.name}, compare.json"), markup=False)


def _show(found: Comparison) -> None:
    rows = [(row.name, _share(row.a), _share(row.b)) for row in found.mix]
    if found.outside_a and found.outside_b:
        rows.append(("unusual images", _share(found.outside_a), _share(found.outside_b)))
    print_table([("share of answers", False), ("A", True), ("B", True)], rows)
    out.print()
    for flip in found.flips[:10]:
        change = "" if flip.change is None else f" (score {flip.change:+.3f})"
        out.print(f"{flip.path_b}: {flip.a} -> {flip.b}{change}", markup=False)
    if found.flipped > 10:
        out.print(f"... and {found.flipped - 10:,} more changed answers")
    if found.flipped:
        out.print()
    print_findings(found.findings, found.verdict)


def _share(share: Share) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
