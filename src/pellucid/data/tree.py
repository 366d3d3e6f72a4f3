"""What lies in the folder of a dataset: images, masks, other files, and what is passed over."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from ..images.formats import IMAGE_SUFFIXES
from .dataset import OmittedFile, Reason
from .labelling import counted, shorten
from .walk import Found, walk

MASK_FOLDER = "masks"
BESIDE_CLASSES = frozenset((
    MASK_FOLDER, "lungs", "lung masks", "segmentations", "annotations", "labels", "segmentationclass",
    "segmentationobject", "unlabeled", "unlabelled",
))  # fmt: skip
LISTED = 20


@dataclass(slots=True)
class Tree:
    """What lies in a folder: images, other files, folders, what was passed over, and links to folders.

    Paths are relative to the root. `pellucid` maps what pellucid wrote to what it is; `links` maps linked folders to
    their real paths. `passed_over` are notes on folders that were not read, `notes` on what was.
    """

    images: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    pellucid: dict[str, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    skipped: list[OmittedFile] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan(root: Path) -> Tree:
    """All files below `root`. Raises DataError when it cannot be opened."""
    tree = Tree()
    try:
        for met in walk(root):
            _file_under(met, tree)
    except OSError as error:
        raise DataError(f"{root} cannot be opened ({error.strerror}): check your rights to it.") from None
    tree.images.sort()
    tree.odd.sort()
    if tree.hidden:
        tree.passed_over.append(
            f"Ignored, because they are hidden or made by the system: {shorten(sorted(tree.hidden))}."
        )
    if tree.pellucid:
        listed = shorten([f"{path} ({kind})" for path, kind in sorted(tree.pellucid.items())])
        tree.passed_over.append(f"Ignored, because pellucid wrote them: {listed}.")
    return tree


def _file_under(met: Found, tree: Tree) -> None:
    """Put one thing of the walk where it belongs."""
    if met.what == "folder":
        tree.folders.append(met.path)
        if met.detail:
            tree.links[met.path] = met.detail
    elif met.what == "hidden":
        if met.detail == "folder":
            tree.hidden.append(met.path)
    elif met.what == "pellucid":
        tree.pellucid[met.path] = met.detail
    elif met.what == "file":
        if not _is_text(met.path):
            readable = met.path.encode("utf-8", "replace").decode()
            tree.skipped.append(OmittedFile(readable, "file name is not valid Unicode: rename it", "file-name"))
        elif suffix(met.path) in IMAGE_SUFFIXES:
            tree.images.append(met.path)
        else:
            tree.odd.append(met.path)
    else:
        tree.skipped.append(OmittedFile(met.path, *_WORDS[met.what](met.detail)))


_WORDS: dict[str, Callable[[str], tuple[str, Reason]]] = {
    "closed": lambda why: (f"folder cannot be opened ({why})", "closed-folder"),
    "circle": lambda _: ("link to a folder that holds it: it would run in circles", "circle"),
    "again": lambda _: ("link to a folder that was read already", "again"),
    "dead": lambda _: ("link that leads nowhere", "dead-link"),
    "special": lambda _: ("is not a regular file", "special-file"),
}


def suffix(name: str) -> str:
    """The extension of a file's name, in small letters."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each of 100,000 files takes seconds


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_beside(folder: str, beside: frozenset[str] = BESIDE_CLASSES) -> bool:
    """Whether a folder of this name holds pictures that belong to the images, as masks do, and no class."""
    return folder.casefold().replace("_", " ") in beside


def set_apart(tree: Tree, beside: frozenset[str]) -> tuple[list[str], list[str], set[str]]:
    """Images, masks, and the folders that are no classes."""
    pictures: list[str] = []
    masks: list[str] = []
    ignored: Counter[str] = Counter()
    for path in tree.images:
        folders = path.split("/")[:-1]
        at = next((i for i, f in enumerate(folders) if is_beside(f, beside)), None)
        if at is None:
            pictures.append(path)
            continue
        ignored["/".join(folders[: at + 1])] += 1
        if folders[at].casefold() == MASK_FOLDER:
            masks.append(path)
    if ignored:
        listed = shorten([f"{name} ({counted(n, 'file')})" for name, n in ignored.items()])
        tree.passed_over.insert(0, f"Ignored as classes, because of their names: {listed}.")
    tree.odd = [p for p in tree.odd if not any(p.startswith(f"{name}/") for name in ignored)]
    return pictures, masks, set(ignored)


def condensed(paths: Sequence[str], reason: str, code: Reason) -> list[OmittedFile]:
    """One entry for each path, or one for a folder and file type with more than 20."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        kinds[folder, suffix(name)].append(path)
    result = []
    for (folder, ending), listed in kinds.items():
        if len(listed) > LISTED:
            result.append(
                OmittedFile(folder or ".", f"{len(listed):,} files *{ending}: each {reason}", code, len(listed))
            )
        else:
            result += [OmittedFile(path, reason, code) for path in listed]
    return result
