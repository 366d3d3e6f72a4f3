"""`pellucid predict`: the class of each image, and how confident the model is."""

from __future__ import annotations

import csv as csv_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.text import Text

from .console import TerminalProgress, document_stream, err, print_json, print_table, report_skipped
from .options import EnginePrecision, ImagesFolder, PathColumn, table_options

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..classifier import Prediction, Task


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
    against: Annotated[
        Optional[str],
        typer.Option(metavar="CLASS", help="With --explain: why --target and not this class."),
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
    engine: Annotated[
        str,
        typer.Option(
            help="What runs the model: onnxruntime, openvino, or auto for what `pellucid optimise` advises here; with "
            "--out also ray, for a cluster."
        ),
    ] = "onnxruntime",
    engine_precision: EnginePrecision = "float32",
    address: Annotated[
        Optional[str], typer.Option(help="With --engine ray: address of the cluster, auto or ray://HOST:PORT.")
    ] = None,
    part_size: Annotated[int, typer.Option(min=1, help="With --out: images per Parquet part.")] = 1000,
    path_column: PathColumn = None,
    images_folder: ImagesFolder = None,
) -> None:
    """Classify images: class, confidence and the probability of each class. PyTorch is not needed."""
    from ..bundle.bundle import load
    from ..errors import InputError

    if folder is not None:
        from .predict_batch import predict_batch

        if csv:
            raise InputError("--csv prints, and --out writes Parquet and a summary: use one or the other.")
        predict_batch(
            run,
            images,
            folder,
            method=method,
            target=target,
            against=against,
            pictures=pictures,
            resume=resume,
            workers=workers,
            engine=engine,
            engine_precision=engine_precision,
            address=address,
            batch=batch_size,
            part_size=part_size,
            table=table_options(path_column, None, images_folder),
            json=json,
        )
    if path_column or images_folder:
        raise InputError("--path-column and --images go with --out, which reads CSV lists.")
    if remote := [image for image in images if "://" in image]:
        raise InputError(f"{remote[0].partition('?')[0]} is a URL: add --out, the folder of a batch.")
    if method or target or against or pictures or resume or workers or address or engine == "ray":
        raise InputError(
            "--explain, --target, --against, --pictures, --resume, --workers, --engine ray and --address need --out."
        )
    bundle = load(run, engine="onnxruntime" if engine == "local" else engine, precision=engine_precision)
    _predict(bundle, [Path(image) for image in images], batch_size or 16, json=json, csv=csv)


def _predict(bundle: Bundle, images: list[Path], batch_size: int, *, json: bool, csv: bool) -> None:
    """Answer a few images and print."""
    from ..classifier import gives_score
    from ..reporting.decisions import reason_words, set_words
    from ..workflow.prediction import find_images, predict_files

    files = find_images(images)
    with TerminalProgress(quiet=json or csv).bar("Predicting") as advance:
        predictions, skipped = predict_files(bundle, files, batch_size=batch_size, advance=advance)
    if json:
        print_json([as_document(p) for p in predictions])
    elif csv:
        _print_csv(bundle.classes, bundle.task, predictions)
    elif predictions:
        columns = [("image", False), ("class", False), ("score" if gives_score(bundle.task) else "confidence", True)]
        columns += [(c, True) for c in _shown(bundle.classes, predictions)]
        rules = bundle.manifest.answering
        known = rules is not None and (rules.sets is not None or rules.interval is not None)
        columns += [("set" if not gives_score(bundle.task) else "interval", False)] if known else []
        rows = [
            (
                *(str(p.path), p.label, _figure(p), *(f"{v:.3f}" for v in p.probabilities.values())),
                *([set_words(p.decision)] if known and p.decision else []),
            )
            for p in predictions
        ]
        print_table(columns, rows)
        for p in predictions:
            if p.decision is not None and p.decision.lacks_answer:
                at = f"the threshold of {p.decision.threshold:.3g}"
                err.print(Text(f"{p.path}: {p.label} is the answer at {at}, and its prediction set does not hold it."))
            for reason in p.decision.reasons if p.decision else ():
                err.print(Text(f"{p.path}: {p.label}. {reason_words(reason)}"))
            for warning in p.warnings:
                err.print(Text(f"{p.path}: {warning}"))
    if bundle.manifest.medical and not (json or csv):
        err.print("For research and education, not for diagnosis.")
    raise typer.Exit(report_skipped([(s.path, s.reason) for s in skipped]))


def _print_csv(classes: tuple[str, ...], task: Task, predictions: list[Prediction]) -> None:
    """One line for each image, with the probabilities of all classes and what becomes of it."""
    from ..classifier import gives_score
    from ..files import cells

    score = "output" if gives_score(task) else "confidence"
    with document_stream() as stream:
        writer = csv_module.writer(stream, lineterminator="\n")
        shown = [f"p_{c}" for c in _shown(classes, predictions)]
        writer.writerow(cells(["path", "label", score, *shown, "outcome", "predicted", "set", "reasons"]))
        for p in predictions:
            shares = (f"{v:.6f}" for v in p.probabilities.values())
            writer.writerow(cells([p.path, p.label, _plain_figure(p), *shares, *_decided(p)]))


def _decided(prediction: Prediction) -> list[str]:
    """Outcome, predicted class, set (or ends of the interval) and codes of the reasons, the last two joined by ;."""
    decision = prediction.decision
    if decision is None:
        return ["answer", prediction.label, "", ""]
    ends = [] if decision.interval is None else [f"{end:.6f}" for end in decision.interval]
    inside, codes = ends or list(decision.candidates or ()), [r.code for r in decision.reasons]
    return [decision.outcome, decision.predicted, ";".join(inside), ";".join(codes)]


def as_document(prediction: Prediction) -> dict[str, object]:
    """A prediction as `predict --json` prints it."""
    from ..reporting.decisions import decision_document

    document: dict[str, object] = {
        "path": prediction.path,
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities,
        "warnings": list(prediction.warnings),
        "answer": decision_document(prediction.decision),
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
