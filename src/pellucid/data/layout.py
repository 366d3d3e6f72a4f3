"""How the folders between the root of a dataset and a file say its split and its class.

Read are `split/class`, `class/split`, `class` and names of both, as in `train_cats` or `trainA`, within folders that
hold everything else, and below folds, years and numbered parts, which are pooled. Names that say split, fold, year or
part are classes only where most names beside them say something else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import DataError
from .dataset import Split

Parts = tuple[str, ...]

CONTAINERS = frozenset(("images", "image", "imgs", "img", "jpegimages"))

# fmt: off
_SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "trn", "training", "trainval", "augmented"), "train"),
    **dict.fromkeys((
        "val", "valid", "validation", "validate", "validating", "dev", "development", "eval", "evaluation",
    ), "val"),
    **dict.fromkeys(("test", "tst", "testing", "holdout"), "test"),
}
# Words that may stand beside a split, a fold or a part and say nothing of a class.
_NEUTRAL = frozenset((
    "data", "dataset", "set", "images", "image", "imgs", "img", "photos", "pictures", "files", "seg", "split", "cls",
    "final", "full", "new", "cropped", "resized", "small", "folder", "dir", "public", "private", "id", "ood",
))
_POOLED = frozenset((
    "fold", "folds", "cv", "kfold", "part", "pt", "batch", "chunk", "shard", "subset", "images", "imgs", "image", "img",
    "split", "data", "dataset", "set", "archive", "volume", "vol", "disk", "folder", "dir", "round", "run",
))
# fmt: on
_LABELLED = frozenset(("labeled", "labelled", "annotated"))
_FOLDS = frozenset(("fold", "folds", "cv", "kfold", "split"))
_JOINED = re.compile(rf"({'|'.join(sorted(_SPLIT_WORDS, key=len, reverse=True))})(?:data|dataset|set|images)")
_YEAR = re.compile(r"(?:voc|year|y)?[-_ ]?(?:19|20)\d\d(?:[-_. ]?(?:0[1-9]|1[0-2])(?:[-_. ]?[0-3]\d)?)?")
_NUMBERED = re.compile(
    r"(?P<stem>.*?)[-_ .]*(?P<number>\d+)(?:[-_ ]of[-_ ]\d+)?|(?P<word>.*[^\W\d_])[-_ .](?P<letter>[a-z])"
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a folder's name says instead of a class: a split, or a fold, year or part, which has `split` ""."""

    kind: str
    split: Split = ""


@dataclass(slots=True)
class FolderLayout:
    """How each chain of folders was read: its split and class (None where no folder names it), or what it lies beside.

    `wrapper` are the folders that hold everything. `places` are the names read as splits, folds, years or parts.
    `outside` maps chains that lie beside the splits to the folder that does. `doubtful` are classes whose names say a
    split. `above` maps classes to the folders below them that may be the classes. `level` are folders that hold one set
    of classes each, and were read together because the caller named one of these classes.
    """

    wrapper: Parts = ()
    read: dict[Parts, tuple[Split, str | None]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    outside: dict[Parts, str] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)
    above: dict[str, list[str]] = field(default_factory=dict)
    level: list[str] = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        """The names of classes that folders give."""
        return {name for _, name in self.read.values() if name is not None}

    @property
    def pooled(self) -> dict[str, Place]:
        """The folds, years and parts among the places."""
        return {name: place for name, place in self.places.items() if not place.split}


def split_named(name: str) -> Split | None:
    """The split that a folder or cell names (`Training`, `test_data`, `train2017`, `seg_test` ...), or None."""
    split, rest = split_and_rest(name)
    return None if rest else split


def place_named(name: str) -> Place | None:
    """The split, fold, year or part that a folder names; None for any other name."""
    split = split_named(name)
    if split is not None:
        return Place("split", split)
    low = name.strip().casefold()
    said = {word.casefold() for word in _words(name)} - _NEUTRAL
    if said and said <= _LABELLED:
        return Place("part")
    if _YEAR.fullmatch(low):
        return Place("year")
    found = _NUMBERED.fullmatch(low)
    words = re.findall(r"[^\W\d_]+", (found["stem"] or found["word"] or "") if found else "")
    if not words or words[-1] not in _POOLED:
        return None
    return Place("fold" if words[-1] in _FOLDS else "part")


