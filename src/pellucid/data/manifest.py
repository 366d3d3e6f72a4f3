"""Lists of images in files: tables with paths and labels, a run's `split.csv`, and `boxes.json`."""

from __future__ import annotations

import csv
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import DataError, nearest
from .dataset import Box, Dataset, OmittedFile, Split
from .fingerprint import Fingerprints, content_hashes
from .labelling import LabelledFile, are_numbers, build_dataset, counted, shorten
from .layout import split_named
from .split_column import marks_a_split, split_columns, take_split
from .studies import group_of, grouping_note, study_columns
from .table import (
    LABEL_COLUMNS,
    UNCLEAR,
    ImageFiles,
    Table,
    TableOptions,
    UnusableTable,
    find_column,
    key_of,
    label_sets,
    one_hot,
    open_table,
    path_column,
)

COLUMNS = ("path", "label", "split", "group", "mask", "sha256")
Row = tuple[int, list[str]]


@dataclass(slots=True)
class Listing:
    """What a table lists: the images, the rows left out, notes, and `group_by` where it names no column."""

    entries: list[LabelledFile]
    skipped: list[OmittedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    group_by: str | None = None


def read_csv(
    source: Path,
    root: Path,
    group_by: str | None = None,
    options: TableOptions | None = None,
    *,
    several: bool = False,
    search: bool = True,
) -> Listing:
    """The rows of a table with a column of paths, one of labels and, where they are there, split, group and mask.

    Paths are relative to `root`, to the folder of `options`, or just names, with or without a suffix. Labels stand in
    one column, or in columns of 0 and 1 named after the classes. Columns are named in `options`, or found by their
    names. Without `search`, paths have to be right as they stand. `group_by` may name the column of the groups. Rows
    without a label are left out. Raises `DataError` when a column is missing, a path blank, a split unknown, an image
    given two labels, or a file not there; and for several labels in one cell, unless `several` allows them.
    """
    wanted = options or TableOptions()
    with _opened(source) as table:
        rows = list(table.rows)
    header = table.header
    columns = _columns(source, table, rows, wanted)
    if group_by is not None and key_of(group_by) in map(key_of, header):
        columns.places["group"], group_by = [key_of(h) for h in header].index(key_of(group_by)), None
    listing = Listing([], notes=columns.notes, group_by=group_by)
    if group_by is None and "group" not in columns.places:
        columns.studies = study_columns(header)
        listing.notes += [note for note in [grouping_note(header, columns.studies)] if note]
    cells = [row for _, row in rows]
    taken = {*columns.places.values(), *columns.hot, *columns.studies}
    listing.notes += take_split(header, cells, columns.places, taken)
    labels = columns.labels(cells)
    made = _made(source, rows, labels, columns, ImageFiles(root, wanted.images, search=search), listing)
    listing.entries = _united(source, made, listing.skipped, several=several)
    if not several:
        _single(source, listing)
    listing.notes += _doubtful_classes(listing.entries)
    if not listing.entries:
        raise DataError(f"{source} lists no images with a label: add one row path,label for each.")
    return listing


@contextmanager
def _opened(source: Path) -> Iterator[Table]:
    """A table in a file; what cannot be read becomes a DataError that names the file."""
    try:
        with source.open("rb") as file:
            yield open_table(file)
    except UnusableTable as error:
        raise DataError(f"{source} {error}") from None
    except (UnicodeError, csv.Error) as error:
        message = f"{source} cannot be read as a CSV file in UTF-8 ({error}): save it again as such."
        raise DataError(message) from None
    except OSError as error:
        raise DataError(f"{source} cannot be opened ({error.strerror}): check path and rights.") from None


@dataclass(slots=True)
class _Columns:
    """Where things stand in a row: places by name, of patient and study in a list of DICOM files, and the labels."""

    places: dict[str, int]
    labels: Callable[[Sequence[Sequence[str]]], list[tuple[str, ...]]]
    notes: list[str] = field(default_factory=list)
    hot: Sequence[int] = ()
    studies: Sequence[int] = ()

    @property
    def marked(self) -> bool:
        """Whether classes are columns of 0 and 1."""
        return bool(self.hot)


def _cells(rows: Sequence[Sequence[str]], place: int) -> list[str]:
    return [row[place].strip() if place < len(row) else "" for row in rows]


def _columns(source: Path, table: Table, rows: Sequence[Row], wanted: TableOptions) -> _Columns:
    """Find the columns. Raises DataError where that of the paths or of the labels is not known."""
    header, sample = table.header, [row for _, row in rows[:100]]
    try:
        path = path_column(table, wanted.path_column, sample)
        listed = [name.strip() for name in (wanted.label_column or "").split(",") if name.strip()]
        single = listed[0] if len(listed) == 1 else wanted.label_column if wanted.label_column in header else None
        stated = [] if path is None else split_columns(header, [row for _, row in rows], path)
        named = ["" if i in stated and key_of(name) == "type" else name for i, name in enumerate(header)]
        known = header if single is not None else named
        label = None if listed and single is None else find_column(known, single, LABEL_COLUMNS, "label")
        hot = [i for name in listed if (i := find_column(header, name, (), "label")) is not None] if not single else []
    except UnusableTable as error:
        raise DataError(f"{source} {error}") from None
    places = {name: i for i, name in reversed(list(enumerate(map(key_of, header)))) if name in COLUMNS}
    notes: list[str] = []
    if path is None:
        raise DataError(
            f"{source} has no column path, only {shorten(header)}: name the column of the files by `path_column=`, and "
            "that of the classes by `label_column=`."
        )
    places["path"] = path
    if label is None and not hot:
        hot = _hot_columns(header, rows, path)
        label = None if hot else _only_other(table, {path, *stated, *study_columns(header)})
    if hot:
        return _marked(source, header, rows, hot, places, notes)
    if label is None:
        raise DataError(
            f"{source} has no column label, only {shorten(header)}: name the column of the classes by `label_column=`; "
            "several columns of 0 and 1, one for each class, are named with commas between them."
        )
    places["label"] = label
    if (key_of(header[path]), key_of(header[label])) != ("path", "label"):
        notes.append(f"Files were taken from column {header[path]}, classes from column {header[label]}.")
    return _Columns(places, lambda all_rows: label_sets(_cells(all_rows, label)), notes)


def _only_other(table: Table, taken: Collection[int]) -> int | None:
    """The column of the labels in a table that does not name it: the only other one, or the next without a header."""
    others = [i for i in range(len(table.header)) if i not in taken]
    if len(others) == 1 or (others and not table.named):
        return others[0]
    return None


def _hot_columns(header: Sequence[str], rows: Sequence[Row], path: int) -> list[int]:
    """Columns of 0 and 1 that look like one for each class: at least two, and all but the path's and our own."""
    taken = {path, *study_columns(header)}
    others = [
        i for i, name in enumerate(header) if i not in taken and key_of(name) not in COLUMNS and not marks_a_split(name)
    ]
    cells = [row for _, row in rows]
    return others if len(others) > 1 and rows and one_hot(header, cells, others) is not None else []


def _marked(
    source: Path,
    header: Sequence[str],
    rows: Sequence[Row],
    hot: list[int],
    places: dict[str, int],
    notes: list[str],
) -> _Columns:
    if one_hot(header, [row for _, row in rows], hot) is None:
        raise DataError(f"{source}: the columns {shorten([header[i] for i in hot])} hold more than 0 and 1.")
    notes.append(f"Classes are the columns of 0 and 1: {shorten([header[i] for i in hot])}.")
    return _Columns(places, lambda all_rows: one_hot(header, all_rows, hot) or [], notes, hot)


def _made(
    source: Path,
    rows: Sequence[Row],
    labels: Sequence[tuple[str, ...]],
    columns: _Columns,
    files: ImageFiles,
    listing: Listing,
) -> list[tuple[int, LabelledFile]]:
    """An entry with its line for each row that has a label."""
    made: list[tuple[int, LabelledFile]] = []
    gone: list[str] = []
    unlabelled: list[str] = []
    wanted = 0
    for (line, row), names in zip(rows, labels, strict=True):
        cells = {c: row[i].strip() if i < len(row) else "" for c, i in columns.places.items()}
        if not cells["path"]:
            raise DataError(f"{source}, line {line}: the path is blank; fill it in or delete the row.")
        if not names and not columns.marked:
            unlabelled.append(cells["path"])
            continue
        found = _find(source, line, files, cells["path"])
        mask = _find(source, line, files, cells["mask"]) if cells.get("mask") else None
        wanted += 1 + bool(cells.get("mask"))
        gone += [c for c, f in ((cells["path"], found), (cells.get("mask"), mask)) if c and f is None]
        split = _split_cell(cells.get("split", ""), source, line)
        group = cells.get("group", "") or group_of(row, columns.studies)
        entry = LabelledFile(found or cells["path"], names[0] if names else "", split, group, mask, also=names[1:])
        made.append((line, entry))
    if gone:
        raise DataError(
            f"{len(gone):,} of {wanted:,} files listed in {source} are not there ({shorten(gone, 2)}): paths are taken "
            f"relative to {files.root}; give another folder by `images=`, correct the paths or delete the rows."
        )
    _leave_out_unlabelled(source, unlabelled, listing)
    return made


def _find(source: Path, line: int, files: ImageFiles, cell: str) -> str | None:
    try:
        return files.find(cell)
    except UnusableTable as error:
        raise DataError(f"{source}, line {line} {error}, or give the folder of all images by `images=`.") from None


def _united(
    source: Path, made: Sequence[tuple[int, LabelledFile]], skipped: list[OmittedFile], *, several: bool
) -> list[LabelledFile]:
    """One entry for each image. Rows that repeat one are left out; with `several`, their labels are added to it."""
    entries: dict[str, LabelledFile] = {}
    for line, entry in made:
        known = entries.setdefault(entry.path, entry)
        if known is entry:
            continue
        if known == entry:
            skipped.append(OmittedFile(entry.path, f"listed again in line {line}", "repeated"))
        elif several and replace(known, name=entry.name, also=entry.also) == entry:
            names = tuple(dict.fromkeys((known.name, *known.also, entry.name, *entry.also)))
            entries[entry.path] = replace(known, name=names[0], also=names[1:])
        else:
            raise DataError(
                f"{source}, line {line}: {entry.path} is listed before with another label, split, group or mask; keep "
                "one row of each image, or, where images show several classes, tell one class from the rest by "
                "`one_against_rest=CLASS`."
            )
    return list(entries.values())


def _single(source: Path, listing: Listing) -> None:
    """Leave out images of no class. Raises DataError where images show several classes."""
    several = [e for e in listing.entries if e.also]
    if several:
        first = several[0]
        raise DataError(
            f"{len(several):,} of {len(listing.entries):,} images in {source} show several classes (for example "
            f"{first.path}: {' and '.join((first.name, *first.also))}), and one class an image is learnt: tell one "
            f"class from the rest by `one_against_rest={first.name!r}`, or keep the rows that name one class."
        )
    none = [e for e in listing.entries if not e.name]
    if none:
        listing.entries = [e for e in listing.entries if e.name]
        _leave_out_unlabelled(source, [e.path for e in none], listing)


def _doubtful_classes(entries: Sequence[LabelledFile]) -> list[str]:
    """A note on classes that may be none: measured numbers, and words that may say that the class is not known."""
    names = sorted({n for e in entries for n in (e.name, *e.also)})
    if are_numbers(names):
        return [f"The labels are numbers, and each is taken as a class of its own: {shorten(names)}."]
    found = [n for n in names if n.casefold() in UNCLEAR]
    if not found:
        return []
    out = " ".join(f"`leave_out={name}`" for name in found)
    are = "is taken as a class" if len(found) == 1 else "are taken as classes"
    return [f"{' and '.join(found)} {are}: if the class of these images is not known, leave them out by {out}."]


def _leave_out_unlabelled(source: Path, paths: Sequence[str], listing: Listing) -> None:
    if paths:
        listing.notes.append(f"Rows without a label were left out: {len(paths):,}, for example {paths[0]}.")
        reason = f"{counted(len(paths), 'row')} without a label"
        listing.skipped.append(OmittedFile(source.name, reason, "no-label", len(paths)))


def _split_cell(cell: str, source: Path, line: int) -> Split:
    if not cell:
        return ""
    split = split_named(cell)
    if split is None:
        near = nearest(cell, ("train", "val", "test"))
        hint = f"did you mean {near[0]}?" if near else "write train, val, test or nothing."
        raise DataError(f"{source}, line {line}: the split {cell!r} is unknown; {hint}")
    return split


def read_boxes(folder: Path) -> dict[str, tuple[Box, ...]]:
    """`boxes.json` of a folder as {path: boxes (xmin, ymin, xmax, ymax) in pixels}; empty if absent.

    Raises `DataError` when it is not of that form.
    """
    source = folder / "boxes.json"
    if not source.is_file():
        return {}
    form = 'it must read {"class/file.jpg": [[xmin, ymin, xmax, ymax], ...], ...} in pixels'
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
        boxes = {path: tuple(_box(b) for b in listed) for path, listed in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{source} cannot be used ({error}): {form}, or remove the file.") from None
    return boxes


def _box(values: Sequence[float]) -> Box:
    xmin, ymin, xmax, ymax = (float(v) for v in values)
    if not (xmin <= xmax and ymin <= ymax):
        raise ValueError(f"a box runs from {xmin:g}, {ymin:g} to {xmax:g}, {ymax:g}")
    return (xmin, ymin, xmax, ymax)


def write_split(path: Path, dataset: Dataset, fingerprints: Fingerprints | None = None) -> None:
    """Write `path,label,split,group,mask,sha256`, one row per image, sorted by path; labels are class names.

    Paths are relative to `dataset.root`, so that the file holds wherever the data is moved. The file appears whole or
    not at all. Checksums are taken from `fingerprints` where given, otherwise computed.
    """
    samples = sorted(dataset.samples, key=lambda s: s.path)
    if fingerprints is None:
        hashes = dict(zip([s.path for s in samples], content_hashes([dataset.file(s) for s in samples]), strict=True))
    else:
        hashes = dict(zip(fingerprints.paths, fingerprints.contents, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for s in samples:
                label, checksum = dataset.classes[s.label], hashes.get(s.path, "")
                writer.writerow((s.path, label, s.split, s.group, s.mask or "", checksum))
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_split(path: Path, root: Path | None = None, classes: Sequence[str] | None = None) -> Dataset:
    """The dataset that `write_split` wrote. `root` is the data folder (by default the folder of the CSV).

    `classes` gives the order of the classes, which the file does not hold: a bundle's, say; without it names decide as
    in `read_dataset`. Boxes are taken from the root's `boxes.json`. Raises `DataError` as `read_csv` does.
    """
    base = path.parent if root is None else root
    listing = read_csv(path, base, search=False)
    boxes = read_boxes(base)
    entries = [replace(e, boxes=boxes.get(e.path, ())) for e in listing.entries]
    return build_dataset(base, entries, classes=classes, skipped=listing.skipped)


def read_checksums(path: Path) -> dict[str, str]:
    """{path: sha256} as `write_split` noted them, without looking at the images; blank checksums are left out."""
    with _opened(path) as table:
        header, rows = table.header, list(table.rows)
    if "path" not in header or "sha256" not in header:
        raise DataError(f"{path} has no columns path and sha256: it was not written by pellucid's split.")
    p, h = header.index("path"), header.index("sha256")
    return {row[p]: row[h] for _, row in rows if len(row) > max(p, h) and row[h]}


def describe_table(source: Path) -> str:
    """The columns from which a table would be read, in brackets; "" where they are not known. Reads a few rows."""
    with _opened(source) as table:
        rows = list(itertools.islice(table.rows, 100))
    if not rows:
        return ""
    found = _columns(source, table, rows, TableOptions())
    label = table.header[found.places["label"]] if "label" in found.places else "columns of 0 and 1"
    return f" (files in column {table.header[found.places['path']]}, classes in {label})"
