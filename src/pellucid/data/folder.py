"""A folder of images, or a table that lists them, to a `Dataset`, whatever the layout.

Folders say split and class as `layout.py` reads them; where they name no classes, annotations of object detection do
(`annotations.py`). Masks lie in a parallel tree named `masks`, boxes in `boxes.json`.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError
from ..recipe_sections import DataSection
from .annotations import Annotations, read_annotations
from .dataset import Dataset, OmittedFile, Reason
from .labelling import LabelledFile, build_dataset, complement, counted, shorten
from .layout import CONTAINERS, FolderLayout, Parts, read_layout
from .manifest import read_boxes, read_csv
from .origins import with_origins
from .refusals import no_classes, no_images, unreached
from .table import TABLE_SUFFIXES, TableOptions
from .tree import BESIDE_CLASSES, MASK_FOLDER, Tree, condensed, scan, set_apart, suffix

DOCUMENT_SUFFIXES = TABLE_SUFFIXES | {".md", ".rst", ".json", ".toml", ".yaml", ".yml", ".xml", ".html", ".pdf"}
MANY_LEFT_OUT = 0.1
"""The share of all images from which on those left out are the first thing said."""


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What is made of the labels that were read; see `read_dataset`."""

    positive: str | None = None
    merge: Mapping[str, Sequence[str]] | None = None
    group_by: str | None = None
    classes: Sequence[str] | None = None
    leave_out: Sequence[str] = ()
    one_against_rest: str | None = None

    @property
    def named(self) -> set[str]:
        """The classes that are named, casefolded: their folders are classes, whatever their names say."""
        merged = [m for members in (self.merge or {}).values() for m in members]
        rest = [self.one_against_rest] if self.one_against_rest else []
        return {n.casefold() for n in (*(self.classes or ()), *merged, *self.leave_out, *rest)}


def read_dataset(
    source: Path,
    *,
    positive: str | None = None,
    merge: Mapping[str, Sequence[str]] | None = None,
    group_by: str | None = None,
    classes: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    one_against_rest: str | None = None,
    table: TableOptions | None = None,
) -> Dataset:
    """Read a folder of labelled images, or a table of paths and labels.

    `positive` names the positive class (binary tasks only). `merge` merges classes, {new name: class names}. `group_by`
    is a regular expression whose first non-empty capture group, searched in the file name and then in the relative
    path, names the patient or object of an image; or the name of a column of the table. `classes` keeps only these, in
    this order; `leave_out` drops some. `one_against_rest` makes two classes, the one it names and all others, and
    takes images that show several classes. `table` names columns and the folder of the files. No image is opened. The
    dataset's `notes` say what was decided, `skipped` what was left out.

    Raises `DataError` when there is no such folder or file, fewer than two classes, images with several classes, or an
    option does not fit.
    """
    options = LabelOptions(positive, merge, group_by, classes, leave_out, one_against_rest)
    if source.is_dir():
        if table is not None and (table.path_column or table.label_column or table.images):
            raise DataError(
                "`path_column=`, `label_column=` and `images=` go with a table of paths and labels, and "
                f"{source} is a folder: give the table."
            )
        return _read_folder(source, options)
    if not source.exists():
        raise DataError(f"There is no folder or CSV file {source}: check the path.")
    if source.suffix.lower() not in TABLE_SUFFIXES:
        excel = " Save the sheet as CSV." if source.suffix.lower() in (".xlsx", ".xls", ".ods") else ""
        raise DataError(
            f"{source} is neither a folder nor a CSV file: give the folder of images, or a CSV with path,label.{excel}"
        )
    return _read_table(source, options, table)


def read_by_recipe(source: Path, section: DataSection) -> Dataset:
    """Read a folder or table as the data section of a recipe says."""
    table = TableOptions(section.path_column, section.label_column, Path(section.images) if section.images else None)
    return read_dataset(
        source,
        positive=section.positive,
        merge=section.merge,
        group_by=section.group_by,
        leave_out=section.leave_out,
        one_against_rest=section.one_against_rest,
        table=table,
    )


