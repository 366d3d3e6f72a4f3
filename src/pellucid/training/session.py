"""Train a network as its recipe says: stage by stage, what is frozen run once where that pays, the best kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from ..errors import InputError, UnknownNameError
from ..evaluation.hiding import SignHiding
from ..files import write_whole
from ..models.layers import keras_names
from ..models.network import Network, task_of
from ..preprocessing import Uint8Array
from ..progress import Progress, Silent
from ..recipe import Recipe
from ..recipe_sections import AugmentSection, TrainSection
from .batches import FeatureBatches, ImageBatches, Labels, Rows
from .caching import Counts, plan_caching
from .checkpoint import State, read_state, write_state
from .cutting import Cut, cut_network
from .features import store_features
from .hardware import pick_device
from .history import History
from .loop import FitJob, Fitted, evaluate_module, fit
from .objective import class_weights, loss_function
from .processes import Processes, plain_batch_norm
from .standardizing import put_before_head, settle, take_out

Source = tuple[Uint8Array, Rows, Labels]
NEARLY_ALL = 0.99
"""However few validation images there are, a first stage with a smaller AUC is never enough."""
LONGEST = 4
"""Few images are passed over at most this many times as often as the recipe says: a hundred need no 80 epochs."""


@dataclass(frozen=True)
class Shelf:
    """Where trainings on parts of the same images share what frozen layers give, in `folder`.

    `rows` of `pixels` are the images of all trainings, sorted, `trials` their number; `seed` decides how the views are
    changed. The frozen layers must be the same in all.
    """

    folder: Path
    pixels: Uint8Array
    rows: Rows
    seed: int
    trials: int


@dataclass(frozen=True)
class Training:
    """What `train_network` is to do: `train` and `validation` are (pixels, rows of the pixels, labels).

    `checkpoints` is where the training is written after each epoch, and from where it resumes;
    at the end it holds `best.safetensors`. `track` is called with the row of each epoch, and `progress` shows a line on
    it unless `announce_epochs` is False. The images of `test`, where given, are answered at the end, as they are;
    `hiding` changes those of `train` and `validation`, so that the best epoch is not chosen by what is hidden.
    """

    recipe: Recipe
    train: Source
    validation: Source
    classes: int
    seed: int
    checkpoints: Path
    progress: Progress = field(default_factory=Silent)
    processes: Processes | None = None
    track: Callable[[Mapping[str, float]], None] = lambda row: None
    test: Source | None = None
    shelf: Shelf | None = None
    announce_epochs: bool = True
    hiding: SignHiding | None = None


def train_network(network: Network, training: Training) -> Fitted:
    """Train a network in place, leaving it on the CPU with the weights of its best epoch, frozen as they were trained.

    What lies below the first layer that trains runs once per image and view where `plan_caching` finds that this pays.
    Raises what `fit` and `freeze` raise, and OSError when the disk is full.
    """
    processes = training.processes or Processes.join(pick_device())
    folder, found = training.checkpoints, list[Fitted]()
    folder.mkdir(parents=True, exist_ok=True)
    for number, (frozen, asked) in enumerate(stages(training.recipe), 1):
        if found and _is_enough(found[-1], training):
            break
        freeze(network, frozen)
        section = _long_enough(asked, len(training.train[2]))
        done, before = folder / f"stage-{number}.safetensors", sum(len(f.history.rows) for f in found)
        fitted = _finished(network, done, section)
        if fitted is None:
            if section.epochs > asked.epochs:
                training.progress.say(
                    f"The training images are few: {section.epochs} epochs instead of {asked.epochs}, "
                    f"towards {asked.least_steps} steps."
                )
            fitted = _Stage(network, training, section, processes, number, before).run()
            if processes.first:
                _write_finished(network, done, fitted)
                forget(folder, f"*-stage-{number}*")
        found.append(fitted)
    best = _best_of(found, training.recipe)
    if best < len(found) - 1:
        _finished(network, folder / f"stage-{best + 1}.safetensors", training.recipe.train)
        freeze(network, stages(training.recipe)[best][0])
    plain_batch_norm(network)
    network.to("cpu").eval()
    processes.wait()
    if processes.first:
        # Written by Python, so that a full disk is an OSError; safetensors' own writer raises an error of its own.
        state = {k: v.detach().contiguous() for k, v in network.state_dict().items()}
        write_whole(folder / "best.safetensors", save(state))
    history = History(training.recipe.train.monitor, [row for f in found for row in f.history.rows])
    ended, seconds = "; then ".join(f.ended for f in found), sum(f.seconds for f in found)
    return Fitted(history, ended, seconds, found[best].answers)


def forget(checkpoints: Path, pattern: str = "*stage-*") -> None:
    """Remove what only a resumed training needs, once the run is whole or a stage is done."""
    for path in checkpoints.glob(pattern):
        path.unlink()


def stages(recipe: Recipe) -> list[tuple[int | str, TrainSection]]:
    """What is frozen, and how it is trained, in each stage."""
    plan: list[tuple[int | str, TrainSection]] = [(recipe.model.freeze, recipe.train)]
    later = recipe.fine_tune
    if later.epochs:
        own = later.model_dump(include={"epochs", "least_steps", "learning_rate", "schedule", "warmup", "patience"})
        plan.append((later.freeze, recipe.train.model_copy(update=own)))
    return plan


def _long_enough(section: TrainSection, images: int) -> TrainSection:
    """The section with the epochs that its least number of steps takes, at most `LONGEST` times those that it names."""
    steps = -(-images // (section.batch_size * section.accumulate))
    epochs = max(section.epochs, min(LONGEST * section.epochs, -(-section.least_steps // steps)))
    return section.model_copy(update={"epochs": epochs})


class _Stage:
    """One stage of a training."""

    def __init__(
        self,
        network: Network,
        training: Training,
        section: TrainSection,
        processes: Processes,
        number: int,
        epochs_before: int,
    ) -> None:
        self.network, self.training, self.section, self.processes = network, training, section, processes
        self.number, self.before = number, epochs_before
        self.state = training.checkpoints / f"last-stage-{number}.safetensors"

    def run(self) -> Fitted:
        training, section = self.training, self.section
        labels = training.train[2]
        weights = class_weights(labels, training.classes) if section.class_weights == "balanced" else None
        if section.batch_size > len(labels):
            training.progress.say(
                f"train.batch_size = {section.batch_size} is more than the {len(labels)} training images: "
                "an epoch is one step."
            )
        scaled = section.standardize and put_before_head(self.network)
        self._cut_where_it_pays()
        task = task_of(training.recipe, training.classes)
        train = self._batches(training.train, training.recipe.augment)
        if scaled:
            settle(self.network, train)
        job = FitJob(
            self.module,
            train,
            self._batches(training.validation, AugmentSection()),
            section,
            task,
            self.processes,
            seed=training.seed,
            weights=weights,
            epochs_before=self.before,
            state=self.state,
            track=training.track,
            announce=training.announce_epochs,
        )
        fitted = fit(job, training.progress)
        if training.test is not None:
            test = self._batches(training.test, AugmentSection())
            answers, _ = evaluate_module(self.module, test, loss_function(section, task), self.processes)
            fitted = replace(fitted, answers=answers)
        if scaled:
            take_out(self.network)
        self.network.to(self.processes.device)
        self.processes.wait()
        return fitted

    def _cut_where_it_pays(self) -> None:
        """Decide what trains: the network, or what lies above the layers that run once."""
        training, shelf = self.training, self.training.shelf
        self.module: torch.nn.Module = self.network
        self.cut: Cut | None = None
        train = self._images(training.train, training.recipe.augment)
        example = torch.from_numpy(
            training.recipe.preprocessing().normalise(np.ascontiguousarray(training.train[0][:1]))
        )
        cut = cut_network(self.network.to("cpu"), example)
        passes = len(training.train[2]) + len(training.validation[2])
        if shelf is None:
            counts = Counts(len(training.train[2]), len(training.validation[2]), passes)
        else:
            counts = Counts(len(shelf.rows), len(shelf.rows), shelf.trials * passes)
        folder = shelf.folder if shelf else training.checkpoints
        begun = any(folder.glob(f"features-stage-{self.number}-*"))
        self.plan = plan_caching(cut, train, counts, self.section, folder, timed=not begun)
        if self.plan.words and not begun:
            training.progress.say(self.plan.words)
        if isinstance(cut, Cut) and self.plan.views:
            self.cut, self.module = cut, cut.rest

    def _batches(self, source: Source, augmentation: AugmentSection) -> FeatureBatches | ImageBatches:
        """What the module is given of some images: themselves, or their features."""
        images = self._images(source, augmentation)
        if self.cut is None:
            return images
        what = "training" if source is self.training.train else "validation"
        if source is self.training.test:
            what = "test"
        return self._kept(self.cut, images, what)

    def _images(self, source: Source, augmentation: AugmentSection) -> ImageBatches:
        pixels, rows, labels = source
        section, processes = self.section, self.processes
        return ImageBatches(
            pixels,
            rows,
            labels,
            self.training.recipe.preprocessing(),
            augmentation,
            section.batch_size,
            self.training.seed,
            processes.share,
            section.sampling,
            processes.device,
            None if source is self.training.test else self.training.hiding,
        )

    def _kept(self, cut: Cut, images: ImageBatches, what: str) -> FeatureBatches:
        """The features of some images: those of training in all their views, others as they are and in float32."""
        shelf, folder, all_of_them = self.training.shelf, self.training.checkpoints, images
        rows = np.arange(len(images.labels))
        if shelf is not None:
            folder, rows = shelf.folder, np.searchsorted(shelf.rows, images.rows)
            none = np.zeros(len(shelf.rows), np.int64)
            all_of_them = replace(images, rows=shelf.rows, labels=none, seed=shelf.seed)
            what = "training" if what == "training" else "plain"
        path = folder / f"features-stage-{self.number}-{what}.bin"
        with self.training.progress.bar(f"Frozen layers on the {what} images") as advance:
            features = store_features(
                cut.frozen,
                all_of_them,
                path,
                views=self.plan.views if what == "training" else 1,
                precision=self.section.precision if what == "training" else "float32",
                advance=advance,
                wait=self.processes.wait,
            )
        size, seed = self.section.batch_size, self.training.seed
        return FeatureBatches(
            features, rows, images.labels, size, seed, images.share, images.sampling, self.processes.device
        )


def _write_finished(network: Network, path: Path, fitted: Fitted) -> None:
    facts = {"rows": fitted.history.rows, "ended": fitted.ended, "seconds": fitted.seconds}
    tensors = {"network": dict(network.state_dict())}
    if fitted.answers is not None:
        tensors["answers"] = {"test": torch.from_numpy(fitted.answers)}
    write_state(path, State(facts, tensors))


def _finished(network: Network, path: Path, section: TrainSection) -> Fitted | None:
    """A stage that was finished before, its weights put into the network; None when it was not."""
    found = read_state(path)
    if found is None:
        return None
    network.load_state_dict(found.tensors["network"])
    facts, answers = found.facts, found.tensors.get("answers")
    kept = None if answers is None else answers["test"].numpy()
    return Fitted(History(section.monitor, facts["rows"]), facts["ended"], facts["seconds"], kept)


def _is_enough(first: Fitted, training: Training) -> bool:
    """Whether a further stage could hardly show on the validation images that it made a better model."""
    enough = training.recipe.fine_tune.enough
    reached = first.history.best_row.get("val_roc_auc", 0.0)
    if not enough or reached < min(enough, _short_of_one_pair(training.validation[2])):
        return False
    least = f"`fine_tune.enough` = {enough:g}" + (", less one pair of images" if reached < enough else "")
    training.progress.say(
        f"The frozen backbone with its trained head has a validation AUC of {reached:.4f}: fine-tuning could hardly be "
        f"seen to improve on it, and is left out ({least})."
    )
    return True


def _short_of_one_pair(labels: Labels) -> float:
    """The AUC (mean of the classes' own) with one pair of these images in the wrong order, at least `NEARLY_ALL`."""
    counts = np.bincount(labels)
    pairs = (len(counts) if len(counts) > 2 else 1) * int((counts * (len(labels) - counts)).max(initial=0))
    return max(NEARLY_ALL, 1 - 1 / max(pairs, 1) - 1e-9)


def _best_of(found: list[Fitted], recipe: Recipe) -> int:
    """Which stage has the best epoch."""
    rows = [f.history.best_row for f in found]
    best = History(recipe.train.monitor, rows).best_row
    return next(i for i, row in enumerate(rows) if row is best)


def freeze(network: Network, wanted: int | str) -> None:
    """Let all train but `none`, `all` or `half` of the backbone, its first layers by count, or those below a named one.

    Layers are the backbone's convolutions and normalisations in order, those with parameters of their own. Raises
    UnknownNameError for a layer that is not there, InputError for more layers than there are.
    """
    layers = [(n, m) for n, m in network.backbone.named_modules() if list(m.parameters(recurse=False))]
    network.requires_grad_(True)
    spelt = keras_names(network).get(wanted, wanted) if isinstance(wanted, str) else wanted
    for _, module in layers[: _how_many([n for n, _ in layers], spelt)]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)


def _how_many(names: list[str], wanted: int | str) -> int:
    if isinstance(wanted, int):
        if wanted > len(names):
            raise InputError(f"model.freeze = {wanted}: the backbone has {len(names)} layers; `all` freezes them all.")
        return wanted
    if wanted in {"none", "all"}:
        return len(names) if wanted == "all" else 0
    if wanted == "half":
        return _down_to_a_block(names, len(names) // 2)
    bare = wanted.removeprefix("backbone.")
    below = [i for i, n in enumerate(names) if n == bare or n.startswith(bare + ".")]
    if not below:
        raise UnknownNameError("layer", wanted, names, "model.freeze takes none, all, half, a count or a layer.")
    return below[0]


def _down_to_a_block(names: list[str], count: int) -> int:
    """The largest number of layers up to `count` that ends with a whole block: a stage, or a layer and its norm."""

    def block(name: str) -> str:
        first, *rest = name.split(".")
        return ".".join([first, *rest[:1]]) if rest else first.lstrip("abcdefghijklmnopqrstuvwxyz_")

    while count and block(names[count]) == block(names[count - 1]):
        count -= 1
    return count
