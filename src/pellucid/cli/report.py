"""`pellucid report`: rebuild a run's report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import out


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]) -> None:
    """Rebuild report.html and model_card.md from the files of a run."""
    from ..reporting.html import build_report

    out.print(f"Written: {build_report(run)}")
