"""`pellucid audit`: is the model right for the right reasons?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from .console import OK, PARTLY, TerminalProgress, out, print_findings, print_json, print_table
from .options import Engine, EnginePrecision

if TYPE_CHECKING:
    from ..bundle.runtimes import EngineChoice
    from ..evaluation.audit import AuditDocument
    from ..evaluation.discovered import DiscoveredDocument


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="Labelled images; by default the run's test split.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to audit: train, val or test.")] = "test",
    images: Annotated[
        int | None,
        typer.Option(
            min=20, help="Maximum number of images, sampled with the seed; 600 by default, 100 with --explanations."
        ),
    ] = None,
    subgroup: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Regular expression for paths, or CSV column, that defines subgroups."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Masks of the object or organ, with the file names of the images."),
    ] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Output folder; RUN/audit by default.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed for sampling images.")] = 0,
    discover: Annotated[
        bool | None,
        typer.Option(
            help="Search for what the model goes by, anywhere in the image; by default if it takes under two minutes."
        ),
    ] = None,
    accept: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="CONCEPT WORDS", help="Answer that a concept of the last audit belongs to its class."),
    ] = None,
    reject: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="CONCEPT WORDS", help="Answer that a concept of the last audit does not belong there."),
    ] = None,
    explanations: Annotated[
        bool, typer.Option("--explanations", help="Measure how reliable the heat maps are instead.")
    ] = False,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="With --explanations: methods, or all; fast methods by default.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT", help="With --explanations: limit on forward passes (20000) or time (90s, 5min)."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="With --explanations: the usual method alone, and no more images than needed."),
    ] = False,
    replacement: Annotated[
        str, typer.Option(help="With --explanations: replacement for hidden pixels: blur, mean, grey or noise.")
    ] = "blur",
    engine: Engine = "onnxruntime",
    engine_precision: EnginePrecision = "float32",
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """Test a model for shortcuts: corners, borders, masks, metadata, small changes, subgroups.

    Lists the worst findings first. Exits with code 1 when it finds a problem.
    """
    from ..bundle.runtimes import EngineChoice
    from ..workflow.audit import audit_run
    from ..workflow.discovering_run import MOST, AuditSettings
    from .options import parse_split

    choice = EngineChoice(engine, engine_precision)
    if explanations:
        _audit_explanations(run, data, split, images, methods, budget, quick, replacement, folder, seed, choice, json)
    if accept or reject:
        _answer(run, folder, accept, reject, json)
    settings = AuditSettings(parse_split(split), images or MOST, subgroup, masks, seed, discover)
    progress = TerminalProgress(quiet=json)
    document, where = audit_run(run, data, settings=settings, out=folder, choice=choice, progress=progress)
    if json:
        print_json(document.model_dump(mode="json"))
    else:
        _show(document)
        _how_to_answer(run, document)
        out.print(f"\nWritten to {where / 'audit.json'}. Next: pellucid report {run}")
    raise typer.Exit(PARTLY if document.serious else OK)


def _answer(
    run: Path, folder: Path | None, accept: tuple[str, str] | None, reject: tuple[str, str] | None, json: bool
) -> NoReturn:
    """Keep a person's answers on concepts, and print the findings again."""
    from ..workflow.discovering_run import answer_concept

    for answer, belongs in ((accept, True), (reject, False)):
        if answer:
            document, where = answer_concept(run, *answer, belongs=belongs, out=folder)
    if json:
        print_json(document.model_dump(mode="json"))
    else:
        print_findings(document.findings, document.verdict)
        out.print(f"\nKept in {where / 'audit.json'}. Next: pellucid report {run}")
    raise typer.Exit(PARTLY if document.serious else OK)


