"""The subgroup of each image: a cell of the table that the images came from, or a part of the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bundle.run import RunFolder
from ..data.manifest import read_csv
from ..data.table import TableOptions
from ..errors import InputError
from ..evaluation.subgroups import subgroup_names, subgroups_of
from ..recipe import load_recipe
from ..recipe_sections import DataSection


@dataclass(frozen=True, slots=True)
class ImageTable:
    """The CSV file that lists images below `root`, and how its columns are found."""

    source: Path
    root: Path
    options: TableOptions | None = None

    def column(self, name: str, paths: Sequence[str]) -> list[str] | None:
        """The cell of a column for each path, "" for a path that is not listed; None without such a column."""
        listing = read_csv(self.source, self.root, name, self.options, several=True)
        if listing.group_by is not None:
            return None
        cells = {entry.path: entry.group for entry in listing.entries}
        return [cells.get(path, "") for path in paths]


def table_of(source: Path, root: Path, options: TableOptions | None = None) -> ImageTable | None:
    """The table that a dataset was read from; None for a folder of images."""
    return ImageTable(source, root, options) if source.is_file() else None


def table_by_recipe(source: Path, root: Path, section: DataSection) -> ImageTable | None:
    """The same, as the data section of a recipe reads it."""
    images = Path(section.images) if section.images else None
    return table_of(source, root, TableOptions(section.path_column, section.label_column, images))


def table_of_run(folder: RunFolder) -> ImageTable | None:
    """The table that a run was trained on, where it still lies there; None for a folder of images."""
    if not (folder.record.is_file() and folder.recipe.is_file()):
        return None
    source = Path(folder.read_record().data.source)
    return table_by_recipe(source, source.parent, load_recipe(folder.recipe).data)


def told_apart(paths: Sequence[str], wanted: str, table: ImageTable | None) -> list[str]:
    """The subgroup of each path by a column of the table, or by a pattern. InputError where they are all alike."""
    cells = None if table is None else table.column(wanted, paths)
    if cells is None:
        return subgroup_names(paths, wanted)
    if len(set(cells)) < 2:
        raise InputError(f"The column {wanted} is the same for all {len(cells)} images: it tells no subgroups apart.")
    return cells


def as_they_are(paths: Sequence[str], wanted: str, table: ImageTable | None) -> list[str]:
    """The same for any images, also where they are all alike or of no subgroup; empty where none is `wanted`."""
    if not wanted:
        return []
    cells = None if table is None else table.column(wanted, paths)
    return subgroups_of(paths, wanted) if cells is None else cells
