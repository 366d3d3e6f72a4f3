"""How much a recipe's figures vary: over folds, over seeds, over the number of images; by many short trainings.

Frozen layers run once for all trainings, so that with a frozen backbone a training takes about a second.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ..classifier import Task, probabilities_from_logits
from ..data.cache import CachedPixels, cached_pixels
from ..data.dataset import Dataset
from ..data.manifest import write_split
from ..data.split import fold_dataset, split_dataset
from ..errors import DataError, InputError
from ..evaluation.evaluate import evaluate_predictions
from ..files import write_whole
from ..progress import Advance, Progress, Silent
from ..recipe import Recipe, same_recipe
from ..storage import cache_folder, resumable_folder, the_same_as_before

if TYPE_CHECKING:
    from ..models.network import Network
    from ..training.loop import Fitted
    from ..training.session import Shelf

CURVE = (0.1, 0.2, 0.5, 1.0)
SHOWN = {
    "anomaly": ("roc_auc", "sensitivity", "specificity"),
    "regression": ("mae", "rmse", "r2", "accuracy", "roc_auc"),
    "binary": ("accuracy", "roc_auc", "sensitivity", "specificity", "f1"),
    "multiclass": ("accuracy", "roc_auc", "balanced_accuracy", "f1"),
}


class TrialRecord(BaseModel):
    """One training: on which fold (0: the data's own split), with which seed, on which share of the training images."""

    model_config = ConfigDict(frozen=True)

    fold: int
    seed: int
    share: float
    images: dict[str, int]
    epochs: int
    best_epoch: int
    seconds: float
    metrics: dict[str, float]


class Spread(BaseModel):
    """Mean, standard deviation (with n - 1) and extremes of a figure over trials."""

    model_config = ConfigDict(frozen=True)

    mean: float
    deviation: float
    lowest: float
    highest: float


class FoldsRecord(BaseModel):
    """`folds.json`: every trial, and their spread for each share of the training images."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    recipe: str
    classes: tuple[str, ...]
    folds: int
    seeds: tuple[int, ...]
    trials: tuple[TrialRecord, ...]
    spread: dict[str, dict[str, Spread]]


@dataclass(frozen=True)
class _Trial:
    fold: int
    seed: int
    share: float
    dataset: Dataset

    @property
    def name(self) -> str:
        return f"trial-{self.share:g}-{self.fold}-{self.seed}"


@dataclass(frozen=True)
class _Done:
    """A training that has ended, as it is kept until all have: its record, and its rows of `predictions.csv`."""

    record: TrialRecord
    rows: list[list[Any]]

    def write(self, path: Path) -> None:
        write_whole(path, json.dumps({"record": self.record.model_dump(), "rows": self.rows}))

    @classmethod
    def read(cls, path: Path) -> _Done:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(TrialRecord.model_validate(kept["record"]), kept["rows"])


def train_folds(
    data: str | Path,
    recipe: Recipe,
    *,
    out: Path,
    folds: int = 0,
    seeds: int = 1,
    seed: int = 0,
    learning_curve: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> FoldsRecord:
    """Train once for each fold, seed and share of the training images; write `folds.json` and `predictions.csv`.

    With `folds=K` the images outside the test set are divided into K folds, by patient and with copies kept together.
    Each fold is the test set of one training on the others, of which a part chooses the epoch. Without, every training
    uses the split and the test set of a run. The seeds are `seed`, `seed + 1`, and so on, `seeds` in all. With
    `learning_curve=True` each training is repeated on a tenth, a fifth and a half of its training images. An
    interrupted call leaves its work beside `out`; the same call with `resume=True` continues after its last epoch.
    Raises what `train` raises.
    """
    from .preparing import read_labelled
    from .settling import settled_recipe

    if folds < 0 or folds == 1 or seeds < 1:
        raise InputError(f"`folds=` takes 2 or more and `seeds=` 1 or more, not {folds} and {seeds}.")
    if recipe.task == "anomaly":
        raise InputError("An anomaly detector is fitted once: repeat it by hand with other values of `seed=`.")
    if recipe.data.hide:
        raise InputError("`hide=` applies to a run, and `folds=`, `seeds=` and `learning_curve=` make none: drop one.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "`folds=`, `seeds=` and `learning_curve=` run in one process: start pellucid without a launcher."
        )
    shown: Progress = progress or Silent()
    with resumable_folder(Path(out), resume=resume) as draft:
        dataset = read_labelled(Path(data), recipe)
        recipe = settled_recipe(recipe, dataset, shown)
        with shown.bar("Reading images") as advance:
            cached = cached_pixels(dataset, recipe.preprocessing(), cache_folder(), progress=advance)
        used = tuple(range(seed, seed + seeds))
        trials = list(_trials(cached.dataset, recipe, folds, used, learning_curve))
        recipe = _spared(recipe, cached, trials[0], seed, shown)
        with the_same_as_before(draft, "recipe.toml", "split.csv", "plan.json", same={"recipe.toml": same_recipe}):
            (draft / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
            write_split(draft / "split.csv", cached.dataset)
            (draft / "plan.json").write_text(json.dumps([folds, seeds, seed, learning_curve]), encoding="utf-8")
        runner = _Runner(cached, recipe, trials, seed, draft / "checkpoints", shown)
        done = _run_all(runner, trials, shown)
        record = _record(recipe, dataset.classes, folds, used, [d.record for d in done])
        (draft / "folds.json").write_text(record.model_dump_json(indent=2), encoding="utf-8")
        _write_predictions(draft / "predictions.csv", [r for d in done for r in d.rows], dataset.classes, runner.task)
        _leave_only_results(draft)
    return record


def _spared(recipe: Recipe, cached: CachedPixels, trial: _Trial, seed: int, progress: Progress) -> Recipe:
    """One recipe for all trainings, which share features, decided on the images that the first one trains on."""
    from .preparing import build
    from .sparing import LookedAt, sparing_details

    if not recipe.details:
        return recipe
    network, _ = build(recipe, len(cached.dataset.classes), seed)
    place = {s.path: i for i, s in enumerate(cached.dataset.samples)}
    rows = np.array([place[s.path] for s in trial.dataset.samples], np.intp)
    return sparing_details(recipe, network, LookedAt(trial.dataset, cached.pixels, rows), progress)[0]


def _run_all(runner: _Runner, trials: Sequence[_Trial], progress: Progress) -> list[_Done]:
    """Every training, with a line on each."""
    progress.say(f"{len(trials)} trainings of {runner.recipe.name}.")
    done = []
    for number, trial in enumerate(trials, 1):
        done.append(runner.run(trial))
        progress.say(f"training {number} of {len(trials)}: {_line(done[-1].record)}")
    return done


def _record(
    recipe: Recipe, classes: tuple[str, ...], folds: int, seeds: tuple[int, ...], records: Sequence[TrialRecord]
) -> FoldsRecord:
    return FoldsRecord(
        recipe=recipe.name,
        classes=classes,
        folds=folds,
        seeds=seeds,
        trials=tuple(records),
        spread={f"{share:g}": spread_of(records, share) for share in sorted({r.share for r in records})},
    )


def _leave_only_results(draft: Path) -> None:
    """Remove what only a resumed call needs."""
    shutil.rmtree(draft / "checkpoints")
    for name in ("split.csv", "plan.json"):
        (draft / name).unlink()


def spread_of(trials: Sequence[TrialRecord], share: float) -> dict[str, Spread]:
    """Mean and spread of each figure over the trials on one share of the images."""
    own = [t.metrics for t in trials if t.share == share]
    found = {}
    for name in own[0]:
        values = np.array([metrics[name] for metrics in own])
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        found[name] = Spread(
            mean=float(values.mean()), deviation=deviation, lowest=float(values.min()), highest=float(values.max())
        )
    return found


def _trials(
    dataset: Dataset, recipe: Recipe, folds: int, seeds: Sequence[int], learning_curve: bool
) -> Iterator[_Trial]:
    wanted = recipe.data
    if folds:
        parts = list(enumerate(fold_dataset(dataset, folds, seeds[0], validation=wanted.validation), 1))
    else:
        plan = split_dataset(
            dataset, seed=seeds[0], validation=wanted.validation, test=wanted.test, leave_out_twins=True
        )
        parts = [(0, plan.dataset)]
    for share in CURVE if learning_curve else (1.0,):
        for fold, part in parts:
            for seed in seeds:
                yield _Trial(fold, seed, share, fewer(part, share, seed))


def fewer(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The dataset with about a share of its training images, whole groups at a time; DataError when a class is lost."""
    if share >= 1:
        return dataset

    def kept(unit: str) -> bool:
        drawn = hashlib.sha256(f"{seed}:{unit}".encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(drawn[:8], "big") < share * 2**64

    less = dataset.where(lambda s: s.split != "train" or kept(s.group or s.path))
    if set(less.split("train").labels.tolist()) != set(dataset.labels.tolist()):
        raise DataError(f"A share of {share:g} of the training images leaves a class without any: add images.")
    return less


class _Runner:
    """Runs trials on shared images and shared features."""

    def __init__(
        self,
        cached: CachedPixels,
        recipe: Recipe,
        trials: Sequence[_Trial],
        seed: int,
        folder: Path,
        progress: Progress,
    ) -> None:
        from ..models.network import task_of
        from ..training.session import Shelf

        self.cached, self.recipe, self.folder, self.progress = cached, recipe, folder, _Terse(progress)
        self.place = {s.path: i for i, s in enumerate(cached.dataset.samples)}
        self.classes = cached.dataset.classes
        self.task: Task = task_of(recipe, len(self.classes))
        used = sorted({self.place[s.path] for t in trials for s in t.dataset.samples})
        shared = folder / "shared"
        shared.mkdir(parents=True, exist_ok=True)
        self.shelf: Shelf | None = Shelf(shared, cached.pixels, np.array(used, np.intp), seed, len(trials))
        self.base = self._network(seed)
        if not _frozen_alike(recipe):
            self.shelf = None

    def run(self, trial: _Trial) -> _Done:
        """One training, its figures and its answers; those kept where it was done before."""
        kept = self.folder / f"{trial.name}.json"
        if kept.is_file():
            return _Done.read(kept)
        parts = {name: self._source(trial.dataset, name) for name in ("train", "val", "test")}
        checkpoints = self.folder / trial.name
        fitted = self._train(trial, parts, checkpoints)
        done = self._answered(trial, {name: len(source[2]) for name, source in parts.items()}, fitted)
        done.write(kept)
        shutil.rmtree(checkpoints)
        return done

    def _train(self, trial: _Trial, parts: Mapping[str, Any], checkpoints: Path) -> Fitted:
        from ..training.hardware import denormals_as_zero
        from ..training.session import Training, train_network

        network = self._network(trial.seed)
        if self.shelf is not None:
            # Seeds differ in the head and the order; what is kept of frozen layers must be of the same layers.
            network.backbone.load_state_dict(self.base.backbone.state_dict())
        with denormals_as_zero():
            return train_network(
                network,
                Training(
                    self.recipe,
                    parts["train"],
                    parts["val"],
                    len(self.classes),
                    trial.seed,
                    checkpoints,
                    self.progress,
                    test=parts["test"],
                    shelf=self.shelf,
                    announce_epochs=False,
                ),
            )

    def _answered(self, trial: _Trial, images: dict[str, int], fitted: Fitted) -> _Done:
        assert fitted.answers is not None
        test = trial.dataset.split("test")
        metrics, scores = self._score(test, fitted.answers)
        record = TrialRecord(
            fold=trial.fold,
            seed=trial.seed,
            share=trial.share,
            images=images,
            epochs=len(fitted.history.rows),
            best_epoch=int(fitted.history.best_row["epoch"]),
            seconds=round(fitted.seconds, 2),
            metrics=metrics,
        )
        head = [trial.fold, trial.seed, trial.share]
        rows = [
            [s.path, self.classes[s.label], *head, *(f"{v:.9g}" for v in row)]
            for s, row in zip(test.samples, scores.tolist(), strict=True)
        ]
        return _Done(record, rows)

    def _network(self, seed: int) -> Network:
        from .preparing import build

        return build(self.recipe, len(self.classes), seed)[0]

    def _source(self, dataset: Dataset, split: Any) -> tuple[Any, npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        own = dataset.split(split)
        if not len(own):
            raise DataError(f"There are no {split} images to train or be tested on.")
        return self.cached.pixels, np.array([self.place[s.path] for s in own.samples], np.intp), own.labels

    def _score(self, test: Dataset, logits: npt.NDArray[np.float32]) -> tuple[dict[str, float], npt.NDArray[Any]]:
        scores = logits if self.task == "regression" else probabilities_from_logits(logits)
        result = evaluate_predictions(
            task=self.task,
            classes=self.classes,
            labels=test.labels,
            probabilities=None if self.task == "regression" else scores,
            outputs=scores[:, 0] if self.task == "regression" else None,
            paths=[s.path for s in test.samples],
            split="test",
            resamples=100,
        )
        return {name: result.metrics[name].value for name in SHOWN[self.task]}, scores


class _Terse:
    """Progress of many trainings: bars, and each line once."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._said = progress, set[str]()

    def bar(self, description: str) -> AbstractContextManager[Advance]:
        return self._progress.bar(description)

    def say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._progress.say(line)


def _frozen_alike(recipe: Recipe) -> bool:
    """Whether what is frozen is the same in every trial: none is random, or trained before it is frozen."""
    from ..training.session import stages

    plan = [frozen for frozen, _ in stages(recipe)]
    return plan[0] not in ("none", 0) and (len(plan) == 1 or plan[0] == "all" or plan[1] in ("none", 0, plan[0]))


def _line(record: TrialRecord) -> str:
    what = [f"fold {record.fold}"] if record.fold else []
    what += [f"seed {record.seed}"] + ([f"{record.share:.0%} of the images"] if record.share < 1 else [])
    figures = "  ".join(f"{name} {value:.4f}" for name, value in record.metrics.items())
    return f"{', '.join(what)}: {figures}  {record.seconds:.1f} s"


def _write_predictions(path: Path, rows: Sequence[Sequence[Any]], classes: Sequence[str], task: Task) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    scores = ["output"] if task == "regression" else [f"probability_{name}" for name in classes]
    writer.writerow(["path", "label", "fold", "seed", "share", *scores])
    writer.writerows(rows)
    path.write_bytes(file.getvalue().encode("utf-8", "surrogateescape"))
