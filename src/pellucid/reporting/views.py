"""The tables and sentences of the report, made from a run's values; the template only sets them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ..classifier import gives_score
from ..evaluation.metrics import METRICS
from ..evaluation.result import EvaluationResult, Metric
from .abroad import calibration_elsewhere, headline
from .cases import Case, Cases
from .contents import RunContents
from .decisions import flag_words, rules_words
from .figures import chart_start, charted_metrics
from .verdict_on_training import first_words, seal_in_words
from .words import TWINS, count, listed, metric_name

NOT_FOR_DIAGNOSIS = "For research and education, not for diagnosis."
SYNTHETIC = "The images are synthetic: they were generated, not taken of anyone or anything."

SUMMARY_CASES = 6
_MOST_MISTAKES = 12
_HEADLINES = {
    "binary": ("roc_auc", "sensitivity", "specificity"),
    "multiclass": ("accuracy", "balanced_accuracy", "roc_auc"),
    "regression": ("mae", "accuracy", "roc_auc"),
    "anomaly": ("roc_auc", "sensitivity", "specificity"),
}


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric as printed: its name, its value with the interval, and what it means for these classes.

    `drawn` is where value, low and high lie on the table's axis, in per cent; None where the axis does not suit it.
    """

    name: str
    metric: Metric
    meaning: str
    drawn: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """Figures that somebody published: for each column the value and where it lies against our interval, or None."""

    source: str
    cells: tuple[tuple[float, str] | None, ...]


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """Our figures above those published, column by column."""

    columns: tuple[str, ...]
    ours: tuple[Metric | None, ...]
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer without its picture."""

    path: str
    true_label: str
    label: str
    confidence: float


def day(created: str) -> str:
    """An ISO date and time as `1 July 2026, 09:30 UTC`; the text as it is when it is no date."""
    try:
        moment = datetime.fromisoformat(created.replace("Z", "+00:00"))
    except ValueError:
        return created
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()


def notices(run: RunContents) -> list[str]:
    """What must stand on the page before anything else."""
    usual = ((NOT_FOR_DIAGNOSIS, run.medical), (SYNTHETIC, run.record.data.synthetic))
    return [*first_words(run.record.training), *suspects(run), *(text for text, applies in usual if applies)]


def suspects(run: RunContents) -> list[str]:
    """That training images of an anomaly detector look bad, where some do."""
    record = run.record.anomaly
    if record is None or not record.suspects:
        return []
    gone = sum(s.left_out for s in record.suspects) if record.cleaned else 0
    done = f"Not learnt from: {gone:,}." if gone else "All were learnt from."
    many = count(len(record.suspects), "image taken as normal looks bad", "images taken as normal look bad")
    return [f"{many} beside the others ({listed([s.path for s in record.suspects], 3)}). {done}"]


def abroad_headline(run: RunContents) -> str:
    """What the model has on images like these, and with a source left out; "" for an old run."""
    return headline(run.record.abroad, run.evaluation.metrics.get("roc_auc") if run.evaluation else None)


def totals(run: RunContents) -> dict[str, int]:
    """Number of images of each class over all splits."""
    counts = run.record.data.counts.values()
    return {name: sum(of.get(name, 0) for of in counts) for name in next(iter(counts), {})}


def lead(run: RunContents) -> str:
    """What was trained on what, in one or two sentences."""
    data, result = run.record.data, run.evaluation
    classes = list(result.classes if result else next(iter(data.counts.values()), {}))
    names = listed(classes, 6) if len(classes) < 7 else f"{len(classes)} classes"
    if run.record.imported is not None:
        text = f"{run.record.imported.kind} model, imported from {run.record.imported.file}, for {names}"
        return (
            f"{text}, not tested yet." if result is None else f"{text}, tested on {count(len(result.labels), 'image')}."
        )
    if run.record.anomaly is not None:
        text = (
            f"Anomaly detector on features of {run.recipe.model.backbone}, recipe {run.record.recipe}: learnt from "
            f"{count(run.record.anomaly.learnt, 'normal image')}"
        )
        return f"{text}, not tested yet." if result is None else f"{text}, tested on {_tested(result)}."
    trained = count(sum(data.counts.get("train", {}).values()), "image")
    text = f"Network {run.recipe.model.backbone}, recipe {run.record.recipe}: trained on {trained} of {names}"
    if result is None:
        return f"{text}, not tested yet."
    return f"{text}, tested on {_tested(result)}."


def _tested(result: EvaluationResult) -> str:
    groups = len(set(result.groups) - {""})
    of = f" of {count(groups, 'group')}" if groups else ""
    return f"{count(len(result.labels), 'image')}{of} ({result.split} split)"


def answer(result: EvaluationResult) -> str:
    """The outcome in counts of images."""
    if len(result.classes) == 2:
        negative, positive = result.classes
        (_, alarms), (_, found) = result.confusion
        of_negative, of_positive = result.confusion.sum(axis=1)
        if result.task == "anomaly":
            flagged = f"flags {alarms:,} of {of_negative:,} normal ones"
            return f"It finds {found:,} of {of_positive:,} bad images, and {flagged}."
        return (
            f"It finds {found:,} of {of_positive:,} images of {positive}, "
            f"and mistakes {alarms:,} of {of_negative:,} images of {negative} for {positive}."
        )
    right = int(np.trace(result.confusion))
    images = count(len(result.labels), "image")
    return f"It classifies {right:,} of {images} correctly, among {len(result.classes)} classes."


def headlines(result: EvaluationResult) -> list[tuple[str, Metric]]:
    """The three figures that matter for the task, by name in print."""
    wanted = [name for name in _HEADLINES[result.task] if name in result.metrics]
    wanted += [name for name in result.metrics if name not in wanted and TWINS.get(name) not in result.metrics]
    return [(metric_name(name), result.metrics[name]) for name in wanted[:3]]


def metric_rows(result: EvaluationResult) -> list[MetricRow]:
    """Every metric once, most important first."""
    charted = charted_metrics(result)
    start = chart_start(charted)

    def place(name: str, metric: Metric) -> tuple[float, float, float] | None:
        low, high = (end if np.isfinite(end) else metric.value for end in (metric.low, metric.high))
        if name not in charted:
            return None
        return _along(metric.value, start), _along(low, start), _along(high, start)

    return [
        MetricRow(metric_name(name), metric, _meaning(name, result), place(name, metric))
        for name, metric in result.metrics.items()
        if TWINS.get(name) not in result.metrics
    ]


def _along(value: float, start: float) -> float:
    return round(100 * (value - start) / (1 - start), 2)


def mistakes(result: EvaluationResult) -> list[Mistake]:
    """The most confident wrong answers that are given; empty for a regression, which has no confidence."""
    if gives_score(result.task):
        return []
    predicted = result.predicted
    confidence = result.probabilities[np.arange(len(predicted)), predicted]
    given = np.ones(len(predicted), bool) if result.answered is None else result.answered.outcomes == 0
    wrong = np.flatnonzero((predicted != result.labels) & given)
    return [
        Mistake(result.paths[i], result.classes[result.labels[i]], result.classes[predicted[i]], float(confidence[i]))
        for i in wrong[np.argsort(-confidence[wrong], kind="stable")][:_MOST_MISTAKES]
    ]


def published_table(run: RunContents) -> PublishedTable | None:
    """The recipe's published figures against ours; None where the recipe gives none."""
    figures = run.recipe.published
    columns = tuple(dict.fromkeys(name for figure in figures for name in figure.metrics))
    if not columns:
        return None
    found = run.evaluation.metrics if run.evaluation else {}
    ours = tuple(found.get(name) for name in columns)
    rows = []
    for figure in figures:
        cells = (
            (figure.metrics[name], _against(figure.metrics[name], metric)) if name in figure.metrics else None
            for name, metric in zip(columns, ours, strict=True)
        )
        rows.append(PublishedRow(figure.source, tuple(cells)))
    return PublishedTable(tuple(metric_name(name) for name in columns), ours, tuple(rows))


