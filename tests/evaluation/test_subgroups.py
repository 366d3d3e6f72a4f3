"""Subgroups: gaps against their definition, the interval of a difference against Newcombe's example and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.data.areas import Area, clustered_area
from pellucid.errors import InputError
from pellucid.evaluation.intervals import wilson
from pellucid.evaluation.shortcuts import Scores
from pellucid.evaluation.subgroups import by_subgroup, difference, subgroup_names


def share(count: int, n: int) -> Area:
    return Area(count / n, *wilson(count, n))


def test_the_difference_of_proportions_is_newcombes() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 873, table II, method 10: 56/70 - 48/80 gives 0.0524 to 0.3339.
    found = difference(share(56, 70), share(48, 80))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_the_interval_of_a_difference_covers_the_truth() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(500):
        gap = difference(share(rng.binomial(60, 0.9), 60), share(rng.binomial(150, 0.8), 150))
        hits += gap.low <= 0.1 <= gap.high
    assert 0.92 <= hits / 500 <= 0.98


def test_a_worse_subgroup_is_seen_and_a_small_one_is_not_judged() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 420)
    names = ["old"] * 100 + ["new"] * 310 + ["odd"] * 10
    noise = np.where(np.array(names) == "old", 3.0, 0.5)
    scores = labels + rng.normal(0, 1, 420) * noise
    whole = Scores(scores[:, None], (scores > 0.5).astype(np.int64))
    found = {s.name: s for s in by_subgroup(names, whole, labels, np.arange(420))}
    old, right = found["old"], whole.answers == labels
    assert old.accuracy == share(int(right[:100].sum()), 100)
    assert old.accuracy_gap is not None
    assert old.accuracy_gap.value == pytest.approx(right[:100].mean() - right[100:].mean())
    assert old.area_gap is not None
    assert old.area == clustered_area(scores[:100, None], labels[:100], np.arange(100))
    assert old.area_gap.high < 0
    assert found["new"].area_gap is not None
    assert found["new"].area_gap.low > 0
    assert (found["odd"].images, found["odd"].accuracy) == (10, None)


def test_names_come_from_paths() -> None:
    paths = ["a/person1_virus_3.jpg", "a/person2_bacteria_4.jpg", "b/IM-1.jpg"]
    assert subgroup_names(paths, "(virus|bacteria)") == ["virus", "bacteria", ""]
    assert subgroup_names(paths, r"^\w/") == ["a/", "a/", "b/"]
    for pattern, said in (
        ("(", "not a regular expression"),
        ("zzz", "no file name"),
        (r"\.jpg", "every file name alike"),
    ):
        with pytest.raises(InputError, match=said):
            subgroup_names(paths, pattern)
