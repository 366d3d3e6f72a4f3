"""`pellucid import`: an existing model as a run folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from .console import WRONG, TerminalProgress, err, out, print_json, print_table

if TYPE_CHECKING:
    from ..workflow.rescaling import Trial


def import_(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model file: Keras .h5 or .keras, .onnx, TorchScript .pt, or .pt2.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Output folder of the run.")],
    classes: Annotated[
        str | None, typer.Option(help="Class names in the order of the model's outputs, for example no,yes.")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="Positive class (binary tasks only).")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled images for comparing input scalings and evaluating the run.")
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(help="Input size if the file does not state it: 224, or 224x320 (height x width).")
    ] = None,
    fit: Annotated[str, typer.Option(help="How to fit images to the input: stretch, crop or pad.")] = "stretch",
    rescale: Annotated[
        str | None,
        typer.Option(help="Input scaling that the model expects: 1/255, -1..1, imagenet, caffe or none (0..255)."),
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Channel order that the model expects: rgb or bgr.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to explain, by its name in the model file.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Meaning of a single output without sigmoid: regression or binary.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Title of the run; the file name by default.")] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Open a TorchScript or .pt2 file even though loading it may run code from the file."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress.")] = False,
) -> None:
    """Turn an existing model file into a run: evaluated, explained, ready to serve."""
    from ..workflow.importing import Undecided, import_model
    from .train import show_run

    try:
        made = import_model(
            model,
            folder,
            classes=[c.strip() for c in classes.split(",")] if classes else (),
            positive=positive,
            data=data,
            size=_size(input_size),
            fit=_fit(fit),
            rescale=rescale,
            channels=channels,
            layer=layer,
            task=_task(task),
            name=name,
            trust=trust,
            command=["pellucid", *sys.argv[1:]],
            progress=TerminalProgress(quiet=quiet or json),
        )
    except Undecided as undecided:
        show_trials(undecided.trials)
        err.print(Text(f"pellucid: {undecided}"))
        if undecided.trials:
            from ..workflow.rescaling import spelt

            again = shlex.join(["pellucid", *sys.argv[1:]])
            out.print(Text(f"\nIf this is correct: {again} {spelt(undecided.trials[0].rescaling)}"))
        raise typer.Exit(WRONG) from None
    if json:
        parity = made.manifest.parity
        print_json(
            {
                "run": str(made.run),
                "classes": list(made.manifest.classes),
                "task": made.manifest.task,
                "layer": made.manifest.layer.name if made.manifest.layer else None,
                "parity": parity.model_dump(mode="json") if parity else None,
                "rescalings": [_row(t) for t in made.trials],
                "notes": list(made.notes),
            }
        )
        return
    show_trials(made.trials)
    quoted = shlex.quote(str(made.run))
    if data is not None:
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
    options = spelt(trial.rescaling).removeprefix("--rescale ").replace(" --channels ", ", ")
    return {"rescale": options, "accuracy": trial.accuracy, "loss": trial.loss, "behind": behind}


def _size(text: str | None) -> tuple[int, int] | None:
    from ..errors import InputError

    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(s.isdecimal() and 8 <= int(s) <= 4096 for s in sides):
        raise InputError(
            f"--input-size {text!r}: write one number of pixels, or height x width as 224x320, each 8 to 4096."
        )
    return int(sides[0]), int(sides[-1])


def _fit(text: str) -> Literal["stretch", "crop", "pad"]:
    from ..errors import UnknownNameError

    for known in ("stretch", "crop", "pad"):
        if text == known:
            return known
    raise UnknownNameError("way to fit images", text, ("stretch", "crop", "pad"), "Choose stretch, crop or pad.")


def _task(text: str | None) -> Literal["binary", "multiclass", "regression"] | None:
    from ..errors import UnknownNameError

    if text is None:
        return None
    for known in ("binary", "multiclass", "regression"):
        if text == known:
            return known
    raise UnknownNameError("task", text, ("binary", "multiclass", "regression"), "Choose binary or regression.")
