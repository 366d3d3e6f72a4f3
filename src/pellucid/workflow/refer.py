"""Change which answers a trained run gives: prediction sets, answers withheld, none of these. Nothing is retrained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle, load
from ..bundle.io import amend_bundle
from ..bundle.run import RunFolder, find_bundle
from ..data.cache import cached_pixels
from ..data.dataset import Split
from ..errors import DataError
from ..evaluation.answering import AnsweringRules
from ..evaluation.flag_choice import JOINT
from ..evaluation.outside import REFERENCE
from ..evaluation.validation import ValidationAnswers, write_validation
from ..progress import Progress, Silent
from ..recipe import validate_recipe
from ..storage import cache_folder
from .answering import check_answering, coverage_for, fit_rules, in_subgroups, wanted_rules
from .decision import kept_answers
from .evaluation import own_split
from .prediction import answers_on_pixels
from .subgrouping import table_of_run
from .unusual import HomeImages, fit_unusual

_SPLITS: tuple[Split, Split] = ("train", "val")


def fit_rules_again(
    run: Path,
    *,
    answer_only: str | None = None,
    coverage: float | None = None,
    reject: str | None = None,
    other: str | Path | None = None,
    coverage_by: str | None = None,
    intervals: str | None = None,
    progress: Progress | None = None,
) -> AnsweringRules | None:
    """Fit the rules of a run's bundle again to its validation images, and keep them in the bundle.

    `answer_only`, `coverage`, `reject` and `intervals` are as in a recipe's section `decision`; what is None stays as
    it is. `coverage_by` is `all`, `class`, or what tells subgroups apart: a column of the run's CSV, or a regular
    expression for paths. With `other`, a folder of images outside all classes, the recognition of unusual images is
    fitted again as well, to the run's own images; so it is for `reject="unlike"` where an older version fitted it, if
    these images are still there. A run that did not keep its validation answers has them answered again. Raises
    InputError for what cannot be read or does not fit, DataError where images that are needed are not there.
    """
    bundle, folder, said = load(run), RunFolder(run), progress or Silent()
    asked = {"answer_only": answer_only, "coverage": coverage, "reject": reject, "other": other and str(other)}
    changed = {name: value for name, value in {**asked, "intervals": intervals}.items() if value is not None}
    changed |= {} if coverage_by is None else coverage_for(coverage_by)
    rules_now = wanted_rules(bundle.manifest, folder).model_dump()
    wanted = validate_recipe({"decision": {**rules_now, **changed}}, f"of {run}").decision
    check_answering(wanted, bundle.task)
    answers = kept_answers(bundle, folder, said)
    if coverage_by is not None:
        answers = in_subgroups(answers, wanted, table_of_run(folder))
        write_validation(answers, bundle.classes, folder.evaluation)
    reference = bundle.manifest.reference
    older = reject == "unlike" and (reference is None or JOINT not in reference.measured)
    if other is not None or older:
        try:
            answers = _recognise_again(bundle, folder, answers, wanted.other, said)
        except DataError as error:
            if other is not None or reference is None:
                raise
            said.say(f"Unusual images are recognised as before: {error}")
        bundle = load(run)
    rules = fit_rules(bundle.manifest, answers, wanted, said)
    amend_bundle(find_bundle(run), {"answering": rules})
    return rules


def _recognise_again(
    bundle: Bundle, folder: RunFolder, answers: ValidationAnswers, other: str, progress: Progress
) -> ValidationAnswers:
    """Fit the recognition of unusual images again, keep it in the bundle, and the answers with new outside scores."""
    train, validation = (own_split(folder, bundle, split) for split in _SPLITS)
    whole = replace(train, samples=(*train.samples, *validation.samples))
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(whole, bundle.preprocessing, cache_folder(), progress=advance)
    held = {s.path: row for row, s in enumerate(cached.dataset.samples)}
    rows = [np.array([held[s.path] for s in part.samples if s.path in held]) for part in (train, validation)]
    with progress.bar("Predicting") as advance:
        logits, features = answers_on_pixels(bundle, cached.pixels, advance, rows[1])
    if features is None:
        raise DataError("This model gives no features, and so cannot be taught images of other things.")
    groups = [cached.dataset.samples[row].group for row in rows[1]]
    labels = cached.dataset.labels[rows[0]]
    home = HomeImages(cached.pixels, rows[0], labels, rows[1], bundle.of_layer(features), logits, groups)
    found = fit_unusual(bundle, home, other, progress)
    if found is None:
        raise DataError("Unusual images cannot be recognised by fewer than 20 training and 20 validation images.")
    amend_bundle(find_bundle(folder.root), {"reference": found.reference}, {REFERENCE: found.content})
    scores = {cached.dataset.samples[row].path: score for row, score in zip(rows[1], found.outside, strict=True)}
    outside = np.array([scores.get(path, 0.0) for path in answers.paths])
    answers = replace(answers, outside=outside)
    write_validation(answers, bundle.classes, folder.evaluation)
    return answers
