"""Which column of a table states the split, whatever its name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .labelling import shorten
from .layout import split_named, split_words
from .table import key_of

SPLIT_COLUMNS = (
    "split", "set", "subset", "phase", "usage", "partition", "split_name", "data_split", "dataset", "mode", "data_type",
)  # fmt: skip
FOLD_COLUMNS = frozenset(("fold", "folds", "kfold", "cv", "cv_fold", "fold_id"))
MANY_VALUES = 12
"""A column with more values than this states no split, unless its name is that of a split: names of files do not."""


def split_columns(header: Sequence[str], rows: Sequence[Sequence[str]], path: int) -> list[int]:
    """The columns whose cells all name a split or are blank, those with the usual names first.

    A column with an unusual name has to name two splits.
    """
    found = []
    for i, name in enumerate(header):
        values = _values(rows, i)
        splits = {split_named(value) for value in values}
        if i == path or not values or None in splits:
            continue
        if key_of(name) in SPLIT_COLUMNS or (len(splits) > 1 and len(values) <= MANY_VALUES):
            found.append(i)
    keys = [key_of(name) for name in header]
    return sorted(found, key=lambda i: SPLIT_COLUMNS.index(keys[i]) if keys[i] in SPLIT_COLUMNS else len(SPLIT_COLUMNS))


def marks_a_split(name: str) -> bool:
    """Whether a column of numbers with this name is about splits or folds, like `is_train` and `fold`; no class."""
    key = key_of(name)
    return key in FOLD_COLUMNS or (split_words(name) > 0 and "_" in key)


def take_split(
    header: Sequence[str], rows: Sequence[Sequence[str]], places: dict[str, int], taken: Collection[int]
) -> list[str]:
    """Put the column of the split in `places`; the notes say which was taken, and which only looks like one.

    `taken` are columns that are used for something else. A column named split is always the one.
    """
    if "split" in places:
        return []
    found = [i for i in split_columns(header, rows, places["path"]) if i not in taken]
    notes = []
    if found:
        places["split"] = found[0]
        notes.append(f"The split was taken from column {header[found[0]]}.")
    for i in found[1:]:
        if any(_split_of(row, i) != _split_of(row, found[0]) for row in rows):
            notes.append(f"Column {header[i]} names other splits and was not used: name the one you mean split.")
    if not found:
        idle = [i for i in range(len(header)) if i not in taken and _looks_like_split(header[i], _values(rows, i))]
        notes += [
            f"Column {header[i]} looks like a split and was not used, because it holds "
            f"{shorten(sorted(_values(rows, i)), 3)}: if it is one, name it split and write train, val or test in it."
            for i in idle
        ]
    return notes


def _looks_like_split(name: str, values: Collection[str]) -> bool:
    """Whether a name is that of a split or fold, or a usual name stands over some cells that name splits."""
    key = key_of(name)
    if not values or len(values) > MANY_VALUES:
        return False
    if marks_a_split(name) or split_words(name) or "split" in key.split("_"):
        return True
    return key in SPLIT_COLUMNS and (any(split_named(value) for value in values) or key in SPLIT_COLUMNS[:6])


def _values(rows: Sequence[Sequence[str]], place: int) -> set[str]:
    return {cell for row in rows if place < len(row) and (cell := row[place].strip())}


def _split_of(row: Sequence[str], place: int) -> str:
    return (split_named(row[place].strip()) or "") if place < len(row) else ""
