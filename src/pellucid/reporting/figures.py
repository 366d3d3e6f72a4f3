"""The figures of an evaluation and of a training, each one a pure function of the numbers that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..classifier import gives_score
from ..errors import DataError, InputError
from ..evaluation.curves import Curve, pr_curve, roc_curve
from ..evaluation.metrics import METRICS
from ..evaluation.result import EvaluationResult, Metric
from ..preprocessing import Uint8Array
from . import style
from .answer_sheet import answer_sheet
from .decision_figures import decision_figures
from .words import TWINS, bounds, count, metric_name, number, percent, printable, series_name, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, float]]
CurveMaker = Callable[..., Curve]

_BINS = 25
# With more classes than this the cells of a confusion matrix are too small for numbers.
_MOST_CLASSES_IN_NUMBERS = 12
_MOST_CURVES = 6
_BAND = 0.16
_DOTTED = (0, (1.5, 2.5))


def confusion_figure(result: EvaluationResult) -> Figure:
    """Counts and row shares of true class (rows) against predicted class (columns)."""
    counts, names = result.confusion, _names(result)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = len(names)
    side = float(np.clip(1.3 + 0.75 * classes, 2.9, 7))
    with style.drawing():
        figure = style.new_figure(max(style.WIDTH, side + 0.6), side + 0.4)
        axes = figure.add_subplot()
        for row, column in np.ndindex(classes, classes):
            _confusion_cell(axes, row, column, int(counts[row, column]), float(shares[row, column]), classes)
        axes.set(xlim=(0, classes), ylim=(classes, 0), aspect="equal", xlabel="predicted", ylabel="true")
        middles = np.arange(classes) + 0.5
        steep = classes > 3 and max(map(len, names)) > 4
        axes.set_xticks(middles, names, rotation=45 if steep else 0, ha="right" if steep else "center")
        axes.set_yticks(middles, names)
        axes.tick_params(length=0, labelcolor=style.INK)
        axes.spines[:].set_visible(False)
        style.state_finding(figure, _confusion_finding(counts, names))
    return figure


def roc_figure(result: EvaluationResult) -> Figure:
    """Sensitivity against 1 - specificity: for two classes with its band and the operating point, else class by class.

    Raises DataError when the images are all of one class.
    """
    with style.drawing():
        figure, axes = _unit_square("1 \N{MINUS SIGN} specificity", "sensitivity")
        axes.plot([0, 1], [0, 1], color=style.SOFT, linewidth=0.8, linestyle=_DOTTED)
        area = f"ROC-AUC {_stated(result.metrics['roc_auc'])}"
        if len(result.classes) > 2:
            weakest = _curves_by_class(axes, result, roc_curve, "lower right")
            style.state_finding(figure, f"{weakest} is the hardest to tell from the rest; mean {area}")
            return figure
        _banded(axes, roc_curve(result))
        sensitivity, specificity, _ = _rates(result)
        _operating_point(axes, 1 - specificity, sensitivity, result, (8, -12))
        axes.text(0.97, 0.04, area, ha="right", va="bottom")
        finding = f"Sensitivity {number(sensitivity)} comes with specificity {number(specificity)}"
        style.state_finding(figure, finding)
    return figure


def pr_figure(result: EvaluationResult) -> Figure:
    """Precision against recall, as `roc_figure`; the dotted line is the share of positives, what guessing gives.

    Raises DataError when the images are all of one class.
    """
    with style.drawing():
        figure, axes = _unit_square("recall", "precision")
        area = f"PR-AUC {_stated(result.metrics['pr_auc'])}"
        if len(result.classes) > 2:
            weakest = _curves_by_class(axes, result, pr_curve, "lower left")
            style.state_finding(figure, f"{weakest} is the hardest to find without false alarms; mean {area}")
            return figure
        share = float((result.labels == 1).mean())
        axes.plot([0, 1], [share, share], color=style.SOFT, linewidth=0.8, linestyle=_DOTTED)
        _banded(axes, pr_curve(result))
        recall, _, precision = _rates(result)
        _operating_point(axes, recall, precision, result, (-8, -12))
        axes.text(0.03, 0.04, area, ha="left", va="bottom")
        right, said = int(result.confusion[1, 1]), int(result.confusion[:, 1].sum())
        finding = f"{right:,} of {count(said, 'positive answer')} are right; guessing would get {percent(share)} right"
        style.state_finding(figure, finding)
    return figure


def score_figure(result: EvaluationResult) -> Figure:
    """How the scores of each true class spread, with the threshold; for more than two classes, the confidence."""
    from matplotlib.ticker import MaxNLocator

    groups, label = _score_groups(result)
    edges = _bin_edges([scores for _, scores, _ in groups], result.threshold if gives_score(result.task) else None)
    with style.drawing():
        figure = style.new_figure(style.WIDTH, 1.2 + 1.1 * len(groups))
        panels = figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0]
        for axes, (name, scores, colour) in zip(panels, groups, strict=True):
            axes.hist(scores, edges, color=colour, edgecolor=style.PAPER, linewidth=0.4)
            style.hairlines(axes, "y")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.set_title(f"{name}, n = {len(scores):,}", loc="left", fontsize=10, color=style.INK, pad=4)
            if result.threshold is not None:
                axes.axvline(result.threshold, color=style.INK, linewidth=0.9)
        if result.threshold is not None:
            panels[0].annotate(
                f"threshold {result.threshold:.3g}",
                (result.threshold, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, 3),
                textcoords="offset points",
                color=style.INK,
            )
        panels[-1].set_xlabel(label)
        panels[-1].set_xlim(edges[0], edges[-1])
        wrong, total = int((result.predicted != result.labels).sum()), len(result.labels)
        side = "are misclassified" if result.threshold is None else "lie on the wrong side of the threshold"
        style.state_finding(figure, f"{wrong:,} of {count(total, 'image')} {side}")
    return figure


def metrics_figure(result: EvaluationResult) -> Figure:
    """Every metric of which more is better as a dot with its 95 % interval and its numbers."""
    shown = charted_metrics(result)
    if not shown:
        raise InputError("There is no metric to draw: none of those computed has a value.")
    names, metrics = list(shown), list(shown.values())
    left = chart_start(shown)
    with style.drawing():
        figure = style.new_figure(style.WIDTH + 0.6, 0.95 + 0.27 * len(names))
        axes = figure.add_subplot()
        for row, metric in enumerate(metrics):
            axes.plot([metric.low, metric.high], [row, row], color=style.ACCENT, linewidth=5, alpha=0.35)
            axes.plot([metric.value], [row], "o", color=style.ACCENT, markersize=5, clip_on=False)
            _beside(axes, row, number(metric.value), 46, style.INK, "right")
            _beside(axes, row, bounds(metric.low, metric.high), 53, style.SOFT, "left")
        axes.set(xlim=(left, 1), ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), [metric_name(n) for n in names])
        axes.tick_params(axis="y", length=0, labelcolor=style.INK)
        axes.spines["left"].set_visible(False)
        style.hairlines(axes, "x")
        style.state_finding(figure, _metrics_finding(shown))
    return figure


def charted_metrics(result: EvaluationResult) -> dict[str, Metric]:
    """The metrics that a chart up to 1 can show: of which more is better, with a value, each under one name."""
    return {
        name: metric
        for name, metric in result.metrics.items()
        if TWINS.get(name) not in result.metrics
        and np.isfinite(metric.value)
        and (name not in METRICS or METRICS[name].higher_is_better)
        and -1 <= metric.value <= 1
    }


def chart_start(metrics: Mapping[str, Metric]) -> float:
    """Where an axis that ends at 1 begins so that it holds every value and interval: a tenth, at most 0.9."""
    lowest = min((np.fmin(m.value, m.low) for m in metrics.values()), default=0.9)
    return float(np.floor(10 * min(lowest, 0.9)) / 10)


def learning_figure(history: History, *, best_epoch: int, monitor: str = "val_loss") -> Figure:
    """Loss in training and validation, and below it a validation metric (the monitored one), epoch by epoch.

    Raises InputError for an empty history.
    """
    from matplotlib.ticker import MaxNLocator

    if not history:
        raise InputError("There are no epochs to draw: the training history is empty.")
    extra = [monitor] if monitor != "val_loss" else []
    extra += [key for key in history[0] if key.startswith("val_") and key not in ("val_loss", monitor)]
    panels = [["train_loss", "val_loss"], *([name] for name in extra[:1])]
    epochs = np.array([row["epoch"] for row in history])
    with style.drawing():
        figure = style.new_figure(style.WIDTH, 1.1 + 1.5 * len(panels))
        for axes, names in zip(figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels, strict=True):
            _learning_panel(axes, epochs, history, names)
            axes.axvline(best_epoch, color=style.INK, linewidth=0.8)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        best = next((row for row in history if row["epoch"] == best_epoch), None)
        value = f": {series_name(monitor).lower()} {number(best[monitor])}" if best and monitor in best else ""
        style.state_finding(figure, f"Best at epoch {best_epoch} of {int(epochs[-1])}{value}")
    return figure


def evaluation_figures(result: EvaluationResult) -> dict[str, Figure]:
    """Every figure that this result has the data for, by file name without its ending."""
    makers: dict[str, Callable[[EvaluationResult], Figure]] = {
        "metrics": metrics_figure,
        "confusion": confusion_figure,
        "roc": roc_figure,
        "precision_recall": pr_figure,
        "scores": score_figure,
    }
    figures = {}
    for name, make in makers.items():
        try:
            figures[name] = make(result)
        except (DataError, InputError):
            # With images of one class only there is no curve; the evaluation's notes say so.
            continue
    return figures


def save_figures(
    result: EvaluationResult,
    history: History,
    folder: Path,
    *,
    best_epoch: int | None = None,
    monitor: str = "val_loss",
    pixels: Uint8Array | None = None,
    decisions: bool = True,
) -> dict[str, Path]:
    """Write every figure as PNG (200 dpi) into `folder`; the files by name: `metrics`, `confusion`, `roc`, ...

    `best_epoch` is found from `monitor` when it is not given: the lowest loss or error, the highest of anything else.
    With `pixels` (N, height, width, 3) some images are laid on a sheet with their answers, `sheet`. `decisions=False`
    leaves out the figures on thresholds and probabilities, which `build_report` writes for a run's own evaluation.
    """
    figures = {**evaluation_figures(result), **(decision_figures(result) if decisions else {})}
    if history:
        best = best_epoch if best_epoch is not None else _best_epoch(history, monitor)
        figures["learning"] = learning_figure(history, best_epoch=best, monitor=monitor)
    files = {name: style.save_png(figure, folder / f"{name}.png") for name, figure in figures.items()}
    if pixels is not None and len(pixels):
        files["sheet"] = folder / "sheet.png"
        PIL.Image.fromarray(answer_sheet(pixels, result)).save(files["sheet"])
    return files


def _names(result: EvaluationResult) -> list[str]:
    return [printable(name) for name in result.classes]


def _stated(metric: Metric) -> str:
    return with_interval(metric.value, metric.low, metric.high)


def _rates(result: EvaluationResult) -> tuple[float, float, float]:
    """Sensitivity, specificity and precision at the threshold, from the counts; NaN where undefined."""
    (right_no, alarms), (missed, found) = result.confusion.astype(np.float64)
    pairs = ((found, found + missed), (right_no, right_no + alarms), (found, found + alarms))
    sensitivity, specificity, precision = (float(part / whole) if whole else float("nan") for part, whole in pairs)
    return sensitivity, specificity, precision


def _confusion_cell(axes: Axes, row: int, column: int, cell: int, share: float, classes: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=style.ACCENT, alpha=share, linewidth=0))
    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=style.LINE, linewidth=0.6))
    if classes > _MOST_CLASSES_IN_NUMBERS:
        return
    ink = style.ON_ACCENT if share > 0.55 else style.INK
    small = classes > 5
    axes.text(column + 0.5, row + 0.44, f"{cell:,}", color=ink, ha="center", va="center", fontsize=9 if small else 14)
    axes.text(column + 0.5, row + 0.74, percent(share), color=ink, ha="center", va="center", fontsize=7 if small else 9)


def _confusion_finding(counts: npt.NDArray[np.int64], names: list[str]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.any():
        return f"All {count(int(counts.sum()), 'image')} are classified correctly"
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    of = f"{int(wrong[row, column]):,} of {int(counts[row].sum()):,} {names[row]}"
    return f"The most common mistake: {of} taken for {names[column]}"


def _unit_square(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = style.new_figure(style.WIDTH, 4.2)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    style.hairlines(axes)
    return figure, axes


def _banded(axes: Axes, curve: Curve) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=style.ACCENT, alpha=_BAND, linewidth=0)
    axes.plot(curve.x, curve.y, color=style.ACCENT, clip_on=False)


def _operating_point(axes: Axes, x: float, y: float, result: EvaluationResult, shift: tuple[int, int]) -> None:
    """A dot labelled with the threshold."""
    if not (np.isfinite([x, y]).all() and result.threshold is not None):
        return
    axes.plot([x], [y], "o", color=style.ACCENT, markersize=7, markeredgecolor=style.PAPER, clip_on=False, zorder=5)
    axes.annotate(
        f"threshold {result.threshold:.3g}",
        (x, y),
        xytext=shift,
        textcoords="offset points",
        ha="left" if shift[0] > 0 else "right",
        va="top",
    )


def _curves_by_class(
    axes: Axes, result: EvaluationResult, make: CurveMaker, place: Literal["lower left", "lower right"]
) -> str:
    """One curve for each class against the rest, the weakest ones where there are many; the weakest one's name."""
    areas = {k: result.per_class[name]["roc_auc"] for k, name in enumerate(result.classes)}
    drawn = [k for k in sorted(areas, key=lambda k: areas[k].value) if np.isfinite(areas[k].value)][:_MOST_CURVES]
    if not drawn:
        raise DataError("A curve needs images of at least two classes.")
    palette = style.CLASS_COLOURS
    for rank, k in enumerate(drawn):
        # No bands: six could not be told apart. The intervals are in the table by class.
        curve = make(result, result.classes[k], resamples=100)
        name = printable(result.classes[k])
        if make is roc_curve:
            name += f" {number(areas[k].value)}"
        colour = palette[k if len(result.classes) <= len(palette) else rank]
        # A zero-width space keeps matplotlib from hiding a name that starts with an underscore.
        axes.plot(curve.x, curve.y, color=colour, clip_on=False, label=f"\N{ZERO WIDTH SPACE}{name}")
    heading = f"the {len(drawn)} weakest of {len(result.classes)}" if len(drawn) < len(result.classes) else ""
    axes.legend(loc=place, frameon=False, handlelength=1.2, title=heading, alignment="left")
    return printable(result.classes[drawn[0]])


