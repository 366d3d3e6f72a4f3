"""Figures about the use of a model: drawn values equal those computed another way, and titles are true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.test_audit_verdicts import document, region
from tests.reporting.reporting_samples import evaluation
from tests.reporting.test_figures import regression

from pellucid.errors import InputError
from pellucid.evaluation.result import EvaluationResult
from pellucid.reporting.decision_figures import (
    coverage_figure,
    decision_figures,
    published_figure,
    regions_figure,
    reliability_figure,
    scatter_figure,
    threshold_figure,
)


@pytest.fixture(scope="module")
def two() -> EvaluationResult:
    return evaluation()


def finding(figure: object) -> str:
    return str(figure._suptitle.get_text()).replace("\n", " ")  # type: ignore[attr-defined]


def test_the_gap_in_the_title_is_the_calibration_error_of_the_table(two: EvaluationResult) -> None:
    assert f"{two.metrics['ece'].value:.3f}" in finding(reliability_figure(two))


def test_calibration_is_shown_before_and_after(two: EvaluationResult) -> None:
    margin = np.log(two.probabilities[:, 1] / two.probabilities[:, 0]) * 0.1
    sure = (1 / (1 + np.exp(-margin))).astype(np.float32)
    figure = reliability_figure(replace(two, uncalibrated=np.stack([1 - sure, sure], axis=1)))
    title = finding(figure)
    assert "Calibration lowers" in title
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(lines) == 2
    assert [t.get_text().split(":")[0] for t in figure.axes[0].texts] == ["before calibration", "after"]


def test_sensitivity_and_specificity_are_counted_at_each_threshold(two: EvaluationResult) -> None:
    figure = threshold_figure(two)
    sensitivity, specificity = figure.axes[0].lines[:2]
    scores, positive = two.probabilities[:, 1], two.labels == 1
    for at in (20, 100, 170):
        cut = sensitivity.get_xdata()[at]
        assert sensitivity.get_ydata()[at] == pytest.approx((scores[positive] >= cut).mean())
        assert specificity.get_ydata()[at] == pytest.approx((scores[~positive] < cut).mean())
    (right_no, alarms), (missed, found) = two.confusion
    assert f"{found / (found + missed):.3f}" in finding(figure)
    assert f"{right_no / (right_no + alarms):.3f}" in finding(figure)


def test_leaving_out_the_least_sure_is_shown_against_all(two: EvaluationResult) -> None:
    wrong = two.predicted != two.labels
    figure = coverage_figure(two)
    assert figure.axes[0].lines[0].get_ydata()[-1] == pytest.approx(wrong.mean())
    assert len(coverage_figure(replace(two, outside=np.arange(len(wrong), dtype=np.float32))).axes[0].texts) == 2


def test_a_regression_shows_every_image_and_the_perfect_line() -> None:
    result = regression()
    figure = scatter_figure({"train": result, "test": result})
    panel = figure.axes[1]
    assert panel.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    drawn = np.concatenate([line.get_ydata() for line in panel.lines[1:3]])
    assert result.outputs is not None
    assert np.sort(drawn) == pytest.approx(np.sort(result.outputs))
    assert f"{result.metrics['mae'].value:.3f}" in finding(figure)


def test_published_figures_are_counted_against_our_intervals(two: EvaluationResult) -> None:
    accuracy = two.metrics["accuracy"]
    published = [
        ("below", {"accuracy": accuracy.low - 0.05}),
        ("within", {"accuracy": accuracy.value}),
        ("above", {"accuracy": accuracy.high + 0.01, "unknown": 0.5}),
    ]
    assert "1 of 3 published values within our intervals, 1 below and 1 above" in finding(
        published_figure(two.metrics, published)
    )
    with pytest.raises(InputError, match="No value was published"):
        published_figure(two.metrics, [("x", {"unknown": 1.0})])


def test_regions_carry_their_areas() -> None:
    figure = regions_figure(document(regions=(region(alone=0.93), region("border"), region("centre", 0.61))))
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"0.93", "border 0.50", "centre 0.61"} <= words
    assert "top left corner alone" in finding(figure)


def test_what_cannot_be_drawn_is_left_out(two: EvaluationResult) -> None:
    assert set(decision_figures(two)) == {"reliability", "thresholds", "coverage"}
    assert set(decision_figures(regression(), train=regression())) == {"thresholds", "coverage", "scatter"}
    three = evaluation(("a", "b", "c"), 200)
    drawn = decision_figures(three, published=[("x", {"accuracy": 0.9})])
    assert set(drawn) == {"reliability", "coverage", "published"}
