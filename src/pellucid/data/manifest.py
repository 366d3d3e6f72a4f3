"""Lists of images in files: the CSV `path,label[,split,group,mask]`, a run's `split.csv`, and `boxes.json`."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DataError, nearest
from .dataset import Box, Dataset, Skipped, Split
from .fingerprint import Fingerprints, content_hashes
from .labelling import Entry, build_dataset, shorten

COLUMNS = ("path", "label", "split", "group", "mask", "sha256")
SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "augmented"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_named(name: str) -> Split | None:
    """The split that a folder or cell names (`Training`, `test_data`, `augmented_data`, `VALID` ...), or None."""
    words = name.strip().casefold().replace("-", "_").replace(" ", "_").strip("_")
    for ending in ("_data", "_dataset", "_set", "_images", "data", "set"):
        words = words.removesuffix(ending)
    return SPLIT_NAMES.get(words)


def read_csv(source: Path, root: Path, group_by: str | None = None) -> tuple[list[Entry], list[Skipped], str | None]:
    """The rows of a CSV with the columns `path,label[,split,group,mask]`, paths relative to `root`.

    Commas, semicolons and tabs separate; other columns are ignored. `group_by` may name the column of the groups.
    Returns the entries, the rows left out, and `group_by` if it named no column. Raises `DataError` when a column is
    missing, a label blank, a split unknown, a path given two labels, or a file not there.
    """
    header, rows = _table(source)
    columns = {name.strip().casefold(): i for i, name in enumerate(header)}
    missing = [c for c in ("path", "label") if c not in columns]
    if missing:
        raise DataError(
            f"{source} has no column {' and none '.join(missing)}, only {shorten(header)}: "
            "name the columns path,label and, where known, split,group,mask."
        )
    group_column = "group"
    if group_by is not None and group_by.strip().casefold() in columns:
        group_column, group_by = group_by.strip().casefold(), None
    entries: dict[str, Entry] = {}
    skipped: list[Skipped] = []
    for line, row in rows:
        cells = {c: row[i].strip() if i < len(row) else "" for c, i in columns.items()}
        if not cells["path"] or not cells["label"]:
            blank = "label" if cells["path"] else "path"
            raise DataError(f"{source}, line {line}: the {blank} is blank; fill it in or delete the row.")
        entry = Entry(
            _relative(cells["path"], root),
            cells["label"],
            _split_cell(cells.get("split", ""), source, line),
            cells.get(group_column, ""),
            _relative(cells["mask"], root) if cells.get("mask") else None,
        )
        known = entries.setdefault(entry.path, entry)
        if known is not entry:
            if known != entry:
                raise DataError(
                    f"{source}, line {line}: {entry.path} is listed before with another label, split, group or "
                    "mask; keep one row of each image."
                )
            skipped.append(Skipped(entry.path, f"listed again in line {line}"))
    if not entries:
        raise DataError(f"{source} lists no images: add one row path,label for each.")
    _must_exist(source, root, list(entries.values()))
    return list(entries.values()), skipped, group_by


def _table(source: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and (line number, row) of a CSV file; blank lines are passed over."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source} cannot be read as a CSV file in UTF-8 ({error}): save it again as such.") from None
    except OSError as error:
        raise DataError(f"{source} cannot be opened ({error.strerror}): check path and rights.") from None
    if not rows:
        raise DataError(f"{source} is empty: it needs a first line path,label and one row for each image.")
    return rows[0][1], rows[1:]


def _relative(cell: str, root: Path) -> str:
    """A path as it stands in a cell, with forward slashes and relative to `root` where it lies below it."""
    if "\\" in cell and not (root / cell).exists():
        cell = cell.replace("\\", "/")
    path = os.path.normpath(cell)
    if Path(path).is_absolute():
        base = os.path.normpath(root.absolute())
        path = os.path.relpath(path, base) if Path(path).is_relative_to(base) else path
    return Path(path).as_posix()


def _split_cell(cell: str, source: Path, line: int) -> Split:
    if not cell:
        return ""
    split = split_named(cell)
    if split is None:
        near = nearest(cell, ("train", "val", "test"))
        hint = f"did you mean {near[0]}?" if near else "write train, val, test or nothing."
        raise DataError(f"{source}, line {line}: the split {cell!r} is unknown; {hint}")
    return split


def _must_exist(source: Path, root: Path, entries: Sequence[Entry]) -> None:
    wanted = [p for e in entries for p in (e.path, e.mask) if p is not None]
    gone = [p for p in wanted if not (root / p).is_file()]
    if gone:
        raise DataError(
            f"{len(gone):,} of {len(wanted):,} files listed in {source} are not there ({shorten(gone, 2)}): paths are "
            f"taken relative to {root}; correct them or delete the rows."
        )


def read_boxes(folder: Path) -> dict[str, tuple[Box, ...]]:
    """`boxes.json` of a folder as {path: boxes (xmin, ymin, xmax, ymax) in pixels}; empty when there is none.

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
    entries, skipped, _ = read_csv(path, base)
    boxes = read_boxes(base)
    return build_dataset(
        base, [replace(e, boxes=boxes.get(e.path, ())) for e in entries], classes=classes, skipped=skipped
    )


def read_checksums(path: Path) -> dict[str, str]:
    """{path: sha256} as `write_split` noted them, without looking at the images; blank checksums are left out."""
    header, rows = _table(path)
    if "path" not in header or "sha256" not in header:
        raise DataError(f"{path} has no columns path and sha256: it was not written by pellucid's split.")
    p, h = header.index("path"), header.index("sha256")
    return {row[p]: row[h] for _, row in rows if len(row) > max(p, h) and row[h]}
