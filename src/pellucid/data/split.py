"""Dividing a dataset into train, validation and test, or into folds, so that nothing leaks.

Images that share their bytes, their look or their group form one unit and stay together; classes keep their shares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .dataset import SPLITS, Dataset, OmittedFile, Sample, Split
from .disjointness import Disjointness, Kinship, kinship_of, proof_of
from .fingerprint import Fingerprints, IntArray, fingerprint
from .groups import copies_by_name
from .labelling import are_numbers, counted, numbers_as_labels, shorten

FloatMatrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """A dataset in which every sample has its split, the proof of disjointness, and what was decided, in sentences."""

    dataset: Dataset
    proof: Disjointness
    reasons: tuple[str, ...]


def split_dataset(
    dataset: Dataset,
    *,
    seed: int,
    validation: float = 0.15,
    test: float = 0.2,
    smallest_validation: int = 20,
    leave_out_twins: bool = False,
    fingerprints: Fingerprints | None = None,
) -> SplitPlan:
    """Give every image its split: train, val or test.

    Splits that exist are kept. A missing test set is drawn from train (share `test`), and so is a missing validation
    set (share `validation`, at least `smallest_validation` images per class where a quarter of the class allows it).
    An existing validation set with fewer images of some class joins train first. A share of 0 draws nothing. Shares of
    classes are kept, and units of identical, near-duplicate or grouped images stay whole. The outcome depends on the
    seed, not on the order of files. Images that cannot be decoded are moved to `skipped`; so are, with
    `leave_out_twins`, training images that share bytes, look or group with a split that is kept. Changed copies, told
    by `copies_by_name`, are never drawn: they go with their original into train, or are left out.

    Raises `DataError` when there is nothing to train on, or too few units of a class to divide.
    """
    if validation < 0 or test < 0 or not validation + test <= 0.8:
        raise DataError(
            f"The shares for validation ({validation:g}) and test ({test:g}) must be 0 or more and leave at least 0.2 "
            "for training."
        )
    whole, prints = _readable(dataset, fingerprints)
    copies = _copies(whole)
    dataset = whole.where(lambda s: s.path not in copies)
    kin = kinship_of(dataset, prints.of(s.path for s in dataset.samples))
    splits = np.array([s.split or "train" for s in dataset.samples], dtype="<U5")
    reasons: list[str] = []
    drawn: list[tuple[Split, float, int]] = []
    if (splits == "test").any():
        reasons.append(f"The test set that came with the data is kept ({_counts(dataset, splits == 'test')}).")
    elif test:
        drawn.append(("test", test, 0))
    if validation and _wants_validation(dataset, splits, validation, smallest_validation, reasons):
        drawn.append(("val", validation, smallest_validation))
    if not (splits == "train").any():
        raise DataError(
            f"{dataset.root} has no training images: put them in a folder train/, or leave the split folders out to "
            "have the images divided."
        )
    bound = _bound(kin, splits)
    _check_training(dataset, kin, splits, bound, reasons, wanted=leave_out_twins or bool(drawn), drawn=bool(drawn))
    if bound.any() and leave_out_twins:
        dataset, kin, splits = _left_out(dataset, kin, splits, bound)
    if bound.any():
        many = counted(int(bound.sum()), "training image")
        end = "left out of training." if leave_out_twins else "see the proof, or leave them out of training."
        reasons.append(f"{many} with a copy, or of a group, in a split that is kept: {end}")
    splits = _draw(dataset, kin, splits, drawn, seed, reasons)
    reasons += _kept_together(kin)
    done = _with_splits(dataset, splits)
    if copies:
        done = _with_copies(done, whole, copies, reasons)
        kin = kinship_of(done, prints.of(s.path for s in done.samples))
    return SplitPlan(done, proof_of(done, kin), tuple(reasons))


def fold_dataset(
    dataset: Dataset, folds: int, seed: int, *, validation: float = 0.15, fingerprints: Fingerprints | None = None
) -> list[Dataset]:
    """Datasets for cross-validation: in the i-th, part i is `test` and the rest is `train` and, carved from it, `val`.

    Every image is tested exactly once, but for changed copies, which are only trained on. Units stay whole and classes
    keep their shares as in `split_dataset`. A test set that exists takes no part and is left out: it remains for the
    final evaluation. With `validation` 0 no validation sets are carved. Raises `DataError` when a class has fewer units
    than there are folds.
    """
    if folds < 2:
        raise DataError(f"Cross-validation needs at least 2 folds, and {folds} was asked for.")
    held = len(dataset.split("test"))
    note = (f"The test set that came with the data ({held:,} images) takes no part in the folds.",) if held else ()
    whole, prints = _readable(dataset.where(lambda s: s.split != "test"), fingerprints)
    copies = _copies(whole)
    dataset = whole.where(lambda s: s.path not in copies)
    kin = kinship_of(dataset, prints.of(s.path for s in dataset.samples))
    sizes = np.bincount(dataset.labels, minlength=len(dataset.classes)).astype(float)
    parts = divide(dataset.labels, kin.unit, np.tile(sizes / folds, (folds, 1)), _keys(dataset, seed))
    _all_present(dataset, kin, parts, [f"fold {i + 1}" for i in range(folds)])
    made = []
    for i in range(folds):
        splits = np.where(parts == i, "test", "train").astype("<U5")
        if validation:
            splits = _draw(dataset, kin, splits, [("val", validation, 20)], seed + i, [])
        told = list(note)
        fold = _with_copies(_with_splits(dataset, splits), whole, copies, told)
        made.append(replace(fold, notes=(*fold.notes, *told, f"Fold {i + 1} of {folds}, seed {seed}.")))
    return made


def divide(labels: IntArray, units: IntArray, wanted: FloatMatrix, keys: Sequence[str]) -> IntArray:
    """Allot whole units to parts so that each class comes as near as can be to `wanted`; returns the part (N,).

    `labels` (N,) and `units` (N,) are 0-based, `wanted` (parts, classes) counts images and sums to each class's total.
    `keys` (N,) order units of one size: the outcome is the same however the images are ordered. The largest units go
    first, each to the part where the sum of (count - wanted)^2 / wanted grows least, after StratifiedGroupKFold of
    scikit-learn; then parts that lack a class are given its smallest unit where others can spare one.
    """
    units = np.unique(units, return_inverse=True)[1]
    count = int(units.max()) + 1 if len(units) else 0
    content: list[dict[int, int]] = [{} for _ in range(count)]
    key = [""] * count
    for label, unit, name in zip(labels.tolist(), units.tolist(), keys, strict=True):
        content[unit][label] = content[unit].get(label, 0) + 1
        key[unit] = min(key[unit], name) if key[unit] else name
    order = sorted(range(count), key=lambda u: (-sum(content[u].values()), key[u]))
    target = np.maximum(wanted, 1e-9).tolist()
    held = [[0] * wanted.shape[1] for _ in target]
    part = [0] * count
    for unit in order:
        part[unit] = min(range(len(target)), key=lambda p: _growth(held[p], target[p], content[unit]))
        for label, images in content[unit].items():
            held[part[unit]][label] += images
    _fill_gaps(part, content, order[::-1], wanted)
    return np.array(part, np.int64)[units]


def _growth(held: Sequence[int], target: Sequence[float], unit: dict[int, int]) -> float:
    """How much sum of (count - wanted)^2 / wanted grows when a part takes a unit."""
    return sum(n * (2 * (held[c] - target[c]) + n) / target[c] for c, n in unit.items())


def _fill_gaps(
    part: list[int], content: Sequence[dict[int, int]], smallest_first: Sequence[int], wanted: FloatMatrix
) -> None:
    """Move the smallest unit of a class into a part that wants the class and has none, if the giver keeps one."""
    having = np.zeros(wanted.shape, np.int64)
    for unit, place in enumerate(part):
        for c in content[unit]:
            having[place, c] += 1
    for place, c in np.argwhere((having == 0) & (wanted > 0)).tolist():
        for unit in smallest_first:
            giver = part[unit]
            if c in content[unit] and giver != place and all(having[giver, k] > 1 for k in content[unit]):
                for k in content[unit]:
                    having[giver, k] -= 1
                    having[place, k] += 1
                part[unit] = place
                break


def _readable(dataset: Dataset, fingerprints: Fingerprints | None) -> tuple[Dataset, Fingerprints]:
    """The dataset without images that cannot be decoded (they go to `skipped`), and its fingerprints."""
    prints = fingerprint(dataset) if fingerprints is None else fingerprints.of(s.path for s in dataset.samples)
    if prints.problems:
        bad = tuple(OmittedFile(path, reason) for path, reason in sorted(prints.problems.items()))
        dataset = replace(dataset.where(lambda s: s.path not in prints.problems), skipped=(*dataset.skipped, *bad))
        prints = prints.of(s.path for s in dataset.samples)
    missing = [c for i, c in enumerate(dataset.classes) if i not in set(dataset.labels.tolist())]
    if missing:
        raise DataError(
            f"{dataset.root} holds no readable image of {shorten(missing)}: add some, or leave the class out by "
            f"`leave_out={missing[0]}`."
        )
    return dataset, prints


def _wants_validation(
    dataset: Dataset, splits: npt.NDArray[np.str_], share: float, smallest: int, reasons: list[str]
) -> bool:
    """Whether a validation set must be carved; one that is too small joins train, in place, and the reason is told."""
    present = splits == "val"
    if not present.any():
        return True
    sizes = np.bincount(dataset.labels[present], minlength=len(dataset.classes))
    if sizes.min() >= smallest:
        reasons.append(f"The validation set that came with the data is kept ({_counts(dataset, present)}).")
        return False
    pool = np.bincount(dataset.labels[present | (splits == "train")], minlength=len(dataset.classes))
    scarce = sizes < smallest
    if not (_shares(pool, share, smallest)[scarce] > sizes[scarce]).any():
        reasons.append(
            f"The validation set that came with the data is small ({_counts(dataset, present)}), and train has too few "
            "images to give more: take what is chosen on it with care."
        )
        return False
    reasons.append(
        f"The validation set that came with the data ({_counts(dataset, present)}) is too small to choose a model on "
        f"(fewer than {smallest} of a class): its images join train, and a larger one is carved from train."
    )
    splits[present] = "train"
    return True


def _shares(pool: IntArray, share: float, smallest: int) -> FloatMatrix:
    """Images of each class to set aside out of `pool` (K,)."""
    shares: FloatMatrix = np.maximum(pool * share, np.minimum(smallest, pool / 4))
    return shares


def _bound(kin: Kinship, splits: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """Training images whose unit reaches into another split."""
    pool = splits == "train"
    bound: npt.NDArray[np.bool_] = pool & np.isin(kin.unit, kin.unit[~pool])
    return bound


def _check_training(
    dataset: Dataset,
    kin: Kinship,
    splits: npt.NDArray[np.str_],
    bound: npt.NDArray[np.bool_],
    reasons: list[str],
    *,
    wanted: bool,
    drawn: bool,
) -> None:
    """Raise for classes that cannot be learnt: with no training image, one to be divided, or only twins of kept ones.

    `wanted` says that training images must be free of twins, `drawn` that a split is drawn from them.
    """
    train = splits == "train"
    sizes = np.bincount(dataset.labels[train], minlength=len(dataset.classes))
    few = [(c, int(n)) for c, n in zip(dataset.classes, sizes, strict=True) if n < (2 if drawn else 1)]
    if few:
        if are_numbers(dataset.classes, whole=len(few) > len(dataset.classes) / 2):
            raise DataError(numbers_as_labels(dataset.classes))
        listed = shorten([f"{c} ({n})" for c, n in few])
        out = " ".join(f"`leave_out={c}`" for c, _ in few[:6])
        raise DataError(
            f"These classes have too few training images to learn from: {listed}. Add images, or leave the classes out "
            f"by {out}."
        )
    single = [c for c, n in zip(dataset.classes, sizes, strict=True) if n == 1]
    if single:
        reasons.insert(0, f"Classes with a single training image, hardly to be learnt: {shorten(single)}.")
    free = np.bincount(dataset.labels[train & ~bound], minlength=len(dataset.classes))
    twins = [c for c, n in zip(dataset.classes, free, strict=True) if not n]
    if twins and wanted:
        mine = train & np.isin(dataset.labels, [dataset.classes.index(c) for c in twins])
        exact = bool(np.isin(kin.content[mine], kin.content[~train]).all())
        how = "as the same files" if exact else "as the same files, pictures that look the same, or of the same groups"
        kept = " and ".join(s for s in SPLITS if (splits[~train] == s).any())
        raise DataError(
            f"All {int(mine.sum()):,} training images of {shorten(twins)} are in {kept} as well, {how}: nothing is "
            f"left to learn from. Remove them from {kept}, or put everything into one folder and have it divided."
        )


def _left_out(
    dataset: Dataset, kin: Kinship, splits: npt.NDArray[np.str_], gone: npt.NDArray[np.bool_]
) -> tuple[Dataset, Kinship, npt.NDArray[np.str_]]:
    """Everything without the images that are `gone`, which go to `skipped`."""
    keep = ~gone
    reason = "a copy of it, or its group, is in a split that is kept"
    out = tuple(OmittedFile(s.path, reason, "twin") for s, g in zip(dataset.samples, gone, strict=True) if g)
    samples = tuple(s for s, k in zip(dataset.samples, keep, strict=True) if k)
    fewer = Kinship(kin.content[keep], kin.near[keep], kin.group[keep], kin.unit[keep], kin.threshold)
    return replace(dataset, samples=samples, skipped=(*dataset.skipped, *out)), fewer, splits[keep]


def _draw(
    dataset: Dataset,
    kin: Kinship,
    splits: npt.NDArray[np.str_],
    drawn: Sequence[tuple[Split, float, int]],
    seed: int,
    reasons: list[str],
) -> npt.NDArray[np.str_]:
    """Draw the named splits out of train."""
    if not drawn:
        return splits
    pool = splits == "train"
    # A unit that reaches into a split that is kept stays in train: drawing it would make a second overlap.
    free = np.flatnonzero(pool & ~_bound(kin, splits))
    sizes = np.bincount(dataset.labels[pool], minlength=len(dataset.classes))
    available = np.bincount(dataset.labels[free], minlength=len(dataset.classes)).astype(float)
    asked = np.stack([_shares(sizes, share, smallest) for _, share, smallest in drawn])
    asked = np.minimum(asked, 0.8 * available * asked / np.maximum(asked.sum(axis=0), 1e-9))
    wanted = np.concatenate([(available - asked.sum(axis=0))[None], asked])
    names: list[Split] = ["train", *(name for name, _, _ in drawn)]
    keys = _keys(dataset, seed)
    parts = divide(dataset.labels[free], kin.unit[free], wanted, [keys[i] for i in free])
    result: npt.NDArray[np.str_] = splits.copy()
    result[free] = np.array(names)[parts]
    _all_present(dataset, kin, np.array([names.index(s) if s in names else -1 for s in result]), names)
    for name, _, _ in drawn:
        long = {"val": "validation", "test": "test"}[name]
        share = (result == name).sum() / pool.sum()
        reasons.append(f"The {long} set was drawn with seed {seed}: {_counts(dataset, result == name)} ({share:.0%}).")
    return result


def _all_present(dataset: Dataset, kin: Kinship, parts: IntArray, names: Sequence[str]) -> None:
    """Raise where a class is missing from a part that was drawn."""
    for c, name in enumerate(dataset.classes):
        mine = dataset.labels == c
        gone = [n for i, n in enumerate(names) if not (mine & (parts == i)).any()]
        if gone:
            units = len(np.unique(kin.unit[mine & (parts >= 0)]))
            raise DataError(
                f"Class {name} cannot be divided into {', '.join(names)}: its {int((mine & (parts >= 0)).sum()):,} "
                f"images form only {units} independent units (groups, and copies of one image, stay together), and "
                f"{' and '.join(gone)} got none; add images, ask for fewer parts, name smaller "
                f"groups by `group_by=`, or leave the class out by `leave_out={name}`."
            )


def _keys(dataset: Dataset, seed: int) -> list[str]:
    """A pseudo-random key of each image that depends on the seed and its path alone."""
    return [hashlib.sha256(f"{seed}:{s.path}".encode("utf-8", "surrogateescape")).hexdigest() for s in dataset.samples]


def _with_splits(dataset: Dataset, splits: npt.NDArray[np.str_]) -> Dataset:
    named: dict[str, Split] = {s: s for s in SPLITS}
    samples: list[Sample] = [replace(s, split=named[str(n)]) for s, n in zip(dataset.samples, splits, strict=True)]
    return replace(dataset, samples=tuple(samples))


def _copies(dataset: Dataset) -> dict[str, str]:
    """{changed copy: original}, but for copies that came in a validation or test set."""
    named = copies_by_name(s.path for s in dataset.samples)
    return {s.path: named[s.path] for s in dataset.samples if s.path in named and s.split not in ("val", "test")}


def _with_copies(split: Dataset, whole: Dataset, copies: Mapping[str, str], reasons: list[str]) -> Dataset:
    """The split originals of `whole`, and those of its changed copies whose originals are trained on."""
    placed = {s.path: s for s in split.samples}
    trained = {path for path, s in placed.items() if s.split == "train"}
    kept = {s.path: replace(s, split="train") for s in whole.samples if copies.get(s.path) in trained}
    if len(kept) < len(copies):
        reasons.append(
            f"Changed copies of images that are not trained on: {len(copies) - len(kept):,}, left out, because figures "
            "are taken on originals."
        )
    both = placed | kept
    return replace(split, samples=tuple(both[s.path] for s in whole.samples if s.path in both))


def _counts(dataset: Dataset, mask: npt.NDArray[np.bool_]) -> str:
    sizes = np.bincount(dataset.labels[mask], minlength=len(dataset.classes))
    each = shorten([f"{name} {n:,}" for name, n in zip(dataset.classes, sizes.tolist(), strict=True)])
    return f"{counted(int(mask.sum()), 'image')}: {each}"


def _kept_together(kin: Kinship) -> list[str]:
    """Sentences on identical and similar images."""
    _, sizes = np.unique(kin.content[kin.content >= 0], return_counts=True)
    looks = len(np.unique(kin.content)) - len(np.unique(kin.near))
    told = []
    if (sizes > 1).any():
        sets = counted(int((sizes > 1).sum()), "set")
        told.append(f"Byte-identical files: {sets}, never parted by drawing.")
    if looks:
        how = "re-encoded, resized, exposed otherwise or mirrored"
        told.append(f"Images that show the same as another ({how}): {looks:,}, never parted by drawing.")
    return told
