"""`pellucid import`: an existing model as a run folder."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.text import Text

from .console import WRONG, TerminalProgress, err, out, print_json, print_table

if TYPE_CHECKING:
    from ..workflow.importing import Imported, Undecided
    from ..workflow.rescaling import Trial


def import_(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model file: Keras .h5 or .keras, .onnx, TorchScript .pt, or .pt2.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Output folder of the run.")],
    classes: Annotated[
        str | None,
        typer.Option(
            help="Class names in the order of the model's outputs: no,yes, or a file with one name a line or JSON."
        ),
    ] = None,
    positive: Annotated[str | None, typer.Option(help="Positive class (binary tasks only).")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled images for comparing input scalings and evaluating the run.")
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(help="Input size if the file does not state it: 224, or 224x320 (height x width).")
    ] = None,
    fit: Annotated[str, typer.Option(help="How to fit images to the input: stretch, crop or pad.")] = "stretch",
    interpolation: Annotated[
        str, typer.Option(help="How to resample images: bilinear, bicubic, lanczos or nearest.")
    ] = "bilinear",
    rescale: Annotated[
        str | None,
        typer.Option(help="Input scaling that the model expects: 1/255, -1..1, imagenet, caffe or none (0..255)."),
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Channel order that the model expects: rgb or bgr.")] = None,
    gives: Annotated[
        str | None,
        typer.Option(help="Meaning of the outputs: logits, probabilities or independent (several sigmoids)."),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to explain, by its name in the model file.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Meaning of a single output without sigmoid: regression or binary.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Title of the run; the file name by default.")] = None,
    allow_code: Annotated[
        bool,
        typer.Option(
            "--allow-code", help="Open a TorchScript or .pt2 file even though loading it may run code from the file."
        ),
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", hidden=True)] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress.")] = False,
) -> None:
    """Turn an existing model file into a run: evaluated, explained, ready to serve."""
    from ..workflow.importing import Undecided, import_model

    if trust:
        err.print(Text("pellucid: --trust is called --allow-code now."))
    try:
        made = import_model(
            model,
            folder,
            classes=class_names_given(classes),
            positive=positive,
            data=data,
            size=parse_size(input_size),
            fit=cast("Any", fit),
            interpolation=cast("Any", interpolation),
            rescale=rescale,
            channels=channels,
            gives=cast("Any", gives),
            layer=layer,
            task=cast("Any", task),
            name=name,
            allow_code=allow_code or trust,
            command=["pellucid", *sys.argv[1:]],
            progress=TerminalProgress(quiet=quiet or json),
        )
    except Undecided as undecided:
        _show_undecided(undecided)
        raise typer.Exit(WRONG) from None
    if json:
        print_json(_document(made))
        return
    _show_made(made, with_data=data is not None)


def class_names_given(text: str | None) -> Sequence[str] | Path:
    """Names separated by commas, or the file that holds them."""
    from ..workflow.class_names import split_class_names

    if text is None:
        return ()
    path = Path(text)
    looks_like_a_file = path.suffix.lower() in {".txt", ".json", ".csv", ".names", ".labels"} or os.sep in text
    return path if path.is_file() or (looks_like_a_file and "," not in text) else split_class_names(text)


def _show_undecided(undecided: Undecided) -> None:
    show_trials(undecided.trials)
    err.print(Text(f"pellucid: {undecided}"))
    if undecided.trials:
        best = undecided.trials[0].rescaling
        again = shlex.join(["pellucid", *sys.argv[1:], "--rescale", best.name, "--channels", best.order])
        out.print(Text(f"\nIf this is correct: {again}"))


def _document(made: Imported) -> dict[str, object]:
    parity = made.manifest.parity
    return {
        "run": str(made.run),
        "classes": list(made.manifest.classes),
        "task": made.manifest.task,
        "layer": made.manifest.layer.name if made.manifest.layer else None,
        "parity": parity.model_dump(mode="json") if parity else None,
        "rescalings": [_row(t) for t in made.trials],
        "notes": list(made.notes),
    }


def _show_made(made: Imported, *, with_data: bool) -> None:
    from .train import show_run

    show_trials(made.trials)
    quoted = shlex.quote(str(made.run))
    if with_data:
        show_run(made.run)
        out.print(f"Next: open {made.run / 'report.html'}, or: pellucid explain {quoted} IMAGE... --out maps")
    else:
        out.print(f"Run     {made.run}", f"Bundle  {made.run / 'model'}", sep="\n")
        out.print(f"Next: pellucid predict {quoted} IMAGE..., or pellucid evaluate {quoted} DATA")


def show_trials(trials: Sequence[Trial]) -> None:
    """Accuracy and loss of each input scaling, best first."""
    if not trials:
        return
    columns = [("rescaling", False), ("accuracy", True), ("loss", True), ("worse than the best by", True), ("", False)]
    rows = []
    for trial in trials:
        row = _row(trial)
        behind = "" if trial.behind is None else "{:.3f} [{:.3f}, {:.3f}]".format(*trial.behind)
        rows.append(
            (str(row["rescale"]), f"{trial.accuracy:.3f}", f"{trial.loss:.3f}", behind, trial.rescaling.meaning)
        )
    print_table(columns, rows, title="Accuracy by input scaling")


def _row(trial: Trial) -> dict[str, object]:
    from ..workflow.rescaling import spelt

    behind = None if trial.behind is None else dict(zip(("mean", "low", "high"), trial.behind, strict=True))
    return {"rescale": spelt(trial.rescaling), "accuracy": trial.accuracy, "loss": trial.loss, "behind": behind}


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) from `224` or `224x320`; InputError for anything else."""
    from ..errors import InputError

    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(s.isdecimal() and 8 <= int(s) <= 4096 for s in sides):
        raise InputError(
            f"--input-size {text!r}: write one number of pixels, or height x width as 224x320, each 8 to 4096."
        )
    return int(sides[0]), int(sides[-1])