def _audit_explanations(
    run: Path,
    data: Path | None,
    split: str,
    images: int | None,
    methods: str | None,
    budget: str | None,
    quick: bool,
    replacement: str,
    folder: Path | None,
    seed: int,
    choice: EngineChoice,
    json: bool,
) -> NoReturn:
    """Print the trust card instead of running the probes."""
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
        quick=quick,
        out=folder,
        choice=choice,
        progress=TerminalProgress(quiet=json),
    )
    if json:
        print_json(card.model_dump(mode="json"))
    else:
        show_trust(card)
        out.print(f"\nWritten to {where}: trust.html, trust.json")
    raise typer.Exit(code_of(card))


def _show(document: AuditDocument) -> None:
    """Print the probes as tables, then the findings and the verdict."""
    of = f" of {document.sampled_from:,}" if document.sampled_from > document.images else ""
    out.print(f"{document.name}: {document.images:,}{of} images of the {document.split} split\n")
    rows = [
        (r.region, f"{100 * r.share:.0f} %", str(r.alone or "-"), str(r.lost or "-"), f"{100 * r.changed:.0f} %")
        for r in document.regions
    ]
    columns = [("region", False), ("of image", True), ("AUC, shown alone", True), ("AUC lost, hidden", True)]
    print_table([*columns, ("answers changed", True)], rows)
    out.print()
    changes = [
        (d.kind, d.amount, f"{100 * d.changed.value:.1f} %", f"{d.lost.value:+.3f}" if d.lost else "-")
        for d in document.disturbances
    ]
    print_table([("change", False), ("amount", False), ("answers changed", True), ("AUC lost", True)], changes)
    if document.false_alarms is not None:
        table = document.false_alarms
        out.print()
        alarms = [
            (e.kind, e.amount, f"{100 * e.rate:.1f} %", f"[{100 * e.low:.1f}, {100 * e.high:.1f}]")
            for e in (table.usual, *table.changed)
        ]
        heading = [("change of normal images", False), ("amount", False), ("flagged", True), ("95 % interval", True)]
        print_table(heading, alarms)
    if document.subgroups:
        out.print()
        groups = [
            (s.name, f"{s.images:,}", str(s.accuracy or "too few"), str(s.area or "too few"))
            for s in document.subgroups
        ]
        print_table([("subgroup", False), ("images", True), ("accuracy", True), ("AUC", True)], groups)
    if document.discovered and document.discovered.concepts:
        out.print()
        _show_concepts(document.discovered)
    out.print()
    print_findings(document.findings, document.verdict)


def _how_to_answer(run: Path, document: AuditDocument) -> None:
    """How to answer for the first concept that is open, and how to hide the first that is called a shortcut."""
    from ..evaluation.discovered_verdicts import is_proven, is_shortcut

    concepts = document.discovered.concepts if document.discovered else ()
    bad = next((c for c in concepts if is_shortcut(c) and c.factor is not None), None)
    if bad is not None:
        out.print(f"\nTrain again without it: pellucid train DATA --hide {run}:{bad.name} --recipe {run}/recipe.toml")
    name = next((c.name for c in concepts if c.answer is None and is_proven(c)), None)
    if name:
        out.print(f'\nAnswer with: pellucid audit {run} --accept {name} "what it is" (or --reject)')


def _show_concepts(found: DiscoveredDocument) -> None:
    """What the model goes by: at most five concepts, the most effective first."""
    rows = []
    for c in [c for c in found.concepts if c.effect][:5]:
        effect = c.effect
        assert effect is not None
        put_in = "-" if effect.put_in_changes is None else f"{100 * effect.put_in_changes.value:.0f} %"
        alike = "-" if c.sameness is None else f"{c.sameness.alike:.2f} ({c.sameness.usual:.2f})"
        falls = f"{effect.drawn_over.value:+.2f}"
        hidden = f"{100 * effect.hidden_changes.value:.0f} %"
        rows.append((c.name, c.label, f"{100 * c.share:.0f} %", c.position, falls, hidden, put_in, alike))
    columns = [("goes by", False), ("for", False), ("of evidence", True), ("where", False), ("score falls", True)]
    print_table([*columns, ("changed, hidden", True), ("changed, put in", True), ("alike (usual)", True)], rows)
