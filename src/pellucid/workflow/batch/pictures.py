"""Overlays of the images to look at first: `pictures="top:100"` of a batch."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...bundle.bundle import Bundle
from ...classifier import gives_score
from ...errors import ImageError, InputError
from ...progress import Progress
from ..explanation import ToExplain, explain_files
from .job import BatchRecord
from .parts import read_parts
from .plan import PLAN, Plan
from .reading import Reader

PICTURES = "pictures"
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which overlays to draw: `count` images, the most positive (`top`) or the least certain (`uncertain`)."""

    order: Literal["top", "uncertain"]
    count: int

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """`top:100` or `uncertain:100`. Raises InputError for anything else."""
        order, _, count = text.partition(":")
        if order not in ("top", "uncertain") or not count.isdecimal() or not 1 <= int(count) <= MOST:
            raise InputError(f"`pictures={text!r}`: write top:100 or uncertain:100, with at most {MOST:,}.")
        return cls("top" if order == "top" else "uncertain", int(count))


def draw_pictures(bundle: Bundle, out: Path, job: BatchRecord, wanted: Wanted, progress: Progress) -> int:
    """Write the overlays and their `manifest.json` into `pictures/`, the most positive or least certain image first.

    Returns the number of pictures; images that can no longer be read are left out.
    """
    folder = out / PICTURES
    if folder.exists():
        shutil.rmtree(folder)
    chosen = select(out, job, wanted)
    positive = bundle.manifest.positive if wanted.order == "top" else None
    with tempfile.TemporaryDirectory(prefix="pellucid-") as name, Reader() as reader, Plan(out / PLAN) as plan:
        found: dict[int, ToExplain] = {}
        for index, item in plan.pick(chosen, job.part_size):
            copy = Path(name) / str(index)
            try:
                copy.write_bytes(reader.read(item))
            except ImageError:
                continue
            found[index] = ToExplain(copy, item.path)
        items = [found[index] for index in chosen if index in found]
        method, target = job.method or bundle.usual_method, job.target or positive
        drawn = explain_files(
            bundle, items, folder, method=method, target=target, against=job.against, progress=progress
        )
        return len(drawn.images)


def select(out: Path, job: BatchRecord, wanted: Wanted) -> list[int]:
    """The indices of the wanted images, in order; ties are ordered by index."""
    places, scores = np.zeros(0, np.int64), np.zeros(0)
    top = wanted.order == "top" and job.task != "multiclass"
    columns = ["output"] if gives_score(job.task) else [f"p_{name}" for name in job.classes]
    for table in read_parts(out, ["index", *columns]):
        values = np.stack([table[name].to_numpy().astype(np.float64) for name in columns], axis=1)
        places = np.concatenate([places, table["index"].to_numpy()])
        scores = np.concatenate([scores, values[:, -1] if top else -_doubt_free(values, job)])
        best = np.lexsort((places, -scores))[: wanted.count]
        places, scores = places[best], scores[best]
    return [int(place) for place in places]


def _doubt_free(values: npt.NDArray[np.float64], job: BatchRecord) -> npt.NDArray[np.float64]:
    """The margin of each answer: its distance from the threshold, or from the second most probable class."""
    if job.task == "multiclass":
        ordered = np.sort(values, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2])
    return np.abs(values[:, -1] - job.threshold)
