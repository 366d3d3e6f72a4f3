"""What the dashboard shows, day by day (UTC), from the store: requests, answers, sureness, flags, feedback, drift."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sql

from ..classifier import NONE_OF_THESE, REFER
from ..files import cells
from . import promises
from .store import Store
from .store_tables import FEEDBACK, PREDICTIONS, REFUSALS
from .store_writer import SECONDS_A_DAY

BINS = 10


def by_day(
    store: Store, days: int, model: str | None, reference: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """One document per day of the last `days`, oldest first, days without requests too.

    `reference` holds the validation images' distances at equally spaced quantiles; the drift of a day is judged
    against it.
    """
    today = int(time.time() // SECONDS_A_DAY)
    first = today - days + 1
    p, f = PREDICTIONS.c, FEEDBACK.c
    answered = (p.time, p.latency_ms, p.label, p.confidence, p.outside, p.outside_score, p.predicted, p.candidates)
    chosen = sql.select(*answered, f.correct, f.label.label("said")).select_from(
        PREDICTIONS.outerjoin(FEEDBACK, p.id == f.prediction)
    )
    chosen = chosen.where(p.time >= first * SECONDS_A_DAY)
    if model is not None:
        chosen = chosen.where(p.model == model)
    with store.reading() as connection:
        rows: dict[int, list[Any]] = defaultdict(list)
        for row in connection.execute(chosen):
            rows[int(row.time // SECONDS_A_DAY)].append(row)
        refused = sql.select(REFUSALS.c.day, sql.func.sum(REFUSALS.c.count)).group_by(REFUSALS.c.day)
        errors = {day: int(count) for day, count in connection.execute(refused)}
    return [_day(day, rows[day], errors.get(day, 0), reference) for day in range(first, today + 1)]


def _day(day: int, rows: list[Any], errors: int, reference: Sequence[float] | None) -> dict[str, Any]:
    latency = np.array([r.latency_ms for r in rows])
    sure = np.array([r.confidence for r in rows if r.confidence is not None])
    flags = [r.outside for r in rows if r.outside is not None]
    distances = np.array([r.outside_score for r in rows if r.outside_score is not None])
    said = Counter(r.correct for r in rows if r.correct is not None)
    bins = np.histogram(sure, bins=BINS, range=(0, 1))[0].tolist()
    labels = Counter(r.label for r in rows)
    sets = Counter(promises.held(r) for r in rows)
    return {
        "day": datetime.fromtimestamp(day * SECONDS_A_DAY, timezone.utc).strftime("%Y-%m-%d"),
        "requests": len(rows),
        "errors": errors,
        "latency_ms": {"p50": _quantile(latency, 0.5), "p95": _quantile(latency, 0.95)},
        "classes": dict(sorted(labels.items())),
        "none": labels[NONE_OF_THESE],
        "referred": labels[REFER],
        "sets": {"holding": sets[True], "lacking": sets[False]},
        "confidence": {"mean": float(sure.mean()) if len(sure) else None, "bins": bins},
        "outside_share": sum(map(bool, flags)) / len(flags) if flags else None,
        "feedback": {"correct": said[True], "incorrect": said[False]},
        "distance": {
            "median": _quantile(distances, 0.5),
            "reference_median": None if reference is None else float(np.median(reference)),
            "psi": stability(distances, reference),
        },
    }


def _quantile(values: Any, share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def stability(values: Any, reference: Sequence[float] | None, bins: int = 10, least: int = 20) -> float | None:
    """Population stability index of `values` against `reference`, over bins that hold equal shares of the reference.

    Below 0.1 nothing has moved, above 0.25 much has. None with fewer than `least` values. Shares are kept from 0 by
    half a count. Reference: Siddiqi, Credit Risk Scorecards (2006).
    """
    if reference is None or len(values) < least:
        return None
    edges = np.quantile(np.asarray(reference, float), np.linspace(0, 1, bins + 1)[1:-1])
    seen = np.bincount(np.searchsorted(edges, values), minlength=bins) + 0.5
    known = np.bincount(np.searchsorted(edges, reference), minlength=bins) + 0.5
    a, b = seen / seen.sum(), known / known.sum()
    return float(((a - b) * np.log(a / b)).sum())


COLUMNS = (
    "day", "requests", "errors", "latency_p50_ms", "latency_p95_ms", "confidence_mean", "outside_share",
    "feedback_correct", "feedback_incorrect", "distance_median", "distance_psi", "none", "referred", "sets_holding",
    "sets_lacking",
)  # fmt: skip


def days_csv(days: list[dict[str, Any]]) -> str:
    """The days as CSV, with one column per class that occurs."""
    classes = sorted({c for d in days for c in d["classes"]})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*COLUMNS, *(f"class_{c}" for c in classes)])
    for d in days:
        figures = [
            d["day"], d["requests"], d["errors"], d["latency_ms"]["p50"], d["latency_ms"]["p95"],
            d["confidence"]["mean"], d["outside_share"], d["feedback"]["correct"], d["feedback"]["incorrect"],
            d["distance"]["median"], d["distance"]["psi"], d["none"], d["referred"], d["sets"]["holding"],
            d["sets"]["lacking"],
        ]  # fmt: skip
        table.writerow(["" if v is None else v for v in figures] + [d["classes"].get(c, 0) for c in classes])
    return text.getvalue()


def feedback_csv(store: Store, folder: Path | None) -> str:
    """Feedback as a labelled CSV: `path,label` first, as training reads it, then what was answered.

    The label is the corrected one, or the answer where it was called right; empty where it was only called wrong.
    `path` is the kept image, and empty where images are not kept.
    """
    p, f = PREDICTIONS.c, FEEDBACK.c
    answer = (p.id, p.time, p.model, p.label, p.confidence, p.image, p.predicted)
    chosen = (
        sql.select(*answer, f.correct, f.label.label("said"), f.comment)
        .select_from(FEEDBACK.join(PREDICTIONS, p.id == f.prediction))
        .order_by(p.time)
    )
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "id", "time", "model", "predicted", "confidence", "correct", "comment"])
    with store.reading() as connection:
        for r in connection.execute(chosen):
            label = r.said or ((r.predicted or r.label) if r.correct else "")
            path = str(folder / r.image) if folder is not None and r.image else ""
            when = datetime.fromtimestamp(r.time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            # Training reads the first two columns, so they are as they are; the others are for people.
            said = [r.id, when, r.model, r.label, r.confidence, str(r.correct).lower(), r.comment]
            table.writerow([path, label, *cells(said)])
    return text.getvalue()