def summary_cases(cases: Cases) -> list[Case]:
    """A row of examples: up to two mistakes, then right answers that show evidence."""
    telling = sorted((*cases.right, *cases.withheld, *cases.unknown), key=lambda case: case.scale is None)
    wrong = list(cases.wrong[:2])
    chosen = wrong + telling[: SUMMARY_CASES - len(wrong)]
    return chosen + list(cases.wrong[2 : 2 + SUMMARY_CASES - len(chosen)])


def commands(run: RunContents) -> list[tuple[str, str]]:
    """What to type to make the run again: (what it does, the command)."""
    record = run.record
    if record.imported is not None:
        return [("The command that made this run:", shlex.join(record.command))]
    again = ["pellucid", "train", record.data.source, "--recipe", "recipe.toml", "--seed", str(record.seed)]
    return [
        ("The command that made this run:", shlex.join(record.command)),
        ("From this folder alone, with the recipe as it was resolved:", shlex.join(again)),
    ]


def decisions(run: RunContents) -> list[tuple[str, str]]:
    """How scores become answers, each as (what, sentence): threshold, calibration, unusual images."""
    manifest = run.manifest
    if manifest is None:
        return []
    said = []
    if manifest.operating_point is not None:
        said.append(("Threshold", manifest.operating_point.statement))
    elif manifest.task != "multiclass":
        said.append(
            (
                "Threshold",
                f"{manifest.threshold:.3g}, the default; it was not chosen for a target such as a sensitivity.",
            )
        )
    calibration = manifest.calibration
    if calibration is not None:
        elsewhere = calibration_elsewhere(run.record.abroad)
        said.append(("Calibration", f"{calibration.in_words()} {elsewhere}".strip()))
    reference = manifest.reference
    if reference is not None:
        said.append(("Unusual images", flag_words(reference)))
    return said + answering(run)