def read_layout(chains: Iterable[Parts], *, named: Collection[str] = (), positive: str | None = None) -> FolderLayout:
    """Read the layout off the `chains` of folders, one for each folder with images, containers left out.

    `named` are names (casefolded) that are classes because the caller says so; the name of the `positive` class
    tells only at which of two levels the classes lie. Raises DataError where a folder may be a
    class or a split, where folds hold splits of their own, and where two levels of folders may be the classes.
    """
    layout = FolderLayout()
    rest = {chain: chain for chain in chains}
    split: dict[Parts, Split] = dict.fromkeys(rest, "")
    while names := _names(rest):
        places = {} if {n.casefold() for n in names} & set(named) else _places(names)
        if places and _agree(places, rest, split):
            _check_folds(places, layout)
            layout.places |= places
            _step(rest, split, places, layout)
        elif _both_in_one(names):
            for chain, left in rest.items():
                if left:
                    taken, name = split_and_rest(left[0])
                    split[chain], rest[chain] = taken or "", (name, *left[1:])
            break
        elif _holds_all(rest, split, bool(layout.places)):
            if not layout.places:
                layout.wrapper = (*layout.wrapper, next(iter(names)))
            rest = {chain: left[1:] for chain, left in rest.items()}
        elif _lower_level(names, {*named, (positive or "").casefold()}):
            layout.level += sorted(names)
            rest = {chain: left[1:] for chain, left in rest.items()}
        else:
            break
    for chain, left in rest.items():
        layout.read[chain] = (split[chain], left[0] if left else None)
    if not layout.places:
        _splits_below(rest, layout)
        layout.doubtful = sorted(n for n in layout.classes if place_named(n))
    layout.above = _above(rest)
    return layout


def _names(rest: Mapping[Parts, Parts]) -> dict[str, set[str]]:
    """The names at this depth, each with the names one folder deeper; "" for images that lie in it."""
    names: dict[str, set[str]] = defaultdict(set)
    for left in rest.values():
        if left:
            names[left[0]].add(left[1] if len(left) > 1 else "")
    return names


def _places(names: Mapping[str, set[str]]) -> dict[str, Place]:
    """The names that say a split, fold, year or part, if that is what this depth is about; else none."""
    places = {name: place for name in names if (place := place_named(name))}
    others = [name for name in names if name not in places]
    if len(places) > len(others):
        # A single fold or part holds everything, like any other folder.
        return {} if len(names) == 1 and not next(iter(places.values())).split else places
    below = {inner for name in places for inner in names[name] if inner}
    if len({p.split for p in places.values() if p.split}) > 1 and below:
        return places
    if len(below) < 2:
        return {}
    if len(others) == len(places):
        return places
    if all(names[name] == {""} for name in others):
        listed = ", ".join(sorted(others)[:3])
        raise DataError(
            f"The folder {next(iter(places))} may be a class like {listed}, or a split that holds classes: rename it, "
            "or move the others away."
        )
    return {}


def _agree(places: Mapping[str, Place], rest: Mapping[Parts, Parts], split: Mapping[Parts, Split]) -> bool:
    """Whether splits at this depth are those of the folders above, where these are splits."""
    return all(
        not split[chain] or not places[left[0]].split or places[left[0]].split == split[chain]
        for chain, left in rest.items()
        if left and left[0] in places
    )


def _check_folds(places: Mapping[str, Place], layout: FolderLayout) -> None:
    folds = [name for name, place in layout.places.items() if place.kind == "fold"]
    if folds and len({p.split for p in places.values() if p.split}) > 1:
        example = "/".join((*layout.wrapper, min(folds)))
        raise DataError(
            f"{', '.join(sorted(folds)[:3])} are folds of a cross-validation, each with its own "
            f"{' and '.join(sorted(places))}, so that every image occurs in several: give one fold, {example}, or "
            "put the images into class folders once and have the folds drawn."
        )


def _step(
    rest: dict[Parts, Parts], split: dict[Parts, Split], places: Mapping[str, Place], layout: FolderLayout
) -> None:
    """Go one folder deeper, in place: splits are kept, what stands beside them is put outside."""
    for chain, left in list(rest.items()):
        if not left:
            continue
        place = places.get(left[0])
        if place is None:
            layout.outside[chain] = "/".join(chain[: len(chain) - len(left) + 1])
            del rest[chain]
        else:
            split[chain], rest[chain] = place.split or split[chain], left[1:]


