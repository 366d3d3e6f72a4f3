"""Week by week, without labels: what the stored answers and features say of accuracy and class mix."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import sqlalchemy as sql

from ..bundle.home_side import HomeSide, home_of, kept_of
from ..evaluation.unlabelled import FEWEST, AnsweredImages, judge_unlabelled
from ..reporting.unlabelled import as_document
from .registry import Served
from .store import Store
from .store_tables import PREDICTIONS
from .store_writer import SECONDS_A_DAY

MOST_A_WEEK = 500
"""A sample of this size of a week's answers bounds the time."""
RESAMPLES = 100
MONDAY = 4
"""1 January 1970 was a Thursday: the first Monday is this many days later."""
SHOWN = ("estimate", "mix", "mix_moved", "moved", "apart", "agreement", "outside", "verdict")


def by_week(store: Store, weeks: int, served: Served) -> list[dict[str, Any]]:
    """One document for each of the last weeks (UTC, from Monday), oldest first, of the answers of this very model.

    Figures are null for a week of fewer than 30 images, and for a model that keeps no images of its home. For more than
    two classes only the probability of the answer is stored, and the class mix is that of the answers alone.
    """
    this_week = (int(time.time() // SECONDS_A_DAY) - MONDAY) // 7
    first = this_week - weeks + 1
    p = PREDICTIONS.c
    # Of a withheld answer the class at the operating point counts, as it does in `evaluate` with `unlabelled=`.
    answered = sql.func.coalesce(p.predicted, p.label).label("answered")
    chosen = sql.select(p.time, answered, p.confidence, p.outside, p.features)
    chosen = chosen.where(p.time >= (7 * first + MONDAY) * SECONDS_A_DAY, p.checksum == served.checksum)
    chosen = chosen.where(p.model == served.name, p.features.is_not(None), p.confidence.is_not(None))
    chosen = chosen.where(answered.in_(served.bundle.classes))
    rows: dict[int, list[Any]] = defaultdict(list)
    with store.reading() as connection:
        for row in connection.execute(chosen):
            rows[(int(row.time // SECONDS_A_DAY) - MONDAY) // 7].append(row)
    home = home_of(served.bundle)
    return [_week(week, rows[week], served, home) for week in range(first, this_week + 1)]


def _week(week: int, rows: Sequence[Any], served: Served, home: HomeSide | None) -> dict[str, Any]:
    monday = datetime.fromtimestamp((7 * week + MONDAY) * SECONDS_A_DAY, timezone.utc)
    document: dict[str, Any] = {"week": monday.strftime("%Y-%m-%d"), "images": len(rows), **dict.fromkeys(SHOWN)}
    if home is None or len(rows) < FEWEST:
        return document
    drawn = np.random.default_rng(week).permutation(len(rows))[:MOST_A_WEEK]
    sample = [rows[i] for i in drawn]
    new = _answered(sample, served.bundle.classes, home)
    flags = [r.outside for r in sample if r.outside is not None]
    outside = sum(map(bool, flags)) / len(flags) if flags else None
    kept = kept_of(served.abroad)
    found = judge_unlabelled(home.side, home.labels, new, outside, groups=home.groups, kept=kept, resamples=RESAMPLES)
    said = as_document(found)
    if len(served.bundle.classes) > 2:
        said["mix"] = said["mix_by_answers"]
    for shares, name in ((s, c) for s, c in zip(said["mix"], served.bundle.classes, strict=True)):
        shares["name"] = name
    return {**document, **{name: said[name] for name in SHOWN}}


def _answered(rows: Sequence[Any], classes: Sequence[str], home: HomeSide) -> AnsweredImages:
    """Stored answers as images: what is not the answer's probability is spread evenly over the other classes."""
    place = {name: k for k, name in enumerate(classes)}
    given = np.array([place[r.answered] for r in rows], np.int64)
    sure = np.array([r.confidence for r in rows], np.float64)
    shares = np.repeat(((1 - sure) / (len(classes) - 1))[:, None], len(classes), axis=1)
    shares[np.arange(len(rows)), given] = sure
    channels = None if home.side.features is None else home.side.features.shape[1]
    # Behind the features of the explained layer lies how an image looks.
    features = np.stack([np.frombuffer(r.features, np.float16)[:channels] for r in rows]).astype(np.float64)
    return AnsweredImages(shares, features, given)
