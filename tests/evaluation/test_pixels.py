"""Pixel figures against slow definitions."""

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from pellucid.errors import InputError
from pellucid.evaluation.pixels import LEVELS, PixelTally, connected


def pictures(seed: int, n: int = 6) -> list[tuple[np.ndarray, np.ndarray | None, str]]:
    """Maps whose values are levels exactly, with masks of some regions; every third image is normal."""
    rng = np.random.default_rng(seed)
    made: list[tuple[np.ndarray, np.ndarray | None, str]] = []
    for i in range(n):
        size = (20 + 3 * i, 24)
        values = rng.integers(0, 200, size).astype(np.float64)
        mask = np.zeros(size, bool)
        for _ in range(3):
            y, x = rng.integers(0, 14, 2)
            mask[y : y + rng.integers(2, 6), x : x + rng.integers(2, 6)] = True
        values[mask] += rng.integers(0, 160)
        made.append((values, None if i % 3 == 0 else mask, "hole" if i % 2 else "scratch"))
    return made


def tally_of(made: list[tuple[np.ndarray, np.ndarray | None, str]]) -> PixelTally:
    tally = PixelTally(0, LEVELS - 1)
    for values, mask, kind in made:
        tally.add(values, mask, kind)
    return tally


def slow_aupro(made: list[tuple[np.ndarray, np.ndarray | None, str]], limit: float, kind: str | None = None) -> float:
    """One threshold after another: overlap of each region, and false positives among all sound pixels."""
    sound = np.concatenate([v.ravel() if m is None else v[~m] for v, m, _ in made])
    regions = []
    for values, mask, name in made:
        if mask is not None and kind in (None, name):
            numbered, many = label(mask, np.ones((3, 3)))
            regions += [values[numbered == i] for i in range(1, many + 1)]
    thresholds = np.unique(np.concatenate([v.ravel() for v, _, _ in made]))[::-1]
    rates = [0.0] + [float((sound >= t).mean()) for t in thresholds]
    overlaps = [0.0] + [float(np.mean([(r >= t).mean() for r in regions])) for t in thresholds]
    fine = np.linspace(0, limit, 200_001)
    return float(np.interp(fine, rates, overlaps).mean() / 1)


@pytest.mark.parametrize("seed", range(4))
def test_aupro_is_that_of_its_definition(seed: int) -> None:
    made = pictures(seed)
    assert tally_of(made).aupro() == pytest.approx(slow_aupro(made, 0.3), abs=2e-3)
    assert tally_of(made).aupro(1.0) == pytest.approx(slow_aupro(made, 1.0), abs=2e-3)
    assert tally_of(made).aupro(kind="hole") == pytest.approx(slow_aupro(made, 0.3, "hole"), abs=2e-3)


def test_the_area_is_that_of_scikit_learn() -> None:
    made = pictures(1)
    truth = np.concatenate([np.zeros(v.size) if m is None else m.ravel() for v, m, _ in made])
    values = np.concatenate([v.ravel() for v, _, _ in made])
    assert tally_of(made).roc_auc() == pytest.approx(roc_auc_score(truth, values), abs=1e-9)


def test_a_perfect_map_has_the_whole_area() -> None:
    mask = np.zeros((30, 30), bool)
    mask[3:6, 3:6] = mask[20:25, 20:28] = True
    tally = PixelTally(0.0, 1.0)
    tally.add(mask.astype(np.float32), mask, "hole")
    assert tally.roc_auc() == 1
    assert tally.aupro() == pytest.approx(1)
    assert tally.kinds() == ["hole"]


def test_small_regions_count_as_much_as_large_ones() -> None:
    mask = np.zeros((100, 100), bool)
    mask[:2, :2] = mask[50:, 50:] = True
    values = np.zeros((100, 100))
    values[50:, 50:] = 1  # the large region is found, the small one not
    tally = PixelTally(0.0, 1.0)
    tally.add(values, mask)
    assert tally.aupro() == pytest.approx(0.5 + 0.5 * 0.15, abs=0.01)  # the lost region is met at chance


def test_without_defects_nothing_is_said() -> None:
    tally = PixelTally(0.0, 1.0)
    tally.add(np.zeros((4, 4)), None)
    assert np.isnan(tally.aupro())
    assert np.isnan(tally.roc_auc())


def test_diagonal_neighbours_are_one_region() -> None:
    assert len(connected(np.eye(5, dtype=bool))) == 1


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        PixelTally(0.0, 1.0).add(np.zeros((4, 4)), np.zeros((4, 5), bool))