def _read_table(source: Path, options: LabelOptions, table: TableOptions | None) -> Dataset:
    root = source.parent
    rest = options.one_against_rest is not None or _asks_for_rest(options.classes)
    listing = read_csv(source, root, options.group_by, table, several=rest)
    boxes = read_boxes(root)
    entries = [replace(e, boxes=boxes.get(e.path, ())) for e in listing.entries]
    options = replace(options, group_by=listing.group_by)
    return _built(root, entries, options, skipped=listing.skipped, notes=listing.notes)


def _asks_for_rest(classes: Sequence[str] | None) -> bool:
    return classes is not None and len(classes) == 2 and any(complement(c) in classes for c in classes)


def _built(
    root: Path,
    entries: Sequence[LabelledFile],
    options: LabelOptions,
    *,
    skipped: Sequence[OmittedFile],
    notes: Sequence[str],
    passed_over: Sequence[str] = (),
) -> Dataset:
    return build_dataset(
        root, entries, positive=options.positive, merge=options.merge, group_by=options.group_by,
        classes=options.classes, leave_out=options.leave_out, one_against_rest=options.one_against_rest,
        skipped=skipped, notes=notes, passed_over=passed_over,
    )  # fmt: skip


def _read_folder(root: Path, options: LabelOptions) -> Dataset:
    tree = scan(root)
    pictures, masks, aside = set_apart(tree, BESIDE_CLASSES - options.named)
    if not pictures:
        raise DataError(no_images(root, tree.odd, tree.skipped, tree.passed_over))
    layout = read_layout({_folders(p) for p in pictures}, named=options.named, positive=options.positive)
    annotations = read_annotations(root, pictures, tree.odd) if len(layout.classes) < 2 else None
    if annotations is None and not layout.classes:
        raise DataError(no_classes(root, pictures, layout, tree.odd))
    entries = _entries(pictures, layout, annotations, tree, several=options.one_against_rest is not None)
    entries = _without_second_ways(root, entries, tree)
    _drop_documents(tree, entries, annotations)
    _name_idle_folders(tree, [*pictures, *(annotations.used if annotations else ())], aside)
    twins = {_twin_key(m): m for m in sorted(masks, reverse=True)}
    entries = [replace(e, mask=twins.get(_twin_key(e.path))) for e in entries]
    entries = _with_boxes(root, layout, entries, tree.notes)
    entries = with_origins(root, "/".join(layout.wrapper), entries, tree.notes)
    if twins:
        many = sum(e.mask is not None for e in entries)
        tree.notes.append(f"Masks were found for {many:,} of {counted(len(entries), 'image')}.")
    skipped = (*tree.skipped, *condensed(tree.odd, "is not an image by its name", "not-an-image"))
    if first := _mostly_left_out(len(entries), skipped):
        tree.passed_over.insert(0, first)
    if len({e.name for e in entries}) < 2:
        tree.passed_over += unreached(tree.skipped)
    made = _built(root, entries, options, skipped=skipped, notes=tree.notes, passed_over=tree.passed_over)
    above = layout.above if annotations is None else {}
    return replace(made, nested=tuple((name, tuple(b)) for name, b in sorted(above.items()) if name in made.classes))


def _folders(path: str) -> Parts:
    """The folders of a path that mean something: without `images` and the like."""
    return tuple(f for f in path.split("/")[:-1] if f.casefold() not in CONTAINERS)


