"""Has a stream of images changed? A test that may be looked at after every image: a conformal test martingale.

Each new score is ranked among all before it. As long as images come in random order from one source, the ranks are
uniform and independent, and a gambler who bets against that cannot get rich: wealth ever reaches L with a probability
of at most 1 / L (Ville's inequality), however long the stream is. The gambler here is the Simple Jumper (Vovk, Petej,
Nouretdinov, Ahlberg, Carlsson, Gammerman, "Retrain or not retrain: conformal test martingales for change-point
detection", COPA 2021), whose jumps get rarer as 1 / n, so that little wealth is lost before a late change.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..documents import FiniteDocument
from .intervals import Values

LIMIT = 100.0
"""The wealth that raises the alarm: one stream in a hundred without a change ever reaches it."""
MOST = 1e300
_BETS = np.array([-1.0, 0.0, 1.0])
_HEAD_START = 20


class StreamTest(FiniteDocument):
    """What became of the gambler: `wealth` at the end, `largest` on the way, from 1.

    `changed` says whether `largest` reached `limit`, and `at` after how many of `images`; None where it did not.
    """

    images: int
    wealth: float
    largest: float
    limit: float = Field(default=LIMIT, gt=1)
    at: int | None = None

    @property
    def changed(self) -> bool:
        """Whether the alarm was raised."""
        return self.at is not None


def ranks(scores: Iterable[float], known: Iterable[float] = (), seed: int = 0) -> Values:
    """The conformal p-value of each score among `known` and all scores before it; uniform for exchangeable scores.

    It is the share of scores that are at least as high, where ties, with the score itself, are broken at random.
    """
    rng, bag, found = np.random.default_rng(seed), sorted(known), []
    for score in scores:
        low, high = bisect_left(bag, score), bisect_right(bag, score)
        above, equal = len(bag) - high, high - low + 1
        found.append((above + rng.random() * equal) / (len(bag) + 1))
        insort(bag, score)
    return np.array(found, np.float64)


def follow(p_values: npt.ArrayLike) -> Values:
    """The gambler's wealth (N,) after each of N p-values, from 1; no more than 1e300."""
    wealth = []
    stakes = np.full(3, 1 / 3)
    for n, p in enumerate(np.asarray(p_values, np.float64)):
        jump = 1 / (n + _HEAD_START)
        stakes = (1 - jump) * stakes + jump * stakes.sum() / 3
        stakes = np.minimum(stakes * (1 + _BETS * (p - 0.5)), MOST / 3)
        wealth.append(stakes.sum())
    return np.array(wealth, np.float64)


def judge_stream(
    scores: npt.ArrayLike, known: Iterable[float] = (), *, limit: float = LIMIT, seed: int = 0
) -> StreamTest:
    """Test whether scores (N,), in the order in which they came, are exchangeable with each other and with `known`.

    Scores that are not finite are left out. `known` are scores of validation images, or of an earlier archive.
    """
    given = np.asarray(scores, np.float64)
    given = given[np.isfinite(given)]
    wealth = follow(ranks(given.tolist(), known, seed))
    reached = np.flatnonzero(wealth >= limit)
    return StreamTest(
        images=len(given),
        wealth=float(wealth[-1]) if len(wealth) else 1.0,
        largest=float(wealth.max(initial=1.0)),
        limit=limit,
        at=int(reached[0]) + 1 if len(reached) else None,
    )
