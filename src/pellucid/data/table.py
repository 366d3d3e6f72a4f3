"""The one reader of tables of images (CSV, TSV, lists of paths), for datasets and for batches.

Commas, semicolons, tabs, bars or white space separate the columns, whichever fits; a first line `sep=;` says so. A
first line with a file name in it is no header: columns are then called 1, 2, ...
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TextIO

from ..errors import nearest
from .walk import has_image_suffix, walk

TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".tab", ".txt", ".lst"))
SAMPLED = 200

# fmt: off
PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path",
    "image_id", "image_name", "img_name", "image_file", "imagefile", "image_filename", "image_index", "id_code",
    "isic_id", "imageid", "dicom_id", "sopinstanceuid", "sop_instance_uid", "url", "name", "id",
)
LABEL_COLUMNS = (
    "label", "class", "class_name", "label_name", "target", "category", "diagnosis", "dx", "finding_labels", "labels",
    "classes", "species", "breed", "grade", "level", "type", "y", "tags",
)
GROUP_COLUMNS = ("patient_id", "patient", "patientid", "lesion_id", "subject_id", "subject", "case_id")
NO_LABEL = frozenset(("", "nan", "null", "<na>", "n/a", "#n/a", "#na", "nat", "?", "-"))
UNCLEAR = frozenset(("none", "unknown", "unk", "undefined", "unlabeled", "unlabelled", "not labeled", "missing"))
"""Words that may be a class or say that it is not known."""
# fmt: on


class UnusableTable(ValueError):
    """A table that is text but cannot be used; the message ends a sentence that begins with the file's name."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What the user says of a table: the column of the paths, the column(s) of the labels, and the folder of the files.

    `label_column` names one column, or several separated by commas that hold 0 and 1, one for each class.
    """

    path_column: str | None = None
    label_column: str | None = None
    images: Path | None = None


@dataclass(slots=True)
class Table:
    """Column names and rows with their line numbers; blank lines are passed over. `named` is False without a header.

    `text` is what is read from; it stays open as long as the table is held.
    """

    header: list[str]
    rows: Iterator[tuple[int, list[str]]]
    text: TextIO
    named: bool = True


def open_table(file: IO[bytes]) -> Table:
    """Begin to read a table. Raises UnusableTable when it is empty, UnicodeError and csv.Error when it is no text.

    Only the first lines are held in memory.
    """
    text = _decoded(file)
    sample = list(itertools.islice(text, SAMPLED))
    line = 0
    stated = re.fullmatch(r"\ufeff?sep=(.)\s*", sample[0]) if sample else None
    if stated:
        sample, line = sample[1:], 1
    delimiter = stated[1] if stated else _delimiter(sample)
    rows = _rows(itertools.chain(sample, text), delimiter, line)
    first = next(rows, None)
    if first is None:
        raise UnusableTable("is empty: it needs a first line path,label and one row for each image.")
    if any(has_image_suffix(cell.strip()) for cell in first[1]):
        header = [str(i + 1) for i in range(len(first[1]))]
        return Table(header, itertools.chain([first], rows), text, named=False)
    return Table([cell.strip() for cell in first[1]], rows, text)


def _decoded(file: IO[bytes]) -> TextIO:
    start = file.read(4)
    file.seek(0)
    utf16 = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    return io.TextIOWrapper(file, encoding="utf-16" if utf16 else "utf-8-sig", newline="")


def _rows(lines: Iterable[str], delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    if delimiter == " ":
        for number, line in enumerate(lines, before + 1):
            if cells := line.split():
                yield number, cells
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    for row in reader:
        if any(cell.strip() for cell in row):
            yield before + reader.line_num, row


def _delimiter(sample: Sequence[str]) -> str:
    """The separator by which most lines have as many cells as the first; of several that with the most cells."""
    lines = [line for line in sample if line.strip()]
    found: dict[str, int] = {}
    for delimiter in ",;\t|":
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter, strict=len(lines) < SAMPLED)]
        except csv.Error:
            widths = [len(row) for row in csv.reader(lines[:1], delimiter=delimiter)]
        if widths and widths[0] > 1 and sum(w == widths[0] for w in widths) >= 0.5 * len(widths):
            found[delimiter] = widths[0]
    usual = {d: n for d, n in found.items() if d != "|"} or found
    if usual:
        return max(usual, key=lambda d: usual[d])
    split = [line.split() for line in lines]
    spaced = bool(split) and len(split[0]) > 1 and all(len(cells) == len(split[0]) for cells in split)
    inside = any(has_image_suffix(c) for cells in split for c in cells[1:] if not has_image_suffix(cells[0]))
    return " " if spaced and not inside else max(",;\t", key=lines[0].count) if lines else ","


def key_of(name: str) -> str:
    """A column's name for comparing: small letters, one underscore for whatever separates words."""
    return re.sub(r"[^0-9a-z]+", "_", name.casefold()).strip("_")


def find_column(header: Sequence[str], wanted: str | None, known: Sequence[str], role: str) -> int | None:
    """The place of the column `wanted`, or else of the first `known` name; None where none of these is there.

    Raises UnusableTable for a wanted column that is missing; `role` is path or label, the option's first part.
    """
    keys = [key_of(name) for name in header]
    if wanted is not None:
        if wanted in header:
            return list(header).index(wanted)
        if key_of(wanted) in keys:
            return keys.index(key_of(wanted))
        near = nearest(wanted, header)
        hint = f"did you mean `{role}_column={near[0]!r}`?" if near else f"its columns are {', '.join(header[:12])}."
        raise UnusableTable(f"has no column {wanted!r}: {hint}")
    return next((keys.index(name) for name in known if name in keys), None)


