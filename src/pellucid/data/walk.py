"""The one walk through a folder, and the one list of what is passed over: datasets, batches, masks, archives.

Passed over are hidden files, the folders that systems, network stores and cameras make for themselves, and what
pellucid wrote. Links to folders are followed unless they lead in a circle.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..images.formats import IMAGE_SUFFIXES

SYSTEM_FOLDERS = frozenset((
    "__macosx", "@eadir", "@recycle", "@recently-snapshot", "@snapshot", "@tmp", "@__thumb", "@sharebin",
    "@synoresource", "@appstore", "#recycle", "#snapshot", "$recycle.bin", "$recycle", "recycler", "recycled",
    "lost+found", "lost.dir", "system volume information", "network trash folder", "temporary items", "thumbnails",
    "_thumbnails", "_thumbs", "thmbnl", "canonmsc", "eosmisc", "avf_info", "_vti_cnf", "__pycache__", "cvs",
))  # fmt: skip
"""Names of folders, in small letters, that hold thumbnails, deleted files or records of a system and no data."""

SYSTEM_PATTERNS = re.compile(r"found\.\d{3}|.+\.lrdata|.*\.photoslibrary|synofile_thumb.*")
SYSTEM_FILES = frozenset(
    ("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "zbthumbnail.info")
)

MOST_VISITS = 100
"""How often one real folder is entered by different links, so that links to links end."""

LARGEST_DOCUMENT = 1 << 28

What = Literal["file", "folder", "hidden", "pellucid", "closed", "circle", "again", "dead", "special"]


class Found(NamedTuple):
    """One thing met on a walk.

    `path` is relative to the root, with forward slashes. `what` is a `file`, or a `folder` that is looked into
    (`detail`: its real path, behind a link). The rest is left alone: what is `hidden` or made by a system (`detail`:
    folder or file), what `pellucid` wrote (`detail`: what it is), a `closed` folder (`detail`: why), a link in a
    `circle`, a folder met `again`, a `dead` link, a `special` file.
    """

    path: str
    what: What
    detail: str = ""


def has_image_suffix(name: str) -> bool:
    """Whether a file is an image by its name."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path for each of a million takes long


def is_passed_over(name: str) -> bool:
    """Whether a folder or file of this name is hidden, or made by a system, a store or a camera for itself."""
    return name.startswith(".") or _of_system(name)


def _of_system(name: str) -> bool:
    low = name.casefold()
    return low in SYSTEM_FOLDERS or low in SYSTEM_FILES or bool(SYSTEM_PATTERNS.fullmatch(low))


def is_made_by_system(path: str) -> bool:
    """Whether a folder on a path was made by a system, a store or a camera for itself; hidden ones are not meant."""
    return any(map(_of_system, path.split("/")))


def is_passed_over_in(path: str) -> bool:
    """Whether any part of a path inside an archive is passed over; `./` and `../` at its start mean nothing."""
    return any(is_passed_over(part) for part in path.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def walk(root: str | Path, *, once: bool = False) -> Iterator[Found]:
    """Everything below `root`: the files of a folder in order of their names, then its folders.

    With `once` a folder that several links lead to is looked into once. Raises OSError when `root` itself cannot be
    opened; folders below that cannot are `closed`.
    """
    visits: Counter[str] = Counter()
    pending = [_Folder("", os.path.realpath(root), ())]
    while pending:
        folder = pending.pop()
        if visits[folder.real] >= (1 if once else MOST_VISITS):
            yield Found(folder.path, "again", folder.real)
            continue
        visits[folder.real] += 1
        try:
            with os.scandir(Path(root) / folder.path) as listing:
                items = sorted(listing, key=lambda item: item.name)
        except OSError as error:
            if not folder.path:
                raise
            yield Found(folder.path, "closed", error.strerror or str(error))
            continue
        kind, own = written_by_pellucid(Path(root) / folder.path, [item.name for item in items])
        if kind and not own and folder.path:
            yield Found(folder.path, "pellucid", kind)
            continue
        if folder.path:
            yield Found(folder.path, "folder", folder.real if folder.linked else "")
        below = []
        for item in items:
            met = _look(item, f"{folder.path}/{item.name}" if folder.path else item.name)
            if met.what == "folder":
                below.append((met.path, item))
            else:
                yield met._replace(what="pellucid", detail=kind) if item.name in own else met
        for path, item in reversed(below):
            inner = folder.below(path, item)
            if inner.linked and _holds(inner.real, inner.chain):
                yield Found(path, "circle", inner.real)
            else:
                pending.append(inner)


class _Folder(NamedTuple):
    """A folder still to be looked into: its path, its real path, the real paths on the way to it, and if by a link."""

    path: str
    real: str
    chain: tuple[str, ...]
    linked: bool = False

    def below(self, path: str, item: os.DirEntry[str]) -> _Folder:
        """A folder inside this one."""
        linked = item.is_symlink()
        real = os.path.realpath(item.path) if linked else _join(self.real, item.name)
        return _Folder(path, real, (*self.chain, self.real), linked)


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip(os.sep)}{os.sep}{name}"


