"""What is fitted to validation images after the training: calibration, operating point, and what is outside.

Each is one or two numbers, or a description of the training images, and is kept in the bundle; the network stays as it
is. The validation images also decided when the training stopped, so that what is promised from them is a little too
good; the test, which nothing was fitted to, then says what holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle, load
from ..bundle.io import amend_bundle
from ..bundle.run import RunFolder, find_bundle
from ..classifier import gives_score
from ..data.cache import cached_pixels
from ..data.dataset import Sample
from ..errors import DataError, InputError
from ..evaluation.calibration import Calibration, Method, fit_calibration, for_elsewhere
from ..evaluation.home import HOME, keep_home
from ..evaluation.intervals import Indices
from ..evaluation.operating_point import OperatingPoint, choose_operating_point, parse_demand
from ..evaluation.outside import REFERENCE
from ..evaluation.validation import VALIDATION_FILE, ValidationAnswers, read_validation, write_validation
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Progress, Silent
from ..recipe_sections import DecisionSection
from ..storage import cache_folder
from .answering import check_answering, fit_rules, in_subgroups, wanted_rules
from .evaluation import own_split
from .prediction import Rows, answers_on_pixels
from .scales import scales_by_threshold
from .subgrouping import ImageTable, table_of_run
from .unusual import HomeImages, fit_unusual

FEWEST = 20
"""Fewer validation images than this calibrate nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptOutAnswers:
    """Logits (N, L), labels (N,) and groups of images of sources, each by a network that was trained without them."""

    logits: FloatArray
    labels: Indices
    groups: tuple[str, ...]


def check_decision(wanted: DecisionSection, task: str) -> None:
    """InputError, before anything is trained, for an operating point or a calibration that does not fit the task."""
    demand = parse_demand(wanted.operating_point)
    if task == "multiclass" and demand.text != "0.5":
        raise InputError(
            f"The operating point {demand.text} needs two classes: with more the most likely one is answered."
        )
    if task == "binary" and demand.bounded is None and not 0 < demand.number < 1:
        raise InputError(f"A threshold on a probability lies between 0 and 1, and {demand.number:g} does not.")
    if wanted.calibration == "platt" and task == "multiclass":
        raise InputError("Platt's method is for two classes; take decision.calibration=temperature for more.")
    check_answering(wanted, task)


def decide(
    run: RunFolder,
    *,
    pixels: Uint8Array,
    train: Rows,
    labels: Indices,
    validation: Rows,
    samples: Sequence[Sample],
    wanted: DecisionSection,
    progress: Progress,
    kept_out: KeptOutAnswers | None = None,
    table: ImageTable | None = None,
) -> Bundle:
    """Fit all that a bundle's decision takes, keep it in the bundle, and load that.

    `pixels` (M, height, width, 3) are resized images; `train`, with their `labels`, and `validation` are rows of
    `pixels`, and `samples` the validation images in the order of their rows. `table` lists the images, where one does.
    Writes `evaluation/validation.csv`, too.
    """
    bundle = load(run.bundle)
    with progress.bar("Fitting on validation images") as advance:
        logits, features = answers_on_pixels(bundle, pixels, advance, validation)
    answers = ValidationAnswers(
        paths=tuple(s.path for s in samples),
        labels=np.array([s.label for s in samples], np.int64),
        groups=tuple(s.group for s in samples),
        logits=logits,
    )
    calibration = _calibration(bundle, answers, wanted.calibration, progress, kept_out)
    changes: dict[str, object] = {"calibration": calibration}
    amended = bundle.manifest.model_copy(update=changes)
    if bundle.task != "multiclass":
        scores = logits[:, 0] if gives_score(bundle.task) else amended.probabilities(logits)[:, 1]
        point = _point(wanted.operating_point, answers, scores, bundle.classes[1], progress)
        changes |= {"operating_point": point, "threshold": point.threshold}
    files: dict[str, bytes] = {}
    if features is not None:
        home = HomeImages(pixels, train, labels, validation, features, logits, answers.groups)
        found = fit_unusual(bundle, home, wanted.other, progress)
        if found is not None:
            changes["reference"], files[REFERENCE] = found.reference, found.content
            answers = replace(answers, outside=found.outside)
        if bundle.task != "regression":
            files[HOME] = keep_home(features, logits, answers.labels, answers.groups).to_bytes()
    answers = in_subgroups(answers, wanted, table)
    write_validation(answers, bundle.classes, run.evaluation)
    rules = fit_rules(bundle.manifest.model_copy(update=changes), answers, wanted, progress)
    amend_bundle(bundle.folder, {**changes, "answering": rules}, files)
    return load(run.bundle)


