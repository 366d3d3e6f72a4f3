"""`pellucid evaluate`: metrics with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from .console import TerminalProgress, out, print_json, print_table, report_skipped
from .options import (
    AnswerOnly,
    Coverage,
    CoverageBy,
    Engine,
    EnginePrecision,
    ImagesFolder,
    LabelColumn,
    Other,
    PathColumn,
    Reject,
    table_options,
)

if TYPE_CHECKING:
    from ..evaluation.answered import AnsweringEntry
    from ..evaluation.paired import PairedComparison
    from ..evaluation.result import EvaluationResult, Metric


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Labelled images; by default those of the run.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to evaluate: train, val or test.")] = "test",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Output folder for metrics.json and predictions.csv.")
    ] = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Score images that the model was trained on; the result says so.")
    ] = False,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="POINT",
            help="Choose a new threshold: 0.5, youden, sensitivity>=0.95, cost:fn=5,fp=1, ...",
        ),
    ] = None,
    answer_only: AnswerOnly = None,
    coverage: Coverage = None,
    coverage_by: CoverageBy = None,
    reject: Reject = None,
    other: Other = None,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Share of the positive class where the model will be used; recomputes PPV and NPV."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="Second run, compared on the same images.")
    ] = None,
    unlabelled: Annotated[
        bool,
        typer.Option(
            "--unlabelled", help="DATA has no labels: estimate what the model is worth there, if that can be."
        ),
    ] = False,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: ImagesFolder = None,
    engine: Engine = "onnxruntime",
    engine_precision: EnginePrecision = "float32",
    json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
) -> None:
    """Evaluate a run: metrics with 95 % intervals, confusion matrix, curves."""
    if unlabelled:
        _judge_unlabelled(run, data, json=json)
    from ..bundle.run import RunFolder
    from ..bundle.runtimes import EngineChoice
    from ..evaluation.schema import metrics_document
    from ..reporting.figures import save_figures
    from ..reporting.html import build_report
    from ..reporting.verdict_on_training import seal_in_words
    from ..workflow.decision import choose_again
    from ..workflow.evaluation import evaluate_run
    from ..workflow.refer import fit_rules_again
    from .options import parse_split

    name, progress = parse_split(split), TerminalProgress(quiet=json)
    if operating_point is not None:
        choose_again(run, operating_point, progress=progress)
    if any(rule is not None for rule in (answer_only, coverage, coverage_by, reject, other)):
        fit_rules_again(
            run,
            answer_only=answer_only,
            coverage=coverage,
            coverage_by=coverage_by,
            reject=reject,
            other=other,
            progress=progress,
        )
    found = evaluate_run(
        run,
        data,
        split=name,
        allow_leak=allow_leak,
        prevalence=prevalence,
        against=against,
        out=folder,
        table=table_options(path_column, label_column, images),
        choice=EngineChoice(engine, engine_precision),
        progress=progress,
    )
    folder = found.folder or run
    reported = (run / "run.json").is_file()
    own = reported and folder == RunFolder(run).evaluation  # the report saves the figures on decisions itself
    save_figures(found.result, (), folder / "figures", pixels=found.pixels, decisions=not own)
    if reported:
        build_report(run)
    if json:
        document = metrics_document(found.result).model_dump(mode="json")
        compared = {} if found.against is None else {"against": found.against.model_dump(mode="json")}
        sealed = {} if found.sealed is None else {"sealed": found.sealed.model_dump(mode="json")}
        print_json({**document, **compared, **sealed})
    else:
        show_result(found.result)
        if found.against is not None:
            show_comparison(found.against)
        if found.sealed is not None:
            out.print(Text(f"\n{seal_in_words(found.sealed)}"))
        out.print(f"\nWritten to {folder}: metrics.json, predictions.csv, figures/")
    raise typer.Exit(report_skipped([(s.path, s.reason) for s in found.skipped]))


def _judge_unlabelled(run: Path, data: Path | None, *, json: bool) -> None:
    """Estimate what a model is worth on images without labels; ends the command."""
    from ..errors import InputError
    from ..reporting.unlabelled import as_document, sentences
    from ..workflow.unlabelled import judge_new_images

    if data is None:
        raise InputError("Images without labels are given as DATA: pellucid evaluate RUN FOLDER --unlabelled.")
    found, skipped = judge_new_images(run, data, progress=TerminalProgress(quiet=json))
    if json:
        print_json(as_document(found))
    else:
        rows = [(e.name, _number(e.value), f"[{_number(e.low)}, {_number(e.high)}]") for e in found.accuracy]
        title = f"accuracy on {found.images} new images, if only their mix has changed"
        print_table([("estimate by", False), ("value", True), ("95 % interval", True)], rows, title=title)
        out.print(*sentences(found, load_classes(run)), sep="\n")
    raise typer.Exit(report_skipped([(s.path, s.reason) for s in skipped]))


def load_classes(run: Path) -> tuple[str, ...]:
    """The classes of a run's model."""
    from ..bundle.bundle import load

    return load(run).classes


