"""Values in two heaps: found where they are far apart, seldom seen where there is one."""

import numpy as np
import pytest

from pellucid.data.heaps import valley

ONE_HEAP = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(3, n),
}


@pytest.mark.parametrize("kind", ONE_HEAP)
@pytest.mark.parametrize("n", [60, 200, 1000])
def test_one_heap_is_seldom_two(kind: str, n: int):
    rng = np.random.default_rng(0)
    assert np.mean([valley(ONE_HEAP[kind](rng, n)) is not None for _ in range(200)]) <= 0.03


@pytest.mark.parametrize(("share", "n"), [(0.5, 100), (0.3, 300), (0.1, 1000)])
def test_two_heaps_six_deviations_apart_are_found(share: float, n: int):
    rng = np.random.default_rng(1)
    places = [
        valley(np.concatenate([rng.normal(size=n - int(share * n)), rng.normal(6, 1, int(share * n))]))
        for _ in range(50)
    ]
    assert np.mean([p is not None and 1.5 < p < 4.5 for p in places]) >= 0.95


def test_equal_values_are_heaps_and_one_value_is_none():
    assert valley(np.concatenate([np.zeros(70), np.full(30, 5.0)])) == pytest.approx(2.5, abs=1.5)
    assert valley(np.zeros(100)) is None
    assert valley(np.arange(8.0)) is None
