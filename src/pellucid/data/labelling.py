"""From the names of classes to the labels of a dataset: spelling, merging, order, the positive class."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError, nearest
from .dataset import Box, Dataset, OmittedFile, Sample, Split
from .groups import assign_groups, suggest_group_pattern, with_families
from .positive import order_of_two


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """An image like a `Sample`, with its class still a name.

    `origin` is what copies of one image have in common, the path of their original; "" for an image without copies.
    `also` are further classes of an image that shows several.
    """

    path: str
    name: str
    split: Split = ""
    group: str = ""
    mask: str | None = None
    boxes: tuple[Box, ...] = ()
    origin: str = ""
    also: tuple[str, ...] = ()


def build_dataset(
    root: Path,
    entries: Sequence[LabelledFile],
    *,
    positive: str | None = None,
    merge: Mapping[str, Sequence[str]] | None = None,
    group_by: str | None = None,
    classes: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    one_against_rest: str | None = None,
    skipped: Iterable[OmittedFile] = (),
    notes: Iterable[str] = (),
    passed_over: Sequence[str] = (),
) -> Dataset:
    """The dataset made of `entries`, sorted by path; the options are those of `read_dataset`.

    `passed_over` are notes on what was not read; an error for want of classes repeats them. Raises `DataError` when
    fewer than two classes are left, or an option names a class that is not there.
    """
    told = [*passed_over, *notes]
    entries = _one_spelling(entries, told)
    if one_against_rest is None and classes is not None:
        one_against_rest = _implied_rest(classes, entries)
    if one_against_rest is not None:
        entries, rest = _against_rest(entries, one_against_rest, told)
        positive = positive or (rest if classes is None else None)
    if merge:
        entries = _merge(entries, merge)
    if leave_out:
        entries = _without(entries, leave_out, told)
    entries, names, unknown = _class_names(entries, classes, told)
    if len(names) < 2:
        raise DataError(_too_few(root, names, merge, passed_over))
    if positive is not None or classes is None:
        names = order_classes(names, positive, told)
    kept = sorted((e for e in entries if e.name in names), key=lambda e: e.path)
    samples, groups = _samples(kept, names, group_by, told)
    _tell_of_gaps(samples, names, told)
    dataset = Dataset(root, names, samples, tuple(skipped), (), unknown)
    _suggest_groups(dataset, [e.origin or e.path for e in kept], groups, told)
    return replace(dataset, notes=tuple(told))


def _class_names(
    entries: Sequence[LabelledFile], classes: Sequence[str] | None, notes: list[str]
) -> tuple[Sequence[LabelledFile], tuple[str, ...], tuple[tuple[str, int], ...]]:
    if classes is not None:
        return _chosen(classes, entries, notes)
    return entries, tuple(sorted({e.name for e in entries})), ()


def _samples(
    kept: Sequence[LabelledFile], names: Sequence[str], group_by: str | None, notes: list[str]
) -> tuple[tuple[Sample, ...], list[str]]:
    """The samples, and the group of each without that of its copies."""
    index = {name: i for i, name in enumerate(names)}
    origins = [e.origin or e.path for e in kept]
    groups = [e.group for e in kept] if group_by is None else assign_groups(origins, group_by, notes)
    samples = tuple(
        Sample(e.path, index[e.name], e.split, g, e.mask, e.boxes)
        for e, g in zip(kept, with_families(origins, groups), strict=True)
    )
    return samples, groups


def _suggest_groups(dataset: Dataset, origins: Sequence[str], groups: Sequence[str], notes: list[str]) -> None:
    triples = zip(origins[::-1], dataset.samples[::-1], groups[::-1], strict=True)
    first = {o: replace(s, group=g) for o, s, g in triples}
    pattern = suggest_group_pattern(replace(dataset, samples=tuple(first.values())))
    if pattern is not None:
        notes.append(
            f"File names suggest that several images show one patient or object. If so, `group_by='{pattern}'` keeps "
            "these on one side of every split."
        )


def order_classes(names: Sequence[str], positive: str | None = None, notes: list[str] | None = None) -> tuple[str, ...]:
    """Class names in the order of their labels: sorted, and for two classes (negative, positive).

    `positive` names the positive class. Without it the names decide (see `positive.order_of_two`), and where they say
    nothing the later in the alphabet is positive. The choice is added to `notes`.
    """
    found = sorted(names)
    if positive is not None:
        chosen = match_name("class", positive, found)
        if len(found) != 2:
            raise DataError(
                f"A positive class needs two classes, and there are {len(found)} ({shorten(found)}): merge classes by "
                "`merge=NAME=CLASS,CLASS`, choose one by `one_against_rest=CLASS`, or leave `positive=` out."
            )
        return (next(n for n in found if n != chosen), chosen)
    if len(found) != 2:
        return tuple(found)
    low, high, ground = order_of_two(*found)
    if notes is not None:
        if ground == "alphabet":
            notes.append(
                f"Which class is positive? The names {low} and {high} do not say, so {high} was taken, the later in "
                f"the alphabet: confirm it by `positive={high!r}`, or choose `positive={low!r}`."
            )
        else:
            why = f"{high} reads as positive" if ground == "positive-word" else f"{low} reads as negative"
            notes.append(f"The positive class is {high} ({why}); `positive={low!r}` reverses the order.")
    return low, high


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


def are_numbers(names: Sequence[str], *, whole: bool = False) -> bool:
    """Whether names of classes are measured values: three or more numbers, and not all whole, unless `whole` may be."""
    try:
        values = [float(name.replace(",", ".")) for name in names]
    except ValueError:
        return False
    return len(values) > 2 and (whole or not all(value.is_integer() for value in values))


def numbers_as_labels(names: Sequence[str]) -> str:
    """What to do where the labels are measured values, which pellucid does not fit."""
    return (
        f"The labels hold numbers, not classes: {counted(len(names), 'number')}, such as {', '.join(names[:3])}. A "
        "measured value cannot be fitted. Divide the values into classes, low and high for example, in a column of the "
        "table, and name it by `label_column=`."
    )


def _key(name: str) -> str:
    # A Mac stores accents decomposed; train/ from one machine and test/ from another must still agree.
    return unicodedata.normalize("NFC", name).casefold()


def _one_spelling(entries: Sequence[LabelledFile], notes: list[str]) -> list[LabelledFile]:
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


def _implied_rest(classes: Sequence[str], entries: Sequence[LabelledFile]) -> str | None:
    """The class that was learnt against the rest, where the classes wanted are it and its complement."""
    held = {_key(name) for e in entries for name in (e.name, *e.also)}
    for name in classes:
        if (
            len(classes) == 2
            and complement(name) in classes
            and _key(name) in held
            and _key(complement(name)) not in held
        ):
            return name
    return None


def complement(name: str) -> str:
    """The name of the class of everything that is not `name`."""
    return f"not {name}"


def _against_rest(entries: Sequence[LabelledFile], wanted: str, notes: list[str]) -> tuple[list[LabelledFile], str]:
    """Every image as one of `wanted`, or of its complement; the class in the spelling of the data."""
    name = match_name("class", wanted, sorted({n for e in entries for n in (e.name, *e.also) if n}))
    other = complement(name)
    marked = [replace(e, name=name if name in (e.name, *e.also) else other, also=()) for e in entries]
    notes.append(
        f"{name} is learnt against the rest: {sum(e.name == name for e in marked):,} of {len(marked):,} images."
    )
    return marked, name


def _without(entries: Sequence[LabelledFile], leave_out: Sequence[str], notes: list[str]) -> list[LabelledFile]:
    """The entries without those of the classes to be left out."""
    found = sorted({e.name for e in entries})
    gone = {match_name("class", name, found) for name in leave_out}
    notes.append(
        f"Left out on request: {counted(sum(e.name in gone for e in entries), 'image')} of {shorten(sorted(gone))}."
    )
    return [e for e in entries if e.name not in gone]


def _merge(entries: Sequence[LabelledFile], merge: Mapping[str, Sequence[str]]) -> list[LabelledFile]:
    found = sorted({e.name for e in entries})
    target: dict[str, str] = {}
    for new, members in merge.items():
        if not members:
            raise DataError(f"Merging into {new} names no class: write `merge={new}=CLASS,CLASS`.")
        for member in members:
            name = match_name("class", member, found)
            if target.setdefault(name, new) != new:
                raise DataError(f"Class {name} cannot go into both {target[name]} and {new}: name it once in `merge=`.")
    for new in merge:
        if new in found and new not in target:
            raise DataError(
                f"Merging {', '.join(merge[new])} into {new} would take in the class {new} that exists already: write "
                f"`merge={new}={','.join((*merge[new], new))}` if you mean that, or choose another name."
            )
    return [replace(e, name=target[e.name]) if e.name in target else e for e in entries]


def _chosen(
    classes: Sequence[str], entries: Sequence[LabelledFile], notes: list[str]
) -> tuple[list[LabelledFile], tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Only the entries of `classes`, in the spelling asked for, and the other classes with their numbers of images.

    A class may have no entries. DataError where none of the classes has any, or two are spellings of one class.
    """
    found = sorted({e.name for e in entries})
    there = [c for c in classes if any(_key(c) == _key(n) for n in found)]
    if not there and found:
        raise DataError(
            f"There are no images of {shorten(classes)}: the data have {shorten(found)}. Rename the folders or labels "
            "of the data to the names asked for; images of other classes cannot be used."
        )
    spelling = {match_name("class", c, found): c for c in there}
    if len(spelling) < len(there):
        raise DataError(f"The classes asked for name one class twice: {', '.join(classes)}.")
    left = [n for n in found if n not in spelling]
    if left:
        notes.append(f"Left out, because other classes were asked for: {shorten(left)}.")
    kept = [replace(e, name=spelling[e.name]) for e in entries if e.name in spelling]
    return kept, tuple(classes), tuple((name, sum(e.name == name for e in entries)) for name in left)


def _too_few(root: Path, names: Sequence[str], merge: object, passed_over: Sequence[str]) -> str:
    ignored = " ".join(passed_over)
    if not names:
        return f"{root} holds no labelled images. {ignored}".rstrip()
    if merge:
        return f"After merging, {root} has only the class {names[0]}; a classifier needs two: merge fewer by `merge=`."
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
