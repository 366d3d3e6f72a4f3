"""From class names as they were found to the labels of a dataset: spelling, merging, order, the positive class."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError, nearest
from .dataset import Box, Dataset, Sample, Skipped, Split
from .groups import assign_groups, suggest_group_pattern, with_families

# fmt: off
NEGATIVE_WORDS = frozenset((
    "0", "absence", "absent", "background", "benign", "clean", "control", "controls", "false", "free", "good",
    "healthy", "intact", "neg", "negative", "no", "non", "none", "normal", "not", "ok", "okay", "regular", "unaffected",
    "undamaged", "uninfected", "without",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class Entry:
    """An image as it was found: like a `Sample`, with its class still a name.

    `origin` is what copies of one image have in common, the path of their original; "" for an image known only itself.
    """

    path: str
    name: str
    split: Split = ""
    group: str = ""
    mask: str | None = None
    boxes: tuple[Box, ...] = ()
    origin: str = ""


def build_dataset(
    root: Path,
    entries: Sequence[Entry],
    *,
    positive: str | None = None,
    grouping: Mapping[str, Sequence[str]] | None = None,
    group_by: str | None = None,
    classes: Sequence[str] | None = None,
    skipped: Iterable[Skipped] = (),
    notes: Iterable[str] = (),
) -> Dataset:
    """The dataset made of `entries`, sorted by path; the options are those of `read_dataset`.

    Raises `DataError` when fewer than two classes are left, or an option names a class that is not there.
    """
    told = list(notes)
    entries = _one_spelling(entries, told)
    if grouping:
        entries = _merge(entries, grouping)
    found = sorted({e.name for e in entries})
    unknown: tuple[tuple[str, int], ...] = ()
    if classes is not None:
        entries, names, unknown = _chosen(classes, entries, told)
    else:
        names = tuple(found)
    if len(names) < 2:
        raise DataError(_too_few(root, names, grouping, told))
    if positive is not None or classes is None:
        names = order_classes(names, positive, told)
    index = {name: i for i, name in enumerate(names)}
    kept = sorted((e for e in entries if e.name in index), key=lambda e: e.path)
    origins = [e.origin or e.path for e in kept]
    groups = [e.group for e in kept] if group_by is None else assign_groups(origins, group_by, told)
    samples = tuple(
        Sample(e.path, index[e.name], e.split, g, e.mask, e.boxes)
        for e, g in zip(kept, with_families(origins, groups), strict=True)
    )
    _tell_of_gaps(samples, names, told)
    dataset = Dataset(root, names, samples, tuple(skipped), (), unknown)
    first = {o: replace(s, group=g) for o, s, g in zip(origins[::-1], samples[::-1], groups[::-1], strict=True)}
    pattern = suggest_group_pattern(replace(dataset, samples=tuple(first.values())))
    if pattern is not None:
        told.append(
            f"File names look as if several images share a patient or object: if so, add --group-by '{pattern}', "
            "so that they stay on one side of every split."
        )
    return replace(dataset, notes=tuple(told))


def order_classes(names: Sequence[str], positive: str | None = None, notes: list[str] | None = None) -> tuple[str, ...]:
    """Class names in the order of their labels: sorted, and for two classes (negative, positive).

    `positive` names the positive class; without it a name such as normal, healthy or no_tumour is the negative one,
    and failing that the first in sorted order. What was taken is added to `notes`.
    """
    found = sorted(names)
    if positive is not None:
        chosen = match_name("class", positive, found)
        if len(found) != 2:
            raise DataError(
                f"A positive class needs two classes, and there are {len(found)} ({shorten(found)}): merge classes "
                "with --group NAME=CLASS,CLASS, or leave --positive out."
            )
        return (next(n for n in found if n != chosen), chosen)
    if len(found) != 2:
        return tuple(found)
    strength = [_negativity(n) for n in found]
    order = (found[1], found[0]) if strength[1] > strength[0] else (found[0], found[1])
    if notes is not None:
        by_name = strength[0] != strength[1]
        why = f"{order[0]} reads as negative" if by_name else "the later in alphabetical order"
        notes.append(f"The positive class is {order[1]} ({why}); --positive {order[0]} turns it round.")
    return order


def match_name(kind: str, name: str, known: Sequence[str]) -> str:
    """`name` as it is spelt in `known`, whatever its case; otherwise a `DataError` that offers the nearest."""
    same = [k for k in known if k == name] or [k for k in known if _key(k) == _key(name)]
    if len(same) == 1:
        return same[0]
    near = nearest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {shorten(known)}."
    raise DataError(f"There is no {kind} named {name!r}: {hint}")


def shorten(names: Iterable[str], most: int = 6) -> str:
    """Names as one phrase, the rest counted."""
    listed = list(names)
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[:most])} and {len(listed) - most:,} more"


def counted(number: int, noun: str) -> str:
    """A number and its noun, as in "1 image" and "1,000 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _negativity(name: str) -> int:
    """2 when the whole name is a negative word, 1 when one of its words is, else 0."""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    if len(words) == 1 and words[0] in NEGATIVE_WORDS:
        return 2
    return int(any(w in NEGATIVE_WORDS for w in words))


