"""Do a model's promises hold in use? How much is answered, coverage from feedback, and whether the images changed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sql

from ..classifier import NONE_OF_THESE, REFER
from ..evaluation.exchangeability import judge_stream
from ..evaluation.intervals import wilson
from .registry import Served
from .store import Store
from .store_tables import FEEDBACK, PREDICTIONS
from .store_writer import SECONDS_A_DAY

MOST_IN_STREAM = 20_000
CERTAIN = 0.99
"""The level of the interval that must lie below the promise before an alarm is raised."""


@dataclass(frozen=True, slots=True)
class Promised:
    """What a model promises: its `coverage`, None without prediction sets, and scores of validation images."""

    coverage: float | None
    reference: Sequence[float] | None

    @classmethod
    def of(cls, served: Served) -> Promised:
        """The promises of a served model."""
        manifest = served.bundle.manifest
        rules, reference = manifest.answering, manifest.reference
        sets = None if rules is None else rules.sets
        return cls(None if sets is None else sets.coverage, (reference.quantiles or None) if reference else None)


def promises(store: Store, days: int, model: str, promised: Promised) -> dict[str, Any]:
    """What became of the images of the last `days`, today included, for one model.

    `given` counts answers, images outside all classes, and referred ones. `coverage` is the share of rated
    answers whose prediction set holds the true class, with its 95 % interval; `broken` where even the 99 % interval
    lies below the promise; null without rated answers that had a set. `stream` is a test of whether the images, in the
    order in which they came, look like the validation images and like each other; `changed` has the day of the alarm.
    """
    first = (int(time.time() // SECONDS_A_DAY) - days + 1) * SECONDS_A_DAY
    p, f = PREDICTIONS.c, FEEDBACK.c
    said = sql.select(p.time, p.label, p.predicted, p.candidates, p.outside_score, f.correct, f.label.label("said"))
    chosen = said.select_from(PREDICTIONS.outerjoin(FEEDBACK, p.id == f.prediction))
    chosen = chosen.where((p.time >= first) & (p.model == model)).order_by(p.time)
    with store.reading() as connection:
        rows = list(connection.execute(chosen))
    labels = [r.label for r in rows]
    none, referred = labels.count(NONE_OF_THESE), labels.count(REFER)
    return {
        "given": {"answered": len(rows) - none - referred, "none": none, "referred": referred},
        "coverage": _coverage(rows, promised.coverage),
        "stream": _stream(rows, promised.reference),
    }


def held(row: Any) -> bool | None:
    """Whether the set of a rated answer holds the true class; None where either is not known."""
    truth = row.said or ((row.predicted or row.label) if row.correct else None)
    if row.correct is None or truth is None or row.candidates is None:
        return None
    return truth in json.loads(row.candidates)


def _coverage(rows: Sequence[Any], promised: float | None) -> dict[str, Any] | None:
    known = [value for value in map(held, rows) if value is not None]
    if promised is None or not known:
        return None
    low, high = wilson(sum(known), len(known))
    return {
        "promised": promised,
        "judged": len(known),
        "value": sum(known) / len(known),
        "low": low,
        "high": high,
        "broken": wilson(sum(known), len(known), CERTAIN)[1] < promised,
    }


def _stream(rows: Sequence[Any], reference: Sequence[float] | None) -> dict[str, Any] | None:
    scored = [r for r in rows if r.outside_score is not None][-MOST_IN_STREAM:]
    if reference is None or not scored:
        return None
    found = judge_stream([r.outside_score for r in scored], reference)
    when = None if found.at is None else scored[found.at - 1].time
    day = None if when is None else datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%d")
    return {"images": found.images, "wealth": found.wealth, "limit": found.limit, "changed": day}