def _entries(
    pictures: Sequence[str], layout: FolderLayout, annotations: Annotations | None, tree: Tree, *, several: bool
) -> list[LabelledFile]:
    """Class and split of each image; those that have none are put among the skipped."""
    entries: list[LabelledFile] = []
    gone: dict[Reason, list[str]] = defaultdict(list)
    outside: Counter[str] = Counter()
    for path in pictures:
        chain = _folders(path)
        if chain in layout.outside:
            outside[layout.outside[chain]] += 1
            continue
        split, name = layout.read[chain]
        if annotations is None:
            if name is None:
                gone["no-class-folder"].append(path)
            else:
                entries.append(LabelledFile(path, name, split))
            continue
        names = sorted(annotations.classes.get(path, ()))
        if not names or (len(names) > 1 and not several):
            gone["several-classes" if names else "no-annotation"].append(path)
            continue
        boxes = tuple(annotations.boxes.get(path, ()))
        entries.append(
            LabelledFile(path, names[0], annotations.splits.get(path, split), boxes=boxes, also=tuple(names[1:]))
        )
    _tell_of_layout(layout, outside, tree, by_folder=annotations is None)
    if bare := gone.get("no-class-folder"):
        counts = Counter(path.rpartition("/")[0] or "." for path in bare)
        listed = shorten([f"{place} ({counted(n, 'image')})" for place, n in sorted(counts.items())])
        tree.passed_over.append(f"Left out, because they lie in no class folder: the images of {listed}.")
    for code, paths in gone.items():
        tree.skipped += condensed(paths, _WITHOUT_CLASS[code], code)
    if annotations is not None:
        _tell_of_annotations(annotations, len(entries), gone, tree)
    return entries


_WITHOUT_CLASS: dict[Reason, str] = {
    "no-class-folder": "lies in no class folder",
    "several-classes": "shows objects of several classes",
    "no-annotation": "has no annotated object",
}


def _tell_of_layout(layout: FolderLayout, outside: Mapping[str, int], tree: Tree, *, by_folder: bool) -> None:
    if layout.wrapper:
        tree.notes.append(f"The images were found in {'/'.join(layout.wrapper)}/.")
    if layout.pooled:
        listed = shorten(sorted(layout.pooled))
        tree.notes.append(f"Folders of folds, years or parts are read together, and not as classes: {listed}.")
    for name in layout.doubtful:
        tree.notes.append(f"{name} is taken for a class, since the folders beside it are none of train, val or test.")
    if layout.level:
        tree.notes.append(f"Each of {shorten(layout.level)} holds the same classes; they are read together.")
    for name, below in sorted(layout.above.items() if by_folder else ()):
        tree.notes.append(
            f"{name} is taken for one class, although all its images lie in folders below it ({shorten(below, 4)}): if "
            "these are the classes, give the folder that holds them."
        )
    if outside:
        listed = shorten([f"{name} ({counted(n, 'image')})" for name, n in outside.items()])
        tree.passed_over.append(f"Ignored, because they stand beside train, validation or test folders: {listed}.")
        tree.skipped += [
            OmittedFile(name, f"folder of {counted(n, 'image')} beside the splits", "beside-splits", n)
            for name, n in outside.items()
        ]


def _tell_of_annotations(found: Annotations, kept: int, gone: Mapping[Reason, Sequence[str]], tree: Tree) -> None:
    """Say what annotations gave. Raises DataError where they give no image one class."""
    several, none = len(gone.get("several-classes", ())), len(gone.get("no-annotation", ()))
    rest = f"{several:,} show objects of several classes, {none:,} have no annotated object"
    if not kept:
        raise DataError(
            f"{found.form} annotations were found, but no image has objects of one class alone ({rest}), and one class "
            "an image is learnt: cut the objects out into class folders, or tell one class from the rest by "
            "`one_against_rest=CLASS`."
        )
    tree.passed_over.append(
        f"Classes come from {found.form} annotations: {counted(kept, 'image')} with objects of one class are used; "
        f"{rest}."
    )


