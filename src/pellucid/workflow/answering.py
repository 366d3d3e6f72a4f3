"""The rules of what is answered, fitted to validation images: prediction sets, answers withheld, none of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bundle.manifest import Manifest
from ..bundle.run import RunFolder
from ..data.walk import has_image_suffix
from ..errors import InputError
from ..evaluation.abstention import Abstention, fit_abstention, parse_limit
from ..evaluation.answering import UNLIKE, AnsweringRules, confidences
from ..evaluation.conformal import ClassSets, ScoreInterval, fit_interval, fit_sets, needed
from ..evaluation.difficulty import FEWEST as FEWEST_FOR_WIDTHS
from ..evaluation.difficulty import fit_difficulty, halves
from ..evaluation.intervals import Resampling, Values
from ..evaluation.subgroups import subgroup_names
from ..evaluation.validation import ValidationAnswers
from ..preprocessing import FloatArray
from ..progress import Progress
from ..recipe import load_recipe
from ..recipe_sections import DecisionSection
from ..reporting.decisions import abstention_words
from .subgrouping import ImageTable, as_they_are, told_apart


def check_answering(wanted: DecisionSection, task: str) -> None:
    """InputError, before anything is trained, for a rule that cannot be read or does not fit the task."""
    if _limited(wanted) and parse_limit(wanted.answer_only).wrong != "errors" and task == "multiclass":
        raise InputError("The limits fn and fp are for two classes: with more classes write errors<=0.02.")
    rules = _limited(wanted), wanted.reject != "none", wanted.other, wanted.coverage_by != "all"
    if task == "anomaly" and any(rules):
        raise InputError(
            "An anomaly detector learns from normal images alone. Its promise is the one on false alarms, and an image "
            "unlike the normal ones is what it flags: drop `answer_only=`, `reject=`, `other=` and `coverage_by=`."
        )
    if wanted.coverage_by == "subgroup" and not wanted.subgroup:
        raise InputError("Coverage by subgroup needs `decision.subgroup=...`: a column of the CSV, or a pattern.")
    if wanted.coverage_by == "class" and task == "regression":
        raise InputError("A regression has no classes to promise a coverage for: leave out `coverage_by=`.")
    if wanted.other and not Path(wanted.other).is_dir():
        raise InputError(f"There is no folder {wanted.other} with images of other things: check `other=`.")
    if wanted.other and not any(has_image_suffix(p.name) for p in Path(wanted.other).rglob("*")):
        raise InputError(f"There are no images in {wanted.other}: check `other=`.")


def coverage_for(by: str) -> dict[str, str]:
    """The keys of a recipe's decision that promise the coverage for `all`, each `class`, or a column's or pattern's."""
    return {"coverage_by": by} if by in ("all", "class") else {"coverage_by": "subgroup", "subgroup": by}


def in_subgroups(answers: ValidationAnswers, wanted: DecisionSection, table: ImageTable | None) -> ValidationAnswers:
    """The answers with the subgroup of each image as the rules tell them apart; InputError where nothing does."""
    if not wanted.subgroup:
        return replace(answers, subgroups=())
    tell = told_apart if wanted.coverage_by == "subgroup" else as_they_are
    return replace(answers, subgroups=tuple(tell(answers.paths, wanted.subgroup, table)))


def _limited(wanted: DecisionSection) -> bool:
    return wanted.answer_only not in ("", "all")


def fit_rules(
    manifest: Manifest, answers: ValidationAnswers, wanted: DecisionSection, progress: Progress
) -> AnsweringRules | None:
    """The rules for a bundle whose calibration and threshold are fitted; says what cannot be promised.

    None where no rule is wanted or can be fitted.
    """
    regression = manifest.task == "regression"
    scores = answers.logits if regression else manifest.probabilities(answers.logits)
    reject = wanted.reject if answers.outside is not None else "none"
    if wanted.reject != reject:
        progress.say("Images of other things cannot be told: the model has no description of its training images.")
    sets = None if regression else _sets(manifest, answers, scores, wanted, progress)
    interval = _interval(answers, scores, wanted, progress) if regression else None
    abstention = _abstention(manifest, answers, scores, wanted, reject == "unlike", progress)
    if sets is None and interval is None and abstention is None and reject == "none":
        return None
    return AnsweringRules(sets=sets, interval=interval, abstention=abstention, reject=reject, subgroup=wanted.subgroup)


def wanted_rules(manifest: Manifest, folder: RunFolder) -> DecisionSection:
    """The rules that a run's bundle has, as a recipe would ask for them; by default those of its own recipe."""
    asked = load_recipe(folder.recipe).decision if folder.recipe.is_file() else DecisionSection()
    rules = manifest.answering
    if rules is None:
        return asked
    kept: dict[str, object] = {"reject": rules.reject, "answer_only": ""}
    if rules.abstention is not None:
        kept["answer_only"] = rules.abstention.asked
    if rules.sets is not None:
        kept |= {"coverage": rules.sets.coverage, "sets": rules.sets.score, "coverage_by": rules.sets.by}
    if rules.interval is not None:
        way = "normalised" if rules.interval.normalised else "absolute"
        kept |= {"coverage": rules.interval.coverage, "coverage_by": rules.interval.by, "intervals": way}
    if rules.subgroup:
        kept["subgroup"] = rules.subgroup
    return asked.model_copy(update=kept)


