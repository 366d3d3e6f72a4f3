"""`summary.json`: the totals of a batch, computed from its parts, and the speed of the last session."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ...classifier import NONE_OF_THESE, REFER, gives_score
from ...documents import Document
from ...files import write_whole
from .job import BatchRecord
from .parts import read_parts

SUMMARY = "summary.json"
BINS = 20


class Summary(Document):
    """The totals of a batch.

    `decisions` counts images by what is answered, `most_probable` by class, and `outcomes` by what became of each:
    `answer`, `none` or `refer`. `histogram` counts them by the probability of the positive class (of the decision, for
    more than two classes) in 20 bins from 0 to 1; it is empty for scores, which have no fixed range. `outside` counts
    images beyond the warning distance from the training images; None for a model without reference. `seconds` and
    `rate` (images per second) are those of the last session, which answered `answered_now`; `core_hours_per_million`
    follows from them.
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
    outcomes: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchSession:
    """How the images of one call were answered: by which engine, by how many workers, and in how many seconds."""

    engine: str
    workers: int
    answered: int
    seconds: float

    @property
    def rate(self) -> float | None:
        """Images per second; None where nothing was answered."""
        return self.answered / self.seconds if self.seconds > 0 and self.answered else None


@dataclass
class _Totals:
    """What the parts add up to."""

    decisions: Counter[str] = field(default_factory=Counter)
    probable: Counter[str] = field(default_factory=Counter)
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    outside: int = 0
    scored: int = 0
    warned: int = 0
    parts: int = 0

    @classmethod
    def of(cls, out: Path, job: BatchRecord) -> _Totals:
        """Read the parts, one at a time."""
        totals = cls()
        score = {"binary": f"p_{job.classes[-1]}", "multiclass": "confidence"}.get(job.task, "output")
        for table in read_parts(out, ["class", "decision", score, "outside_score", "warnings"]):
            totals.parts += 1
            totals.decisions.update(table["decision"].to_pylist())
            totals.probable.update(table["class"].to_pylist())
            if not gives_score(job.task):
                totals.histogram += np.histogram(table[score].to_numpy(), BINS, (0, 1))[0]
            distances = table["outside_score"].drop_null().to_numpy()
            totals.scored += len(distances)
            totals.outside += int((distances > 1).sum())
            totals.warned += sum(bool(texts) for texts in table["warnings"].to_pylist())
        return totals


def summarise(out: Path, job: BatchRecord, session: BatchSession, *, skipped: int, pictures: int) -> Summary:
    """Add up the parts and write `summary.json`."""
    totals, rate = _Totals.of(out, job), session.rate
    summary = Summary(
        out=str(out),
        sources=job.sources,
        model_name=job.model_name,
        model=job.model,
        task=job.task,
        medical=job.medical,
        items=job.items,
        answered=sum(totals.decisions.values()),
        skipped=skipped,
        parts=totals.parts,
        decisions={name: totals.decisions[name] for name in _met(job, totals)},
        most_probable={name: totals.probable[name] for name in job.classes},
        histogram=() if gives_score(job.task) else tuple(int(n) for n in totals.histogram),
        outside=totals.outside if totals.scored else None,
        with_warnings=totals.warned,
        pictures=pictures,
        engine=session.engine,
        workers=session.workers,
        answered_now=session.answered,
        seconds=round(session.seconds, 3),
        rate=rate,
        core_hours_per_million=session.workers / rate * 1e6 / 3600 if rate else None,
        outcomes=_outcomes(job, totals),
    )
    write_whole(out / SUMMARY, summary.model_dump_json(indent=2) + "\n")
    return summary


def _met(job: BatchRecord, totals: _Totals) -> list[str]:
    """All classes, and what takes their place where it occurs."""
    return [*job.classes, *(name for name in job.labels[len(job.classes) :] if totals.decisions[name])]


def _outcomes(job: BatchRecord, totals: _Totals) -> dict[str, int]:
    """How many images are answered, none of these, and referred; empty for a bundle without such rules."""
    if not job.answering:
        return {}
    none, refer = totals.decisions[NONE_OF_THESE], totals.decisions[REFER]
    return {"answer": sum(totals.decisions.values()) - none - refer, "none": none, "refer": refer}
