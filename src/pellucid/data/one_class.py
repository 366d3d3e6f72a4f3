"""Reading data for anomaly detection: which images are normal, which are bad, of what kind, with which mask.

Understood are the layouts of MVTec AD (`train/good`, `test/<defect>`, `ground_truth/<defect>`), of VisA
(`Data/Images/Normal`, `Data/Masks/Anomaly`), anomalib's folders (`good`, `<defect>`, `mask/<defect>`), one folder per
class, a folder of normal images alone, and tables of paths and labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError
from .dataset import Dataset, OmittedFile, Split
from .groups import assign_groups
from .labelling import LabelledFile, build_dataset, counted, match_name, shorten
from .layout import CONTAINERS, split_and_rest
from .manifest import read_csv
from .table import TABLE_SUFFIXES, TableOptions
from .tree import Tree, condensed, scan

ANOMALOUS = "anomalous"
NORMAL = "normal"
_MASKS = frozenset(("mask", "masks", "ground_truth", "ground truth", "ground-truth", "groundtruth", "gt"))
_HOLDERS = CONTAINERS | {"data"}

# fmt: off
_NORMAL_WORDS = frozenset((
    "good", "normal", "normals", "ok", "okay", "fine", "healthy", "pass", "passed", "nominal", "clean", "intact",
    "sound", "perfect", "flawless", "free", "negative", "undamaged", "correct", "accepted", "gut", "io",
))
_BAD_WORDS = frozenset((
    "bad", "anomaly", "anomalies", "anomalous", "abnormal", "defect", "defects", "defective", "broken", "damaged",
    "faulty", "fault", "ng", "nok", "fail", "failed", "reject", "rejected", "scrap", "crack", "cracked", "scratch",
    "positive", "nio",
))
_NOT = frozenset(("no", "non", "not", "without", "un", "free"))
# fmt: on

Says = str


@dataclass(frozen=True, slots=True)
class _Found:
    """An image before its class is known: the folders that may name it, its split, group and mask."""

    path: str
    parts: tuple[str, ...]
    split: Split
    group: str = ""
    mask: str | None = None

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def read_one_class(
    source: Path,
    *,
    normal: str | None = None,
    group_by: str | None = None,
    known: str | None = None,
    table: TableOptions | None = None,
) -> Dataset:
    """Read normal and, where there are any, bad images as a dataset of two classes, (normal, `anomalous`).

    `normal` names the folder or label of the normal images, with commas between several; without it names such as
    `good` decide, then a `train/` folder that holds one class, then the only class there is. The first class has the
    name of that folder, or `known` (the class of a model). Bad images of a training folder are moved to the test.
    Raises DataError where no image is there or nothing says which are normal.
    """
    if source.is_dir():
        tree = scan(source)
        found, skipped, notes = _of_folder(source, tree)
    elif source.suffix.lower() in TABLE_SUFFIXES and source.is_file():
        listing = read_csv(source, source.parent, group_by, table)
        found = [_Found(e.path, (e.name,), e.split, e.group, e.mask) for e in listing.entries]
        skipped, notes, group_by = listing.skipped, listing.notes, listing.group_by
    elif source.exists():
        raise DataError(f"{source} is neither a folder nor a CSV file: give the folder of the normal images.")
    else:
        raise DataError(f"There is no folder or CSV file {source}: check the path.")
    names = _normal_names(source, found, normal)
    called = known or (next(iter(names)) if len(names) == 1 else NORMAL)
    called = called.rpartition("/")[2] or NORMAL
    if called == ANOMALOUS:
        called = NORMAL
    entries = _labelled(found, names, called, notes)
    _tell(entries, called, notes)
    if group_by is not None:
        groups = assign_groups([e.path for e in entries], group_by, notes)
        entries = [replace(e, group=g) for e, g in zip(entries, groups, strict=True)]
    made = build_dataset(
        source if source.is_dir() else source.parent, entries, classes=(called, ANOMALOUS), skipped=skipped
    )
    return replace(made, notes=tuple(notes))


def defect_kind(path: str) -> str:
    """The kind of defect that an image's folder names: the last folder that is neither a split nor a container."""
    named = [f for f in path.split("/")[:-1] if f.casefold() not in _HOLDERS and split_and_rest(f)[1]]
    return named[-1] if named else ANOMALOUS


def says(name: str) -> Says:
    """What a name says of an image: `normal`, `bad`, or "" for nothing."""
    words = [w.casefold() for w in re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))]
    if set(words) & _NOT and set(words) & _BAD_WORDS:
        return "normal"
    if set(words) & _BAD_WORDS:
        return "bad"
    return "normal" if set(words) & _NORMAL_WORDS else ""


def _of_folder(root: Path, tree: Tree) -> tuple[list[_Found], list[OmittedFile], list[str]]:
    """The pictures of a folder with split, name and mask; masks lie in folders of their own."""
    pictures, masks = [], {}
    for path in tree.images:
        folders = path.split("/")[:-1]
        if any(f.casefold() in _MASKS for f in folders):
            masks[_twin_key(path)] = path
        else:
            pictures.append(path)
    if not pictures:
        raise DataError(f"There are no images in {root}: give the folder that holds the normal images.")
    found = []
    for path in pictures:
        split, parts = _placed(path)
        found.append(_Found(path, parts, split, mask=masks.get(_twin_key(path))))
    found = _without_wrapper(root, found)
    notes = [*tree.passed_over, *tree.notes]
    skipped = [*tree.skipped, *condensed(tree.odd, "is not an image by its name", "not-an-image")]
    lost = [f for f in found if not f.parts and f.split == "test" and any(g.parts for g in found)]
    if lost:
        notes.append(f"Left out, because no folder says what they are: {counted(len(lost), 'test image')}.")
        skipped += condensed([f.path for f in lost], "lies in no folder that says normal or bad", "no-class-folder")
    return [f for f in found if f not in lost] if lost else found, skipped, notes


