"""The risk-coverage curve against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.evaluation.coverage import risk_coverage
from pellucid.evaluation.intervals import wilson


def test_each_point_is_the_share_of_mistakes_among_those_kept() -> None:
    rng = np.random.default_rng(0)
    doubt, wrong = rng.integers(0, 12, 80) / 12, rng.random(80) < 0.3
    curve = risk_coverage(wrong, doubt)
    assert len(curve.coverage) == len(np.unique(doubt))
    for level, coverage, risk, low, high in zip(
        np.unique(doubt), curve.coverage, curve.risk, curve.low, curve.high, strict=True
    ):
        kept = doubt <= level
        assert coverage == pytest.approx(kept.mean())
        assert risk == pytest.approx(wrong[kept].mean())
        assert (low, high) == pytest.approx(wilson(int(wrong[kept].sum()), int(kept.sum())))
    assert curve.coverage[-1] == 1


def test_doubt_that_knows_the_mistakes_has_the_smallest_area() -> None:
    wrong = np.repeat([False, True], [70, 30])
    best, worst = risk_coverage(wrong, wrong + np.linspace(0, 0.5, 100)), risk_coverage(wrong, -np.arange(100.0))
    # Perfect order: no risk up to 0.7, then 1 - 0.7 / c; the integral is 0.3 + 0.7 ln 0.7.
    assert best.area == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=0.005)
    assert worst.area > 0.3 > best.area
    assert risk_coverage(wrong, np.zeros(100)).area == pytest.approx(0.3)
