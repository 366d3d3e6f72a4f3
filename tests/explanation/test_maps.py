"""Scores from logits against the score as it is written down."""

import numpy as np
import pytest

from pellucid.explanation.maps import log_sum_of_others, scores_of_logits


def written_out(logits: np.ndarray, row: np.ndarray, contrast: float) -> float:
    """sum_c w_c (z_c - contrast * logsumexp_{j != c} z_j) of one image, in double precision, one class at a time."""
    z = logits.astype(np.float64)
    total = 0.0
    for c, weight in enumerate(row):
        others = np.delete(z, c)
        top = others.max()
        total += weight * (z[c] - contrast * (top + np.log(np.exp(others - top).sum())))
    return total


@pytest.mark.parametrize("contrast", [0.0, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 40])
def test_scores_are_those_of_each_class_by_itself(classes, contrast):
    random = np.random.default_rng(0)
    logits = random.normal(0, 6, (5, classes)).astype(np.float32)
    rows = random.normal(size=(5, 4, classes)).astype(np.float32)
    found = scores_of_logits(logits, rows, contrast)
    expected = [[written_out(z, row, contrast) for row in own] for z, own in zip(logits, rows, strict=True)]
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_class_that_is_all_but_certain_keeps_its_odds():
    # One minus a softmax of 1 is 0: taking the highest power off the sum of all would leave nothing of the others.
    logits = np.array([[60.0, 0.0, 1.0], [0.0, 60.0, 60.0], [-200.0, -200.0, -200.0]], np.float32)
    found = log_sum_of_others(logits)
    assert np.allclose(found[0], [np.log(1 + np.e), 60, 60], rtol=1e-6)
    assert np.allclose(found[1], [60 + np.log(2), 60, 60], rtol=1e-6)
    assert np.allclose(found[2], -200 + np.log(2), rtol=1e-6)


def test_memory_is_that_of_the_logits_not_of_their_square():
    import tracemalloc

    logits = np.random.default_rng(1).normal(size=(16, 3000)).astype(np.float32)
    tracemalloc.start()
    log_sum_of_others(logits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * logits.nbytes
