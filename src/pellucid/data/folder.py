"""A folder of images, or a CSV that lists them, to a `Dataset`: every layout that is found in the wild.

Known are `root/<split>/<class>/*`, `root/<class>/<split>/*` and `root/<class>/*`, with any folders below a class, with
`images/` anywhere between, and inside one or more folders that hold everything else (as unpacked archives do); masks
lie in a parallel tree named `masks`, boxes in `boxes.json`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import DataError
from ..images.formats import IMAGE_SUFFIXES
from .dataset import Dataset, Skipped, Split
from .labelling import Entry, build_dataset, counted, shorten
from .manifest import read_boxes, read_csv, split_named
from .origins import with_origins

TABLE_SUFFIXES = frozenset((".csv", ".tsv"))
DOCUMENT_SUFFIXES = TABLE_SUFFIXES | {".md", ".txt", ".rst", ".json", ".toml", ".yaml", ".yml", ".xml", ".html", ".pdf"}
MASK_FOLDER = "masks"
BESIDE_CLASSES = frozenset((MASK_FOLDER, "lungs", "lung masks", "segmentations", "annotations", "labels"))
CONTAINERS = frozenset(("images", "image", "imgs", "img"))
LITTER = frozenset(("thumbs.db", "desktop.ini"))
LISTED = 20

Parts = tuple[str, ...]


def read_dataset(
    source: Path,
    *,
    positive: str | None = None,
    grouping: Mapping[str, Sequence[str]] | None = None,
    group_by: str | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Read a folder of labelled images, or a CSV `path,label[,split,group,mask]` with paths relative to it.

    `positive` names the positive one of two classes. `grouping` merges classes, {new name: class names}. `group_by` is
    a regular expression whose first non-empty capture group, searched in the file name and then in the relative path,
    says which patient or object an image shows; or the name of a column of the CSV. `classes` keeps only these, in this
    order. No image is opened. What was decided is told in the dataset's `notes`, what was left out in `skipped`.

    Raises `DataError` when there is no such folder or file, fewer than two classes, or an option does not fit.
    """
    if source.is_dir():
        return _read_folder(source, positive, grouping, group_by, classes)
    if not source.exists():
        raise DataError(f"There is no folder or CSV file {source}: check the path.")
    if source.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(
            f"{source} is neither a folder nor a CSV file: give the folder of images, or a CSV with path,label."
        )
    root = source.parent
    entries, skipped, pattern = read_csv(source, root, group_by)
    boxes = read_boxes(root)
    entries = [replace(e, boxes=boxes.get(e.path, ())) for e in entries]
    return build_dataset(
        root, entries, positive=positive, grouping=grouping, group_by=pattern, classes=classes, skipped=skipped
    )


@dataclass(slots=True)
class _Tree:
    """What lies in a folder: relative paths of images, folders in which files were found, and what was left out."""

    images: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(slots=True)
class _Layout:
    """How the folders between the root and a file say its split and class."""

    wrapper: Parts
    order: str


def _read_folder(
    root: Path,
    positive: str | None,
    grouping: Mapping[str, Sequence[str]] | None,
    group_by: str | None,
    classes: Sequence[str] | None,
) -> Dataset:
    tree = _scan(root)
    named = {n.casefold() for n in (*(classes or ()), *(m for ms in (grouping or {}).values() for m in ms))}
    pictures, masks, aside, notes = _set_apart(tree, BESIDE_CLASSES - named)
    if not pictures:
        raise DataError(_no_images(root, tree, notes))
    layout = _layout([_folders(p) for p in pictures])
    entries = _entries(pictures, layout, tree, notes)
    if not entries:
        raise DataError(_no_classes(root, pictures, tree))
    _drop_documents(tree, entries)
    _name_idle_folders(tree, [e.path for e in entries], aside, notes)
    found = {_twin_key(m): m for m in sorted(masks, reverse=True)}
    entries = [replace(e, mask=found.get(_twin_key(e.path))) for e in entries]
    entries = _with_boxes(root, layout, entries, notes)
    entries = with_origins(root, "/".join(layout.wrapper), entries, notes)
    if found:
        notes.append(
            f"Masks were found for {sum(e.mask is not None for e in entries):,} of {counted(len(entries), 'image')}."
        )
    return build_dataset(
        root, entries, positive=positive, grouping=grouping, group_by=group_by, classes=classes,
        skipped=(*tree.skipped, *_condensed(tree.odd, "is not an image by its name")), notes=notes,
    )  # fmt: skip


