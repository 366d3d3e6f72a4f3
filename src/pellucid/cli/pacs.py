"""`pellucid pacs ...`: results as DICOM objects, and the node that exchanges them with an archive."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.text import Text

from ..errors import InputError
from . import pacs_node
from .console import OK, PARTLY, err, out, print_json, print_table, report_skipped

if TYPE_CHECKING:
    from ..pacs.check import CheckedFile

app = typer.Typer(
    help="Write results as DICOM objects, and exchange them with an archive.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MOST_GUESSABLE = 16
"""A secret is at least as long as this."""

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run or bundle folder.")]
Research = Annotated[
    bool, typer.Option("--research", help="Accept a bundle that is not marked medical or has no measured figures.")
]
Codes = Annotated[
    Optional[Path],
    typer.Option(metavar="FILE", help="codes.toml: standard codes of the classes; private codes without."),
]


@app.callback()
def _group() -> None:
    """Write results as DICOM objects, and exchange them with an archive."""


@app.command("write")
def write(
    run: Run,
    films: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM files, or folders of DICOM files.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Output folder.")],
    kinds: Annotated[str, typer.Option(help="Kinds of results: sr, sc, seg, map, gsps, ko.")] = "sr,sc",
    codes: Codes = None,
    sr: Annotated[
        str, typer.Option(help="Class of reports: comprehensive-3d; for old archives comprehensive or enhanced.")
    ] = "comprehensive-3d",
    compress: Annotated[bool, typer.Option("--compress", help="Write captures as lossless JPEG-LS.")] = False,
    at: Annotated[Optional[datetime], typer.Option(help="Time that results bear; by default each film's own.")] = None,
    research: Research = False,
    json: Annotated[bool, typer.Option("--json", help="Print the written files as one JSON document.")] = False,
) -> None:
    """Classify DICOM films and write the results as DICOM objects. No network is used."""
    from ..pacs.kinds import parse_kinds
    from ..pacs.write import dicom_files, open_origin, write_results

    asked = parse_kinds(kinds)
    origin = open_origin(run, codes, research=research, sr=sr)
    done = write_results(origin, dicom_files(films), folder, asked, at=at, compress=compress)
    if json:
        files = [{"film": str(f.film) if f.film else None, "kind": f.kind, "path": str(f.path)} for f in done.files]
        skipped = [{"path": str(path), "reason": reason} for path, reason in done.skipped]
        print_json({"files": files, "skipped": skipped})
    else:
        counts = {kind: sum(f.kind == kind for f in done.files) for kind in dict.fromkeys(f.kind for f in done.files)}
        said = ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "nothing"
        out.print(Text(f"{folder}: {said}. For research and education, not for diagnosis."))
    raise typer.Exit(report_skipped([(str(path), reason) for path, reason in done.skipped]))


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM objects, or folders of DICOM objects.")],
    external: Annotated[
        bool, typer.Option("--external/--no-external", help="Also run dciodvfy and PixelMed's validator if installed.")
    ] = True,
    warnings: Annotated[bool, typer.Option("--warnings", help="Also print the validators' warnings.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the remarks as one JSON document.")] = False,
) -> None:
    """Check DICOM objects by pellucid's own rules, dciodvfy and PixelMed's validator. Exit code 1 for errors."""
    from ..pacs.check import VALIDATORS, check_file, validators
    from ..pacs.write import dicom_files

    checked = [check_file(path, only=VALIDATORS if external else ()) for path in dicom_files(files)]
    if json:
        documents = [
            {
                "path": str(c.path),
                "checked_by": list(c.checked_by),
                "errors": c.errors,
                "remarks": [{"by": r.by, "error": r.error, "text": r.text} for r in c.remarks],
            }
            for c in checked
        ]
        print_json({"files": documents})
    else:
        for c in checked:
            for r in c.remarks:
                if r.error or warnings:
                    out.print(Text(f"{c.path}: {r.by}: {'error' if r.error else 'warning'}: {r.text}"))
        rows = [(by, str(sum(by in c.checked_by for c in checked)), *_counts(checked, by)) for by in _asked(checked)]
        print_table([("validator", False), ("files", True), ("errors", True), ("warnings", True)], rows)
        if external:
            for name, missing in validators().items():
                if missing:
                    err.print(Text(f"{name} was not run: {missing}"))
    raise typer.Exit(PARTLY if any(c.errors for c in checked) else OK)


@app.command("deidentify")
def deidentify(
    films: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM files, or folders of DICOM files.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Output folder.")],
    key_variable: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME", help="Environment variable with a secret: the same secret gives the same new names again."
        ),
    ] = None,
    burned_in: Annotated[
        bool, typer.Option("--burned-in", help="Also copy films that state text in their picture.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the written files as one JSON document.")] = False,
) -> None:
    """Copy films without what identifies a person (DICOM PS3.15, basic profile). Pixels stay as they are."""
    from ..pacs.deidentify import INDEX, deidentify_files
    from ..pacs.write import dicom_files

    done = deidentify_files(dicom_files(films), folder, key=_secret(key_variable), burned_in=burned_in)
    skipped = [(str(path), reason) for path, reason in done.skipped]
    if json:
        reasons = [{"path": path, "reason": reason} for path, reason in skipped]
        print_json({"files": [str(path) for path in done.files], "skipped": reasons})
    else:
        out.print(Text(f"{folder}: {len(done.files)} films, listed in {INDEX}. Look at the pictures before you share."))
    raise typer.Exit(report_skipped(skipped))


def _secret(variable: Optional[str]) -> bytes | None:
    """The secret in an environment variable. Raises InputError for one that is not set, or too short to be secret."""
    if variable is None:
        return None
    found = os.environ.get(variable, "")
    if len(found) < MOST_GUESSABLE:
        reason = "is not set" if not found else f"holds less than {MOST_GUESSABLE} characters"
        raise InputError(f"The environment variable {variable} {reason}: put a secret of at least that many into it.")
    return found.encode("utf-8", "surrogateescape")


app.command("serve")(pacs_node.serve)
app.command("status")(pacs_node.status)
app.command("retry")(pacs_node.retry)
app.command("forget")(pacs_node.forget)
app.command("echo")(pacs_node.echo)


def _asked(checked: list[CheckedFile]) -> list[str]:
    return list(dict.fromkeys(by for c in checked for by in c.checked_by))


def _counts(checked: list[CheckedFile], by: str) -> tuple[str, str]:
    remarks = [r for c in checked for r in c.remarks if r.by == by]
    return str(sum(r.error for r in remarks)), str(sum(not r.error for r in remarks))