def _without_second_ways(root: Path, entries: list[LabelledFile], tree: Tree) -> list[LabelledFile]:
    """Leave out images that a link shows under a second class, in the same split, although they lie in a first one."""
    if not tree.links:
        return entries
    base = os.path.realpath(root)

    def real(folder: str) -> str:
        above = folder
        while above and above not in tree.links:
            above = above.rpartition("/")[0]
        return tree.links[above] + folder[len(above) :] if above else f"{base}/{folder}"

    ways: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for e in entries:
        folder = e.path.rpartition("/")[0]
        ways[real(folder)].setdefault((e.name, e.split), folder)
    drop: set[str] = set()
    for place, by_class in ways.items():
        if len({name for name, _ in by_class}) > 1:
            linked = sorted(by_class.values(), key=lambda folder: (f"{base}/{folder}" != place, folder))
            drop.update(linked[1:])
    tree.skipped += [
        OmittedFile(folder, "link to a folder that is a class already", "again") for folder in sorted(drop)
    ]
    return [e for e in entries if e.path.rpartition("/")[0] not in drop]


def _drop_documents(tree: Tree, entries: Sequence[LabelledFile], annotations: Annotations | None) -> None:
    """Keep silent on what was read as annotations, and on documents that lie in no folder of images."""
    inside = {e.path.rpartition("/")[0] for e in entries}
    used = annotations.used if annotations else set()
    tree.odd = [
        p for p in tree.odd
        if p not in used and (p.rpartition("/")[0] in inside or suffix(p) not in DOCUMENT_SUFFIXES)
    ]  # fmt: skip


def _name_idle_folders(tree: Tree, used: Sequence[str], aside: set[str]) -> None:
    """Say which folders gave no image and hold nothing that was passed over, the topmost of each branch."""
    busy: set[str] = set()
    for path in (*used, *tree.hidden, *tree.pellucid):
        folder = path.rpartition("/")[0]
        while folder and folder not in busy:
            busy.add(folder)
            folder = folder.rpartition("/")[0]
    told = {s.path for s in tree.skipped} | aside
    idle: list[str] = []
    for folder in sorted(tree.folders):
        above = folder.split("/")
        known = any("/".join(above[:i]) in told for i in range(1, len(above) + 1))
        if folder not in busy and not known:
            told.add(folder)
            idle.append(folder)
    tree.skipped += [OmittedFile(folder, "folder holds no images", "empty-folder") for folder in idle]
    if idle:
        tree.passed_over.append(f"Ignored, because they hold no images: {shorten(idle)}.")


def _twin_key(path: str) -> Parts:
    """What an image and its mask have in common: the folders without `images` and `masks`, and the stem."""
    *folders, name = path.split("/")
    kept = (f for f in folders if f.casefold() not in CONTAINERS and f.casefold() != MASK_FOLDER)
    return (*kept, name.rpartition(".")[0])


def _with_boxes(root: Path, layout: FolderLayout, entries: list[LabelledFile], notes: list[str]) -> list[LabelledFile]:
    place = "/".join(layout.wrapper)
    boxes = read_boxes(root)
    if not boxes and place:
        boxes = {f"{place}/{path}": b for path, b in read_boxes(root / place).items()}
    if boxes:
        unused = sorted(boxes.keys() - {e.path for e in entries})
        if unused:
            notes.append(f"boxes.json names {counted(len(unused), 'file')} not among the images: {shorten(unused, 3)}.")
        entries = [replace(e, boxes=boxes.get(e.path, ())) for e in entries]
    elif not any(e.boxes for e in entries):
        return entries
    notes.append(f"Boxes were found for {sum(bool(e.boxes) for e in entries):,} of {counted(len(entries), 'image')}.")
    return entries


def _mostly_left_out(kept: int, skipped: Sequence[OmittedFile]) -> str:
    """A note where more than a tenth of the images were left out, with the folders that held most; else ""."""
    gone = sorted((s for s in skipped if s.images), key=lambda s: -s.images)
    many = sum(s.images for s in gone)
    if many <= MANY_LEFT_OUT * (kept + many):
        return ""
    listed = "; ".join(f"{s.path}: {s.reason}" for s in gone[:3])
    return f"{many:,} of {kept + many:,} images were left out ({listed}): check that this is the folder you mean."