def _holds_all(rest: Mapping[Parts, Parts], split: Mapping[Parts, Split], below_places: bool) -> bool:
    """Whether the folders at this depth only hold everything else: one in all, or one in each split."""
    if not all(len(left) > 1 for left in rest.values() if left):
        return False
    found = {(split[chain] if below_places else "", left[0]) for chain, left in rest.items() if left}
    return len({where for where, _ in found}) == len(found)


def _lower_level(names: Mapping[str, set[str]], named: Collection[str]) -> bool:
    """Whether the classes lie one folder deeper, in each of several folders, because the caller named a class.

    Raises DataError where several folders hold the same names and nobody says which level is the class.
    """
    sets = {frozenset(inner.casefold() for inner in below) for below in names.values()}
    below = sorted(next(iter(names.values())))
    if len(names) < 2 or len(sets) > 1 or len(below) < 2 or "" in below or any(_no_class(inner) for inner in below):
        return False
    if any(name.casefold() in named for name in names):
        return False
    if any(name.casefold() in named for name in below):
        return True
    tops = sorted(names)
    raise DataError(
        f"Which folders are the classes? {', '.join(tops[:3])} each hold the same folders, {', '.join(below[:3])}: "
        f"{_level_chosen(tops)} takes the upper ones, {_level_chosen(below)} the lower ones, which are then read "
        "together. Otherwise give a table of paths and labels."
    )


def _no_class(name: str) -> bool:
    """Whether a folder below a class is a split, year, part, magnification or view of it, and no class."""
    return place_named(name) is not None or re.fullmatch(r"\d+x", name.casefold()) is not None


def _level_chosen(names: Sequence[str]) -> str:
    """The parameter that names a class of this level and changes nothing else, as far as there is one."""
    return f"`positive={names[-1]!r}`" if len(names) == 2 else f"`merge={names[0]}={names[0]}`"


def _above(rest: Mapping[Parts, Parts]) -> dict[str, list[str]]:
    """Classes whose images all lie in two or more folders below, where another class holds its images itself."""
    below: dict[str, set[Parts]] = defaultdict(set)
    for left in rest.values():
        if left:
            below[left[0]].add(left[1:])
    found: dict[str, list[str]] = {}
    if not any(() in chains for chains in below.values()):
        return found
    for name, chains in below.items():
        last = {chain[-1] for chain in chains if chain}
        if () not in chains and len(last) > 1 and not all(_no_class(inner) for inner in last):
            found[name] = sorted("/".join(chain) for chain in chains)
    return found


def _both_in_one(names: Collection[str]) -> bool:
    """Whether every name says split and class, as `train_cats` and `testB` do."""
    apart = [split_and_rest(name) for name in names]
    splits, rests = {split for split, _ in apart}, {rest.casefold() for _, rest in apart}
    return None not in splits and "" not in rests and len(splits) > 1 and len(rests) > 1


def split_and_rest(name: str) -> tuple[Split | None, str]:
    """The split that one word of a name says, and what else it says; (None, name) where no word is one.

    `train_cats` gives ("train", "cats"), and a name that is a split and nothing else has a rest of "".
    """
    words = _words(name)
    split: Split | None = None
    kept = []
    for word in words:
        low = word.casefold()
        low = found[1] if (found := _JOINED.fullmatch(low)) else low
        if low in _SPLIT_WORDS and split in (None, _SPLIT_WORDS[low]):
            split = _SPLIT_WORDS[low]
        elif low in _SPLIT_WORDS and {split, _SPLIT_WORDS[low]} == {"train", "val"}:
            split = "train"  # train_val: everything that is not tested on
        elif low not in _NEUTRAL and not low.isdigit():
            kept.append(word)
    return (None, name) if split is None else (split, "_".join(kept))


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))


def split_words(name: str) -> int:
    """How many words of a name say a split."""
    return sum(word.casefold() in _SPLIT_WORDS for word in _words(name))


def _splits_below(rest: Mapping[Parts, Parts], layout: FolderLayout) -> None:
    """Read `class/split`, where the second folder of every class is a split."""
    seconds: Sequence[str] = [left[1] if len(left) > 1 else "" for left in rest.values() if left]
    if seconds and all(split_named(second) is not None for second in seconds):
        for chain, left in rest.items():
            if left:
                layout.read[chain] = (split_named(left[1]) or "", left[0])
