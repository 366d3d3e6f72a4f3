"""What a batch is made of: folders, globs, CSV lists, ZIP and TAR archives, Parquet files of bytes; local or by URL.

The films of a picture archive are listed by its DICOMweb service (`pacs/dicomweb.py`).

A source is walked once, in an order that depends on nothing but its content, and only names are read. What cannot be
looked into (a damaged archive among a thousand, a name that is not Unicode) becomes an item with a `problem`, so that
it is told and stops nothing.
"""

from __future__ import annotations

import csv
import itertools
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..._optional import require
from ...data.table import PATH_COLUMNS, TABLE_SUFFIXES, ImageFiles, TableOptions, UnusableTable, open_table, path_column
from ...data.walk import has_image_suffix, is_passed_over_in, walk
from ...errors import InputError
from ...images.formats import IMAGE_SUFFIXES, is_dicom
from ...pacs.dicomweb import DicomwebArchive, is_dicomweb, parse_place
from .files import children, exists, expand, is_folder, is_url, join, located, open_binary, parent
from .tables import open_parquet, read_group

Kind = Literal["file", "zip", "tar", "parquet"]

NAME_COLUMNS = (*PATH_COLUMNS, "name", "key", "__key__", "id")
BYTES_COLUMNS = ("bytes", "image", "image_bytes", "content", "data", "jpg", "jpeg", "png")
DICOMDIR = "DICOMDIR"
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


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


Say = Callable[[str], None]


def list_items(sources: Sequence[str], table: TableOptions | None = None, say: Say | None = None) -> Iterator[Item]:
    """Every image of the sources, in a fixed order, one source after the other.

    `table` names the column of the paths in CSV lists, and the folder of their files. `say` is told what was passed
    over because pellucid wrote it.

    Raises InputError for a source that does not exist or of which nothing can be read, and MissingDependencyError for a
    URL whose file system is not installed.
    """
    for source in sources:
        found = False
        problems: list[Item] = []
        for item in _list(located(source), table or TableOptions(), say or (lambda line: None)):
            found = found or not item.problem
            problems += [item] if item.problem and not found and len(problems) < 3 else []
            yield item
        if not found and problems:
            raise InputError(f"Nothing in {source} can be read: {problems[0].path}: {problems[0].problem}")
        if not found:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"There are no images in {source}: neither {known}, nor members or rows of that kind.")


def _list(source: str, table: TableOptions, say: Say) -> Iterator[Item]:
    if is_dicomweb(source):
        yield from _archived(source, say)
        return
    if is_folder(source):
        yield from _below(source, say)
        return
    matches = [source] if exists(source) else expand(source)
    if not matches:
        raise InputError(f"There is no file, folder or match for {source}: check the path.")
    for path in matches:
        if is_folder(path):
            yield from _below(path, say)
        else:
            yield from _opened(path, table)


def _archived(source: str, say: Say) -> Iterator[Item]:
    """The films of a picture archive."""
    archive = DicomwebArchive(parse_place(source))
    try:
        if archive.in_clear:
            say(f"The password for {archive.place.host} is sent unencrypted: write dicomwebs:// where it speaks TLS.")
        yield from map(_file, archive.pictures(say))
    finally:
        archive.close()


def _below(folder: str, say: Say) -> Iterator[Item]:
    """The images below a folder; one that cannot be opened is an item with a problem."""
    if not is_url(folder) and (Path(folder) / DICOMDIR).is_file():
        yield from _opened(str(Path(folder) / DICOMDIR), TableOptions())
        return
    if is_url(folder):
        yield from (_file(path) for path in children(folder) if has_image_suffix(path))
        return
    try:
        for met in walk(folder, once=True):
            path = f"{folder.rstrip('/')}/{met.path}"
            if met.what == "file" and (has_image_suffix(met.path) or _is_film(path)):
                yield _file(path)
            elif met.what == "closed":
                yield Item(_readable(path), problem=f"folder cannot be opened ({met.detail})")
            elif met.what == "pellucid":
                say(f"Passed over {_readable(path)}: {met.detail} that pellucid wrote.")
    except OSError as error:
        raise InputError(f"{folder} cannot be opened ({error.strerror}): check your rights to it.") from None


