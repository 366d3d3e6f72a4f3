"""Were images trained on? By content from the run's own record, and by look where its data are still there."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from ..bundle.run import RunFolder
from ..data.dataset import Dataset, Sample, Split
from ..data.disjointness import prove_disjoint
from ..data.fingerprint import content_hashes
from ..data.manifest import read_split

USED = ("train", "val")


def overlap_with_training(folder: RunFolder, dataset: Dataset, *, look: bool = True) -> tuple[str, ...]:
    """A sentence for each way in which images of `dataset` are among those that a run was trained or chosen on.

    Identical files are always found. Near-duplicates need the training images, which are looked for where they lay.
    Groups are not compared: two collections may number their patients alike. Without `look` only identical files
    count, as where sound parts of one kind look alike.
    """
    if not folder.split.is_file():
        return ()
    twins = trained_on(folder, dataset)
    found = (_sentence("byte for byte among those trained on", twins, dataset),) if twins else ()
    return (*found, *(_alike(folder, dataset, set(twins)) if look else ()))


def trained_on(folder: RunFolder, dataset: Dataset) -> list[str]:
    """Paths of the images of `dataset` that are byte for byte among those that a run was trained or chosen on."""
    if not folder.split.is_file():
        return []
    hashes = content_hashes([dataset.file(s) for s in dataset.samples])
    trained = checksums_of_split(folder.split, *USED)
    return [s.path for s, content in zip(dataset.samples, hashes, strict=True) if content in trained]


def _sentence(how: str, paths: list[str], dataset: Dataset) -> str:
    return f"{len(paths):,} of {len(dataset):,} images are {how} (for example {paths[0]})."


def checksums_of_split(path: Path, *splits: str) -> set[str]:
    """The content hashes of the images of some splits, from a run's `split.csv`."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["sha256"] for row in csv.DictReader(file) if row["split"] in splits and row["sha256"]}


def _alike(folder: RunFolder, dataset: Dataset, known: set[str]) -> tuple[str, ...]:
    """Near-duplicates of training images, not counting those already `known`; none where the data have gone."""
    source = Path(folder.read_record().data.source)
    root = source if source.is_dir() else source.parent
    if not root.is_dir():
        return ()
    used = [s for s in read_split(folder.split, root).samples if s.split in USED]
    rest = [s for s in dataset.samples if s.path not in known]
    if not used or not rest:
        return ()
    base = Path(root.resolve().anchor)
    samples = [_placed(s, root, base, "train") for s in used] + [_placed(s, dataset.root, base, "test") for s in rest]
    proof = prove_disjoint(replace(dataset, root=base, samples=tuple(samples)))
    leaks = [leak for leak in proof.leaks if leak.criterion == "near-duplicate"]
    example = f"{Path(leaks[0].examples[0][1]).name} and {Path(leaks[0].examples[0][0]).name}" if leaks else ""
    return tuple(
        f"{leak.images:,} of {len(dataset):,} images show the same as images trained on (for example {example})."
        for leak in leaks
    )


def _placed(sample: Sample, root: Path, base: Path, split: Split) -> Sample:
    """A sample under the root of the file system, so that two datasets can be compared."""
    path = (root.resolve() / sample.path).relative_to(base).as_posix()
    return replace(sample, path=path, split=split, group="", label=0)
