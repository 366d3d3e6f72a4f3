"""`pellucid evaluate`: figures with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from .console import TerminalProgress, out, print_json, print_table, report_skipped

if TYPE_CHECKING:
    from ..evaluation.result import EvaluationResult, Metric


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Other labelled images; the run's own by default.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to write metrics.json and predictions.csv.")
    ] = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Score images that were trained on, and say so.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the metrics document as JSON.")] = False,
) -> None:
    """Evaluate a run: metrics with 95 % intervals, confusion matrix, curves."""
    from ..evaluation.schema import metrics_document
    from ..reporting.figures import save_figures
    from ..reporting.html import build_report
    from ..workflow.evaluation import evaluate_run
    from .options import parse_split

    found = evaluate_run(
        run, data, split=parse_split(split), allow_leak=allow_leak, out=folder, progress=TerminalProgress(quiet=json)
    )
    folder = found.folder or run
    save_figures(found.result, (), folder / "figures")
    if (run / "run.json").is_file():
        build_report(run)
    if json:
        print_json(metrics_document(found.result).model_dump(mode="json"))
    else:
        show_result(found.result)
        out.print(f"\nWritten to {folder}: metrics.json, predictions.csv, figures/")
    raise typer.Exit(report_skipped([(s.path, s.reason) for s in found.skipped]))


def show_result(result: EvaluationResult) -> None:
    """Metrics, per-class report and confusion matrix of a result."""
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
    out.print(result.interval)
    for leak in result.leaks:
        out.print(Text(f"problem: {leak} These figures mean nothing.", style="bold red"))
    for note in result.notes:
        out.print(note)


def _figures(metric: Metric) -> tuple[str, str]:
    bounds = "" if metric.low != metric.low else f"[{_number(metric.low)}, {_number(metric.high)}]"
    return _number(metric.value), bounds


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