def _sets(
    manifest: Manifest, answers: ValidationAnswers, scores: FloatArray, wanted: DecisionSection, progress: Progress
) -> ClassSets | None:
    if not wanted.coverage:
        return None
    fitted = fit_sets(
        answers.labels,
        scores,
        coverage=wanted.coverage,
        score=wanted.sets,
        by=wanted.coverage_by,
        groups=answers.groups,
        subgroups=_kinds(answers, wanted),
    )
    short = shortage(fitted, manifest.classes, any(answers.groups), _units_by_kind(answers, wanted))
    if short:
        progress.say(short)
    return None if all(t is None for t in fitted.thresholds) else fitted


def _units_by_kind(answers: ValidationAnswers, wanted: DecisionSection) -> dict[str, int]:
    """How many independent units (images or groups) of each subgroup there are that a coverage is promised for."""
    kinds = np.array(_kinds(answers, wanted))
    units = Resampling.of(len(answers.labels), answers.groups, resamples=100, seed=0)
    return {str(kind): units.units_among(kinds == kind) for kind in np.unique(kinds)}


def shortage(sets: ClassSets, classes: Sequence[str], grouped: bool, kinds: Mapping[str, int] | None = None) -> str:
    """What a coverage lacks in validation images, as a sentence; "" where nothing is lacking.

    `kinds` says how many images (or groups) there are of each subgroup.
    """
    least, unit = needed(sets.coverage), "group" if grouped else "image"
    share = f"{100 * sets.coverage:g} %"
    if sets.by == "class":
        few = [(n, c) for n, c in zip(sets.units, classes, strict=True) if n < least]
        if not few:
            return ""
        n, name = min(few)
        return f"{share} by class needs {least} {unit}s of each, you have {n} of {name}: it is then in every set."
    if sets.thresholds[0] is not None:
        return ""
    if sets.by == "subgroup" and kinds:
        name, many = min(kinds.items(), key=lambda kind: kind[1])
        of, whose = " of each subgroup", f" of {name or 'no subgroup'}"
    else:
        many, of, whose = sum(sets.units), "", ""
    have = f"you have {many}{whose}: none are made."
    return f"Prediction sets that hold {share} need {least} validation {unit}s{of}, {have}"


def _interval(
    answers: ValidationAnswers, scores: FloatArray, wanted: DecisionSection, progress: Progress
) -> ScoreInterval | None:
    if not wanted.coverage:
        return None
    if wanted.intervals == "normalised":
        fitted = _normalised(answers, scores[:, 0], wanted)
        if fitted is not None:
            return fitted
        progress.say("Half of the validation images are too few for intervals of different widths: they are all alike.")
    fitted = fit_interval(
        answers.labels,
        scores[:, 0],
        coverage=wanted.coverage,
        groups=answers.groups,
        subgroups=_kinds(answers, wanted),
    )
    if fitted is None:
        least = needed(wanted.coverage)
        of = " of each subgroup" if wanted.coverage_by == "subgroup" else ""
        share = f"{100 * wanted.coverage:g} %"
        progress.say(f"Intervals that hold {share} need {least} validation images{of}: none are made.")
    return fitted


def _normalised(answers: ValidationAnswers, outputs: FloatArray, wanted: DecisionSection) -> ScoreInterval | None:
    """An interval whose width follows the expected error, which half of the images fit; None where these are few."""
    own, left = halves(len(outputs), answers.groups)
    if own.sum() < FEWEST_FOR_WIDTHS or left < needed(wanted.coverage):
        return None
    outside = answers.outside
    difficulty = fit_difficulty(answers.labels[own], outputs[own], None if outside is None else outside[own])
    kinds = _kinds(answers, wanted)
    fitted = fit_interval(
        answers.labels[~own],
        outputs[~own],
        coverage=wanted.coverage,
        difficulty=difficulty.of(outputs[~own], None if outside is None else outside[~own]),
        groups=[g for g, mine in zip(answers.groups, own, strict=True) if not mine],
        subgroups=[k for k, mine in zip(kinds, own, strict=True) if not mine] if kinds else (),
    )
    return None if fitted is None else fitted.model_copy(update={"difficulty": difficulty})


def _kinds(answers: ValidationAnswers, wanted: DecisionSection) -> tuple[str, ...]:
    """The subgroups that the coverage is promised for; a run of an older version did not keep them."""
    if wanted.coverage_by != "subgroup":
        return ()
    return answers.subgroups or tuple(subgroup_names(answers.paths, wanted.subgroup))


def _abstention(
    manifest: Manifest,
    answers: ValidationAnswers,
    scores: FloatArray,
    wanted: DecisionSection,
    reject: bool,
    progress: Progress,
) -> Abstention | None:
    if not _limited(wanted):
        return None
    predicted = manifest.predicted(answers.logits)
    fitted = fit_abstention(
        wanted.answer_only,
        labels=answers.labels,
        predicted=predicted,
        confidence=confidences(manifest.task, scores, predicted, manifest.threshold),
        groups=answers.groups,
        possible=_possible(answers.outside) if reject else None,
    )
    progress.say(abstention_words(fitted, manifest.fitted_to))
    return fitted


def _possible(outside: Values | None) -> Values | None:
    return None if outside is None else (outside <= UNLIKE).astype(np.float64)