def _score_groups(result: EvaluationResult) -> tuple[list[tuple[str, npt.NDArray[Any], str]], str]:
    """What to draw as histograms: (name, scores, colour) each, and what the scores are."""
    names, positive = _names(result), printable(result.classes[-1])
    if len(names) > 2:
        confidence = result.probabilities.max(axis=1)
        right = result.predicted == result.labels
        groups = [("right answers", confidence[right], style.ACCENT), ("wrong answers", confidence[~right], "#d55e00")]
        return groups, "confidence: probability of the class answered"
    scores = result.outputs if result.outputs is not None else result.probabilities[:, 1]
    label = "predicted score" if result.outputs is not None else f"predicted probability of {positive}"
    return [(name, scores[result.labels == k], style.CLASS_COLOURS[k]) for k, name in enumerate(names)], label


def _bin_edges(scores: list[npt.NDArray[Any]], open_ended: float | None) -> npt.NDArray[np.float64]:
    """The edges of the bars: those of probabilities, or of open-ended scores and their threshold."""
    low, high = 0.0, 1.0
    if open_ended is not None:
        every = np.concatenate([*scores, [open_ended]])
        low, high = min(low, float(every.min())), max(high, float(every.max()))
    return np.linspace(low, high, _BINS + 1)


def _beside(axes: Axes, y: float, text: str, points: float, colour: str, side: Literal["left", "right"]) -> None:
    """Text at the height `y`, `points` to the right of the axes."""
    axes.annotate(
        text,
        (1, y),
        xycoords=("axes fraction", "data"),
        xytext=(points, 0),
        textcoords="offset points",
        color=colour,
        ha=side,
        va="center",
    )


