"""Files that appear whole or not at all, and cells of CSV files that a spreadsheet shows rather than runs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from pathlib import Path

_FORMULA = re.compile(r"^[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


def cells(values: Iterable[object]) -> list[str]:
    """The cells of one row of a CSV for people: text that a spreadsheet would run as a formula begins with a quote.

    Such text begins with =, +, -, @ or a control character; numbers stay as they are, and None is empty. Tables that
    pellucid reads back (`split.csv`, `predictions.csv`) are written without it, because names must come back as they
    were.
    """
    return [_cell("" if value is None else str(value)) for value in values]


def _cell(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.match(text) else text


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name and give it its own at the end, replacing an older one.

    Text is UTF-8; file names in it that are not valid Unicode keep their bytes. Raises OSError and leaves nothing then.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
