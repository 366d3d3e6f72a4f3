"""`pellucid doctor`: checks of a server and of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .console import OK, PARTLY, WRONG, TerminalProgress, err, out, print_json, print_table
from .options import Engine, EnginePrecision


def doctor(
    attack: Annotated[
        Optional[str],
        typer.Option(metavar="URL", help="Send hostile requests to a running server and check its replies."),
    ] = None,
    api_key: Annotated[
        Optional[str],
        typer.Option(envvar="PELLUCID_API_KEY", show_envvar=True, help="API key of the server, if it needs one."),
    ] = None,
    tune: Annotated[
        Optional[Path],
        typer.Option(metavar="RUN", help="Find and store the fastest batch settings for this machine."),
    ] = None,
    engine: Engine = "onnxruntime",
    engine_precision: EnginePrecision = "float32",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what is installed; check a running server against hostile input; tune `predict --out`."""
    if attack is not None and tune is not None:
        err.print("pellucid: Choose one: doctor --attack URL, or doctor --tune RUN.")
        raise typer.Exit(WRONG)
    if attack is None and tune is None:
        raise typer.Exit(_installation(json))
    if tune is not None:
        raise typer.Exit(_tune(tune, engine, engine_precision, json))
    raise typer.Exit(_attack(attack or "", api_key, json))


def _installation(json: bool) -> int:
    """Which ImageNet weights this machine has."""
    from .._optional import require

    require("torch", extra="train")
    from ..models.weights import weights_on_this_machine

    rows = weights_on_this_machine()
    if json:
        print_json([{"backbone": r.backbone, "weights": r.place, "file": r.file, "remedy": r.remedy} for r in rows])
        return OK
    print_table(
        [("ImageNet weights of", False), ("", False), ("file, or how to get it", False)],
        [(r.backbone, r.place, r.file or r.remedy) for r in rows],
    )
    return OK


def _attack(url: str, api_key: str | None, json: bool) -> int:
    """Attack a server; exit code 1 when a row fails."""
    from ..serving.attacks.run import run_attacks

    results = run_attacks(url, api_key)
    if json:
        print_json([r.as_document() for r in results])
    else:
        columns = [("row", True), ("request", False), ("expected", False), ("reply", False), ("", False)]
        rows = [
            (str(r.row), r.title, r.expected, r.seen, {True: "ok", False: "FAIL", None: "skipped"}[r.held])
            for r in results
        ]
        print_table(columns, rows)
        held, failed, skipped = (sum(r.held is outcome for r in results) for outcome in (True, False, None))
        err.print(f"{held} held, {failed} failed, {skipped} skipped")
    return PARTLY if any(r.held is False for r in results) else OK


def _tune(run: Path, engine: str, precision: str, json: bool) -> int:
    """Measure batch settings for a model, and store the best."""
    from ..bundle.bundle import load
    from ..workflow.batch.tune import tune

    bundle = load(run, threads=1, engine=engine, precision=precision)
    found = tune(bundle, progress=TerminalProgress(quiet=json))
    if json:
        print_json([t.model_dump(mode="json") for t in found])
        return OK
    columns = [("workers", True), ("kind", False), ("threads per pass", True), ("batch", True), ("images/s", True)]
    rows = [
        (f"{t.force.workers}", t.force.kind, f"{t.force.threads}", f"{t.batch}", f"{t.rate or 0:,.1f}") for t in found
    ]
    print_table(columns, rows)
    out.print("\nStored the first: `pellucid predict --out` uses it for models of this architecture on this machine.")
    return OK
