"""`pellucid data download`: a dataset from Kaggle or the web."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .console import TerminalProgress, out, print_json, report_skipped


def download(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="kaggle:OWNER/NAME, or the URL of a zip archive.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, new or empty.")],
    limit: Annotated[
        float, typer.Option(metavar="GB", help="Maximum size of the download and of the unpacked files, in GB.")
    ] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """Download and unpack a dataset. The output folder appears only when complete.

    Kaggle needs `pip install 'pellucid[kaggle]'` and, for most datasets, a token from https://www.kaggle.com/settings/api
    in ~/.kaggle/access_token or KAGGLE_API_TOKEN.
    """
    from ..data.download import download_dataset
    from ..storage import new_folder

    with new_folder(folder) as draft:
        done = download_dataset(source, draft, limit=round(limit * 1e9), progress=TerminalProgress(quiet=json))
    if json:
        print_json({"out": str(folder)} | asdict(done))
    else:
        version = f", version {done.version}" if done.version else ""
        out.print(
            f"{done.source}{version}: {done.files:,} files, {done.bytes / 1e6:,.1f} MB, in {folder}", markup=False
        )
        if done.licence:
            out.print(f"Licence, as stated there: {done.licence}", markup=False)
        out.print(f"Next: pellucid data inspect {shlex.quote(str(folder))}", markup=False)
    raise typer.Exit(report_skipped([(s.path, s.reason) for s in done.skipped]))
