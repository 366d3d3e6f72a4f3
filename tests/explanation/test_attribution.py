"""The two readings of an attribution's raw values."""

import numpy as np
import pytest

from pellucid.explanation.attribution import Attribution


def attribution_of(values: list[list[float]]) -> Attribution:
    return Attribution(np.array(values, np.float32), "grad-cam", "bee", "logit", "logit per cell", True)


@pytest.mark.parametrize(
    ("values", "says_nothing"),
    [
        ([[0.0, -1.0]], True),
        ([[0.0, 0.0]], True),
        ([[-1.0, 1e-30]], False),
        ([[2.0, 1.0]], False),
    ],
)
def test_a_map_without_a_positive_value_says_nothing(values, says_nothing):
    assert attribution_of(values).says_nothing is says_nothing


def test_the_positive_part_leaves_the_values_alone():
    attribution = attribution_of([[-1.5, 0.0], [2.5, -0.0]])
    assert attribution.positive.tolist() == [[0.0, 0.0], [2.5, 0.0]]
    assert attribution.values.tolist() == [[-1.5, 0.0], [2.5, -0.0]]
