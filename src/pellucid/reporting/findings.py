"""The verdicts on a run, worst first: what a careful reader would ask, answered from the run's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..bundle.manifest import Manifest
from ..data.finding import LEVELS, Level
from ..evaluation.pixels import LIMIT
from ..evaluation.result import EvaluationResult
from ..recipe import Recipe
from .abroad import TOPICS, on_other_sources
from .contents import RunContents, SplitProof
from .decisions import abstention_words
from .words import count, listed, number, percent, series_name, with_interval

_FEW_TEST, _TOO_FEW_TEST, _FEW_OF_A_CLASS, _FEW_VALIDATION = 200, 50, 30, 50
# Heat maps that put this many times more evidence on the object than chance would are called good, or poor.
_WELL_LOCALISED, _BARELY_LOCALISED = 3.0, 1.5
# Areas under the per-region overlap from which on the map of a detector is called good, or not poor.
_DEFECTS_COVERED, _DEFECTS_TOUCHED = 0.7, 0.3


@dataclass(frozen=True, slots=True)
class RunFinding:
    """One verdict: how grave it is, what it is about in two or three words, and a sentence for people."""

    level: Level
    topic: str
    text: str


def findings(run: RunContents) -> list[RunFinding]:
    """Every verdict that this run allows, worst first."""
    checks: tuple[Callable[[RunContents], Iterator[RunFinding]], ...] = (
        _separation,
        _other_evaluations,
        _skill,
        _answering,
        _audit,
        _other_sources,
        _sizes,
        _localisation,
        _parity,
        _skipped,
        _ending,
        _empty_maps,
    )
    found = [finding for check in checks for finding in check(run)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _separation(run: RunContents) -> Iterator[RunFinding]:
    """Does anything occur in more than one split?"""
    topic = "Split"
    if run.record.imported is not None:
        text = "It is not known which images this model was trained on; test images may have been among them."
        yield RunFinding("caution", topic, f"{text} If so, the results are too optimistic.")
        return
    proof = run.split
    # The record was made with the images at hand and also knows near-duplicates; split.csv is the check on it.
    leaks = list(run.record.data.overlaps) or (_leaks(proof) if proof else [])
    if leaks:
        remedy = "The results are too optimistic by an unknown amount. Split again by group."
        yield RunFinding("problem", topic, f"{listed([s.rstrip('.') for s in leaks], 2)}. {remedy}")
    elif proof is None:
        text = "The run has no split.csv, so the splits could not be checked for overlaps."
        yield RunFinding("caution", topic, text)
    elif not proof.groups:
        text = f"{_no_image(proof)} is in two splits, but it is not known which images show the same patient or object."
        yield RunFinding("caution", topic, f"{text} If some do, the results are too optimistic.")
    else:
        alone = f"; {count(proof.without_group, 'image')} without a group" if proof.without_group else ""
        text = f"{_no_image(proof)} and none of {count(proof.groups, 'group')} is in two splits{alone}."
        yield RunFinding("good", topic, text)


def _other_evaluations(run: RunContents) -> Iterator[RunFinding]:
    """The results on other images, and whether the model was trained on these."""
    leaking = [("test", run.evaluation.leaks)] if run.evaluation and run.evaluation.leaks else []
    for name, document in run.others:
        accuracy = document.metrics.get("accuracy")
        if document.leaks:
            leaking.append((name, document.leaks))
        elif accuracy is not None and accuracy.value is not None:
            known = accuracy.metric()
            stated = with_interval(known.value, known.low, known.high)
            yield RunFinding("information", "Other images", f"{name}: accuracy {stated}, n = {document.n:,}.")
    for name, leaks in leaking:
        text = f"Evaluation {name}: {leaks[0]} Its results mean nothing."
        yield RunFinding("problem", "Trained on", text)


def unmet_limit(manifest: Manifest | None) -> RunFinding | None:
    """That a limit on errors could not be promised on the validation images, where it could not."""
    rule = manifest.answering.abstention if manifest is not None and manifest.answering is not None else None
    return None if rule is None or rule.met else RunFinding("problem", "Answers withheld", abstention_words(rule))


def _answering(run: RunContents) -> Iterator[RunFinding]:
    """Do the promises on prediction sets and withheld answers hold on the test images?"""
    if (unmet := unmet_limit(run.manifest)) is not None:
        yield unmet
    if run.evaluation is None or run.evaluation.answered is None:
        return
    entry = run.evaluation.answered.entry
    coverage, given = entry.coverage, entry.given
    if coverage is not None and coverage.kept == "no":
        rate = coverage.of_groups or coverage.overall
        seen = with_interval(rate.value or 0, rate.low or 0, rate.high or 0)
        text = f"Prediction sets hold the true class of {seen} of the test images; {coverage.promised:g} was promised."
        yield RunFinding("problem", "Prediction sets", text)
    if given.asked is not None and given.error.value is not None:
        seen = with_interval(given.error.value, given.error.low or 0, given.error.high or 0)
        levels: dict[str, Level] = {"yes": "good", "perhaps": "caution", "no": "problem"}
        text = f"{percent(given.answered.value or 0)} of the test images are answered; {given.asked} was asked: {seen}."
        yield RunFinding(levels[given.kept], "Answers withheld", text)


def _audit(run: RunContents) -> Iterator[RunFinding]:
    """The verdict of the audit for shortcuts; its findings have their own section."""
    if run.audit is not None:
        worst = min((LEVELS.index(f.level) for f in run.audit.findings), default=LEVELS.index("good"))
        level: Level = LEVELS[worst] if LEVELS[worst] in ("problem", "caution") else "good"
        yield RunFinding(level, "Audit", run.audit.verdict)


def _no_image(proof: SplitProof) -> str:
    return f"None of {count(proof.contents, 'image')}, by content," if proof.contents else "No file"


def _leaks(proof: SplitProof) -> list[str]:
    shared = (
        (proof.shared_files, "file is", "files are"),
        (proof.shared_contents, "image is, byte for byte,", "images are, byte for byte,"),
        (proof.shared_groups, "group is", "groups are"),
    )
    return [f"{count(len(n), one, more)} in more than one split ({listed(list(n), 2)})" for n, one, more in shared if n]


def _skill(run: RunContents) -> Iterator[RunFinding]:
    """Is the model better than always giving the most common answer?"""
    result = run.evaluation
    if result is None:
        text = "The model has not been tested yet. Run `pellucid evaluate` on this folder."
        yield RunFinding("problem", "Evaluation", text)
        return
    accuracy = result.metrics.get("accuracy")
    if accuracy is None or not np.isfinite(accuracy.value):
        return
    most = int(np.bincount(result.labels).argmax())
    share = float((result.labels == most).mean())
    always = f"always answering {result.classes[most]} would reach {number(share)}"
    stated = f"Accuracy {with_interval(accuracy.value, accuracy.low, accuracy.high)}; {always}"
    if accuracy.value <= share:
        yield RunFinding("problem", "Skill", f"{stated}: on this test the model is no better than that.")
    elif np.isfinite(accuracy.low) and accuracy.low <= share:
        yield RunFinding("caution", "Skill", f"{stated}: too few images to tell the two apart.")
    else:
        yield RunFinding("good", "Skill", f"{stated}.")


def _sizes(run: RunContents) -> Iterator[RunFinding]:
    """Are test and validation large enough to say anything?"""
    validation = 0 if run.record.anomaly else sum(run.record.data.counts.get("val", {}).values())
    if 0 < validation < _FEW_VALIDATION:
        text = (
            f"The best epoch was chosen on only {count(validation, 'image')}, so the choice is partly down to chance."
        )
        yield RunFinding("caution", "Validation size", text)
    if run.evaluation is not None:
        yield _test_size(run.evaluation)


def _test_size(result: EvaluationResult) -> RunFinding:
    topic, total = "Test size", len(result.labels)
    counts = np.bincount(result.labels, minlength=len(result.classes))
    least = int(counts.argmin())
    smallest = f"{counts[least]:,} of {result.classes[least]}"
    groups = len(set(result.groups) - {""})
    size = count(total, "test image") + (f" of {count(groups, 'group')}" if groups else "")
    if total < _TOO_FEW_TEST or counts[least] == 0:
        return RunFinding("problem", topic, f"{size}, {smallest}: too few to say how good the model is.")
    if total < _FEW_TEST or counts[least] < _FEW_OF_A_CLASS:
        return RunFinding("caution", topic, f"{size}, {smallest}: the intervals are wide, so read them first.")
    return RunFinding("good", topic, f"{size}, at least {smallest}.")


def _other_sources(run: RunContents) -> Iterator[RunFinding]:
    """What are the figures worth on images from elsewhere?"""
    if run.record.abroad is not None:
        level, text = on_other_sources(run.record.abroad)
        yield RunFinding(level, TOPICS[level], text)


def _localisation(run: RunContents) -> Iterator[RunFinding]:
    """Do the heat maps lie on the objects?"""
    if run.record.anomaly is not None:
        yield from _defects(run)
        return
    found = run.record.localisation
    if found is None:
        return
    ratio = found.energy_inside / found.energy_chance if found.energy_chance > 0 else float("nan")
    hits = f"the strongest point lies on the object in {percent(found.pointing)} of {count(found.images, 'image')}"
    text = f"{found.method} puts {number(ratio)} times as much evidence on the object as chance would; {hits}."
    if ratio >= _WELL_LOCALISED:
        yield RunFinding("good", "Heat maps", text)
    elif ratio >= _BARELY_LOCALISED:
        yield RunFinding("caution", "Heat maps", f"{text} Much of the evidence lies elsewhere.")
    else:
        yield RunFinding("problem", "Heat maps", f"{text} That is no better than chance: do not rely on them.")


def _defects(run: RunContents) -> Iterator[RunFinding]:
    """Do the maps of a detector lie on the defects?"""
    found = run.evaluation.defects if run.evaluation is not None else None
    if found is None or found.aupro is None:
        return
    area = "" if found.pixel_roc_auc is None else f"; ROC-AUC of pixels {number(found.pixel_roc_auc)}, by chance 0.5"
    text = (
        f"The map covers the defects of {count(found.masked, 'image')} with AUPRO {number(found.aupro)}, by chance "
        f"{number(LIMIT / 2)}{area}."
    )
    if found.aupro >= _DEFECTS_COVERED:
        yield RunFinding("good", "Heat maps", text)
    elif found.aupro >= _DEFECTS_TOUCHED:
        yield RunFinding("caution", "Heat maps", f"{text} Look at the kinds of defects one by one.")
    else:
        yield RunFinding("problem", "Heat maps", f"{text} The map does not show where the defects are.")


def _parity(run: RunContents) -> Iterator[RunFinding]:
    """Does the exported model agree with the trained one?"""
    topic, manifest = "Export", run.manifest
    if manifest is None:
        text = "The run has no model, so nothing can be predicted with it. Was training interrupted?"
        yield RunFinding("problem", topic, text)
    elif manifest.parity is None:
        text = "The exported model was not compared with the trained one."
        yield RunFinding("caution", topic, text)
    else:
        parity = manifest.parity
        difference = parity.largest
        images = count(parity.images, "image")
        maps = "" if parity.heat_map is None else f", heat maps within {number(parity.heat_map)} of their peak"
        by = "" if parity.runtime == "torch" else f" (run by {parity.runtime})"
        answers = "scores" if run.record.anomaly else "probabilities"
        text = (
            f"The exported model agrees with the trained one{by} on {images}: "
            f"{answers} within {number(parity.probability)}{maps}."
        )
        if difference > parity.tolerance:
            allowed = f"and {number(parity.tolerance)} is allowed"
            text = f"The exported model differs from the trained one by {number(difference)}, {allowed}."
        yield RunFinding("problem" if difference > parity.tolerance else "good", topic, text)


def _skipped(run: RunContents) -> Iterator[RunFinding]:
    skipped = run.record.data.skipped
    if skipped:
        example = f"{skipped[0].path}: {skipped[0].reason.rstrip('.')}"
        text = f"{count(len(skipped), 'file was', 'files were')} skipped, for example {example}."
        yield RunFinding("caution", "Files skipped", text)


def _ending(run: RunContents) -> Iterator[RunFinding]:
    """Was the training long enough? Where the rate falls to 0 the last epochs are the best, and say nothing of more."""
    training = run.record.training
    if _falls_to_nothing(run.recipe):
        return
    if training is not None and training.epochs > 1 and training.best_epoch == training.epochs:
        name = series_name(training.monitor)
        text = f"The last epoch was the best one ({name[0].lower()}{name[1:]}), so longer training may help."
        yield RunFinding("information", "Training length", text)


def _falls_to_nothing(recipe: Recipe) -> bool:
    """Whether the learning rate of the last stage falls to 0 over its epochs."""
    stage = recipe.fine_tune if recipe.fine_tune.epochs else recipe.train
    return stage.schedule in ("cosine", "one-cycle")


def _empty_maps(run: RunContents) -> Iterator[RunFinding]:
    shown = run.explanations
    empty = sum(record.largest <= 0 for record in shown.images) if shown else 0
    if shown and empty:
        text = f"{empty:,} of {count(len(shown.images), 'explained image')} show no positive evidence for the answer."
        yield RunFinding("caution" if empty > len(shown.images) / 2 else "information", "Empty maps", text)
