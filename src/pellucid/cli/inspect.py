"""`pellucid data inspect`: what is wrong with a dataset, before training on it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import OK, PARTLY, TerminalProgress, out, print_findings, print_json, print_table, report_skipped
from .options import (
    GroupBy,
    ImagesFolder,
    LabelColumn,
    LeaveOut,
    Merge,
    OldMerge,
    OneAgainstRest,
    PathColumn,
    Positive,
    parse_merge,
    table_options,
)

if TYPE_CHECKING:
    from ..data.inspection import Inspection
    from ..workflow.inspection import Inspected


def inspect(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with one subfolder per class, or a CSV file.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Output folder for inspection.html and inspection.json.")
    ] = None,
    group_by: GroupBy = None,
    positive: Positive = None,
    merge: Merge = None,
    group: OldMerge = None,
    leave_out: LeaveOut = None,
    one_against_rest: OneAgainstRest = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: ImagesFolder = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="With --weights: backbone whose features check the labels; mobilenet_v2 by default."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Also look for label errors, with these weights: a file, or imagenet.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Also look for label errors, with this model; it must not be trained on DATA. PyTorch is not needed.",
        ),
    ] = None,
    one_class: Annotated[
        bool,
        typer.Option(
            "--one-class", help="Read DATA as the recipe one-class does, and look for bad images among the normal ones."
        ),
    ] = False,
    normal: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --one-class: folder or label of the normal images.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for the cross-validation folds.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """Check a dataset: unreadable files, duplicates, leaks, groups, shortcuts, label errors.

    Lists the worst findings first, each with advice. Exits with code 1 on a serious finding or an unreadable file.
    """
    from ..errors import InputError
    from ..workflow.inspection import FeatureSource, inspect_data

    if bundle is not None and weights is not None:
        raise InputError("--bundle and --weights both give features: choose one.")
    if normal is not None and not one_class:
        raise InputError("--normal names the normal images for --one-class: add it.")
    features = None
    if bundle is not None or weights is not None or backbone is not None:
        usual = "tf_efficientnet_lite2" if one_class else "mobilenet_v2"
        features = FeatureSource(backbone or usual, weights, bundle)
    found = inspect_data(
        data,
        positive=positive,
        merge=parse_merge(merge or []),
        group_by=group_by,
        leave_out=leave_out or (),
        one_against_rest=one_against_rest,
        table=table_options(path_column, label_column, images),
        features=features,
        one_class=one_class,
        normal=normal,
        seed=seed,
        progress=TerminalProgress(quiet=json),
    )
    page = _write(folder, found)
    if json:
        print_json(found.inspection.model_dump(mode="json"))
    else:
        _show(found.inspection)
        again = f"Next, for a page with pictures: pellucid data inspect {shlex.quote(str(data))} --out inspection"
        out.print("\n" + (again if page is None else f"Written to {folder}: {page.name}, inspection.json"))
    bad = (*found.inspection.unreadable, *found.inspection.companions.unreadable)
    report_skipped([(note.path, note.reason) for note in bad])
    raise typer.Exit(PARTLY if found.inspection.serious else OK)


def _write(folder: Path | None, found: Inspected) -> Path | None:
    """Write the page if a folder was given."""
    if folder is None:
        return None
    from ..reporting.inspection import write_inspection

    return write_inspection(folder, found.inspection, found.measurements)


def _show(found: Inspection) -> None:
    """Print counts, findings and advice."""
    rows = [
        (s or "undecided", *(f"{n:,}" for n in of.values()), f"{sum(of.values()):,}") for s, of in found.counts.items()
    ]
    print_table([("split", False), *((c, True) for c in found.classes), ("images", True)], rows)
    out.print()
    print_findings(found.findings, found.verdict)
