"""Which normal images are learnt from and which test; bad images test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data.dataset import Dataset, Sample
from ..data.fingerprint import fingerprint
from ..data.labelling import counted
from ..data.one_class import defect_kind
from ..data.split import split_dataset
from ..errors import DataError
from ..recipe import Recipe

FEWEST = 8
"""Normal images below which nothing can be learnt, held out and tested."""


@dataclass(frozen=True)
class Divided:
    """The dataset with every split decided, the reasons in sentences, and overlaps between splits, in sentences."""

    dataset: Dataset
    reasons: tuple[str, ...]
    overlaps: tuple[str, ...]


def divide_normals(dataset: Dataset, recipe: Recipe, seed: int) -> Divided:
    """Divide the normal images into train, validation and test, identical files and groups together.

    Bad images go to the test.
    A test that came with the data is kept. Training and validation images are both learnt from, and both help
    to choose the threshold (`anomaly.crossfit`). With `anomaly.use_bad` a third of the bad images of each kind, at
    least one of several, helps too. Raises DataError for too few normal images.
    """
    normal = dataset.where(lambda s: s.label == 0)
    bad = [replace(s, split="test") for s in dataset.samples if s.label != 0]
    if len(normal) < FEWEST:
        raise DataError(
            f"There {'is 1 normal image' if len(normal) == 1 else f'are {len(normal)} normal images'}, and it takes "
            f"{FEWEST} or more: some are learnt from, others choose the threshold and test. Hundreds are usual."
        )
    one = replace(normal, classes=normal.classes[:1], notes=())
    test = 0.0 if any(s.split == "test" for s in one.samples) else recipe.data.test
    prints = fingerprint(one)
    # Sound parts of one kind look alike: by their look they would all be one image.
    same_files_only = replace(prints, thumbnails=np.zeros_like(prints.thumbnails))
    plan = split_dataset(
        one,
        seed=seed,
        validation=min(recipe.data.validation, 0.8 - test),
        test=test,
        leave_out_twins=True,
        fingerprints=same_files_only,
    )
    samples = [*plan.dataset.samples, *_with_validation(bad, seed, use=recipe.anomaly.use_bad)]
    made = replace(
        dataset,
        samples=tuple(sorted(samples, key=lambda s: s.path)),
        skipped=plan.dataset.skipped,
    )
    for split, key in (("train", "data.test"), ("val", "data.validation"), ("test", "data.test")):
        if not len(made.split(split)):  # type: ignore[arg-type]
            raise DataError(f"There are no {split} images: give more normal images, or change {key}.")
    reasons = [*plan.reasons]
    if bad:
        end = "a third chooses the threshold" if recipe.anomaly.use_bad else "nothing is learnt from them"
        reasons.append(f"Bad images are for testing ({counted(len(bad), 'image')}): {end}.")
    reasons.append(
        "Identical files"
        + (" and groups were" if "group" in plan.proof.checked else " were")
        + " kept together; images that look alike were not, as sound parts do."
    )
    return Divided(made, tuple(reasons), tuple(str(o) for o in plan.proof.leaks))


def _with_validation(bad: list[Sample], seed: int, *, use: bool) -> list[Sample]:
    """The bad images; with `use` a third of each kind in the validation split."""
    if not use:
        return bad
    kinds: dict[str, list[int]] = {}
    for i, sample in enumerate(bad):
        kinds.setdefault(defect_kind(sample.path), []).append(i)
    chosen: set[int] = set()
    rng = np.random.default_rng(seed)
    for _, rows in sorted(kinds.items()):
        chosen |= set(rng.permutation(rows)[: max(len(rows) // 3, int(len(rows) > 1))].tolist())
    return [replace(s, split="val") if i in chosen else s for i, s in enumerate(bad)]