def _holds(folder: str, chain: Sequence[str]) -> bool:
    """Whether one of the folders on the way here is `folder` or lies in it."""
    return any(f"{one}{os.sep}".startswith(_join(folder, "")) for one in chain)


def _look(item: os.DirEntry[str], path: str) -> Found:
    """What an item of a folder is, by its name and kind."""
    if is_passed_over(item.name):
        return Found(path, "hidden", "folder" if item.is_dir() else "file")
    if item.is_dir():
        return Found(path, "folder")
    if item.is_file():
        return Found(path, "file")
    return Found(path, "dead" if item.is_symlink() else "special")


_OUTPUTS = (
    ("run.json", "a run", {"recipe", "versions", "hardware"}),
    ("manifest.json", "a bundle", {"schema_version", "classes", "preprocessing"}),
    ("manifest.json", "explanations", {"pellucid_version", "colormap"}),
    ("job.json", "a batch", {"pellucid_version", "part_size"}),
    ("metrics.json", "an evaluation", {"schema_version", "task", "metrics", "confusion"}),
    ("audit.json", "an audit", {"schema_version", "bundle", "regions", "disturbances"}),
    ("trust.json", "a trust card", {"pellucid_version", "agreement", "budget"}),
    ("inspection.json", "an inspection", {"schema_version", "companions", "findings"}),
    ("compare.json", "a comparison", {"findings", "verdict", "outside_a"}),
    ("folds.json", "folds", {"spread", "trials"}),
)
_CACHE = re.compile(r"pixels-[0-9a-f]{16}\.cache")


def written_by_pellucid(folder: Path, names: Sequence[str]) -> tuple[str, frozenset[str]]:
    """What pellucid wrote in `folder`, which holds `names`; ("", {}) where it is not pellucid's, whatever its name.

    The second value is empty where the whole folder is pellucid's. Where photographs of others lie in it as well, it
    names the files that pellucid wrote.
    """
    held = set(names)
    if any(_CACHE.fullmatch(name) for name in names):
        return _among(folder, "a cache", names, frozenset())
    for name, kind, keys in _OUTPUTS:
        document = _document(folder / name) if name in held else {}
        if keys <= document.keys():
            return _among(folder, kind, names, _pictures(document) if kind == "explanations" else frozenset())
    return "", frozenset()


def _among(folder: Path, kind: str, names: Sequence[str], pictures: frozenset[str]) -> tuple[str, frozenset[str]]:
    foreign = [n for n in names if has_image_suffix(n) and n not in pictures]
    if not foreign:
        return kind, frozenset()
    return (kind, pictures) if pictures else ("", frozenset())


def _pictures(manifest: dict[str, Any]) -> frozenset[str]:
    """The files that a manifest of explanations names."""
    images = manifest.get("images")
    files = (
        [f for record in images if isinstance(record, dict) for f in (record.get("files") or {}).values()]
        if (isinstance(images, list))
        else []
    )
    sheets = manifest.get("sheets")
    return frozenset((*files, *(sheets.values() if isinstance(sheets, dict) else ())))


def _document(path: Path) -> dict[str, Any]:
    """A JSON object in a file; empty if the file holds anything else."""
    try:
        if path.stat().st_size > LARGEST_DOCUMENT:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
