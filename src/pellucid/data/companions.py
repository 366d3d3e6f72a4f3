"""Pictures that lie beside the images: masks and the like, in parallel trees that hold no class of their own.

Each should belong to an image of the same path and stem, and open. Nobody looks at them until a figure is wrong.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError
from ..images.pictures import open_picture
from .dataset import Dataset, LeftOut
from .fingerprint import Progress
from .layout import CONTAINERS
from .tree import is_beside
from .walk import has_image_suffix, walk

# Where fewer of a tree's files than this share bear an image's name, another way of naming is meant.
NAMED_ALIKE = 0.5


@dataclass(frozen=True, slots=True)
class Companions:
    """The pictures beside a dataset's images.

    `trees` maps each parallel folder, relative to the root, to its number of pictures. `unreadable` cannot be opened;
    `orphans` belong to no image. A folder whose files are named in another way than the images has no orphans.
    """

    trees: dict[str, int]
    unreadable: tuple[LeftOut, ...]
    orphans: tuple[str, ...]


def check_companions(
    dataset: Dataset, *, search: bool = True, workers: int | None = None, progress: Progress | None = None
) -> Companions:
    """Open each of the masks and the like below the dataset's root.

    Without `search` only the masks that the samples name are opened: a CSV may lie in a folder that holds much else.
    `progress` is called with (pictures done, pictures in all).
    """
    trees, orphans = _search(dataset) if search else ({}, [])
    listed = [path for files in trees.values() for path in files] or sorted({s.mask for s in dataset.samples if s.mask})
    unreadable = []
    for done, (path, reason) in enumerate(zip(listed, _problems(dataset.root, listed, workers), strict=True), 1):
        if reason:
            unreadable.append(LeftOut(path, reason))
        if progress is not None:
            progress(done, len(listed))
    sizes = {tree: len(files) for tree, files in sorted(trees.items())}
    return Companions(sizes, tuple(unreadable), tuple(sorted(orphans)))


def _search(dataset: Dataset) -> tuple[dict[str, list[str]], list[str]]:
    """The pictures of each parallel folder below the root, and those that belong to no image."""
    own = {s.path for s in dataset.samples}
    trees: dict[str, list[str]] = defaultdict(list)
    images: set[tuple[str, ...]] = set()
    for path in _pictures(dataset.root):
        tree = _tree(path)
        if not tree or path in own:
            images.add(_key(path, ""))
        else:
            trees[tree].append(path)
    return trees, [path for tree, files in trees.items() for path in _orphans(tree, files, images)]


def _pictures(root: Path) -> Iterator[str]:
    """All pictures below a folder, by their names."""
    return (met.path for met in walk(root) if met.what == "file" and has_image_suffix(met.path))


def _tree(path: str) -> str:
    """The parallel folder in which a picture lies, as in `masks` or `set/masks/lungs`; "" for an image."""
    folders = path.split("/")[:-1]
    first = next((i for i, folder in enumerate(folders) if is_beside(folder)), len(folders))
    last = next((i for i, folder in enumerate(folders) if i > first and not is_beside(folder)), len(folders))
    return "/".join(folders[:last]) if first < len(folders) else ""


def _key(path: str, tree: str) -> tuple[str, ...]:
    """What a picture and its companion have in common: the folders but for the tree's own, and the stem."""
    *folders, name = path.split("/")
    above = len(tree.split("/")) if tree else 0
    kept = (f for i, f in enumerate(folders) if f.casefold() not in CONTAINERS and not (i < above and is_beside(f)))
    return (*kept, name.rpartition(".")[0])


def _orphans(tree: str, files: Sequence[str], images: set[tuple[str, ...]]) -> list[str]:
    found = [path for path in files if _key(path, tree) not in images]
    return found if len(found) < NAMED_ALIKE * len(files) else []


def _problems(root: Path, paths: Sequence[str], workers: int | None) -> Iterator[str]:
    """What is wrong with each file, "" for nothing."""

    def problem(path: str) -> str:
        try:
            open_picture(root / path, at_least=(8, 8))
        except ImageError as error:
            return error.reason
        return ""

    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1))
    try:
        yield from pool.map(problem, paths)
    finally:
        pool.shutdown(cancel_futures=True)
