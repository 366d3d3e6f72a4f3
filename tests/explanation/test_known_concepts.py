"""Concepts recognised again: amounts are those of non-negative least squares, and files come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from pellucid.errors import BundleError
from pellucid.explanation.known_concepts import ClassFactors, non_negative_amounts, read_factors, write_factors


def test_amounts_are_the_non_negative_least_squares_of_scipy() -> None:
    rng = np.random.default_rng(0)
    parts = rng.exponential(1, (5, 30)) * (rng.random((5, 30)) < 0.5)
    parts /= parts.sum(axis=1, keepdims=True)
    vectors = rng.exponential(1, (40, 5)) @ parts + rng.uniform(0, 0.05, (40, 30))
    vectors[:3] = 0
    found = non_negative_amounts(vectors, parts)
    for vector, amounts in zip(vectors, found, strict=True):
        assert np.allclose(amounts, nnls(parts.T, vector)[0], atol=1e-3)


def test_factors_come_back_and_damage_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    kept = {k: ClassFactors(rng.random((3, 7)), rng.random(7).astype(np.float32)) for k in (0, 2)}
    file = tmp_path / "concepts" / "factors.npz"
    write_factors(file, kept)
    found = read_factors(file)
    assert list(found) == [0, 2]
    assert np.allclose(found[2].parts, kept[2].parts)
    assert np.array_equal(found[2].usual, kept[2].usual)
    assert read_factors(tmp_path / "none.npz") == {}
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BundleError, match="damaged"):
        read_factors(file)