def _scan(root: Path) -> _Tree:
    """All files below `root`. Links to files are followed, links to folders are not: they could run in circles."""
    tree = _Tree()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError as error:
            if not folder:
                raise DataError(f"{root} cannot be opened ({error.strerror}): check your rights to it.") from None
            tree.skipped.append(Skipped(folder, f"folder cannot be opened ({error.strerror})"))
            continue
        if folder:
            tree.folders.append(folder)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            if _is_folder(item, path, tree):
                pending.append(path)
    tree.images.sort()
    return tree


def _is_folder(item: os.DirEntry[str], path: str, tree: _Tree) -> bool:
    """File an item of a folder under what it is; True for a folder to look into."""
    hidden = item.name.startswith(".") or item.name == "__MACOSX"
    if item.is_dir(follow_symlinks=False):
        if hidden:
            tree.hidden.append(path)
        return not hidden
    if hidden or item.name.casefold() in LITTER:
        return False
    if item.is_dir():
        reason = "link to a folder: only links to files are followed; copy or mount the folder instead"
        tree.skipped.append(Skipped(path, reason))
    elif not item.is_file():
        tree.skipped.append(Skipped(path, "link that leads nowhere" if item.is_symlink() else "is not a regular file"))
    elif not _is_text(item.name):
        readable = path.encode("utf-8", "replace").decode()
        tree.skipped.append(Skipped(readable, "file name is not valid Unicode: rename it"))
    elif _suffix(item.name) in IMAGE_SUFFIXES:
        tree.images.append(path)
    else:
        tree.odd.append(path)
    return False


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each of 100,000 files takes seconds


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _set_apart(tree: _Tree, beside: frozenset[str]) -> tuple[list[str], list[str], set[str], list[str]]:
    """Images, masks, the folders that are no classes, and notes on them."""
    pictures: list[str] = []
    masks: list[str] = []
    ignored: dict[str, int] = defaultdict(int)
    for path in tree.images:
        folders = path.split("/")[:-1]
        at = next((i for i, f in enumerate(folders) if f.casefold().replace("_", " ") in beside), None)
        if at is None:
            pictures.append(path)
            continue
        ignored["/".join(folders[: at + 1])] += 1
        if folders[at].casefold() == MASK_FOLDER:
            masks.append(path)
    notes = []
    if ignored:
        listed = shorten([f"{name} ({counted(n, 'file')})" for name, n in ignored.items()])
        notes.append(f"Ignored as classes, because of their names: {listed}.")
    if tree.hidden:
        notes.append(f"Ignored, because they are hidden or made by the system: {shorten(sorted(tree.hidden))}.")
    tree.odd = [p for p in tree.odd if not any(p.startswith(f"{name}/") for name in ignored)]
    return pictures, masks, set(ignored), notes


def _folders(path: str) -> Parts:
    """The folders of a path that mean something: without `images` and the like."""
    return tuple(f for f in path.split("/")[:-1] if f.casefold() not in CONTAINERS)


def _layout(found: Sequence[Parts]) -> _Layout:
    """Recognise the layout from the folders of every image."""
    kinds = set(found)
    wrapper: Parts = ()
    while True:
        first = {k[0] for k in kinds if k}
        if any(len(k) > 1 and split_named(k[0]) for k in kinds):
            return _Layout(wrapper, "split/class")
        if len(first) != 1 or not all(len(k) > 1 for k in kinds if k):
            break
        wrapper = (*wrapper, *first)
        kinds = {k[1:] for k in kinds if k}
    seconds = [k[1] if len(k) > 1 else "" for k in kinds if k]
    return _Layout(wrapper, "class/split" if seconds and all(map(split_named, seconds)) else "class")


