"""Figures about the use of a model: how far to believe its probabilities, where the threshold lies, how it compares."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..classifier import gives_score, reaches
from ..errors import InputError
from ..evaluation.audit import AuditDocument
from ..evaluation.calibration import Reliability, reliability
from ..evaluation.curves import risk_coverage
from ..evaluation.intervals import wilson
from ..evaluation.regions import BORDER, CENTRE, CORNER, FRAME
from ..evaluation.result import EvaluationResult, Metric
from . import style
from .contents import RunContents
from .words import count, metric_name, number, percent, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Bins with fewer images have intervals that fill the figure.
_FEWEST_IN_BIN = 5
_STEPS = 201
_BAND = 0.16
_DOTTED = (0, (1.5, 2.5))


def run_figures(run: RunContents) -> dict[str, Figure]:
    """The figures below for a run's own evaluation."""
    if run.evaluation is None:
        return {}
    return decision_figures(
        run.evaluation,
        published=[(figure.source, figure.metrics) for figure in run.recipe.published],
        train=run.trained_on,
    )


def decision_figures(
    result: EvaluationResult,
    *,
    published: Sequence[tuple[str, Mapping[str, float]]] = (),
    train: EvaluationResult | None = None,
) -> dict[str, Figure]:
    """Every one of these figures that there are the data for, by file name without its ending.

    `train` is the same model on the images that it was trained on, beside which a regression is drawn.
    """
    both = {"train": train, result.split: result} if train is not None else {result.split: result}
    makers: dict[str, Callable[[], Figure]] = {
        "reliability": lambda: reliability_figure(result),
        "thresholds": lambda: threshold_figure(result),
        "coverage": lambda: coverage_figure(result),
        "scatter": lambda: scatter_figure(both),
        "published": lambda: published_figure(result.metrics, published),
    }
    figures = {}
    for name, make in makers.items():
        with contextlib.suppress(InputError):
            figures[name] = make()
    return figures


def reliability_figure(result: EvaluationResult) -> Figure:
    """Share of positives (of right answers, for more than two classes) over the probability given, bin by bin.

    Of a calibrated model the probabilities from before are drawn beside those after. InputError for a regression.
    """
    if gives_score(result.task):
        raise InputError("A regression gives no probabilities to be reliable.")
    series = [("as given", style.ACCENT, reliability(result.labels, result.probabilities))]
    if result.uncalibrated is not None:
        before = reliability(result.labels, result.uncalibrated)
        series = [("before calibration", style.SOFT, before), ("after", style.ACCENT, series[0][2])]
    gaps = [_gap(points) for _, _, points in series]
    of = printable(result.classes[1]) if len(result.classes) == 2 else "right answers"
    with style.drawing():
        figure = style.new_figure(style.WIDTH, 4.2)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=style.SOFT, linewidth=0.8, linestyle=_DOTTED)
        for place, ((name, colour, points), gap) in enumerate(zip(series, gaps, strict=True)):
            _reliability(axes, points, colour)
            words = f"{name}: ECE {number(gap)}"
            axes.text(0.03, 0.96 - 0.07 * place, words, color=colour, va="top", transform=axes.transAxes)
        xlabel = f"probability of {of}" if len(result.classes) == 2 else "confidence"
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=xlabel, ylabel=f"share of {of}")
        style.hairlines(axes)
        finding = f"Probabilities are off by {number(gaps[-1])} on average"
        if len(gaps) > 1:
            change = "lowers" if gaps[1] < gaps[0] else "does not lower"
            ends = f"{number(gaps[0])} before, {number(gaps[1])} after"
            finding = f"Calibration {change} the calibration error: {ends}"
        style.state_finding(figure, finding)
    return figure


def _gap(points: Reliability) -> float:
    """The expected calibration error."""
    return float((points.count * np.abs(points.confidence - points.outcome)).sum() / points.count.sum())


def _reliability(axes: Axes, points: Reliability, colour: str) -> None:
    """Bins with enough images, joined; those of the probabilities in use with their intervals."""
    shown = points.count >= _FEWEST_IN_BIN
    x, y, in_use = points.confidence[shown], points.outcome[shown], colour == style.ACCENT
    if in_use:
        axes.vlines(x, points.low[shown], points.high[shown], color=colour, linewidth=4, alpha=0.3)
    face = colour if in_use else style.PAPER
    axes.plot(x, y, "o-", color=colour, markerfacecolor=face, markersize=4.5, linewidth=1, clip_on=False)


