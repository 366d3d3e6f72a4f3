"""Consoles, progress on a terminal, tables and exit codes for all commands."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import rich.console
from rich.table import Table
from rich.text import Text

from .wording import as_options, pieces

if TYPE_CHECKING:
    from ..data.finding import Finding
    from ..progress import Advance

OK, PARTLY, WRONG = 0, 1, 2


class Console(rich.console.Console):
    """A console that prints the parameters named in messages as the options of the command line (see wording.py)."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As `rich.console.Console.print`."""
        super().print(*map(_with_options, objects), **options)


def _with_options(shown: Any) -> Any:
    if isinstance(shown, str):
        return as_options(shown)
    if not isinstance(shown, Text) or not (found := pieces(shown.plain)):
        return shown
    changed, place = shown[:0], 0
    for start, end, option in found:
        changed.append_text(shown[place:start]).append(option)
        place = end
    return changed.append_text(shown[place:])


# A pipe has no width, so lines are not folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def make_printable() -> None:
    r"""Let stdout and stderr take every character, whatever their encoding: what it lacks is escaped, as `\u65e5`.

    Windows pipes and many build machines have cp1252 or ASCII. Documents, JSON and CSV, are UTF-8 always; see
    `document_stream`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def document_stream() -> Iterator[TextIO]:
    """Standard output for JSON or CSV: UTF-8, whatever the terminal's encoding; names of files keep their bytes."""
    sys.stdout.flush()
    if not isinstance(sys.stdout, io.TextIOWrapper):  # a test or a notebook that takes text
        yield sys.stdout
        return
    before = sys.stdout.encoding, sys.stdout.errors
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        yield sys.stdout
    finally:
        sys.stdout.flush()
        sys.stdout.reconfigure(encoding=before[0], errors=before[1])


class TerminalProgress:
    """Progress bars with the remaining time, and lines, on stderr. Bars appear only on a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    @contextmanager
    def bar(self, description: str) -> Iterator[Advance]:
        """A progress bar that disappears when the work is done."""
        if self._quiet or not err.is_terminal:
            yield lambda done, total: None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:,.1f}/s" if task.speed else "", style="progress.data.speed")

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as shown:
            task = shown.add_task(description, total=None)
            yield lambda done, total: shown.update(task, completed=done, total=total)

    def say(self, line: str) -> None:
        """Print one line."""
        if not self._quiet:
            err.print(Text(line))


def print_json(document: Any) -> None:
    """Print one JSON document to stdout; NaN becomes null."""
    with document_stream() as stream:
        stream.write(json.dumps(_plain(document), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value != value:
        return None
    return value


LEVEL_STYLES = {"problem": "bold red", "caution": "yellow", "information": "blue", "good": "green"}


def print_findings(findings: Sequence[Finding], verdict: str) -> None:
    """Print findings with level and advice, then the verdict."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        said = Text(as_options(finding.text))
        if finding.advice:
            said.append(f" {as_options(finding.advice)}", style="dim")
        level = "note" if finding.level == "information" else finding.level
        table.add_row(Text(level, style=LEVEL_STYLES[finding.level]), Text(finding.topic, style="bold"), said)
    if out.is_terminal:
        out.print(table, soft_wrap=False)
    else:
        # A pipe gets one line per finding, without the padding of a table.
        for finding in findings:
            row = f"{finding.level:<11}  {finding.topic:<11}  {finding.text} {finding.advice}"
            out.print(Text(row.rstrip()))
    out.print()
    out.print(Text(verdict, style="bold"))


def print_table(
    columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], *, title: str | None = None
) -> None:
    """Print a table to stdout. `columns` are (heading, whether to align right, as numbers)."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
    for heading, number in columns:
        table.add_column(heading, justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table, soft_wrap=False)


def report_skipped(skipped: Sequence[tuple[str, str]], most: int = 20) -> int:
    """Print skipped files with reasons to stderr, and return the exit code."""
    for path, reason in skipped[:most]:
        err.print(Text(f"skipped {path}: {reason}"))
    if len(skipped) > most:
        err.print(f"... and {len(skipped) - most} more")
    return PARTLY if skipped else OK
