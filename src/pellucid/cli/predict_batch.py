"""`pellucid predict --out`: an archive of images into a folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .console import PARTLY, TerminalProgress, err, out, print_json, print_table

if TYPE_CHECKING:
    from ..data.table import TableOptions
    from ..workflow.batch.summary import Summary


def predict_batch(
    run: Path,
    sources: list[str],
    folder: Path,
    *,
    method: str | None,
    target: str | None,
    against: str | None,
    pictures: str | None,
    resume: bool,
    workers: int | None,
    engine: str,
    engine_precision: str,
    address: str | None,
    batch: int | None,
    part_size: int,
    table: TableOptions,
    json: bool,
) -> None:
    """Classify the sources into `folder`, and print a summary."""
    from ..bundle.runtimes import EngineChoice
    from ..errors import UnknownNameError
    from ..workflow.batch.run import Running, predict_archive

    known = ("onnxruntime", "openvino", "auto", "ray", "local")
    if engine not in known:
        raise UnknownNameError("engine", engine, known, "Use onnxruntime, openvino or auto, or ray for a cluster.")
    choice = EngineChoice("onnxruntime" if engine in ("local", "ray") else engine, engine_precision)
    summary = predict_archive(
        run,
        sources,
        folder,
        method=method,
        target=target,
        against=against,
        pictures=pictures,
        resume=resume,
        batch=batch,
        part_size=part_size,
        table=table,
        running=Running(workers, "ray" if engine == "ray" else "local", address),
        choice=choice,
        progress=TerminalProgress(quiet=json),
    )
    if json:
        print_json(summary.model_dump(mode="json"))
    else:
        _show(summary, folder)
    if summary.medical and not json:
        err.print("For research and education, not for diagnosis.")
    if summary.skipped:
        err.print(f"{summary.skipped:,} skipped: {folder / 'skipped.csv'} says why.", markup=False)
    raise typer.Exit(PARTLY if summary.skipped else 0)


def _show(summary: Summary, folder: Path) -> None:
    answered = max(summary.answered, 1)
    rows = [(name, f"{n:,}", f"{100 * n / answered:.1f} %") for name, n in summary.decisions.items()]
    print_table([("decision", False), ("images", True), ("share", True)], rows)
    out.print()
    for line in _lines(summary):
        out.print(line, markup=False)
    out.print(f"Written to {folder}: {summary.parts:,} part(s) part-*.parquet, summary.json, skipped.csv", markup=False)
    if summary.pictures:
        out.print(f"{summary.pictures:,} pictures in {folder / 'pictures'}", markup=False)
    out.print(f"Next: pellucid compare {shlex.quote(str(folder))} ANOTHER", markup=False)


def _lines(summary: Summary) -> list[str]:
    lines = [f"{summary.answered:,} of {summary.items:,} images classified."]
    if summary.outside:
        lines.append(
            f"{summary.outside:,} do not resemble the training images (outside_score above 1): do not rely on them."
        )
    if summary.with_warnings:
        lines.append(f"{summary.with_warnings:,} have warnings (see the column `warnings`).")
    if summary.rate and summary.core_hours_per_million:
        each = "worker" if summary.engine == "ray" else "core"
        lines.append(
            f"{summary.rate:,.1f} images/s with {summary.workers} worker(s): a million images take "
            f"{summary.core_hours_per_million:,.1f} {each}-hours."
        )
    elif not summary.answered_now:
        lines.append("All images were classified before; nothing was computed again.")
    return lines
