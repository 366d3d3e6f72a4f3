"""`metrics.json` and `predictions.csv`: what is written of an evaluation, and how it is read back."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Literal, cast

import numpy as np
from pydantic import Field, ValidationError

from ..classifier import Outcome, Task, gives_score
from ..documents import FiniteDocument
from ..errors import BundleError, ResourceError
from ..files import write_whole
from ..preprocessing import FloatArray
from .answered import AnsweringEntry, JudgedAnswers
from .answering import OUTCOMES
from .calibration import Calibration
from .defects import DefectFigures
from .intervals import Resampling
from .operating_point import OperatingPoint
from .result import EvaluationResult, Metric, Restated

SCHEMA_VERSION = 2
METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.csv"


class MetricEntry(FiniteDocument):
    """A figure and its 95 % interval; null where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, metric: Metric) -> MetricEntry:
        """The same with null for what is not a number."""
        value, low, high = (x if math.isfinite(x) else None for x in (metric.value, metric.low, metric.high))
        return cls(value=value, low=low, high=high)

    def metric(self) -> Metric:
        """The same with NaN for null."""
        return Metric(*(math.nan if x is None else x for x in (self.value, self.low, self.high)))


class ConfusionEntry(FiniteDocument):
    """Counts of images, true class (row) against predicted class (column), both in the order of `labels`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class CalibrationEntry(FiniteDocument):
    """How logits become probabilities (`fitted`), and the scores `before` and `after` on these images."""

    fitted: Calibration
    before: dict[str, MetricEntry]
    after: dict[str, MetricEntry]


class OutsideEntry(FiniteDocument):
    """The share of unusual images: those that do not resemble the training images."""

    flagged: MetricEntry


class PrevalenceEntry(FiniteDocument):
    """Predictive values at `prevalence`; `observed` is that of the images."""

    prevalence: float
    observed: float
    ppv: MetricEntry
    npv: MetricEntry


class MetricsDocument(FiniteDocument):
    """`metrics.json`, version 2; docs/reference/metrics-json.md says more. Version 1 had none of the last four fields.

    `positive` is the class that sensitivity, precision and their kin are about; null when they are means over K
    classes. `n` counts images and `n_groups` what was resampled where images belong to groups (an image without a group
    counts as one); null where they do not. `threshold` applies to the positive-class probability, or to the output of a
    regression; null when the most likely class counts. `notes` are sentences for people, `leaks` those
    on images that the model was trained on. What the model has none of is null.
    """

    schema_version: Literal[1, 2] = 2
    task: Task
    classes: tuple[str, ...] = Field(min_length=2)
    positive: str | None
    split: str
    n: int = Field(ge=1)
    n_groups: int | None
    threshold: float | None
    interval: str
    metrics: dict[str, MetricEntry]
    per_class: dict[str, dict[str, MetricEntry]]
    confusion: ConfusionEntry
    notes: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    operating_point: OperatingPoint | None = None
    calibration: CalibrationEntry | None = None
    outside: OutsideEntry | None = None
    prevalence: PrevalenceEntry | None = None
    answering: AnsweringEntry | None = None
    defects: DefectFigures | None = None


def _entries(metrics: dict[str, Metric]) -> dict[str, MetricEntry]:
    return {name: MetricEntry.of(metric) for name, metric in metrics.items()}


def _figures(entries: dict[str, MetricEntry]) -> dict[str, Metric]:
    return {name: entry.metric() for name, entry in entries.items()}


def metrics_document(result: EvaluationResult) -> MetricsDocument:
    """All of a result but its single predictions."""
    units = Resampling.of(len(result.labels), result.groups, resamples=100, seed=0)
    return MetricsDocument(
        task=result.task,
        classes=result.classes,
        positive=result.classes[1] if len(result.classes) == 2 else None,
        split=result.split,
        n=len(result.labels),
        n_groups=units.units if units.grouped else None,
        threshold=result.threshold,
        interval=result.interval,
        metrics=_entries(result.metrics),
        per_class={name: _entries(of) for name, of in result.per_class.items()},
        confusion=ConfusionEntry(labels=result.classes, counts=result.confusion.tolist()),
        notes=result.notes,
        leaks=result.leaks,
        operating_point=result.operating_point,
        calibration=None
        if result.calibration is None
        else CalibrationEntry(
            fitted=result.calibration,
            before=_entries(result.before),
            after=_entries({name: result.metrics[name] for name in result.before}),
        ),
        outside=None if result.flagged is None else OutsideEntry(flagged=MetricEntry.of(result.flagged)),
        prevalence=None
        if result.restated is None
        else PrevalenceEntry(
            prevalence=result.restated.prevalence,
            observed=result.restated.observed,
            ppv=MetricEntry.of(result.restated.ppv),
            npv=MetricEntry.of(result.restated.npv),
        ),
        answering=None if result.answered is None else result.answered.entry,
        defects=result.defects,
    )


def write_evaluation(result: EvaluationResult, folder: Path) -> None:
    """Write `metrics.json` and `predictions.csv` into `folder`, which is made if need be; each appears whole or not.

    The columns are path, label, predicted, confidence (the probability of the predicted class), p_<class> for every
    class, group; for a regression path, label, predicted, output, group. After them, of a calibrated model
    uncalibrated_<class> for every class, and outside where it is known how far an image lies from those trained on;
    with rules of answering outcome (answer, none or refer) and, with prediction sets, set_<class> (0 or 1).
    Raises ResourceError when it cannot be
    written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / PREDICTIONS_FILE, _predictions_csv(result))
        write_whole(folder / METRICS_FILE, metrics_document(result).model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise ResourceError(
            f"The evaluation cannot be written to {folder}: {error.strerror}. Make room there or choose another folder."
        ) from error


def read_evaluation(folder: Path) -> EvaluationResult:
    """Read back what `write_evaluation` wrote, equal to the last bit.

    Raises BundleError when a file is missing, damaged, from a newer version, or when the two do not belong together.
    """
    document = _read_document(folder / METRICS_FILE)
    result = _result_of(document, folder / PREDICTIONS_FILE)
    k = len(result.classes)
    counts = np.bincount(result.labels * k + result.predicted, minlength=k * k).reshape(k, k)
    if not np.array_equal(counts, result.confusion):
        raise BundleError(
            f"{METRICS_FILE} and {PREDICTIONS_FILE} in {folder} are not of one evaluation. Evaluate again."
        )
    return result


def _result_of(document: MetricsDocument, predictions: Path) -> EvaluationResult:
    """The result that a document and its table of predictions describe."""
    regression, calibrated, known = (
        gives_score(document.task), document.calibration is not None, document.outside is not None
    )  # fmt: skip
    columns = _columns(document.task, document.classes, calibrated=calibrated, outside=known)
    table = _read_table(predictions, [*columns, *_answering_columns(document.answering, document.classes)])
    try:
        index = {name: k for k, name in enumerate(document.classes)}
        labels = np.array([index[row["label"]] for row in table], np.int64)
        scores = _numbers(table, ["output"] if regression else [f"p_{name}" for name in document.classes])
        raw = _numbers(table, [f"uncalibrated_{name}" for name in document.classes]) if calibrated else None
        outside = _numbers(table, ["outside"])[:, 0] if known else None
        answered = _answered(document.answering, table, document.classes)
    except (KeyError, ValueError) as error:
        raise BundleError(f"{predictions} is damaged ({error}). Evaluate again.") from error
    return EvaluationResult(
        task=document.task,
        classes=document.classes,
        split=document.split,
        paths=tuple(row["path"] for row in table),
        labels=labels,
        probabilities=np.zeros((len(table), 0), np.float32) if regression else scores,
        metrics=_figures(document.metrics),
        per_class={name: _figures(of) for name, of in document.per_class.items()},
        confusion=np.array(document.confusion.counts, np.int64),
        threshold=document.threshold,
        interval=document.interval,
        outputs=scores[:, 0] if regression else None,
        groups=tuple(row["group"] for row in table) if document.n_groups is not None else (),
        notes=document.notes,
        leaks=document.leaks,
        calibration=document.calibration.fitted if document.calibration else None,
        uncalibrated=raw,
        before=_figures(document.calibration.before) if document.calibration else {},
        outside=outside,
        flagged=document.outside.flagged.metric() if document.outside else None,
        operating_point=document.operating_point,
        restated=_restated(document.prevalence),
        answered=answered,
        defects=document.defects,
    )


def _answered(
    entry: AnsweringEntry | None, table: list[dict[str, str]], classes: tuple[str, ...]
) -> JudgedAnswers | None:
    """What became of each image, as the table has it."""
    if entry is None:
        return None
    outcomes = np.array([OUTCOMES.index(cast(Outcome, row["outcome"])) for row in table], np.int64)
    sets = [name for name in _answering_columns(entry, classes) if name != "outcome"]
    return JudgedAnswers(entry, outcomes, _numbers(table, sets) == 1 if sets else None)


def _answering_columns(entry: AnsweringEntry | None, classes: tuple[str, ...]) -> list[str]:
    """The columns of what became of each image; those of sets where there are any."""
    if entry is None:
        return []
    sets = entry.coverage is not None and bool(entry.coverage.sizes)
    return ["outcome", *(f"set_{name}" for name in classes if sets)]


def _restated(entry: PrevalenceEntry | None) -> Restated | None:
    if entry is None:
        return None
    return Restated(entry.prevalence, entry.observed, entry.ppv.metric(), entry.npv.metric())


def _numbers(table: list[dict[str, str]], columns: list[str]) -> FloatArray:
    """The values (N, columns) of some columns of the table."""
    return np.array([[row[column] for column in columns] for row in table], np.float32).reshape(-1, len(columns))


def _columns(task: Task, classes: tuple[str, ...], *, calibrated: bool, outside: bool) -> list[str]:
    scores = ["output"] if gives_score(task) else ["confidence", *(f"p_{name}" for name in classes)]
    raw = [f"uncalibrated_{name}" for name in classes] if calibrated else []
    return ["path", "label", "predicted", *scores, "group", *raw, *(["outside"] if outside else [])]


def _predictions_csv(result: EvaluationResult) -> str:
    """The table as text. A float32 is written with the fewest digits that give it back."""
    predicted = result.predicted
    if result.outputs is not None:
        scores = result.outputs[:, None]
    else:
        confidence = result.probabilities[np.arange(len(predicted)), predicted]
        scores = np.column_stack([confidence, result.probabilities])
    groups = result.groups or ("",) * len(predicted)
    calibrated, known = result.uncalibrated is not None, result.outside is not None
    more = [a.reshape(len(predicted), -1) for a in (result.uncalibrated, result.outside) if a is not None]
    beside = np.concatenate([np.zeros((len(predicted), 0), np.float32), *more], axis=1)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    answered = _answered_cells(result.answered, len(predicted))
    entry = None if result.answered is None else result.answered.entry
    columns = _columns(result.task, result.classes, calibrated=calibrated, outside=known)
    table.writerow([*columns, *_answering_columns(entry, result.classes)])
    rows = zip(result.paths, result.labels, predicted, scores, groups, beside, answered, strict=True)
    for path, label, said, row, group, extra, decided in rows:
        named = result.classes[label], result.classes[said]
        table.writerow([path, *named, *map(str, row), group, *map(str, extra), *decided])
    return text.getvalue()


def _answered_cells(answered: JudgedAnswers | None, images: int) -> list[list[str]]:
    """The cells of what became of each image."""
    if answered is None:
        return [[]] * images
    sets = np.zeros((images, 0), int) if answered.members is None else answered.members.astype(int)
    return [[OUTCOMES[k], *map(str, row)] for k, row in zip(answered.outcomes, sets, strict=True)]


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise BundleError(f"There is no {path.name} in {path.parent}. Run `pellucid evaluate` first.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error


def _read_document(path: Path) -> MetricsDocument:
    text = _read_text(path)
    try:
        return MetricsDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if where == "schema_version":
            raise BundleError(
                f"{path} has schema version {first['input']}, and this pellucid reads {SCHEMA_VERSION}."
                " Update pellucid or evaluate again."
            ) from error
        raise BundleError(f"{path} is damaged ({where}: {first['msg']}). Evaluate again.") from error


def _read_table(path: Path, columns: list[str]) -> list[dict[str, str]]:
    lines = csv.DictReader(io.StringIO(_read_text(path), newline=""))
    if lines.fieldnames != columns:
        raise BundleError(f"{path} should have the columns {', '.join(columns)}. Evaluate again.")
    rows = list(lines)
    for number, row in enumerate(rows, start=1):
        # DictReader gives None as a value for a missing field, and as a key for fields too many.
        if None in row or None in row.values():
            raise BundleError(f"{path} is damaged (row {number} has not {len(columns)} fields). Evaluate again.")
    return rows
