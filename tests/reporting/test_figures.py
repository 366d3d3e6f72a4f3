"""Figures: what is drawn equals the numbers it is drawn from, and the title states a finding that is true of them."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import PIL.Image
import pytest
from tests.reporting.reporting_samples import evaluation, history

from pellucid.errors import DataError, InputError
from pellucid.evaluation.curves import pr_curve, roc_curve
from pellucid.evaluation.evaluate import evaluate_predictions
from pellucid.evaluation.result import EvaluationResult, Metric
from pellucid.reporting import style
from pellucid.reporting.figures import (
    chart_start,
    charted_metrics,
    confusion_figure,
    evaluation_figures,
    learning_figure,
    metrics_figure,
    pr_figure,
    roc_figure,
    save_figures,
    score_figure,
)

FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")


@pytest.fixture(scope="module")
def two() -> EvaluationResult:
    return evaluation()


@pytest.fixture(scope="module")
def five() -> EvaluationResult:
    return evaluation(FLOWERS, 300)


def regression() -> EvaluationResult:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 90)
    return evaluate_predictions(
        task="regression",
        classes=("normal", "anomalous"),
        labels=labels,
        probabilities=None,
        outputs=labels * 0.8 + rng.normal(0, 0.25, 90),
        paths=[f"{i}.png" for i in range(90)],
        split="test",
        resamples=200,
    )


def texts(figure: matplotlib.figure.Figure) -> list[str]:
    found = figure.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found if text.get_text()]  # type: ignore[attr-defined]


def title(figure: matplotlib.figure.Figure) -> str:
    return " ".join(figure.get_suptitle().split())


def test_confusion_figure_holds_every_count_and_row_share(five: EvaluationResult) -> None:
    figure = confusion_figure(five)
    drawn = texts(figure)
    for row in five.confusion:
        for n in row:
            assert f"{n:,}" in drawn
            assert f"{100 * n / row.sum():.0f} %" in drawn
    wrong = five.confusion.copy()
    np.fill_diagonal(wrong, 0)
    true, said = np.unravel_index(wrong.argmax(), wrong.shape)
    expected = f"{wrong.max()} of {five.confusion[true].sum()} {FLOWERS[true]} taken for {FLOWERS[said]}"
    assert title(figure) == f"The most common mistake: {expected}"


def test_confusion_shades_are_row_shares(two: EvaluationResult) -> None:
    cells = [p for p in confusion_figure(two).axes[0].patches if p.get_fill()]
    shares = two.confusion / two.confusion.sum(axis=1, keepdims=True)
    assert [p.get_alpha() for p in cells] == pytest.approx(shares.ravel())


def test_a_perfect_model_has_no_most_common_mistake(two: EvaluationResult) -> None:
    assert title(confusion_figure(replace(two, confusion=np.diag([3, 4])))) == "All 7 images are classified correctly"


@pytest.mark.parametrize(("draw", "compute"), [(roc_figure, roc_curve), (pr_figure, pr_curve)])
def test_curves_are_those_of_the_evaluation(draw: object, compute: object, two: EvaluationResult) -> None:
    axes = draw(two).axes[0]  # type: ignore[operator]
    curve = compute(two)  # type: ignore[operator]
    line = next(li for li in axes.lines if len(li.get_xdata()) > 2)
    assert np.array_equal(line.get_xdata(), curve.x)
    assert np.array_equal(line.get_ydata(), curve.y)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(min(curve.low.min(), curve.y.min()), abs=0.02)


def test_operating_point_lies_at_the_threshold_s_rates(two: EvaluationResult) -> None:
    (right_no, alarms), (missed, found) = two.confusion
    sensitivity, specificity = found / (found + missed), right_no / (right_no + alarms)
    figure = roc_figure(two)
    point = next(li for li in figure.axes[0].lines if len(li.get_xdata()) == 1)
    assert (point.get_xdata()[0], point.get_ydata()[0]) == pytest.approx((1 - specificity, sensitivity))
    assert title(figure) == f"Sensitivity {sensitivity:.3f} comes with specificity {specificity:.3f}"
    assert "threshold 0.5" in texts(figure)
    auc = two.metrics["roc_auc"]
    assert f"ROC-AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]" in texts(figure)


def test_many_classes_show_the_weakest_and_say_so() -> None:
    result = evaluation(tuple(f"_class {i}" for i in range(9)), 270)
    figure = roc_figure(result)
    weakest = min(result.per_class, key=lambda name: result.per_class[name]["roc_auc"].value)
    assert title(figure).startswith(f"{weakest} is the hardest to tell from the rest")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "the 6 weakest of 9"
    assert len(legend.get_texts()) == 6
    colours = {line.get_color() for line in figure.axes[0].lines[1:]}
    assert len(colours) == 6


def test_histograms_count_every_image_once(two: EvaluationResult, five: EvaluationResult) -> None:
    for result in (two, five, regression()):
        figure = score_figure(result)
        heights = sum(p.get_height() for axes in figure.axes for p in axes.patches)
        assert heights == len(result.labels)
        wrong = int((result.predicted != result.labels).sum())
        assert title(figure).startswith(f"{wrong} of {len(result.labels)} images")


def test_metrics_chart_places_value_and_interval(two: EvaluationResult) -> None:
    figure = metrics_figure(two)
    axes, shown = figure.axes[0], charted_metrics(two)
    lines = axes.lines
    for row, metric in enumerate(shown.values()):
        assert list(lines[2 * row].get_xdata()) == [metric.low, metric.high]
        assert list(lines[2 * row + 1].get_xdata()) == [metric.value]
    assert not {"loss", "brier", "ece", "recall", "precision"} & set(shown)
    assert "sensitivity" in shown
    assert axes.get_xlim()[0] <= min(m.low for m in shown.values())
    name = max((n for n in shown if n != "mcc"), key=lambda n: shown[n].high - shown[n].low)
    assert f"between {shown[name].low:.3f} and" in title(figure)


def test_chart_starts_at_a_tenth_below_everything() -> None:
    nan = math.nan
    assert chart_start({"a": Metric(0.95, 0.83, 0.99)}) == 0.8
    assert chart_start({"a": Metric(0.99, nan, nan)}) == 0.9
    assert chart_start({"a": Metric(-0.25, nan, nan)}) == pytest.approx(-0.3)
    assert chart_start({}) == 0.9


def test_learning_curves_follow_the_history() -> None:
    rows = history()
    figure = learning_figure(rows, best_epoch=11, monitor="val_roc_auc")
    loss, metric = figure.axes
    assert np.allclose(loss.lines[0].get_ydata(), [row["train_loss"] for row in rows])
    assert np.allclose(loss.lines[1].get_ydata(), [row["val_loss"] for row in rows])
    assert np.allclose(metric.lines[0].get_ydata(), [row["val_roc_auc"] for row in rows])
    assert all(list(axes.lines[-1].get_xdata()) == [11, 11] for axes in figure.axes)
    assert title(figure) == f"Best at epoch 11 of 14: validation roc-auc {rows[10]['val_roc_auc']:.3f}"


@pytest.mark.parametrize("rows", [history(1), [{"epoch": 1.0, "train_loss": math.nan, "val_loss": 0.3}]])
def test_one_epoch_is_drawn_as_points(rows: list[dict[str, float]]) -> None:
    assert learning_figure(rows, best_epoch=1).axes[0].lines[0].get_marker() == "o"


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(InputError, match="no epochs"):
        learning_figure([], best_epoch=1)


def test_images_of_one_class_leave_out_the_curves() -> None:
    result = evaluate_predictions(
        task="binary",
        classes=("clear", "opacity"),
        labels=[1, 1, 1],
        probabilities=[[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]],
        paths=["a", "b", "c"],
        split="test",
        resamples=100,
    )
    with pytest.raises(DataError):
        roc_figure(result)
    assert set(evaluation_figures(result)) == {"metrics", "confusion", "scores"}


def test_saved_figures_are_sharp_pngs(tmp_path: Path, two: EvaluationResult) -> None:
    saved = save_figures(two, history(), tmp_path / "figures")
    of_decisions = {"reliability", "thresholds", "coverage"}
    assert set(saved) == {"metrics", "confusion", "roc", "precision_recall", "scores", "learning", *of_decisions}
    for name, path in saved.items():
        with PIL.Image.open(path) as picture:
            assert path == tmp_path / "figures" / f"{name}.png"
            assert picture.format == "PNG"
            assert picture.info["dpi"][0] >= 150
            assert picture.width >= 800


def test_best_epoch_is_found_from_what_was_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two: EvaluationResult
) -> None:
    titles = {}
    monkeypatch.setattr(style, "save_png", lambda figure, path: titles.setdefault(path.stem, title(figure)))
    rows = history()
    for monitor, best in (("val_loss", np.argmin), ("val_accuracy", np.argmax)):
        titles.clear()
        save_figures(two, rows, tmp_path, monitor=monitor)
        assert titles["learning"].startswith(f"Best at epoch {best([row[monitor] for row in rows]) + 1} of 14")


def test_no_global_state_is_left(two: EvaluationResult) -> None:
    before = dict(matplotlib.rcParams)
    style.inline_svg(roc_figure(two), "roc")
    assert dict(matplotlib.rcParams) == before


def test_importing_is_cheap_and_drawing_needs_no_pyplot() -> None:
    program = """if True:
        import sys
        import pellucid.reporting.html
        from pellucid.reporting import figures, style
        heavy = {"matplotlib", "jinja2", "sklearn", "scipy", "torch", "onnxruntime"} & set(sys.modules)
        assert not heavy, heavy
        figure = figures.learning_figure([{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0}], best_epoch=1)
        style.inline_svg(figure, "learning")
        assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True)


def test_svg_for_the_page_names_no_host_and_follows_its_colours() -> None:
    result = evaluation(("<script>alert(1)</script>", "$x$ & ]]> _y"), 80)
    figure = confusion_figure(result)
    drawn = style.inline_svg(figure, "confusion")
    assert drawn.finding == title(figure)
    assert drawn.svg.startswith("<svg viewBox=")
    assert drawn.svg.endswith("</svg>")
    assert "http" not in drawn.svg
    assert "<script" not in drawn.svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</text>" in drawn.svg
    assert "var(--accent)" in drawn.svg
    assert style.ACCENT not in drawn.svg
    assert 'id="confusion-' in drawn.svg
    assert "The most common mistake" not in drawn.svg


def test_text_in_a_script_without_a_font_does_not_warn() -> None:
    style.inline_svg(confusion_figure(evaluation(("肺炎", b"caf\xe9".decode("utf-8", "surrogateescape")), 60)), "a")