def _metrics_finding(shown: dict[str, Metric]) -> str:
    # Matthews' correlation runs from -1 to 1, so its interval is wider than those of shares by nature.
    sized = {name: m for name, m in shown.items() if np.isfinite(m.high - m.low) and name != "mcc"}
    if not sized:
        name, metric = next(iter(shown.items()))
        return f"{metric_name(name)} {number(metric.value)}; too few images for intervals"
    name = max(sized, key=lambda n: sized[n].high - sized[n].low)
    return f"{metric_name(name)} is the least certain: between {number(sized[name].low)} and {number(sized[name].high)}"


def _learning_panel(axes: Axes, epochs: npt.NDArray[Any], history: History, names: list[str]) -> None:
    """One or more series over the epochs, each labelled at its end."""
    from matplotlib.ticker import MaxNLocator

    ends = []
    for name in names:
        values = np.array([row.get(name, np.nan) for row in history], np.float64)
        colour = style.SOFT if name.startswith("train_") else style.ACCENT
        axes.plot(epochs, values, color=colour, marker="o" if len(epochs) == 1 else None, markersize=4)
        if (known := values[np.isfinite(values)]).size:
            ends.append((float(known[-1]), series_name(name), colour))
    low, high = axes.get_ylim()
    apart = 0.14 * (high - low)
    at = -np.inf
    for value, name, colour in sorted(ends):
        at = max(value, at + apart)
        _beside(axes, at, name, 6, colour, "left")
    axes.set_ylim(low, high)
    if len(epochs) > 1:
        axes.set_xlim(epochs[0], epochs[-1])
    axes.yaxis.set_major_locator(MaxNLocator(4))
    style.hairlines(axes, "y")


def _best_epoch(history: History, monitor: str) -> int:
    values = np.array([row.get(monitor, np.nan) for row in history], np.float64)
    falling = monitor.removeprefix("val_") in METRICS and not METRICS[monitor.removeprefix("val_")].higher_is_better
    if not np.isfinite(values).any():
        return int(history[-1]["epoch"])
    place = np.nanargmin(values) if falling or monitor.endswith("loss") else np.nanargmax(values)
    return int(history[int(place)]["epoch"])
