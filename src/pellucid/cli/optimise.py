"""`pellucid optimise`: faster engines and precisions for a model on this machine, with proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .console import OK, TerminalProgress, out, print_json, print_table
from .options import ImagesFolder, LabelColumn, PathColumn, table_options
from .wording import as_options

if TYPE_CHECKING:
    from ..bundle.certificate import Certificate


def optimise(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or bundle folder.")],
    data: Annotated[
        Optional[Path],
        typer.Argument(metavar="[DATA]", help="Labelled images; by default the run's validation and training images."),
    ] = None,
    max_changed: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse what surely changes more than this share of answers.")
    ] = 0.005,
    max_auc_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse what surely loses more AUC than this.")
    ] = 0.002,
    min_map_correlation: Annotated[
        float, typer.Option(min=-1, max=1, help="Refuse heat maps with a lower median rank correlation.")
    ] = 0.98,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for each measurement of speed, about.")] = 2.0,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: ImagesFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print the certificate as one JSON document.")] = False,
) -> None:
    """Find a faster engine or precision for a model on this machine, and prove what it changes.

    Keeps the accepted ones, with their certificate, in the bundle; --engine auto takes the advised one.
    """
    from ..bundle.certificate import Tolerance
    from ..reporting.contents import read_run
    from ..reporting.engines import certificate_in_words, write_engines
    from ..reporting.model_card import write_model_card
    from ..workflow.optimise.run import optimise_run

    certificate = optimise_run(
        run,
        data,
        tolerance=Tolerance(decisions=max_changed, auc=max_auc_loss, maps=min_map_correlation),
        seconds=seconds,
        table=table_options(path_column, label_column, images),
        progress=TerminalProgress(quiet=json),
    )
    lines = [as_options(line) for line in certificate_in_words(certificate)]
    page = write_engines(certificate, run, lines)
    if (run / "run.json").is_file():
        write_model_card(read_run(run))
    if json:
        print_json(
            {
                **certificate.model_dump(mode="json"),
                "advised": certificate.advised().runtime.model_dump(),
                "advised_on_one_thread": certificate.advised(one_thread=True).runtime.model_dump(),
                "losses": {c.runtime.key: list(certificate.losses(c)) for c in certificate.candidates},
            }
        )
    else:
        _show(certificate)
        for line in lines:
            out.print(line, markup=False)
        out.print(f"\nWritten to {page}; the certificate lies in the bundle.", markup=False)
    raise typer.Exit(OK)


def _show(certificate: Certificate) -> None:
    """Print the table of candidates."""
    from dataclasses import astuple

    from ..reporting.engines import columns, engine_rows

    machine = certificate.machine
    out.print(f"{machine.cpu}, {machine.cores} cores; {certificate.images:,} {certificate.data}\n", markup=False)
    print_table(columns(certificate.task), [astuple(row) for row in engine_rows(certificate)])
    out.print()
