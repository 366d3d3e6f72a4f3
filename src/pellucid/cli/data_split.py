"""`pellucid data split`: a split as a CSV, with proof that no image is on two sides."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .console import PARTLY, TerminalProgress, out, print_json, print_table, report_skipped
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
    from ..workflow.splitting import SplitFile


def split(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with one subfolder per class, or a CSV file.")],
    target: Annotated[
        Optional[Path],
        typer.Option(
            "--out", help="Output CSV, split.csv by default; with --folds, an output folder, folds by default."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same split.")] = 0,
    group_by: GroupBy = None,
    validation: Annotated[
        float, typer.Option(help="Share of images for a missing validation set; 0 for no validation set.")
    ] = 0.15,
    test: Annotated[float, typer.Option(help="Share of images for a missing test set; 0 for no test set.")] = 0.2,
    folds: Annotated[Optional[int], typer.Option(help="Number of cross-validation folds to write.")] = None,
    positive: Positive = None,
    merge: Merge = None,
    group: OldMerge = None,
    leave_out: LeaveOut = None,
    one_against_rest: OneAgainstRest = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: ImagesFolder = None,
    leave_out_twins: Annotated[
        bool,
        typer.Option(
            "--leave-out-twins",
            help="Drop training images that share a duplicate or a group with an existing validation or test set.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """Split images into training, validation and test sets, or into folds, without leaks. Existing splits are kept.

    Every command accepts the CSV as DATA. Its paths are relative to its folder.
    """
    from ..data.folder import read_dataset
    from ..errors import InputError
    from ..workflow.splitting import folds_to_folder, split_to_file

    if folds is not None and leave_out_twins:
        raise InputError(
            "--leave-out-twins applies to existing splits, and --folds replaces them: drop one of the two options."
        )
    dataset = read_dataset(
        data,
        positive=positive,
        merge=parse_merge(merge or []),
        group_by=group_by,
        leave_out=leave_out or (),
        one_against_rest=one_against_rest,
        table=table_options(path_column, label_column, images),
    )
    shown = TerminalProgress(quiet=json)
    if folds is None:
        path = target or Path("split.csv")
        files = [
            split_to_file(
                dataset, path, seed=seed, validation=validation, test=test, leave_out_twins=leave_out_twins,
                progress=shown,
            )
        ]  # fmt: skip
    else:
        path = target or Path("folds")
        files = folds_to_folder(dataset, path, folds, seed=seed, validation=validation, progress=shown)
    if json:
        print_json(_document(files, dataset.notes, seed))
    else:
        _show(files, dataset.notes)
        again = f" --set {shlex.quote(f'data.positive={positive}')}" if positive else ""
        out.print(f"Next: pellucid train {shlex.quote(str(files[0].path))}{again}")
    code = report_skipped([(s.path, s.reason) for s in files[0].skipped])
    raise typer.Exit(PARTLY if any(f.proof.leaks for f in files) else code)


def _show(files: Sequence[SplitFile], notes: Sequence[str]) -> None:
    classes = files[0].dataset.classes
    rows = [
        (file.path.name, split or "undecided", *(f"{n:,}" for n in by.values()), f"{sum(by.values()):,}")
        for file in files
        for split, by in file.dataset.counts().items()
    ]
    print_table([("file", False), ("split", False), *((c, True) for c in classes), ("images", True)], rows)
    out.print()
    for line in _lines(files, notes):
        out.print(line, markup=False)
    if files[0].left_out:
        out.print(f"Left out on request: {', '.join(s.path for s in files[0].left_out)}", markup=False)
    folder = f" in {files[0].path.parent}" if len(files) > 1 else ""
    out.print(f"Written: {', '.join(f.path.name for f in files) if folder else files[0].path}{folder}", markup=False)


def _lines(files: Sequence[SplitFile], notes: Sequence[str]) -> list[str]:
    """Decisions and proofs as sentences, each once."""
    said = [*notes, *(line for f in files for line in f.reasons)]
    for f in files:
        prefix = f"{f.path.name}: " if len(files) > 1 and f.proof.leaks else ""
        said += [prefix + line for line in f.proof.sentences()]
    return list(dict.fromkeys(said))


def _document(files: Sequence[SplitFile], notes: Sequence[str], seed: int) -> dict[str, Any]:
    first = files[0]
    return {
        "classes": list(first.dataset.classes),
        "positive": first.dataset.positive,
        "seed": seed,
        "notes": list(notes),
        "files": [
            {
                "path": str(f.path),
                "counts": f.dataset.counts(),
                "reasons": list(f.reasons),
                "disjoint": not f.proof.leaks,
                "checked": list(f.proof.checked),
                "overlaps": [
                    {"criterion": o.criterion, "splits": list(o.splits), "images": o.images, "of": o.total}
                    | {"examples": [list(pair) for pair in o.examples]}
                    for o in f.proof.overlaps
                ],
            }
            for f in files
        ],
        "skipped": [{"path": s.path, "reason": s.reason} for s in first.skipped],
        "left_out": [{"path": s.path, "reason": s.reason} for s in first.left_out],
    }