def _placed(path: str) -> tuple[Split, tuple[str, ...]]:
    """The split that the folders of a path name, and the folders that may name a class."""
    split: Split = ""
    parts: list[str] = []
    for folder in path.split("/")[:-1]:
        if folder.casefold() in _HOLDERS:
            continue
        named, rest = split_and_rest(folder)
        if named is not None and (not split or named == split):
            split = named
            parts += [rest] if rest else []
        else:
            parts.append(folder)
    return split, tuple(parts)


def _without_wrapper(root: Path, found: list[_Found]) -> list[_Found]:
    """Without folders that hold everything. DataError where they hold several objects, each with normal images."""
    while all(len(f.parts) > 1 for f in found) and len({f.parts[0] for f in found}) == 1:
        found = [replace(f, parts=f.parts[1:]) for f in found]
    objects = {f.parts[0] for f in found if len(f.parts) > 1 and says(f.parts[0]) == "" and says(f.parts[-1]) == NORMAL}
    if len(objects) > 1:
        first = min(objects)
        raise DataError(
            f"{root} holds several objects ({shorten(sorted(objects))}), each with normal images of its own: one model "
            f"learns one object. Give its folder, for example {root / first}."
        )
    return found


def _twin_key(path: str) -> tuple[str, ...]:
    """What an image and its mask have in common: the folders that name a kind, and the stem without `_mask`."""
    *folders, file = path.split("/")
    stem = re.sub(r"[-_ ](?:mask|gt|ground_truth)$", "", file.rpartition(".")[0], flags=re.IGNORECASE)
    kept = []
    for folder in folders:
        rest = split_and_rest(folder)[1]
        if folder.casefold() not in _HOLDERS | _MASKS and rest:
            kept.append(rest)
    return (*kept, stem)


def _normal_names(source: Path, found: Sequence[_Found], normal: str | None) -> Collection[str]:
    """The names that are normal. Raises DataError where nothing says so."""
    counts = Counter(f.name for f in found)
    if normal is not None:
        ends = {name.rpartition("/")[2]: name for name in counts}
        known = list(dict.fromkeys([*counts, *ends]))
        return {
            ends.get(m, m) for m in (match_name("folder of normal images", n.strip(), known) for n in normal.split(","))
        }
    saying = {f.name for f in found if any(says(part) == NORMAL for part in f.parts)}
    if saying:
        return saying | ({""} if "" in counts else set())
    trained = {f.name for f in found if f.split == "train"}
    names = trained if len(trained) == 1 else set(counts)
    if len(names) == 1:
        only = next(iter(names))
        if says(only) == "bad":
            raise DataError(
                f"The only images to learn from lie in {only}, a name that says bad: anomaly detection learns from "
                f"normal images. If these are normal, say so by `anomaly.normal={only!r}`."
            )
        return names
    raise DataError(
        f"Which images of {source} are normal? The names {shorten(sorted(counts))} do not say: name them by "
        f"`anomaly.normal={max(counts, key=lambda n: counts[n])!r}`, for example."
    )


def _labelled(found: Sequence[_Found], names: Collection[str], called: str, notes: list[str]) -> list[LabelledFile]:
    """Entries with their class; bad images of a training or validation folder go to the test."""
    entries, moved = [], Counter[str]()
    for f in found:
        good = f.name in names
        split = f.split
        if not good and split in ("train", "val"):
            moved[f.name] += 1
            split = "test"
        entries.append(LabelledFile(f.path, called if good else ANOMALOUS, split, f.group, None if good else f.mask))
    if moved:
        listed = shorten([f"{name} ({n:,})" for name, n in sorted(moved.items())])
        notes.insert(
            0,
            f"Bad images lie in the training folder, by the names of their folders: {listed}. Nothing is learnt from "
            "them; they are used for testing.",
        )
    if any(e.name != called for e in entries) and any(e.split for e in entries):
        # Of bad images without a split, beside normal ones with one, none is trained on either.
        entries = [replace(e, split="test") if e.name != called and not e.split else e for e in entries]
    return entries


def _tell(entries: Sequence[LabelledFile], called: str, notes: list[str]) -> None:
    bad = [e for e in entries if e.name != called]
    normal = len(entries) - len(bad)
    if not normal:
        raise DataError("There are no normal images to learn from.")
    if bad:
        kinds = Counter(defect_kind(e.path) for e in bad)
        listed = shorten([f"{kind} {n:,}" for kind, n in sorted(kinds.items())])
        notes.append(f"Normal are {counted(normal, 'image')} ({called}); bad are {len(bad):,}: {listed}.")
        masked = sum(e.mask is not None for e in bad)
        if masked:
            notes.append(f"Masks were found for {masked:,} of {counted(len(bad), 'bad image')}.")
    else:
        notes.append(f"All {counted(normal, 'image')} are taken as normal; none is bad, so no detection rate is known.")
    named = [e.path for e in entries if e.name == called and says(e.path.rpartition("/")[2]) == "bad"]
    if named:
        notes.insert(
            0,
            f"The names of {counted(len(named), 'normal image')} say bad ({shorten(named, 3)}): check them, and move "
            "them out of the normal images if they are.",
        )
