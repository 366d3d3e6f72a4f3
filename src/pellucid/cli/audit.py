"""`pellucid audit`: is the model right for the right reason?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import OK, PARTLY, TerminalProgress, out, print_findings, print_json, print_table

if TYPE_CHECKING:
    from ..evaluation.audit import AuditDocument


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="Labelled images; the run's own test split by default.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    images: Annotated[int, typer.Option(min=20, help="Audit on at most so many images, drawn by the seed.")] = 600,
    subgroup: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Figures by subgroup: a regular expression on paths, or a CSV column."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Masks of lungs or objects, named as the images are.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder for audit.json; RUN/audit by default.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which images are drawn.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Probe a model for shortcuts: corners and borders alone and hidden, masks, metadata, small changes, subgroups.

    The worst comes first, in words. Ends with exit code 1 when a problem was found.
    """
    from ..workflow.audit import AuditSettings, audit_run
    from .options import parse_split

    settings = AuditSettings(parse_split(split), images, subgroup, masks, seed)
    document, where = audit_run(run, data, settings=settings, out=folder, progress=TerminalProgress(quiet=json))
    if json:
        print_json(document.model_dump(mode="json"))
    else:
        _show(document)
        out.print(f"\nWritten to {where / 'audit.json'}. Next: pellucid report {run}")
    raise typer.Exit(PARTLY if document.serious else OK)


def _show(document: AuditDocument) -> None:
    """The probes as tables, then the findings and the verdict."""
    of = f" of {document.sampled_from:,}" if document.sampled_from > document.images else ""
    out.print(f"{document.name}: {document.images:,}{of} images of the {document.split} split\n")
    rows = [
        (r.region, f"{100 * r.share:.0f} %", str(r.alone), str(r.lost), f"{100 * r.changed:.0f} %")
        for r in document.regions
    ]
    columns = [("region", False), ("of picture", True), ("AUC, shown alone", True), ("AUC lost, hidden", True)]
    print_table([*columns, ("answers changed", True)], rows)
    out.print()
    changes = [
        (d.kind, d.amount, f"{100 * d.changed.value:.1f} %", f"{d.lost.value:+.3f}") for d in document.disturbances
    ]
    print_table([("change", False), ("amount", False), ("answers changed", True), ("AUC lost", True)], changes)
    if document.subgroups:
        out.print()
        groups = [
            (s.name, f"{s.images:,}", str(s.accuracy or "too few"), str(s.area or "too few"))
            for s in document.subgroups
        ]
        print_table([("subgroup", False), ("images", True), ("accuracy", True), ("AUC", True)], groups)
    out.print()
    print_findings(document.findings, document.verdict)
