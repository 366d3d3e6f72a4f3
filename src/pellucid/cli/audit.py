"""`pellucid audit`: is the model right for the right reason?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

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
    images: Annotated[
        int | None,
        typer.Option(min=20, help="At most so many images, drawn by the seed: 600, or 100 with --explanations."),
    ] = None,
    subgroup: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Figures by subgroup: a regular expression on paths, or a CSV column."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Masks of lungs or objects, named as the images are.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for what is written; RUN/audit by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which images are drawn.")] = 0,
    explanations: Annotated[
        bool, typer.Option("--explanations", help="Measure instead how far the model's heat maps can be relied on.")
    ] = False,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="With --explanations: methods, or all; cheap ones by default.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="With --explanations: 20000 (forward passes), 90s, 5min.")
    ] = None,
    replacement: Annotated[
        str, typer.Option(help="With --explanations: what hidden pixels become: blur, mean, grey or noise.")
    ] = "blur",
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Probe a model for shortcuts: corners and borders alone and hidden, masks, metadata, small changes, subgroups.

    The worst comes first, in words. Ends with exit code 1 when a problem was found.
    """
    from ..workflow.audit import MOST, AuditSettings, audit_run
    from .options import parse_split

    if explanations:
        _audit_explanations(run, data, split, images, methods, budget, replacement, folder, seed, json)
    settings = AuditSettings(parse_split(split), images or MOST, subgroup, masks, seed)
    document, where = audit_run(run, data, settings=settings, out=folder, progress=TerminalProgress(quiet=json))
    if json:
        print_json(document.model_dump(mode="json"))
    else:
        _show(document)
        out.print(f"\nWritten to {where / 'audit.json'}. Next: pellucid report {run}")
    raise typer.Exit(PARTLY if document.serious else OK)


def _audit_explanations(
    run: Path,
    data: Path | None,
    split: str,
    images: int | None,
    methods: str | None,
    budget: str | None,
    replacement: str,
    folder: Path | None,
    seed: int,
    json: bool,
) -> NoReturn:
    """The trust card instead of the probes."""
    from ..workflow.trust.audit import MOST_IMAGES, audit_explanations
    from .audit_explanations import code_of, show_trust
    from .options import parse_split

    card, where = audit_explanations(
        run,
        data,
        split=parse_split(split),
        methods=[m.strip() for m in (methods or "").split(",") if m.strip()],
        images=images or MOST_IMAGES,
        budget=budget,
        replacement=replacement,
        seed=seed,
        out=folder,
        progress=TerminalProgress(quiet=json),
    )
    if json:
        print_json(card.model_dump(mode="json"))
    else:
        show_trust(card)
        out.print(f"\nWritten to {where}: trust.html, trust.json")
    raise typer.Exit(code_of(card))


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