def show_result(result: EvaluationResult) -> None:
    """Print metrics, per-class report and confusion matrix of a result."""
    from ..evaluation.evaluate import classification_report
    from ..evaluation.metrics import METRICS

    rows = [(METRICS[name].title, *_figures(metric)) for name, metric in result.metrics.items()]
    out.print()
    print_table(
        [("metric", False), ("value", True), ("95 % interval", True)],
        rows,
        title=f"{result.split}: {len(result.labels)} images",
    )
    lines = [
        (r.name, *(_number(v) for v in (r.precision.value, r.recall.value, r.f1.value)), str(int(r.support)))
        for r in classification_report(result)
    ]
    out.print()
    print_table([("class", False), ("precision", True), ("recall", True), ("F1", True), ("images", True)], lines)
    out.print()
    table = [(f"true {c}", *(str(n) for n in row)) for c, row in zip(result.classes, result.confusion, strict=True)]
    print_table([("", False), *((f"predicted {c}", True) for c in result.classes)], table)
    out.print()
    show_defects(result)
    show_decision(result)
    out.print(result.interval)
    for leak in result.leaks:
        out.print(Text(f"problem: {leak} These metrics are meaningless.", style="bold red"))
    for note in result.notes:
        out.print(note)


def show_defects(result: EvaluationResult) -> None:
    """Print the figures of an anomaly detector by kind of defect, and those of pixels, if there are any."""
    figures = result.defects
    if figures is None:
        return
    columns = [("defect", False), ("images", True), ("ROC-AUC", True), ("found at the threshold", True)]
    rows = [
        [
            entry.kind,
            f"{entry.images:,}",
            _number(float("nan") if entry.roc_auc is None else entry.roc_auc),
            "{} [{}, {}]".format(*map(_number, entry.sensitivity)),
            *([_number(float("nan") if entry.aupro is None else entry.aupro)] if figures.masked else []),
        ]
        for entry in figures.kinds
    ]
    print_table([*columns, *([("AUPRO", True)] if figures.masked else [])], rows)
    if figures.pixel_roc_auc is not None and figures.aupro is not None:
        out.print(
            f"Pixels of {figures.masked:,} bad images with a mask and of all normal images: ROC-AUC "
            f"{figures.pixel_roc_auc:.3f}, AUPRO {figures.aupro:.3f} (up to 30 % false-positive pixels)."
        )
    out.print()


def show_decision(result: EvaluationResult) -> None:
    """Print operating point, calibration, share of unusual images and restated predictive values, if known."""
    point, restated = result.operating_point, result.restated
    if point is not None and point.bounded is not None:
        out.print(f"Threshold {point.threshold:.3g}, for {point.asked}. {point.statement}")
    if result.before:
        before, after = result.before["ece"], result.metrics["ece"]
        out.print(f"Calibration error {_worded(after)}, before calibration {_worded(before)}.")
    if result.flagged is not None:
        out.print(f"Unusual images: {_worded(result.flagged)} of all.")
    if result.answered is not None:
        show_answering(result.answered.entry)
    if restated is not None:
        out.print(
            f"With {restated.prevalence:g} of all images {result.classes[1]} ({restated.observed:.3g} in this set): "
            f"PPV {_worded(restated.ppv)}, NPV {_worded(restated.npv)}."
        )


def show_answering(entry: AnsweringEntry) -> None:
    """Print what prediction sets hold, how much is answered, and how much of that is wrong, against the promise."""
    from ..reporting.decisions import answering_rows

    rows = []
    for row in answering_rows(entry):
        bounds = "" if row.rate.low is None else f"[{_number(row.rate.low)}, {_number(row.rate.high)}]"
        rows.append((row.name, _number(row.rate.value), bounds, row.promised, row.verdict))
    if rows:
        columns = [
            ("share of images", False),
            ("value", True),
            ("95 % interval", True),
            ("promised", False),
            ("", False),
        ]
        print_table(columns, rows)
        out.print()


def show_comparison(compared: PairedComparison) -> None:
    """Print the metrics of both models, their differences and the verdict."""
    from ..evaluation.metrics import METRICS

    rows = []
    for name, of in compared.metrics.items():
        bounds = "" if of.low is None else f"[{_number(of.low)}, {_number(of.high)}]"
        values = (_number(v) for v in (of.ours, of.theirs, of.difference))
        rows.append((METRICS[name].title, *values, bounds, of.judgement))
    out.print()
    columns = [("metric", False), (compared.ours, True), (compared.theirs, True), ("difference", True)]
    print_table([*columns, ("95 % interval", True), (f"{compared.ours} is", False)], rows)
    out.print()
    if compared.left_out:
        out.print(f"{compared.left_out:,} images were left out because {compared.theirs} was trained on them.")
    out.print(compared.verdict)


def _worded(metric: Metric) -> str:
    value, bounds = _figures(metric)
    return f"{value} {bounds}".strip()


def _figures(metric: Metric) -> tuple[str, str]:
    bounds = "" if metric.low != metric.low else f"[{_number(metric.low)}, {_number(metric.high)}]"
    return _number(metric.value), bounds


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"
