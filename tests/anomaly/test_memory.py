"""The memory of patches, against a brute-force greedy choice and a plain PatchCore."""

import numpy as np
import pytest

from pellucid.anomaly.memory import greedy_coreset, nearest, reweighted_scores, top_mean
from pellucid.errors import InputError


def cloud(n: int, channels: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, channels)) * rng.uniform(0.5, 2, channels)).astype(np.float32)


def brute_force(points: np.ndarray, size: int, first: int) -> list[int]:
    distances = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
    chosen = [first]
    while len(chosen) < size:
        chosen.append(int(distances[:, chosen].min(axis=1).argmax()))
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_each_chosen_patch_is_the_farthest_from_those_before(seed: int) -> None:
    points = cloud(400, 6, seed)
    chosen = greedy_coreset(points, 60, seed=seed)
    assert chosen.tolist() == brute_force(points, 60, int(chosen[0]))


def test_known_patches_count_as_chosen() -> None:
    points, known = cloud(200, 5), cloud(30, 5, seed=1)
    chosen = greedy_coreset(points, 20, known=known)
    both = np.concatenate([known, points])
    distances = np.linalg.norm(both[:, None].astype(np.float64) - both[None], axis=2)
    kept = list(range(30))
    for expected in chosen:
        farthest = int(distances[30:, kept].min(axis=1).argmax())
        assert expected == farthest
        kept.append(30 + farthest)


def test_copies_are_kept_once() -> None:
    points = np.repeat(cloud(7, 4), 20, axis=0)
    assert len(greedy_coreset(points, 50)) == 7


def test_a_memory_of_everything_covers_everything() -> None:
    points = cloud(50, 3)
    assert sorted(greedy_coreset(points, 1000)) == list(range(50))


def test_distances_are_those_of_a_loop_also_far_from_the_origin() -> None:
    patches, memory = cloud(300, 8) + 500, cloud(90, 8, seed=1) + 500
    found, rows = nearest(patches, memory, 4)
    every = np.linalg.norm(patches[:, None].astype(np.float64) - memory[None], axis=2)
    np.testing.assert_array_equal(rows, np.argsort(every, axis=1)[:, :4])
    np.testing.assert_allclose(found, np.sort(every, axis=1)[:, :4], rtol=1e-3)


def test_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match="8 channels and the memory has 5"):
        nearest(cloud(3, 8), cloud(3, 5))


def test_the_mean_of_the_greatest_cells() -> None:
    maps = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(top_mean(maps, 1), [11, 23])
    np.testing.assert_array_equal(top_mean(maps, 3), [10, 22])
    np.testing.assert_array_equal(top_mean(maps, 99), [5.5, 17.5])


def test_the_weighted_score_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    memory = rng.normal(size=(40, 6)).astype(np.float32)
    patches = rng.normal(size=(5, 3, 4, 6)).astype(np.float32)
    maps = nearest(patches.reshape(-1, 6), memory)[0].reshape(5, 3, 4)
    expected = []
    for image in patches.reshape(5, 12, 6).astype(np.float64):
        distances = np.linalg.norm(image[:, None] - memory[None], axis=2)
        query = int(distances.min(axis=1).argmax())
        own = int(distances[query].argmin())
        around = np.argsort(np.linalg.norm(memory - memory[own], axis=1))[:9]
        powers = np.exp(distances[query][around])
        expected.append(distances[query, own] * (1 - np.exp(distances[query, own]) / powers.sum()))
    np.testing.assert_allclose(reweighted_scores(maps, patches, memory), expected, rtol=1e-4)
