"""Adapt a bundle to a new place from a few labelled images: a new bundle with the same network and another rule."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle, load
from ..bundle.io import amend_bundle, checksum
from ..bundle.manifest import ADAPTED, MANIFEST
from ..bundle.run import RunFolder, find_bundle
from ..data.cache import cached_pixels
from ..data.dataset import OmittedFile
from ..data.folder import read_dataset
from ..errors import BundleError, DataError, InputError
from ..evaluation.answering import AnsweringRules
from ..evaluation.refitting import Judged, Labelled, Part, Rule, check_enough, check_parts, crossfitted, refit
from ..evaluation.risk import lower_bound
from ..evaluation.validation import ValidationAnswers
from ..progress import Progress, Silent
from ..recipe import load_recipe
from ..storage import cache_folder, new_folder
from .answering import fit_rules, in_subgroups, wanted_rules
from .leaks import overlap_with_training
from .prediction import answers_on_pixels
from .subgrouping import ImageTable, table_of

SIZES = (30, 100, 300)


@dataclass(frozen=True, slots=True)
class Adapted:
    """What was refitted: the bundle, its rule, the figures before and after, and what could not be read."""

    bundle: Path
    rule: Rule
    judged: tuple[Judged, ...]
    images: int
    skipped: tuple[OmittedFile, ...]

    def sure_of(self, name: str) -> dict[int, float]:
        """What a rate is at least, with 95 % confidence, if it was seen on n images of the class: {n: bound}."""
        rate = next(j.after for j in self.judged if j.name == name)
        return {n: lower_bound(round(rate * n) / n, n) for n in SIZES}


def adapt(
    run: Path,
    data: Path,
    *,
    out: Path,
    keep: Sequence[Part],
    operating_point: str | None = None,
    progress: Progress | None = None,
) -> Adapted:
    """Refit the rule of a run or bundle to labelled images of a new place, and write a new bundle to `out`.

    `keep` names what is refitted and kept: `threshold`, `calibration`, `mix` (the share of classes). The network stays
    as it is, and so does the old bundle. Rules of answering (prediction sets, answers withheld) depend on the other
    two, and are fitted to the new images as well. Figures before and after come from five folds by group, each answered
    by a rule that was fitted to the others; the rule that is written is fitted to all images. The threshold serves
    `operating_point`, by default what the old one was chosen for, or Youden's index. Raises DataError for images that
    the model was trained on and for fewer than 10 independent images (or groups) of a class, InputError for what does
    not fit the task or an `out` that exists.
    """
    bundle, shown = load(run), progress or Silent()
    check_parts(keep, bundle.task)
    if out.exists():
        raise InputError(f"{out} is there already, and nothing is overwritten: choose another `out=`.")
    answers, skipped = _labelled(run, bundle, data, shown)
    images = Labelled(answers.logits, answers.labels, answers.groups)
    check_enough(images, bundle.classes)
    manifest = bundle.manifest
    rule = Rule(manifest.calibration, manifest.threshold, manifest.operating_point)
    asked = operating_point or _asked(rule)
    mix = trained_mix(run, bundle) if "mix" in keep else [1 / len(bundle.classes)] * len(bundle.classes)
    judged = crossfitted(rule, images, keep, task=bundle.task, trained_mix=mix, asked=asked)
    fitted = refit(rule, images, keep, task=bundle.task, trained_mix=mix, asked=asked)
    rules = _rules(run, bundle, fitted, answers, table_of(data, data.parent), shown)
    _write(bundle, fitted, keep, data, len(images.labels), out, rules)
    return Adapted(out, fitted, tuple(judged), len(images.labels), skipped)


def _rules(
    run: Path, bundle: Bundle, fitted: Rule, answers: ValidationAnswers, table: ImageTable | None, progress: Progress
) -> AnsweringRules | None:
    """The bundle's rules of answering, fitted to the new images; None where it has none."""
    manifest = bundle.manifest
    if manifest.answering is None:
        return None
    provenance = {**manifest.provenance, ADAPTED: {}}
    changed = {"calibration": fitted.calibration, "threshold": fitted.threshold, "provenance": provenance}
    wanted = wanted_rules(manifest, RunFolder(run))
    return fit_rules(manifest.model_copy(update=changed), in_subgroups(answers, wanted, table), wanted, progress)


def _labelled(
    run: Path, bundle: Bundle, data: Path, progress: Progress
) -> tuple[ValidationAnswers, tuple[OmittedFile, ...]]:
    """The answers of the bundle to the new images, none of which it was trained on."""
    dataset = read_dataset(data, classes=bundle.classes)
    leaks = overlap_with_training(RunFolder(run), dataset)
    if leaks:
        raise DataError(f"{leaks[0]} A rule fitted to images that were trained on is too optimistic: leave them out.")
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=advance)
    with progress.bar("Predicting") as advance:
        logits, features = answers_on_pixels(bundle, cached.pixels, advance)
    samples = cached.dataset.samples
    answers = ValidationAnswers(
        paths=tuple(s.path for s in samples),
        labels=cached.dataset.labels,
        groups=tuple(s.group for s in samples),
        logits=logits,
        outside=None if features is None else bundle.outside_scores(features, logits),
    )
    return answers, cached.dataset.skipped


def _asked(rule: Rule) -> str:
    """What the threshold is to serve: what the old one was chosen for, or else Youden's index."""
    old = rule.operating_point
    return old.asked if old is not None and old.bounded is not None else "youden"


def trained_mix(run: Path, bundle: Bundle) -> list[float]:
    """The shares of the classes (K,) that the bundle's probabilities stand for.

    Those of the validation images after Platt's calibration, equal ones for a model that was trained with balanced
    classes, else those of the training images. Raises InputError where the run does not say.
    """
    folder = RunFolder(run)
    if not (folder.record.is_file() and folder.recipe.is_file()):
        raise InputError(
            "A bundle alone does not say which mix of classes it was trained on: give the run folder, or refit the "
            "calibration instead, `keep='calibration'`."
        )
    section = load_recipe(folder.recipe).train
    counts = folder.read_record().data.counts
    platt = bundle.manifest.calibration is not None and bundle.manifest.calibration.method == "platt"
    if not platt and "balanced" in (section.class_weights, section.sampling):
        return [1 / len(bundle.classes)] * len(bundle.classes)
    of_split = counts["val" if platt else "train"]
    shares = np.array([of_split[c] for c in bundle.classes], float)
    return [float(s) for s in shares / shares.sum()]


def _write(
    bundle: Bundle,
    rule: Rule,
    keep: Sequence[Part],
    data: Path,
    images: int,
    out: Path,
    rules: AnsweringRules | None,
) -> None:
    """A copy of the bundle with the new rule, which names its parent."""
    source = find_bundle(bundle.folder)
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise BundleError(f"{out} lies inside the bundle {source}: choose another `out=`.")
    parent = {"name": bundle.manifest.name, "manifest_sha256": checksum(source / MANIFEST)}
    kept = {"refitted": list(keep), "images": images, "data": data.resolve().name}
    with new_folder(out) as draft:
        shutil.copytree(source, draft, dirs_exist_ok=True)
        provenance = {**bundle.manifest.provenance, "parent": parent, ADAPTED: kept}
        amend_bundle(
            draft,
            {
                "calibration": rule.calibration,
                "threshold": rule.threshold,
                "operating_point": rule.operating_point,
                "answering": rules,
                "provenance": provenance,
            },
        )
