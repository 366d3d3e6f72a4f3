import numpy as np
import pytest
from tests.evaluation.test_evaluate import binary, sample

from pellucid.errors import InputError
from pellucid.evaluation.prevalence import predictive_values


def test_a_case_worked_by_hand():
    # Of 10,000, 500 are ill: 450 are found, 50 missed; of 9,500 well 1,900 are alarmed, 7,600 passed.
    ppv, npv = predictive_values(np.array([0.9]), np.array([0.8]), 0.05)
    assert ppv == pytest.approx(450 / 2350)
    assert npv == pytest.approx(7600 / 7650)


def test_at_their_own_prevalence_values_stay_what_they_are():
    labels, p = sample(400, 1)
    result = binary(labels, p, prevalence=float(labels.mean()))
    assert result.restated.observed == labels.mean()
    for name in ("ppv", "npv"):
        assert getattr(result.restated, name).value == pytest.approx(result.metrics[name].value)


def test_intervals_hold_the_truth():
    """At a prevalence of 0.1, of two normal distributions two deviations apart: 92 to 98 % of 300 draws."""
    from scipy.stats import norm

    rate = norm.cdf(1.0)
    ppv, npv = predictive_values(np.array(rate), np.array(rate), 0.1)
    held = {"ppv": 0, "npv": 0}
    for seed in range(300):
        labels, p = sample(300, seed)
        restated = binary(labels, p, prevalence=0.1, resamples=200, seed=seed).restated
        held["ppv"] += restated.ppv.low <= ppv <= restated.ppv.high
        held["npv"] += restated.npv.low <= npv <= restated.npv.high
    assert all(0.92 <= count / 300 <= 0.98 for count in held.values()), held


def test_without_a_false_alarm_it_is_not_certain():
    labels = np.array([0] * 30 + [1] * 30)
    restated = binary(labels, np.where(labels, 0.9, 0.1), prevalence=0.01).restated
    assert restated.ppv.value == 1
    assert restated.ppv.low < 0.15
    assert restated.npv.low < 1


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, 5, float("nan")])
def test_wrong_input(prevalence):
    with pytest.raises(InputError, match="between 0 and 1"):
        binary([0, 1], [0.1, 0.9], prevalence=prevalence)


def test_values_that_are_not_defined_have_no_bounds():
    restated = binary([0, 1] * 20, [0.1] * 40, prevalence=0.1).restated
    assert np.isnan([restated.ppv.value, restated.ppv.low, restated.ppv.high]).all()
    assert restated.npv.value == pytest.approx(0.9)
