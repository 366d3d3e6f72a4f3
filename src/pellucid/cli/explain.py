"""`pellucid explain`: heat maps over the original images."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from .console import PARTLY, TerminalProgress, out, print_json, print_table, report_skipped
from .options import Engine, EnginePrecision

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..explanation.record import ExplanationManifest, ExplanationRecord
    from ..progress import Progress
    from ..workflow.explanation import ToExplain


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or bundle folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files or folders.")],
    folder: Annotated[
        Path, typer.Option("--out", help="Output folder for pictures, manifest.json and index.html.")
    ] = Path("explanations"),
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B", help="Explanation methods, or all; grad-cam by default (`pellucid methods` lists them)."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Class or classes to explain, or all; the predicted class by default."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="Explain why --target and not this class: what speaks for one only."),
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="Score to explain: log-odds (default), logit or, for regression, output.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to explain, for methods that need one.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Method setting: samples=500, or lime.samples=500 when there are several methods.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Explain only the N images with the highest probability of --target; by default of the positive "
            "class or, with more than two classes, of the predicted class.",
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Check each map by deletion and insertion, noise and seed; takes a few hundred passes."
        ),
    ] = False,
    alpha: Annotated[float, typer.Option(help="Opacity of the heat map, 0 to 1.")] = 0.45,
    colormap: Annotated[
        str | None, typer.Option(help="Matplotlib colour map; inferno by default, RdBu_r with --signed.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="image: scale each map to its maximum; model: one scale for all images. By default model for anomaly "
            "detectors, else image."
        ),
    ] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Also show evidence against the class, on a diverging colour map.")
    ] = False,
    engine: Engine = "onnxruntime",
    engine_precision: EnginePrecision = "float32",
    json: Annotated[bool, typer.Option("--json", help="Print manifest.json.")] = False,
) -> None:
    """Explain decisions: raw map, heat map and overlay for each image. PyTorch is not needed."""
    from ..bundle.bundle import load
    from ..stopping import keeping
    from ..workflow.explanation import ToExplain, check_folder, explain_files
    from ..workflow.explanation_pictures import Drawing
    from ..workflow.prediction import find_images
    from .options import parse_scale, parse_score

    bundle = load(run, engine=engine, precision=engine_precision)
    progress = TerminalProgress(quiet=json)
    methods = _split(method) or [bundle.usual_method]
    targets = _targets(target, bundle.classes)
    drawing = Drawing(alpha, colormap, signed, None if scale is None else parse_scale(scale))
    items = [ToExplain(file, str(file)) for file in find_images(images)]
    chosen = items if top is None else _top(bundle, items, top, targets, progress)
    check_folder(folder)
    manifest = keeping(lambda: _kept(folder))(explain_files)(
        bundle,
        chosen,
        folder,
        method=methods,
        target=targets,
        against=against,
        score=parse_score(score),
        layer=layer,
        settings=_settings(methods, settings or []),
        drawing=drawing,
        trust=trust,
        top=top,
        considered=len(items),
        command=["pellucid", *map(shlex.quote, sys.argv[1:])],
        progress=progress,
    )
    if json:
        print_json(manifest.model_dump(mode="json"))
    else:
        _show(manifest, folder, bundle.manifest.medical)
    raise typer.Exit(report_skipped(manifest.skipped) or (PARTLY if manifest.left_out and len(methods) > 1 else 0))


def _kept(folder: Path) -> str:
    """What an interruption leaves."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return ""
    return f"The pictures drawn so far are in {folder}: remove it before you run the same command again."


def _show(manifest: ExplanationManifest, folder: Path, medical: bool) -> None:
    """Print the finding of each map as a table, and the location of the pictures."""
    from ..reporting.gallery import WORDS as LEVEL_WORDS

    if not manifest.images:
        return
    several = len({r.method for r in manifest.images}) > 1
    checked = any(r.trust for r in manifest.images)
    scored = any(r.output is not None for r in manifest.images)
    columns = [("image", False), ("class", False), ("score" if scored else "confidence", True)]
    columns += [("method", False)] * several + [("finding", False)]
    columns += [("reliability", False)] * checked
    rows = [
        (
            r.path,
            f"{r.label} ({r.predicted})" if r.withheld else r.label,
            _figure(r),
            *([r.method] * several),
            r.verdict,
            *([f"{LEVEL_WORDS[r.trust.level]}: {r.trust.verdict}" if r.trust else ""] * checked),
        )
        for r in manifest.images
    ]
    print_table(columns, rows)
    for name, reason in manifest.left_out.items():
        out.print(Text(f"{name} was left out. {reason}", style="yellow"))
    images = len({r.path for r in manifest.images})
    of = f" of {manifest.considered:,}" if manifest.top else ""
    out.print(f"\n{images:,}{of} explained; pictures and manifest.json are in {folder}. Open {folder / 'index.html'}")
    if medical:
        out.print("For research and education, not for diagnosis.")


def _figure(record: ExplanationRecord) -> str:
    if record.confidence is not None:
        return f"{100 * record.confidence:.1f} %"
    return "" if record.output is None else f"{record.output:.3f}"


def _split(texts: Sequence[str] | None) -> list[str]:
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def _targets(texts: Sequence[str] | None, classes: Sequence[str]) -> list[str] | None:
    """Class names, split at commas unless a class has a comma in its name."""
    named = [name for text in texts or () for name in ([text] if text in classes else _split([text]))]
    return named or None


def _settings(methods: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Settings by method, from `key=value` for a single method and `method.key=value` for one of several."""
    from ..errors import InputError
    from ..explanation.catalogue import method_names, parse_settings

    found: dict[str, list[str]] = {}
    for text in texts:
        before, _, after = text.partition(".")
        if before in method_names() and "=" in after:
            found.setdefault(before, []).append(after)
        elif len(methods) == 1 and methods[0] != "all":
            found.setdefault(methods[0], []).append(text)
        else:
            raise InputError(f"--set {text!r}: with several methods, name the method, as in lime.samples=500.")
    return {name: parse_settings(name, own) for name, own in found.items()}


def _top(
    bundle: Bundle, items: list[ToExplain], top: int, targets: Sequence[str] | None, progress: Progress
) -> list[ToExplain]:
    """The `top` items by probability, and unreadable files, so that they are reported."""
    from ..workflow.explanation import choose_top
    from ..workflow.prediction import predict_files

    files = [item.file for item in items]
    with progress.bar("Predicting") as advance:
        predictions, skipped = predict_files(bundle, files, batch_size=16, advance=advance)
    named = targets[0] if targets and len(targets) == 1 and targets[0] in bundle.classes else None
    by_path = {item.shown: item for item in items}
    chosen = [str(predictions[i].path) for i in choose_top(predictions, top, named, bundle.manifest.positive)]
    return [by_path[path] for path in [*chosen, *(s.path for s in skipped)]]
