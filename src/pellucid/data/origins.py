"""Where the images of an augmented folder come from, so that no later split parts a copy from its original.

`origins.csv` has one row for each image that `data augment` wrote: its `path` in the folder; the `original` that it is
a changed copy of, blank where it is none; the `source`, the original's path in the dataset that was augmented; the
`group` there; and the change that was made, in the terms of `change.Change`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import DataError
from .groups import copies_by_name
from .labelling import LabelledFile, counted

FILE = "origins.csv"
COLUMNS = ("path", "original", "source", "group")


@dataclass(frozen=True, slots=True)
class Origin:
    """One row of `origins.csv`; `change` maps the names of what was changed to numbers, and is empty for originals."""

    path: str
    original: str
    source: str
    group: str = ""
    change: Mapping[str, float] = field(default_factory=dict)


def write_origins(folder: Path, origins: Iterable[Origin], changes: Sequence[str]) -> None:
    """Write `folder/origins.csv`, sorted by path, with the columns `changes` after those that are always there."""
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, *changes))
        for o in sorted(origins, key=lambda o: o.path):
            numbers = (f"{o.change[c]:.10g}" if c in o.change else "" for c in changes)
            writer.writerow((o.path, o.original, o.source, o.group, *numbers))


def read_origins(folder: Path) -> dict[str, Origin]:
    """The rows of `folder/origins.csv` by path; empty where there is no such file, or another program's.

    Raises `DataError` when the file cannot be read.
    """
    source = folder / FILE
    if not source.is_file():
        return {}
    try:
        with source.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                return {}
            return {row["path"]: Origin(row["path"], row["original"], row["source"], row["group"]) for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{source}, which says which images are copies of which, cannot be read ({error}): restore it."
        ) from None


def with_origins(root: Path, place: str, entries: Sequence[LabelledFile], notes: list[str]) -> list[LabelledFile]:
    """The entries with their origin, and the group of it, from `origins.csv` in `root` or in `root/place`.

    A file `x_aug1.png` that is in no such list, beside an image `x`, is a copy of that one.
    """
    known = read_origins(root)
    if not known and place:
        known = {f"{place}/{path}": o for path, o in read_origins(root / place).items()}
    named = copies_by_name([e.path for e in entries])
    result = []
    copies = 0
    for e in entries:
        row = known.get(e.path)
        if row is not None:
            copies += bool(row.original)
            result.append(replace(e, origin=row.source, group=row.group))
        else:
            copies += e.path in named
            result.append(replace(e, origin=named.get(e.path, "")))
    if copies:
        told = FILE if known else "their names"
        notes.append(
            f"By {told}, {counted(copies, 'image')} are changed copies of others: each stays with its original."
        )
    return result
