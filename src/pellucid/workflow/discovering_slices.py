"""Slices of images on which a model errs more, described by what is known about these images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..data.sources import ImageSource
from ..evaluation.discovered import SliceEntry
from ..evaluation.error_slices import described, error_slices, figures_of, sharing
from ..evaluation.figures import Estimate
from ..evaluation.intervals import wilson
from ..preprocessing import Uint8Array

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

BATCH, SHOWN = 16, 24


@dataclass(frozen=True, slots=True, eq=False)
class Subjects:
    """Labelled pictures (N, height, width, 3) of a model's input, the group (N,) of each as a number, and its path.

    `sources` are the origins that were told apart, to describe images by.
    """

    pixels: Uint8Array
    labels: Indices
    units: Indices
    paths: tuple[str, ...]
    sources: tuple[ImageSource, ...] = ()


def slices_of(
    bundle: Bundle, subjects: Subjects, answers: Indices, presence: Mapping[str, Values], seed: int
) -> tuple[SliceEntry, ...]:
    """Where the model errs more: images alike to it, described by their pixels, their source and concepts.

    `answers` (N,) are the model's, `presence` (N,) how much of each concept an image holds, by the concept's name.
    """
    features = []
    for start in range(0, len(subjects.pixels), BATCH):
        batch = bundle.preprocessing.normalise(subjects.pixels[start : start + BATCH])
        found = bundle.logits_and_features(batch)[1]
        if found is None:
            return ()
        features.append(bundle.of_layer(found))
    wrong = answers != subjects.labels
    known = {**figures_of(subjects.pixels), **{f"evidence in {name}": v for name, v in presence.items()}}
    origins = {_origin(source): source.rows for source in subjects.sources}
    entries = []
    for found_slice in error_slices(np.concatenate(features), wrong, subjects.labels, seed):
        members = found_slice.members
        count, missed = int(members.sum()), int(wrong[members].sum())
        low, high = wilson(missed, count)
        worst = np.flatnonzero(members)[np.argsort(~wrong[members], kind="stable")][:SHOWN]
        entries.append(
            SliceEntry(
                images=count,
                errors=Estimate(value=missed / count, low=low, high=high),
                others=float(wrong[~members].mean()),
                chance=found_slice.chance,
                described=(*described(members, known), *sharing(members, origins)),
                paths=tuple(subjects.paths[i] for i in worst),
            )
        )
    return tuple(entries)


def _origin(source: ImageSource) -> str:
    """A source in words: by what it was told apart, and what it is."""
    return f"{source.kind} {source.value}".strip() if source.value else "looks unlike others of the class"