def threshold_figure(result: EvaluationResult) -> Figure:
    """Sensitivity and specificity over the threshold, with Wilson bands, and the threshold in use.

    Raises InputError for more than two classes, or images of one class only.
    """
    scores = result.outputs if result.outputs is not None else result.probabilities[:, -1]
    positive = result.labels == 1
    if len(result.classes) != 2 or positive.all() or not positive.any():
        raise InputError("A threshold needs two classes, and images of both.")
    low, high = min(0.0, float(scores.min())), max(1.0, float(scores.max()))
    thresholds = np.linspace(low, high, _STEPS)
    found = (scores[positive][None] >= thresholds[:, None]).sum(axis=1)
    spared = (scores[~positive][None] < thresholds[:, None]).sum(axis=1)
    with style.drawing():
        figure = style.new_figure()
        axes = figure.add_subplot()
        series = (
            ("sensitivity", found, positive.sum(), style.ACCENT),
            ("specificity", spared, (~positive).sum(), style.INK),
        )
        for name, counts, total, colour in series:
            bounds = np.array([wilson(int(n), int(total)) for n in counts])
            axes.fill_between(thresholds, bounds[:, 0], bounds[:, 1], color=colour, alpha=_BAND, linewidth=0)
            axes.plot(thresholds, counts / total, color=colour)
            height = 0.14 if name == "sensitivity" else 0.06
            axes.text(0.5, height, name, color=colour, ha="center", transform=axes.transAxes)
        if result.threshold is not None:
            axes.axvline(result.threshold, color=style.SOFT, linewidth=0.9)
            reached = reaches(scores, result.threshold)
            at = np.array([reached[positive].mean(), (~reached[~positive]).mean()])
            rates = f"sensitivity {number(at[0])} costs specificity {number(at[1])}"
            finding = f"At threshold {result.threshold:.3g}, {rates}"
            style.state_finding(figure, finding)
        axes.set(xlim=(low, high), ylim=(0, 1.02), xlabel="threshold", ylabel="share")
        style.hairlines(axes)
    return figure


def coverage_figure(result: EvaluationResult) -> Figure:
    """Share of errors over the share of images answered; the least confident, or most unusual, are left out first.

    Raises InputError where no answer is wrong.
    """
    wrong = float((result.predicted != result.labels).mean())
    if not wrong:
        raise InputError("Without a mistake there is no risk to draw.")
    curves = [("least confident left out first", style.ACCENT, risk_coverage(result))]
    if result.outside is not None:
        curves.append(("most unusual left out first", style.CLASS_COLOURS[4], risk_coverage(result, "outside")))
    with style.drawing():
        figure = style.new_figure()
        axes = figure.add_subplot()
        for place, (name, colour, curve) in enumerate(curves):
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=_BAND / 2, linewidth=0)
            axes.plot(curve.x, curve.y, color=colour)
            axes.text(0.03, 0.95 - 0.09 * place, name, color=colour, va="top", transform=axes.transAxes)
        axes.axhline(wrong, color=style.SOFT, linewidth=0.8, linestyle=_DOTTED)
        given = None if result.answered is None else result.answered.entry.given
        if given is not None and given.chosen is not None and given.asked:
            axes.plot(*given.chosen, marker="o", color=style.ACCENT, clip_on=False, zorder=5)
        axes.set(
            xlim=(0, 1), ylim=(0, min(1, 2.5 * wrong)), xlabel="share of images answered", ylabel="share of errors"
        )
        style.hairlines(axes)
        kept = float(np.interp(0.8, curves[0][2].x, curves[0][2].y))
        finding = f"Answering only the most confident 80 % leaves {percent(kept)} errors ({percent(wrong)} for all)"
        style.state_finding(figure, finding)
    return figure


def scatter_figure(results: Mapping[str, EvaluationResult], seed: int = 0) -> Figure:
    """Predicted against true score of a regression, a panel for each set of images, and the line of perfect prediction.

    True scores are 0 and 1; points are spread sideways so that they can be told apart. InputError for results that
    are no regression.
    """
    shown = {name: r for name, r in results.items() if r.task == "regression"}
    if not shown:
        raise InputError("Only a regression has predicted scores to set against the true ones.")
    with style.drawing():
        figure = style.new_figure(max(style.WIDTH, 2.9 * len(shown)), 3.6)
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, (name, result) in zip(panels, shown.items(), strict=True):
            _scatter(axes, name, result, np.random.default_rng(seed))
        panels[0].set_ylabel("predicted score")
        last_name, last = list(shown.items())[-1]
        error = last.metrics["mae"]
        guess = float(np.abs(last.labels - np.median(last.labels)).mean())
        style.state_finding(
            figure,
            f"{last_name.capitalize()} scores are off by {number(error.value)} on average; a constant prediction "
            f"would be off by {number(guess)}",
        )
    return figure


def _scatter(axes: Axes, name: str, result: EvaluationResult, rng: np.random.Generator) -> None:
    outputs = result.outputs
    if outputs is None:
        return
    axes.plot([0, 1], [0, 1], color=style.INK, linewidth=0.9)
    for k, colour in zip((0, 1), style.CLASS_COLOURS[2:4], strict=True):
        mine = outputs[result.labels == k]
        axes.plot(
            k + rng.uniform(-0.12, 0.12, len(mine)), mine, "o", color=colour, markersize=3, alpha=0.5, markeredgewidth=0
        )
    if result.threshold is not None:
        axes.axhline(result.threshold, color=style.SOFT, linewidth=0.8, linestyle=_DOTTED)
    names = [printable(c) for c in result.classes]
    axes.set_xticks([0, 1], [f"{names[0]}\n0", f"{names[1]}\n1"])
    axes.set_xlim(-0.3, 1.3)
    axes.set_xlabel("true score")
    title = f"{name}, n = {len(outputs):,}: MAE {number(result.metrics['mae'].value)}"
    axes.set_title(title, loc="left", fontsize=10, color=style.INK, pad=4)
    style.hairlines(axes, "y")