def _key(name: str) -> str:
    # A Mac stores accents decomposed; train/ from one machine and test/ from another must still agree.
    return unicodedata.normalize("NFC", name).casefold()


def _one_spelling(entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
    """Join names that differ only in case or accents' encoding, unless one split holds both (letters a and A, say)."""
    variants: dict[str, Counter[str]] = defaultdict(Counter)
    held: dict[str, set[Split]] = defaultdict(set)
    for e in entries:
        variants[_key(e.name)][e.name] += 1
        held[e.name].add(e.split)
    rename: dict[str, str] = {}
    for counts in variants.values():
        if len(counts) == 1 or sum(len(held[n]) for n in counts) > len(set().union(*(held[n] for n in counts))):
            continue
        chosen = min(counts, key=lambda n: (-counts[n], n))
        rename.update({n: chosen for n in counts if n != chosen})
    for old, new in sorted(rename.items()):
        notes.append(f"Class {old} is taken as {new}: the names differ only in spelling and never meet in one split.")
    return [replace(e, name=rename[e.name]) if e.name in rename else e for e in entries]


def _merge(entries: Sequence[Entry], grouping: Mapping[str, Sequence[str]]) -> list[Entry]:
    found = sorted({e.name for e in entries})
    target: dict[str, str] = {}
    for new, members in grouping.items():
        if not members:
            raise DataError(f"--group {new}= names no class to merge: write --group {new}=CLASS,CLASS.")
        for member in members:
            name = match_name("class", member, found)
            if target.setdefault(name, new) != new:
                raise DataError(f"Class {name} cannot go into both {target[name]} and {new}: name it in one --group.")
    for new in grouping:
        if new in found and new not in target:
            raise DataError(
                f"--group {new}={','.join(grouping[new])} would also take in the class {new} that is there already: "
                f"write --group {new}={','.join((*grouping[new], new))} if that is meant, or choose another name."
            )
    return [replace(e, name=target[e.name]) if e.name in target else e for e in entries]


def _chosen(
    classes: Sequence[str], entries: Sequence[Entry], notes: list[str]
) -> tuple[list[Entry], tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Only the entries of `classes`, in the spelling asked for, and the other classes with their numbers of images.

    A class may have no entries. DataError where none of the classes has any, or two are spellings of one class.
    """
    found = sorted({e.name for e in entries})
    there = [c for c in classes if any(_key(c) == _key(n) for n in found)]
    if not there and found:
        raise DataError(
            f"There are no images of {shorten(classes)}: the data have {shorten(found)}. Name the classes of the data "
            "as those asked for."
        )
    spelling = {match_name("class", c, found): c for c in there}
    if len(spelling) < len(there):
        raise DataError(f"The classes asked for name one class twice: {', '.join(classes)}.")
    left = [n for n in found if n not in spelling]
    if left:
        notes.append(f"Left out, because other classes were asked for: {shorten(left)}.")
    kept = [replace(e, name=spelling[e.name]) for e in entries if e.name in spelling]
    return kept, tuple(classes), tuple((name, sum(e.name == name for e in entries)) for name in left)


def _too_few(root: Path, names: Sequence[str], grouping: object, notes: Sequence[str]) -> str:
    ignored = " ".join(n for n in notes if n.startswith("Ignored"))
    if not names:
        return f"{root} holds no labelled images. {ignored}".rstrip()
    if grouping:
        return (
            f"After merging, only the class {names[0]} is left in {root}: a classifier needs two, so merge fewer "
            "with --group."
        )
    rule = "a classifier needs at least two, each in a folder of its own."
    return f"{root} holds one class only, {names[0]}: {rule} {ignored}".rstrip()


def _tell_of_gaps(samples: Sequence[Sample], names: Sequence[str], notes: list[str]) -> None:
    """Say which class is missing from which split."""
    held: dict[Split, set[int]] = defaultdict(set)
    for s in samples:
        held[s.split].add(s.label)
    for split in sorted(held):
        gone = [n for i, n in enumerate(names) if i not in held[split]]
        if gone and split:
            notes.append(f"The {split} folder holds no image of {shorten(gone)}.")
