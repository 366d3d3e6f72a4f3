"""Splits as files that stand for the dataset: CSVs that `read_dataset` takes, wherever they are written."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.dataset import Dataset, OmittedFile
from ..data.disjointness import Disjointness, prove_disjoint
from ..data.fingerprint import Fingerprints, fingerprint
from ..data.manifest import read_boxes, write_split
from ..data.split import fold_dataset, split_dataset
from ..errors import InputError, ResourceError
from ..progress import Progress, Silent
from ..storage import new_folder

BOXES = "boxes.json"


@dataclass(frozen=True, slots=True)
class SplitFile:
    """One CSV that was written: the dataset as it is split there, the proof, and what was decided, in sentences.

    `skipped` could not be read; `left_out` are the training images dropped on demand.
    """

    path: Path
    dataset: Dataset
    proof: Disjointness
    reasons: tuple[str, ...]
    skipped: tuple[OmittedFile, ...]
    left_out: tuple[OmittedFile, ...] = ()


def split_to_file(
    dataset: Dataset,
    path: Path,
    *,
    seed: int = 0,
    validation: float = 0.15,
    test: float = 0.2,
    leave_out_twins: bool = False,
    progress: Progress | None = None,
) -> SplitFile:
    """Split a dataset as `split_dataset` does and write it to the CSV `path`, with paths relative to its folder.

    Raises InputError when `path` is there already (a split is made to last), ResourceError when the disk is full, and
    what `split_dataset` raises.
    """
    _check_free(path)
    prints = take_fingerprints(dataset, progress or Silent())
    plan = split_dataset(
        dataset, seed=seed, validation=validation, test=test, leave_out_twins=leave_out_twins, fingerprints=prints
    )
    _write(plan.dataset, prints, path, path.parent)
    known = {s.path for s in dataset.samples} - prints.problems.keys()
    left_out = tuple(s for s in plan.dataset.skipped if s.path in known)
    skipped = tuple(s for s in plan.dataset.skipped if s.path not in known)
    return SplitFile(path, plan.dataset, plan.proof, plan.reasons, skipped, left_out)


def folds_to_folder(
    dataset: Dataset,
    folder: Path,
    folds: int,
    *,
    seed: int = 0,
    validation: float = 0.15,
    progress: Progress | None = None,
) -> list[SplitFile]:
    """Write `folder/fold-1.csv` ... as `fold_dataset` divides a dataset; the folder appears whole or not at all."""
    prints = take_fingerprints(dataset, progress or Silent())
    with new_folder(folder) as draft:
        written = []
        for number, fold in enumerate(
            fold_dataset(dataset, folds, seed, validation=validation, fingerprints=prints), 1
        ):
            name = f"fold-{number}.csv"
            _write(fold, prints, draft / name, folder)
            reasons = fold.notes[len(dataset.notes) :]
            written.append(SplitFile(folder / name, fold, prove_disjoint(fold, prints), reasons, fold.skipped))
    return written


def relocated(dataset: Dataset, folder: Path) -> Dataset:
    """The same dataset as seen from another folder: paths are relative to it, absolute where there is no way."""
    if folder.resolve() == dataset.root.resolve():
        return dataset

    def moved(path: str) -> str:
        there = (dataset.root.resolve() / path).as_posix()
        try:
            return Path(os.path.relpath(there, folder.resolve())).as_posix()
        except ValueError:  # another drive
            return there

    samples = (replace(s, path=moved(s.path), mask=moved(s.mask) if s.mask else None) for s in dataset.samples)
    return replace(dataset, root=folder, samples=tuple(samples))


def _write(dataset: Dataset, prints: Fingerprints, path: Path, folder: Path) -> None:
    """Write the CSV `path`, which is to stand in `folder`, and beside it the boxes of its images."""
    seen = relocated(dataset, folder)
    prints = replace(prints.of(s.path for s in dataset.samples), paths=tuple(s.path for s in seen.samples))
    boxes = {s.path: s.boxes for s in seen.samples if s.boxes}
    file, held = path.parent / BOXES, read_boxes(path.parent)
    wanted = any(held.get(place) != listed for place, listed in boxes.items())
    if wanted and file.exists():
        raise InputError(f"{file} holds other boxes than those of these images: choose another folder by `out=`.")
    try:
        write_split(path, seen, prints)
        if wanted:
            file.write_text(json.dumps(dict(sorted(boxes.items())), indent=0), encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"{path} cannot be written ({error.strerror}): choose another by `out=`.") from error


def take_fingerprints(dataset: Dataset, progress: Progress) -> Fingerprints:
    """Fingerprints of a dataset, with a bar."""
    with progress.bar("Comparing images") as advance:
        return fingerprint(dataset, progress=advance)


def _check_free(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} is there already, and no split is overwritten: choose another `out=`, or remove it.")