def _entries(pictures: Sequence[str], layout: _Layout, tree: _Tree, notes: list[str]) -> list[Entry]:
    """Class and split of each image; those that have none are put among the skipped."""
    entries: list[Entry] = []
    loose: list[str] = []
    outside: dict[str, int] = defaultdict(int)
    depth = len(layout.wrapper)
    for path in pictures:
        folders = _folders(path)[depth:]
        split: Split | None = ""
        if layout.order == "split/class" and folders:
            split, folders = split_named(folders[0]), folders[1:]
            if split is None:
                outside["/".join((*layout.wrapper, _folders(path)[depth]))] += 1
                continue
        elif layout.order == "class/split" and folders:
            split = split_named(folders[1])
        if not folders:
            loose.append(path)
            continue
        entries.append(Entry(path, folders[0], split or ""))
    if layout.wrapper:
        notes.append(f"The images were found in {'/'.join(layout.wrapper)}/.")
    if outside:
        listed = shorten([f"{name} ({counted(n, 'image')})" for name, n in outside.items()])
        notes.append(f"Ignored, because they stand beside train, validation or test folders: {listed}.")
        tree.skipped += [
            Skipped(name, f"folder of {counted(n, 'image')} beside the splits") for name, n in outside.items()
        ]
    tree.skipped += _condensed(loose, "lies in no class folder")
    return entries


def _drop_documents(tree: _Tree, entries: Sequence[Entry]) -> None:
    """Keep silent on a README, a table or boxes.json that lies in no folder of images: it belongs there."""
    inside = {e.path.rpartition("/")[0] for e in entries}
    tree.odd = [p for p in tree.odd if p.rpartition("/")[0] in inside or _suffix(p) not in DOCUMENT_SUFFIXES]


def _name_idle_folders(tree: _Tree, used: Sequence[str], aside: set[str], notes: list[str]) -> None:
    """Say which folders gave no image, the topmost of each branch."""
    busy: set[str] = set()
    for path in used:
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
    tree.skipped += [Skipped(folder, "folder holds no images") for folder in idle]
    if idle:
        notes.append(f"Ignored, because they hold no images: {shorten(idle)}.")


def _twin_key(path: str) -> Parts:
    """What an image and its mask have in common: the folders less `images` and `masks`, and the stem."""
    *folders, name = path.split("/")
    kept = (f for f in folders if f.casefold() not in CONTAINERS and f.casefold() != MASK_FOLDER)
    return (*kept, name.rpartition(".")[0])


def _with_boxes(root: Path, layout: _Layout, entries: list[Entry], notes: list[str]) -> list[Entry]:
    place = "/".join(layout.wrapper)
    boxes = read_boxes(root)
    if not boxes and place:
        boxes = {f"{place}/{path}": b for path, b in read_boxes(root / place).items()}
    if not boxes:
        return entries
    unused = sorted(boxes.keys() - {e.path for e in entries})
    if unused:
        notes.append(f"boxes.json names {counted(len(unused), 'file')} not among the images: {shorten(unused, 3)}.")
    marked = [replace(e, boxes=boxes.get(e.path, ())) for e in entries]
    notes.append(f"Boxes were found for {sum(bool(e.boxes) for e in marked):,} of {counted(len(marked), 'image')}.")
    return marked


def _condensed(paths: Sequence[str], reason: str) -> list[Skipped]:
    """One entry for each path, or one for a folder and file type with more than 20 of them."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        kinds[folder, _suffix(name)].append(path)
    result = []
    for (folder, suffix), listed in kinds.items():
        if len(listed) > LISTED:
            result.append(Skipped(folder or ".", f"{len(listed):,} files *{suffix}: each {reason}"))
        else:
            result += [Skipped(path, reason) for path in listed]
    return result


def _no_images(root: Path, tree: _Tree, notes: Sequence[str]) -> str:
    why = " ".join(notes) or (f"It holds {counted(len(tree.odd), 'other file')}." if tree.odd else "It holds no files.")
    closed = [s.path for s in tree.skipped if "cannot be opened" in s.reason]
    if closed:
        why += f" Folders that cannot be opened: {shorten(closed)}."
    links = [s.path for s in tree.skipped if s.reason.startswith("link to a folder")]
    if links:
        why += f" Links to folders are not followed ({shorten(links)}): copy or mount the folders instead."
    kinds = " ".join(sorted(s[1:] for s in IMAGE_SUFFIXES))
    return f"{root} holds no images ({kinds}). {why} Give a folder with one folder of images per class."


def _no_classes(root: Path, pictures: Sequence[str], tree: _Tree) -> str:
    tables = [p for p in tree.odd if _suffix(p) in TABLE_SUFFIXES]
    listed = f", or give the table with their labels, {root / tables[0]}" if tables else ""
    return (
        f"{root} holds {counted(len(pictures), 'image')} but no class folders, so that their classes are unknown: put "
        f"each class in a folder of its own{listed}."
    )
