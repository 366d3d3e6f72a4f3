"""`summary.json`: the totals of a batch, computed from its parts, and the speed of the last session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ...documents import Document
from ...files import write_whole
from .job import BatchRecord
from .parts import read_parts

SUMMARY = "summary.json"
BINS = 20


class Summary(Document):
    """The totals of a batch.

    `decisions` and `most_probable` count images by class. `histogram` counts them by the probability of the positive
    class (of the decision, for more than two classes) in 20 bins from 0 to 1. `outside` counts images beyond the
    warning distance from the training images; None for a model without reference. `seconds` and `rate` (images per
    second) are those of the last session, which answered `answered_now`; `core_hours_per_million` follows from them.
    """

    schema_version: int = 1
    out: str
    sources: tuple[str, ...]
    model_name: str
    model: dict[str, str]
    task: str
    medical: bool
    items: int
    answered: int
    skipped: int
    parts: int
    decisions: dict[str, int]
    most_probable: dict[str, int]
    histogram: tuple[int, ...]
    outside: int | None
    with_warnings: int
    pictures: int
    engine: str
    workers: int
    answered_now: int
    seconds: float
    rate: float | None
    core_hours_per_million: float | None


def summarise(
    out: Path,
    job: BatchRecord,
    *,
    skipped: int,
    pictures: int,
    engine: str,
    workers: int,
    answered_now: int,
    seconds: float,
) -> Summary:
    """Read the parts, one at a time, and write `summary.json`."""
    decisions, probable = Counter[str](), Counter[str]()
    histogram = np.zeros(BINS, np.int64)
    outside, scored, warned, parts = 0, 0, 0, 0
    score = {"binary": f"p_{job.classes[-1]}", "multiclass": "confidence", "regression": "output"}[job.task]
    for table in read_parts(out, ["class", "decision", score, "outside_score", "warnings"]):
        parts += 1
        decisions.update(table["decision"].to_pylist())
        probable.update(table["class"].to_pylist())
        if job.task != "regression":
            histogram += np.histogram(table[score].to_numpy(), BINS, (0, 1))[0]
        distances = table["outside_score"].drop_null().to_numpy()
        scored, outside = scored + len(distances), outside + int((distances > 1).sum())
        warned += sum(bool(texts) for texts in table["warnings"].to_pylist())
    answered = decisions.total() if hasattr(decisions, "total") else sum(decisions.values())
    paid = seconds > 0 and answered_now > 0
    summary = Summary(
        out=str(out),
        sources=job.sources,
        model_name=job.model_name,
        model=job.model,
        task=job.task,
        medical=job.medical,
        items=job.items,
        answered=answered,
        skipped=skipped,
        parts=parts,
        decisions={name: decisions[name] for name in job.classes},
        most_probable={name: probable[name] for name in job.classes},
        histogram=tuple(int(n) for n in histogram),
        outside=outside if scored else None,
        with_warnings=warned,
        pictures=pictures,
        engine=engine,
        workers=workers,
        answered_now=answered_now,
        seconds=round(seconds, 3),
        rate=answered_now / seconds if paid else None,
        core_hours_per_million=workers * seconds / answered_now * 1e6 / 3600 if paid else None,
    )
    write_whole(out / SUMMARY, summary.model_dump_json(indent=2) + "\n")
    return summary