def path_column(table: Table, wanted: str | None, sample: Sequence[Sequence[str]]) -> int | None:
    """The place of the column with the images' paths, by its name or because its cells are names of images."""
    by_content = next(
        (
            i
            for i in range(len(table.header))
            if sample and all(i < len(row) and has_image_suffix(row[i].strip()) for row in sample)
        ),
        None,
    )
    known = PATH_COLUMNS if by_content is None else PATH_COLUMNS[:1]
    found = find_column(table.header, wanted, known, "path")
    return by_content if found is None else found


class ImageFiles:
    """The files that a table names: as paths, as names without a folder, or as names without a suffix."""

    def __init__(self, root: Path, images: Path | None = None, *, search: bool = True) -> None:
        self._root, self._images, self._search = root, images, search
        self._by_name: dict[str, list[str]] | None = None

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""
        return self._images or self._root

    def find(self, cell: str) -> str | None:
        """The path of a file relative to the table's folder (absolute where there is no way); None where it is not.

        Raises UnusableTable where several files may be meant.
        """
        for text in (cell, cell.replace("\\", "/")) if "\\" in cell else (cell,):
            if self._images and (self._images / text).is_file():
                return relative_to(self._images / text, self._root)
            if (self._root / text).is_file():
                path = Path(os.path.normpath(text))
                return relative_to(path, self._root) if path.is_absolute() else path.as_posix()
        if not self._search:
            return None
        wanted = PurePosixPath(cell.replace("\\", "/"))
        folders = [p for p in wanted.parts[:-1] if p not in ("..", ".")]
        if folders and (wanted.is_absolute() or folders[0].endswith(":")):
            folders = folders[-1:]  # a path on another machine: the last folder has to agree
        found = [f for f in self._named(wanted.name) if _lies_in(f, folders)]
        if len(found) > 1:
            listed = ", ".join(sorted(found)[:2])
            raise UnusableTable(
                f"names {cell}, and there are several of that name ({listed}): write its folder and its extension"
            )
        if not found:
            return None
        return relative_to(self._images / found[0], self._root) if self._images else found[0]

    def _named(self, name: str) -> list[str]:
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for met in walk(self.root):
                if met.what == "file" and has_image_suffix(met.path):
                    file = met.path.rpartition("/")[2]
                    self._by_name[file].append(met.path)
                    self._by_name[file.rpartition(".")[0]].append(met.path)
        return self._by_name.get(name, [])


def _lies_in(path: str, folders: Sequence[str]) -> bool:
    """Whether the folders of a path end with these."""
    return not folders or path.split("/")[-1 - len(folders) : -1] == list(folders)


def relative_to(path: Path, root: Path) -> str:
    """A path with forward slashes: relative to `root` where it lies below it or is not absolute, else absolute."""
    base = os.path.normpath(root.absolute())
    whole = os.path.normpath(path.absolute())
    if Path(whole).is_relative_to(base) or not path.is_absolute():
        try:
            return Path(os.path.relpath(whole, base)).as_posix()
        except ValueError:  # another drive
            pass
    return Path(whole).as_posix()


def label_sets(cells: Sequence[str]) -> list[tuple[str, ...]]:
    """The classes that each cell names: one in most tables, several in `Effusion|Mass`, none in a blank, `nan` or `?`.

    A dash names none either, unless `+` is a class. A bar and lists in brackets always separate; semicolons and commas
    where one of the parts also stands alone, slashes, ampersands, plus signs and white space where every part does.
    """
    texts = [cell.strip() for cell in cells]
    alone = set(texts)
    if "+" in alone:  # + and - are the classes
        return [(text,) if text in ("+", "-") else _labels(text, alone) for text in texts]
    return [_labels(text, alone) for text in texts]


def _labels(text: str, alone: set[str]) -> tuple[str, ...]:
    if text.casefold() in NO_LABEL or text == "NA":
        return ()
    listed = re.fullmatch(r"[\[({](.*)[\])}]", text)
    if listed and re.search(r"""['"],|^\s*['"]""", listed[1]):
        return _parts(re.split(r"\s*,\s*", listed[1]), quoted=True)
    if len(parts := _parts(text.split("|"))) > 1 or "|" in text:
        return parts
    for separator in (";", ","):
        parts = _parts(text.split(separator))
        if len(parts) > 1 and any(part in alone for part in parts):
            return parts
    for pattern in (r"/", r"&", r"\+", r"\s+"):
        parts = _parts(re.split(pattern, text))
        if len(parts) > 1 and all(part in alone for part in parts):
            return parts
    return (text,)


def _parts(texts: Iterable[str], *, quoted: bool = False) -> tuple[str, ...]:
    stripped = (text.strip().strip("'\"").strip() if quoted else text.strip() for text in texts)
    return tuple(dict.fromkeys(text for text in stripped if text.casefold() not in NO_LABEL))


def one_hot(
    header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int]
) -> list[tuple[str, ...]] | None:
    """The classes of each row from columns of 0 and 1 named after them; None where the columns hold anything else."""
    sets: list[tuple[str, ...]] = []
    for row in rows:
        marked = []
        for i in columns:
            cell = row[i].strip().casefold() if i < len(row) else ""
            if cell in ("1", "1.0", "true"):
                marked.append(header[i])
            elif cell not in ("0", "0.0", "false", ""):
                return None
        sets.append(tuple(marked))
    return sets