def answering(run: RunContents) -> list[tuple[str, str]]:
    """The rules of what is answered, each as (what, sentence)."""
    titles = {"sets": "Prediction sets", "abstention": "Answers withheld", "reject": "Other things"}
    rules = run.manifest.answering if run.manifest else None
    return [(titles[what], sentence) for what, sentence in rules_words(rules)]


def limits(run: RunContents) -> list[str]:
    """What the results of this run cannot tell."""
    result, data = run.evaluation, run.record.data
    said = []
    if data.synthetic:
        said.append("The images are synthetic. The results show that the program works, not that the model is useful.")
    if run.record.imported is not None:
        said.append(
            "It is not known which images the model was trained on. If test images were among them, the results are "
            "too optimistic."
        )
    else:
        said.append(
            "The test images come from the same source as the training images. Expect worse results on images "
            "from another place, device or time, and measure them there."
        )
    if result:
        said.append(
            f"The intervals ({result.interval}) show how much depends on which images happened to be in the test "
            "split. They do not show how much depends on the training: another seed gives another model."
        )
        said += _about_answers(run, result)
    if run.record.sealed is not None:
        said.append(seal_in_words(run.record.sealed))
    defects = result.defects if result else None
    if run.record.localisation is None and not (defects and defects.masked):
        said.append("The heat maps were not compared with masks or boxes. They show where, not why, and may mislead.")
    else:
        said.append("A heat map shows where the evidence lies, not why it is evidence.")
    rules = run.manifest.answering if run.manifest else None
    if rules is not None:
        said.append(
            "Prediction sets and limits on errors hold for images like the validation images. They promise nothing for "
            "another place, device or time."
        )
    if run.manifest is None or run.manifest.reference is None:
        said.append("The model answers for any image, even of something it has never seen.")
    else:
        said.append("It flags most unusual images, but not all: it also answers where it should not.")
    return said


def _about_answers(run: RunContents, result: EvaluationResult) -> list[str]:
    """What threshold and probabilities cannot be trusted for."""
    said = []
    point = run.manifest.operating_point if run.manifest else None
    calibration = run.manifest.calibration if run.manifest else None
    if point is not None and point.bounded is None and point.statement:
        said.append(point.statement)
    elif point is not None:
        said.append(f"Threshold {point.threshold:.3g}: {_stop(point.statement)}")
    elif result.threshold is not None:
        said.append(f"The threshold, {result.threshold:.3g}, was not chosen for a target such as a sensitivity.")
    if calibration is not None:
        what = "validation image" if calibration.fitted_on == "validation" else "image"
        said.append(
            f"The probabilities were calibrated on {count(calibration.images, what)}; where the mix of "
            f"classes is another, they are off again. {calibration_elsewhere(run.record.abroad)}".strip()
        )
    elif not gives_score(result.task):
        said.append("The probabilities are not calibrated: of answers given at 0.9, nine in ten need not be right.")
    return said


def _stop(sentence: str) -> str:
    """A sentence that follows a colon: it begins small and ends in a full stop."""
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}." if sentence else "nothing was asked of it."


def _meaning(name: str, result: EvaluationResult) -> str:
    row = METRICS.get(name)  # a file of another version may hold a metric that is not known here
    return row.meaning_for(result.classes) if row else ""


def _against(value: float, ours: Metric | None) -> str:
    """Where a published value lies against our interval, in words."""
    if ours is None or not np.isfinite([ours.low, ours.high]).all():
        return ""
    if ours.low <= value <= ours.high:
        return "within our interval"
    return f"{'above' if value > ours.high else 'below'} our interval"
