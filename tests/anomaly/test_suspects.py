"""Which training images look bad, each judged without itself and its likes."""

import numpy as np
import pytest

from pellucid.anomaly.suspects import ALIKE_RIDGE, alike, judge, left_out_distances, whitened
from pellucid.preprocessing import FloatArray
from pellucid.recipe_anomaly import AnomalySection

SECTION = AnomalySection(memory=60, candidates=800, top=0.2)
CHANNELS, CELLS = 40, 9


def pictures(rng: np.random.Generator, objects: int, each: int, offset: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Patches and statistics of `objects`, each photographed several times; bad ones have a strange offset each."""
    own = rng.normal(0, 1, (objects, 1, CHANNELS)) + offset * np.sign(rng.normal(0, 1, (objects, 1, CHANNELS)))
    statistics = (own + rng.normal(0, 0.3, (objects, each, CHANNELS))).reshape(-1, CHANNELS)
    patches = statistics[:, None] + rng.normal(0, 1, (len(statistics), CELLS, CHANNELS))
    return patches.astype(np.float32), statistics.astype(np.float32)


def test_distances_are_those_of_a_gaussian_without_the_likes() -> None:
    rng = np.random.default_rng(0)
    statistics = rng.normal(size=(30, 8)).astype(np.float32) @ rng.normal(size=(8, 8)).astype(np.float32)
    kept = np.arange(30) % 7 != 3
    likes = [np.array([i, (i + 1) % 30, (i + 4) % 30]) for i in range(30)]
    white, weight = whitened(statistics, kept, 0.3)
    found = left_out_distances(white, weight, likes, kept)
    rows = statistics.astype(np.float64)
    scaled = (rows - rows[kept].mean(0)) / rows[kept].std(0)
    for i in range(30):
        others = kept.copy()
        others[likes[i]] = False
        covariance = 0.7 * scaled[others].T @ scaled[others] / kept.sum() + 0.3 * np.eye(8)
        assert found[i] ** 2 == pytest.approx(scaled[i] @ np.linalg.inv(covariance) @ scaled[i])


def test_pictures_of_one_object_are_found() -> None:
    _, statistics = pictures(np.random.default_rng(1), 40, 3)
    white, _ = whitened(statistics, np.ones(120, bool), ALIKE_RIDGE)
    likes = alike(white, [""] * 120)
    same = [np.flatnonzero(np.arange(120) // 3 == i // 3) for i in range(120)]
    assert np.mean([set(s) <= set(f) for s, f in zip(same, likes, strict=True)]) > 0.9
    assert np.mean([len(f) for f in likes]) < 3.5


def test_unrelated_images_are_not_alike_and_groups_are() -> None:
    statistics = np.random.default_rng(2).normal(size=(50, 12)).astype(np.float32)
    white, _ = whitened(statistics, np.ones(50, bool), ALIKE_RIDGE)
    assert all(list(f) == [i] for i, f in enumerate(alike(white, [""] * 50)))
    groups = ["a", "a", *[""] * 48]
    assert [list(f) for f in alike(white, groups)[:3]] == [[0, 1], [0, 1], [2]]


def test_several_pictures_of_a_bad_object_do_not_vouch_for_each_other() -> None:
    rng = np.random.default_rng(3)
    good, bad = pictures(rng, 50, 3), pictures(rng, 4, 4, offset=2.0)
    patches, statistics = (np.concatenate(part) for part in zip(good, bad, strict=True))
    found = judge(patches, statistics, [""] * len(patches), SECTION)
    is_bad = np.arange(len(patches)) >= 150
    assert found.suspect[is_bad].all()
    assert found.suspect[~is_bad].sum() <= 3
    assert found.scores[is_bad].min() > np.median(found.scores[~is_bad])


def test_few_or_equal_images_are_not_suspect() -> None:
    patches, statistics = pictures(np.random.default_rng(4), 3, 3)
    assert not judge(patches, statistics, [""] * 9, SECTION).suspect.any()
    same = np.ones((20, CELLS, CHANNELS), np.float32), np.ones((20, CHANNELS), np.float32)
    found = judge(*same, [""] * 20, SECTION)
    assert not found.suspect.any()
    assert np.isfinite(found.scores).all()
