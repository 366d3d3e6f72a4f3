"""A dataset as plain values: which file, which class, which split, which group, which mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Split = Literal["train", "val", "test", ""]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    `path` is relative to the dataset's root, with forward slashes, and identifies the sample. `label` indexes
    `Dataset.classes`. `split` is "" while undecided. `group` (a patient, say) is "" when unknown. `mask` is the path,
    relative to the root, of a picture that is non-zero on the object; `boxes` are (xmin, ymin, xmax, ymax) in pixels.
    """

    path: str
    label: int
    split: Split = ""
    group: str = ""
    mask: str | None = None
    boxes: tuple[Box, ...] = ()


Reason = Literal[
    "unreadable", "not-an-image", "no-class-folder", "beside-splits", "empty-folder", "closed-folder", "circle",
    "again", "dead-link", "special-file", "file-name", "repeated", "no-label", "several-classes", "no-annotation",
    "twin", "place-taken", "mask",
]  # fmt: skip
NO_IMAGES: frozenset[Reason] = frozenset((
    "not-an-image", "empty-folder", "closed-folder", "circle", "again", "dead-link", "special-file", "mask",
))  # fmt: skip
"""Reasons for leaving out what is no image, or is not known to be one."""


@dataclass(frozen=True, slots=True)
class OmittedFile:
    """A file or folder that was left out: why, as a code and in words, and how many `files` the entry stands for."""

    path: str
    reason: str
    code: Reason = "unreadable"
    files: int = 1

    @property
    def images(self) -> int:
        """How many images were left out by this entry."""
        return 0 if self.code in NO_IMAGES else self.files


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images under one root folder.

    For two classes the order is (negative, positive). `notes` are sentences for people on what was decided while
    reading: the positive class, folders that were passed over, how the layout was read. `unknown` are the classes that
    were found beside those asked for, with their numbers of images, which were left out.
    `nested` are classes whose images all lie in several folders below the class, where other classes hold theirs, each
    with these folders.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[OmittedFile, ...] = ()
    notes: tuple[str, ...] = ()
    unknown: tuple[tuple[str, int], ...] = ()
    nested: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class index of each sample, shape (N,)."""
        return np.array([s.label for s in self.samples], np.int64)

    @property
    def positive(self) -> str | None:
        """The positive class of a two-class dataset; None otherwise."""
        return self.classes[1] if len(self.classes) == 2 else None

    def file(self, sample: Sample) -> Path:
        """The absolute path of a sample's image."""
        return self.root / sample.path

    def where(self, keep: Callable[[Sample], bool]) -> Dataset:
        """The dataset with only the samples that `keep` accepts; order, classes and notes stay."""
        return replace(self, samples=tuple(s for s in self.samples if keep(s)))

    def split(self, name: Split) -> Dataset:
        """The samples of one split."""
        return self.where(lambda s: s.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images as {split: {class: count}}; undecided samples under ""."""
        found = Counter((s.split, s.label) for s in self.samples)
        splits = [s for s in (*SPLITS, "") if any(key[0] == s for key in found)]
        return {s: {c: found[s, i] for i, c in enumerate(self.classes)} for s in splits}