def published_figure(ours: Mapping[str, Metric], published: Sequence[tuple[str, Mapping[str, float]]]) -> Figure:
    """Each metric of this run with its interval, and the published values as open dots beside it.

    `published` are (source, {metric: value}). Raises InputError where no metric is in both.
    """
    names = [n for n in dict.fromkeys(n for _, of in published for n in of) if n in ours]
    if not names:
        raise InputError("No value was published for a metric that was measured here.")
    with style.drawing():
        figure = style.new_figure(style.WIDTH + 1.2, 1.3 + 0.36 * len(names))
        axes = figure.add_subplot()
        palette = style.CLASS_COLOURS
        for row, name in enumerate(names):
            metric = ours[name]
            axes.plot([metric.low, metric.high], [row, row], color=style.ACCENT, linewidth=6, alpha=0.35)
            axes.plot([metric.value], [row], "o", color=style.ACCENT, markersize=6, zorder=4)
            for rank, (_, of) in enumerate(published):
                if name in of:
                    colour = palette[rank % len(palette)]
                    axes.plot([of[name]], [row], "D", color=colour, markerfacecolor=style.PAPER, markersize=5, zorder=5)
        axes.plot([], [], "o-", color=style.ACCENT, label="this run, with interval")
        for rank, (source, _) in enumerate(published):
            colour = palette[rank % len(palette)]
            axes.plot([], [], "D", color=colour, markerfacecolor=style.PAPER, linestyle="", label=printable(source))
        axes.set_yticks(range(len(names)), [metric_name(n) for n in names])
        axes.tick_params(axis="y", length=0, labelcolor=style.INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        style.hairlines(axes, "x")
        figure.legend(loc="outside lower left", frameon=False, fontsize=8, handlelength=1.6)
        style.state_finding(figure, _comparison(ours, published, names))
    return figure


def _comparison(
    ours: Mapping[str, Metric], published: Sequence[tuple[str, Mapping[str, float]]], names: Sequence[str]
) -> str:
    pairs = [(ours[n], of[n]) for _, of in published for n in names if n in of]
    above = sum(metric.low > value for metric, value in pairs)
    below = sum(metric.high < value for metric, value in pairs)
    within = len(pairs) - above - below
    return f"{within} of {count(len(pairs), 'published value')} within our intervals, {above} below and {below} above"


def regions_figure(audit: AuditDocument) -> Figure:
    """Which regions give the class away: the area under the curve when the model sees one region alone."""
    from matplotlib.patches import Rectangle

    alone = {region.region: region.alone.value for region in audit.regions if region.alone is not None}
    places = {
        "top left corner": (0.0, 0.0, CORNER, CORNER), "top right corner": (1 - CORNER, 0.0, CORNER, CORNER),
        "bottom left corner": (0.0, 1 - CORNER, CORNER, CORNER),
        "bottom right corner": (1 - CORNER, 1 - CORNER, CORNER, CORNER),
        CENTRE: (CORNER, CORNER, 1 - 2 * CORNER, 1 - 2 * CORNER),
    }  # fmt: skip
    with style.drawing():
        figure = style.new_figure(style.WIDTH, 4.2)
        axes = figure.add_subplot()
        axes.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if BORDER in alone:
            alpha = _strength(alone[BORDER])
            for x, y, w, h in ((0, 0, 1, FRAME), (0, 1 - FRAME, 1, FRAME), (0, 0, FRAME, 1), (1 - FRAME, 0, FRAME, 1)):
                axes.add_patch(Rectangle((x, y), w, h, facecolor=style.ACCENT, alpha=alpha, linewidth=0))
            axes.text(
                0.5,
                FRAME / 2,
                f"border {alone[BORDER]:.2f}",
                ha="center",
                va="center",
                fontsize=9,
                color=style.ON_ACCENT if alpha > 0.55 else style.INK,
            )
        for name, (x, y, w, h) in places.items():
            if name in alone:
                axes.add_patch(Rectangle((x, y), w, h, facecolor=style.PAPER, linewidth=0))
                strong = _strength(alone[name])
                axes.add_patch(Rectangle((x, y), w, h, facecolor=style.ACCENT, alpha=strong, linewidth=0))
                axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=style.LINE, linewidth=0.6))
                ink = style.ON_ACCENT if strong > 0.55 else style.INK
                words = f"{'centre ' if name == CENTRE else ''}{alone[name]:.2f}"
                axes.text(x + w / 2, y + h / 2, words, ha="center", va="center", color=ink, fontsize=11)
        most = max(alone.keys() - {CENTRE}, key=lambda name: (alone[name], name))
        style.state_finding(figure, f"From the {most} alone the model reaches a ROC-AUC of {alone[most]:.2f}")
    return figure


def _strength(area: float) -> float:
    """How strongly a region is coloured: not at all at 0.5, fully at 1."""
    return float(np.clip(2 * (area - 0.5), 0, 1))
