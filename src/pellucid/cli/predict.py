"""`pellucid predict`: the class of each image, and how confident the model is."""

from __future__ import annotations

import csv as csv_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .console import TerminalProgress, print_json, print_table, report_skipped

if TYPE_CHECKING:
    from ..classifier import Prediction


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or bundle folder.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Image files or folders; with --out also globs, CSV lists, .zip, .tar, .parquet and URLs.",
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list; with --out, the summary.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    batch_size: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="Images per forward pass: 16 by default; with --out 1, or the value that `doctor --tune` found."
        ),
    ] = None,
    folder: Annotated[
        Optional[Path], typer.Option("--out", help="Output folder for large batches: Parquet parts and a summary.")
    ] = None,
    method: Annotated[
        Optional[str],
        typer.Option(
            "--explain", metavar="METHOD", help="With --out: also store each raw heat map, at the layer's resolution."
        ),
    ] = None,
    target: Annotated[
        Optional[str],
        typer.Option(metavar="CLASS", help="With --explain: class to explain; the predicted class by default."),
    ] = None,
    pictures: Annotated[
        Optional[str],
        typer.Option(
            metavar="top:N",
            help="With --out: draw overlays of the N most positive images (top:N) or least certain ones (uncertain:N).",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --out: continue an interrupted batch.")] = False,
    workers: Annotated[Optional[int], typer.Option(min=1, help="With --out: images processed in parallel.")] = None,
    engine: Annotated[str, typer.Option(help="With --out: local, or ray for a cluster.")] = "local",
    address: Annotated[
        Optional[str], typer.Option(help="With --engine ray: address of the cluster, auto or ray://HOST:PORT.")
    ] = None,
    part_size: Annotated[int, typer.Option(min=1, help="With --out: images per Parquet part.")] = 1000,
) -> None:
    """Classify images: class, confidence and the probability of each class. PyTorch is not needed."""
    from ..errors import InputError

    if folder is not None:
        from .predict_batch import predict_batch

        if csv:
            raise InputError("--csv prints, and --out writes Parquet parts and a summary: choose one.")
        predict_batch(
            run,
            images,
            folder,
            method=method,
            target=target,
            pictures=pictures,
            resume=resume,
            workers=workers,
            engine=engine,
            address=address,
            batch=batch_size,
            part_size=part_size,
            json=json,
        )
    if method or target or pictures or resume or workers or address or engine != "local":
        raise InputError("--explain, --target, --pictures, --resume, --workers, --engine and --address need --out.")
    _predict(run, [Path(image) for image in images], batch_size or 16, json=json, csv=csv)


def _predict(run: Path, images: list[Path], batch_size: int, *, json: bool, csv: bool) -> None:
    """Answer a few images and print."""
    from ..bundle.bundle import load
    from ..workflow.prediction import find_images, predict_files

    bundle = load(run)
    files = find_images(images)
    with TerminalProgress(quiet=json or csv).bar("Predicting") as advance:
        predictions, skipped = predict_files(bundle, files, batch_size=batch_size, advance=advance)
    if json:
        print_json([as_document(p) for p in predictions])
    elif csv:
        writer = csv_module.writer(sys.stdout, lineterminator="\n")
        writer.writerow(
            [
                "path",
                "label",
                "confidence" if bundle.task != "regression" else "output",
                *(f"p_{c}" for c in _shown(bundle.classes, predictions)),
            ]
        )
        writer.writerows(
            [p.path, p.label, _plain_figure(p), *(f"{v:.6f}" for v in p.probabilities.values())] for p in predictions
        )
    elif predictions:
        columns = [("image", False), ("class", False), ("confidence" if bundle.task != "regression" else "score", True)]
        columns += [(c, True) for c in _shown(bundle.classes, predictions)]
        rows = [
            (str(p.path), p.label, _figure(p), *(f"{v:.3f}" for v in p.probabilities.values())) for p in predictions
        ]
        print_table(columns, rows)
        for p in predictions:
            for warning in p.warnings:
                sys.stderr.write(f"{p.path}: {warning}\n")
    if bundle.manifest.medical and not (json or csv):
        sys.stderr.write("For research and education, not for diagnosis.\n")
    raise typer.Exit(report_skipped([(s.path, s.reason) for s in skipped]))


def as_document(prediction: Prediction) -> dict[str, object]:
    """A prediction as `predict --json` prints it."""
    document: dict[str, object] = {
        "path": prediction.path,
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities,
        "warnings": list(prediction.warnings),
    }
    return document if prediction.output is None else {**document, "output": prediction.output}


def _shown(classes: tuple[str, ...], predictions: list[Prediction]) -> list[str]:
    return list(classes) if predictions and predictions[0].probabilities else []


def _figure(prediction: Prediction) -> str:
    if prediction.confidence is not None:
        return f"{100 * prediction.confidence:.1f} %"
    return f"{prediction.output:.3f}"


def _plain_figure(prediction: Prediction) -> str:
    return f"{prediction.output if prediction.confidence is None else prediction.confidence:.6f}"