def choose_again(run: Path, asked: str, *, progress: Progress | None = None) -> OperatingPoint:
    """Choose a run's operating point again from its kept validation answers, and keep it in its bundle.

    What depends on the threshold, which answers are given, is fitted again too. A run made before these were kept has
    its validation images answered again, where its data are still there. Raises InputError for an operating point that
    cannot be read or does not fit, DataError when the images are not there.
    """
    bundle, folder, said = load(run), RunFolder(run), progress or Silent()
    check_decision(DecisionSection(operating_point=asked), bundle.task)
    if bundle.task == "multiclass":
        raise InputError("With more than two classes the most likely one is answered; there is no threshold to choose.")
    answers = kept_answers(bundle, folder, said)
    own = bundle.manifest
    scores = answers.logits[:, 0] if gives_score(bundle.task) else own.probabilities(answers.logits)[:, 1]
    point = _point(asked, answers, scores, bundle.classes[1], said)
    before = own.operating_point
    point = point.model_copy(update={"revision": before.revision + 1 if before else 1})
    changes: dict[str, object] = {"operating_point": point, "threshold": point.threshold}
    if bundle.task == "anomaly":
        changes["scales"] = scales_by_threshold(own, point.threshold)
    if own.answering is not None:
        wanted = wanted_rules(own, folder)
        changes["answering"] = fit_rules(own.model_copy(update=changes), answers, wanted, said)
    amend_bundle(find_bundle(run), changes)
    return point


def kept_answers(bundle: Bundle, folder: RunFolder, progress: Progress) -> ValidationAnswers:
    """The run's answers for its validation images, as they were kept, or else answered again and kept.

    Raises DataError where they were not kept and the images are not there.
    """
    answers = read_validation(folder.evaluation, bundle.classes, bundle.manifest.logits)
    if answers is None or (answers.outside is None and bundle.manifest.reference is not None):
        try:
            answers = _answered_again(bundle, folder, progress)
            answers = in_subgroups(answers, wanted_rules(bundle.manifest, folder), table_of_run(folder))
        except DataError:
            if answers is None:
                raise
            return answers
        write_validation(answers, bundle.classes, folder.evaluation)
    return answers


def _point(
    asked: str, answers: ValidationAnswers, scores: FloatArray, positive: str, progress: Progress
) -> OperatingPoint:
    point = choose_operating_point(
        asked, labels=answers.labels, scores=scores, groups=answers.groups, positive=positive
    )
    if point.bounded is not None:
        progress.say(f"Operating point {point.asked}: threshold {point.threshold:.3g}. {point.statement}")
    return point


def _calibration(
    bundle: Bundle,
    answers: ValidationAnswers,
    method: Method | str,
    progress: Progress,
    kept_out: KeptOutAnswers | None,
) -> Calibration | None:
    if gives_score(bundle.task) or method == "none":
        return None
    if len(answers.labels) < FEWEST or len(np.unique(answers.labels)) < 2:
        progress.say(f"Not calibrated: that takes {FEWEST} validation images or more, of at least two classes.")
        return None
    fitted = fit_calibration(
        "platt" if method == "platt" else "temperature", answers.logits, answers.labels, answers.groups
    )
    if kept_out is not None and fitted.method == "temperature" and len(np.unique(kept_out.labels)) > 1:
        fitted = for_elsewhere(
            fitted, fit_calibration("temperature", kept_out.logits, kept_out.labels, kept_out.groups)
        )
    if not fitted.helps:
        progress.say(
            f"Not calibrated: the best {fitted.method} would raise the loss of the validation images from "
            f"{fitted.loss_before:.3g} to {fitted.loss_after:.3g}."
        )
        return None
    progress.say(fitted.in_words())
    return fitted


def _answered_again(bundle: Bundle, folder: RunFolder, progress: Progress) -> ValidationAnswers:
    if bundle.task == "anomaly":
        raise DataError(
            f"{folder.evaluation / VALIDATION_FILE} is missing. It held what detectors said of normal images that they "
            "had not seen, and this one has seen them all: train again to choose another threshold."
        )
    dataset = own_split(folder, bundle, "val")
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=advance)
    with progress.bar("Predicting") as advance:
        logits, features = answers_on_pixels(bundle, cached.pixels, advance)
    samples = cached.dataset.samples
    return ValidationAnswers(
        tuple(s.path for s in samples),
        cached.dataset.labels,
        tuple(s.group for s in samples),
        logits,
        None if features is None else bundle.outside_scores(features, logits),
    )
