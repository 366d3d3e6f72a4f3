"""What hiding a shortcut while training did, as the command line shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from .console import out, print_table

if TYPE_CHECKING:
    from ..evaluation.hidden import AuditSide, HiddenDocument

SHOWN = 3


def show_hidden(found: HiddenDocument) -> None:
    """Print accuracy before and after, and both audits side by side."""
    from ..reporting.hidden import row_words

    rows = [
        (row_words(row.what), f"{row.images:,}", "-" if row.before is None else str(row.before), str(row.after))
        for row in found.rows
    ]
    out.print(Text(f"\nHidden while training: {', '.join(found.hidden)}", style="bold"))
    columns = [("share of right answers on", False), ("images", True), ("before", True), ("after", True)]
    print_table(columns, rows)
    for title, side in (("Audit before", found.audit_before), ("Audit after", found.audit_after)):
        if side is not None:
            _show_side(title, side)


def _show_side(title: str, side: AuditSide) -> None:
    out.print(Text(f"\n{title}: {side.verdict}", style="bold"))
    for style, level, texts in (("bold red", "problem", side.problems), ("yellow", "caution", side.cautions)):
        for text in texts[:SHOWN]:
            out.print(Text(f"{level}: {text}", style=style))
