"""`pellucid data inspect`: what is wrong with a dataset, before anything is trained on it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import OK, PARTLY, TerminalProgress, out, print_findings, print_json, print_table, report_skipped

if TYPE_CHECKING:
    from ..data.inspection import Inspection
    from ..workflow.inspection import Inspected


def inspect(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of class folders, or a CSV.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for inspection.html and inspection.json.")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(help="Regular expression on file names, or CSV column, that names the patient or object."),
    ] = None,
    positive: Annotated[str | None, typer.Option(help="The positive one of two classes.")] = None,
    merge: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME=A,B", help="Merge class folders A and B into NAME.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="With --weights: whose features judge the labels; mobilenet_v2 by default.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Look for wrong labels too, with these weights: a file, or imagenet.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Look for wrong labels with this model, not trained on DATA; needs no PyTorch."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the folds of cross-validation.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Audit a dataset: unreadable files, copies, leaks, groups, shortcuts, label errors; worst first, with what to do.

    Ends with exit code 1 when something serious was found, or a file cannot be read.
    """
    from ..errors import InputError
    from ..workflow.inspection import FeatureSource, inspect_data
    from .options import parse_merge

    if bundle is not None and weights is not None:
        raise InputError("--bundle and --weights both give features: choose one.")
    features = None
    if bundle is not None or weights is not None or backbone is not None:
        features = FeatureSource(backbone or "mobilenet_v2", weights, bundle)
    found = inspect_data(
        data,
        positive=positive,
        grouping=parse_merge(merge or []),
        group_by=group_by,
        features=features,
        seed=seed,
        progress=TerminalProgress(quiet=json),
    )
    page = _write(folder, found)
    if json:
        print_json(found.inspection.model_dump(mode="json"))
    else:
        _show(found.inspection)
        again = f"Next: pellucid data inspect {shlex.quote(str(data))} --out inspection, for a page with pictures"
        out.print("\n" + (again if page is None else f"Written to {folder}: {page.name}, inspection.json"))
    bad = (*found.inspection.unreadable, *found.inspection.companions.unreadable)
    report_skipped([(note.path, note.reason) for note in bad])
    raise typer.Exit(PARTLY if found.inspection.serious else OK)


def _write(folder: Path | None, found: Inspected) -> Path | None:
    """The page, where a folder for it was given."""
    if folder is None:
        return None
    from ..reporting.inspection import write_inspection

    return write_inspection(folder, found.inspection, found.measurements)


def _show(found: Inspection) -> None:
    """Counts, and the findings with what to do."""
    rows = [
        (s or "undecided", *(f"{n:,}" for n in of.values()), f"{sum(of.values()):,}") for s, of in found.counts.items()
    ]
    print_table([("split", False), *((c, True) for c in found.classes), ("images", True)], rows)
    out.print()
    print_findings(found.findings, found.verdict)