def _is_film(path: str) -> bool:
    """Whether a file without a suffix, or named by a UID, is a DICOM file, as those on discs and in exports are."""
    name = path.rpartition("/")[2]
    suffix = name.rpartition(".")[2] if "." in name else ""
    if (suffix and not suffix.isdecimal()) or name == DICOMDIR:
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path for each of a million takes long
            return is_dicom(file.read(132))
    except OSError:
        return False


def _opened(path: str, table: TableOptions) -> Iterator[Item]:
    """The images that one file holds, told by its name; itself, where it is no container."""
    name = path.lower()
    reader: Callable[[str], Iterator[Item]] | None = None
    if name.endswith(tuple(TABLE_SUFFIXES)):
        reader = partial(_table, options=table)
    elif name.endswith(".zip"):
        reader = _zip
    elif name.endswith(TAR_SUFFIXES):
        reader = _tar
    elif name.endswith((".parquet", ".parq")):
        reader = _parquet
    elif Path(path).name == DICOMDIR:
        reader = _dicomdir
    if reader is None:
        yield _file(path)
        return
    try:
        yield from reader(path)
    except (InputError, UnusableTable) as error:
        yield Item(path, problem=str(error))
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, csv.Error, ValueError) as error:
        # Decompressors and Arrow raise these on damaged bytes; their text says little, the first line is enough.
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0][:200] or type(error).__name__
        yield Item(path, problem=f"cannot be read to its end, it may be damaged ({reason})")


def _dicomdir(path: str) -> Iterator[Item]:
    """The images of a DICOMDIR, in its order; their files have no suffix. Reference: DICOM PS3.10, 8."""
    pydicom = require("pydicom", "dicom")
    try:
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or ()
    except pydicom.errors.InvalidDicomError:
        raise InputError("is not a DICOM directory, or it is damaged") from None
    for record in records:
        named = record.get("ReferencedFileID")
        if str(record.get("DirectoryRecordType")).strip() == "IMAGE" and named:
            parts = [named] if isinstance(named, str) else [str(part) for part in named]
            inside = all(part not in ("", ".", "..") and not set(part) & set("/\\") for part in parts)
            file = _file(str(Path(path).parent.joinpath(*parts) if inside else path))
            yield file if inside else Item(file.path, problem="names a file outside its own folder")


def _file(path: str) -> Item:
    readable = _readable(path)
    return Item(readable, problem="" if readable == path else "file name is not valid Unicode: rename it")


def _readable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _is_member(name: str) -> bool:
    return has_image_suffix(name) and not is_passed_over_in(name)


def _table(path: str, options: TableOptions) -> Iterator[Item]:
    """A CSV with a column of URLs, of paths relative to it or to a folder, or of names with or without a suffix."""
    with open_binary(path) as raw:
        table = open_table(raw)
        sample = list(itertools.islice(table.rows, 100))
        column = path_column(table, options.path_column, [row for _, row in sample])
        if column is None:
            listed = ", ".join(PATH_COLUMNS[:3])
            raise UnusableTable(f"has no column of paths: call it {listed}, ..., or name it by `path_column=`")
        folder = parent(path)
        files = None if is_url(path) else ImageFiles(Path(folder), options.images)
        for line, row in itertools.chain(sample, table.rows):
            cell = row[column].strip() if column < len(row) else ""
            if cell:
                yield _listed(cell, line, folder, files)


def _listed(cell: str, line: int, folder: str, files: ImageFiles | None) -> Item:
    """The file that a cell names."""
    if files is None or is_url(cell):
        return _file(join(folder, cell))
    try:
        found = files.find(cell)
    except UnusableTable as error:
        return Item(_readable(join(folder, cell)), problem=f"line {line} {error}")
    return _file(join(folder if found else str(files.root), found or cell))


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
            # The library keeps every header that it has read; a million headers are a gigabyte.
            archive.members = []  # type: ignore[attr-defined]


def _parquet(path: str) -> Iterator[Item]:
    with open_binary(path) as file, open_parquet(file) as table:
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
