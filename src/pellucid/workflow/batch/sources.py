"""What a batch is made of: folders, globs, CSV lists, ZIP and TAR archives, Parquet files of bytes; local or by URL.

A source is walked once, in an order that depends on nothing but its content, and only names are read. What cannot be
looked into (a damaged archive among a thousand, a name that is not Unicode) becomes an item with a `problem`, so that
it is told and stops nothing.
"""

from __future__ import annotations

import csv
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import InputError
from ...images.formats import IMAGE_SUFFIXES
from .files import children, exists, expand, is_folder, join, located, open_binary, parent
from .tables import open_table, read_group

Kind = Literal["file", "zip", "tar", "parquet"]

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "url")
NAME_COLUMNS = (*PATH_COLUMNS, "name", "key", "__key__", "id")
BYTES_COLUMNS = ("bytes", "image", "image_bytes", "content", "data", "jpg", "jpeg", "png")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TABLE_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Item:
    """One image. `path` is what rows and messages call it; the rest says where its bytes are.

    A `file` lies at `path` itself. Otherwise `container` is the archive or Parquet file, and (`start`, `length`) the
    number of the member in a ZIP's directory, the place of the bytes in an (unpacked) TAR, or row group and row of the
    Parquet column `column`. An item with a `problem` cannot be read, and that is why.
    """

    path: str
    kind: Kind = "file"
    container: str = ""
    column: str = ""
    start: int = 0
    length: int = 0
    problem: str = ""


def list_items(sources: Sequence[str]) -> Iterator[Item]:
    """Every image of the sources, in a fixed order, one source after the other.

    Raises InputError for a source that does not exist or of which nothing can be read, and MissingDependencyError for a
    URL whose file system is not installed.
    """
    for source in sources:
        found = False
        problems: list[Item] = []
        for item in _list(located(source)):
            found = found or not item.problem
            problems += [item] if item.problem and not found and len(problems) < 3 else []
            yield item
        if not found and problems:
            raise InputError(f"Nothing in {source} can be read: {problems[0].path}: {problems[0].problem}")
        if not found:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"There are no images in {source}: neither {known}, nor members or rows of that kind.")


def _list(source: str) -> Iterator[Item]:
    if is_folder(source):
        yield from (_file(path) for path in children(source) if _is_image(path))
        return
    matches = [source] if exists(source) else expand(source)
    if not matches:
        raise InputError(f"There is no file, folder or match for {source}: check the path.")
    for path in matches:
        if is_folder(path):
            yield from (_file(child) for child in children(path) if _is_image(child))
        else:
            yield from _opened(path)


def _opened(path: str) -> Iterator[Item]:
    """The images that one file holds, told by its name; itself, where it is no container."""
    name = path.lower()
    walk: Callable[[str], Iterator[Item]] | None = None
    if name.endswith(TABLE_SUFFIXES):
        walk = _table
    elif name.endswith(".zip"):
        walk = _zip
    elif name.endswith(TAR_SUFFIXES):
        walk = _tar
    elif name.endswith((".parquet", ".parq")):
        walk = _parquet
    if walk is None:
        yield _file(path)
        return
    try:
        yield from walk(path)
    except InputError as error:
        yield Item(path, problem=str(error))
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, csv.Error, ValueError) as error:
        # Decompressors and Arrow raise these on damaged bytes; their text says little, the first line is enough.
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0][:200] or type(error).__name__
        yield Item(path, problem=f"cannot be read to its end, it may be damaged ({reason})")


def _file(path: str) -> Item:
    readable = _readable(path)
    return Item(readable, problem="" if readable == path else "file name is not valid Unicode: rename it")


def _readable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path for each of a million takes long


def _is_member(name: str) -> bool:
    parts = name.split("/")
    return _is_image(name) and not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _table(path: str) -> Iterator[Item]:
    """A CSV with a column of paths or URLs, relative to the CSV."""
    with open_binary(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text, delimiter="\t" if path.lower().endswith(".tsv") else ",")
        columns = {name.strip().lower(): name for name in rows.fieldnames or () if name}
        column = next((columns[name] for name in PATH_COLUMNS if name in columns), None)
        if column is None:
            raise InputError(f"has no column of paths: its first line must name one, {' or '.join(PATH_COLUMNS[:3])}")
        folder = parent(path)
        for row in rows:
            if listed := (row[column] or "").strip():
                yield _file(join(folder, listed))


def _zip(path: str) -> Iterator[Item]:
    with open_binary(path) as file, zipfile.ZipFile(file) as archive:
        for number, info in enumerate(archive.infolist()):
            if not info.is_dir() and _is_member(info.filename):
                locked = "is protected by a password: unpack the archive by hand" if info.flag_bits & 1 else ""
                yield Item(_readable(f"{path}/{info.filename}"), "zip", path, "", number, info.file_size, locked)


def _tar(path: str) -> Iterator[Item]:
    with open_binary(path) as file, tarfile.open(fileobj=file, mode="r:*") as archive:
        for info in archive:
            if info.isfile() and not info.issparse() and _is_member(info.name):
                yield Item(_readable(f"{path}/{info.name}"), "tar", path, "", info.offset_data, info.size)
            # The library keeps every header that it has read; a million of them are a gigabyte.
            archive.members = []  # type: ignore[attr-defined]


def _parquet(path: str) -> Iterator[Item]:
    with open_binary(path) as file, open_table(file) as table:
        column = _bytes_column(table.schema_arrow)
        if column is None:
            wanted = ", ".join(BYTES_COLUMNS[:3])
            raise InputError(f"holds no column of image bytes (binary, or a struct with `bytes`; named {wanted}, ...)")
        name = _name_column(table.schema_arrow, column)
        for group in range(table.num_row_groups):
            names = read_group(table, group, [name]) if name else None
            flat = names.flatten().column(0).to_pylist() if names is not None else []
            for row in range(table.metadata.row_group(group).num_rows):
                told = (flat[row] if flat else None) or f"row-group-{group}/{row}"
                yield Item(_readable(f"{path}/{told}"), "parquet", path, column, group, row)


def _bytes_column(schema: Any) -> str | None:
    """The dotted name of the column with the images' bytes."""
    import pyarrow as pa

    found: dict[str, str] = {}
    for field in schema:
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            found[field.name.lower()] = field.name
        elif pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            found[field.name.lower()] = f"{field.name}.bytes"
    return next((found[n] for n in BYTES_COLUMNS if n in found), next(iter(found.values()), None))


def _name_column(schema: Any, column: str) -> str | None:
    """The dotted name of the column that names the images: beside the bytes in a struct, or of its own."""
    import pyarrow as pa

    outer = column.partition(".")[0]
    kind = schema.field(outer).type
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        return f"{outer}.path"
    names = {f.name.lower(): f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)}
    return next((names[n] for n in NAME_COLUMNS if n in names), None)
