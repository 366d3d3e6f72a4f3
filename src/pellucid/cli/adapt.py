"""`pellucid adapt`: refit threshold, calibration or class mix to a new place."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from .console import TerminalProgress, out, print_json, print_table, report_skipped


def adapt(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder or bundle.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled images of the new place.")],
    keep: Annotated[
        list[str],
        typer.Option(metavar="WHAT", help="What to refit and keep: threshold, calibration or mix. May be repeated."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the new bundle; it must not exist.")],
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="POINT",
            help="What the threshold is to serve: youden, sensitivity>=0.95, ...",
            show_default="as before, or youden",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Adapt a model to a new place from a few labelled images, without retraining: threshold, calibration, class mix.

    The old bundle is never changed. Figures before and after are measured on images that were not used for fitting.
    """
    from ..errors import UnknownNameError
    from ..evaluation.refitting import PARTS, Part
    from ..workflow.adapt import adapt as adapt_bundle

    parts: list[Part] = []
    for word in keep:
        known = next((p for p in PARTS if p == word), None)
        if known is None:
            raise UnknownNameError("part", word, list(PARTS), "`keep=` takes threshold, calibration or mix.")
        parts.append(known)
    found = adapt_bundle(
        run, data, out=folder, keep=parts, operating_point=operating_point, progress=TerminalProgress(quiet=json)
    )
    if json:
        print_json(
            {
                "bundle": str(found.bundle),
                "images": found.images,
                "threshold": found.rule.threshold,
                "calibration": found.rule.calibration and found.rule.calibration.model_dump(mode="json"),
                "figures": [
                    {"name": j.name, "before": j.before, "after": j.after, "difference": [j.difference, j.low, j.high]}
                    for j in found.judged
                ],
            }
        )
    else:
        rows = [
            (j.name, f"{j.before:.3f}", f"{j.after:.3f}", f"{j.difference:+.3f}", f"[{j.low:+.3f}, {j.high:+.3f}]")
            for j in found.judged
        ]
        columns = [("", False), ("before", True), ("after", True), ("difference", True), ("95 % interval", True)]
        print_table(columns, rows, title=f"{found.images} images, each judged by a rule fitted to others")
        if any(j.name == "sensitivity" for j in found.judged):
            out.print("\nWith 95 % confidence, if the same rates were seen on N images of a class:")
            bounds = {name: found.sure_of(name) for name in ("sensitivity", "specificity")}
            sizes = list(bounds["sensitivity"])
            sure = [(name, *(f"at least {bounds[name][n]:.3f}" for n in sizes)) for name in bounds]
            print_table([("", False), *((f"{n} images", True) for n in sizes)], sure)
        point = found.rule.operating_point
        out.print(f"\nThreshold {found.rule.threshold:.3g}. {point.statement if point else ''}".rstrip())
        out.print(f"Written to {found.bundle}. Next: pellucid predict {shlex.quote(str(found.bundle))} IMAGE...")
    raise typer.Exit(report_skipped([(s.path, s.reason) for s in found.skipped]))
