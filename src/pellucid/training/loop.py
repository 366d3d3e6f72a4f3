"""The training loop: epochs over batches, validation, early stopping, the best weights, a state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..classifier import Task
from ..errors import InputError
from ..progress import Progress, Silent
from ..recipe_sections import TrainSection
from .averaging import RunningAverage
from .batches import Batch, Batches
from .checkpoint import State, optimizer_state, read_state, restore_optimizer, write_state
from .depthwise import quick_backward
from .hardware import autocast, out_of_memory_named
from .history import History
from .objective import Loss, loss_function, watched_values
from .processes import Processes
from .schedule import Schedule

FIGURES = {
    "train_loss": "loss",
    "val_loss": "val loss",
    "val_accuracy": "val accuracy",
    "val_roc_auc": "val AUC",
    "val_mae": "val MAE",
}
LOOK_EVERY = 20
LINES, BRIEF = 15, 1.0
"""Up to `LINES` + 2 of the epochs that take less than `BRIEF` seconds have a line on the terminal."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a fit went. The module holds the weights of the best epoch.

    `answers` are its logits (N, L) for the images of `Training.test`, where there are any.
    """

    history: History
    ended: str
    seconds: float
    answers: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FitJob:
    """One training: which module, on which batches, and how.

    `weights` (K,) are the class weights of the loss. Epochs are numbered from `epochs_before` + 1. With `state`, the
    path of a file, the training is written there after each epoch and continues from what the file holds. `track` is
    called with the row of each epoch; without `announce` no line is shown for it.
    """

    module: nn.Module
    train: Batches
    validation: Batches
    section: TrainSection
    task: Task
    processes: Processes
    seed: int = 0
    weights: npt.NDArray[np.float32] | None = None
    epochs_before: int = 0
    state: Path | None = None
    track: Callable[[Mapping[str, float]], None] = lambda row: None
    announce: bool = True


def fit(job: FitJob, progress: Progress | None = None) -> Fitted:
    """Train `job.module` in place and leave it with the weights of its best epoch, in evaluation mode.

    The same job gives the same result on a CPU, broken off or not: whatever is drawn in an epoch depends on the seed
    and the number of the epoch. Raises ResourceError when memory runs out, InputError when the loss is not a number
    from the first epoch on; later a NaN ends the training with the best weights so far.
    """
    return _Fit(job, progress or Silent()).run()


class _Fit:
    """A training under way."""

    def __init__(self, job: FitJob, progress: Progress) -> None:
        self.job, self.progress = job, progress
        self.module = job.module.to(job.processes.device).to(memory_format=torch.channels_last)
        self.shared = job.processes.shared(self.module)
        self.loss = loss_function(job.section, job.task, job.weights)
        self.optimizer = build_optimizer(self.module, job.section)
        self.schedule = Schedule(job.section, -(-job.train.steps // job.section.accumulate))
        self.average = RunningAverage(self.module, job.section.average) if job.section.average else None
        self.history = History(job.section.monitor)
        self.best: dict[str, torch.Tensor] = {}
        self.seconds = 0.0
        self.ended = ""

    def run(self) -> Fitted:
        self._restore()
        while not self.ended:
            self._epoch(len(self.history.rows) + 1)
        self.module.load_state_dict(self.best)
        self.module.eval()
        return Fitted(self.history, self.ended, self.seconds)

    def _epoch(self, number: int) -> None:
        """One epoch of training and validation, and what follows from it. `number` counts from 1 in this job."""
        job, section, started = self.job, self.job.section, time.perf_counter()
        shown = number + job.epochs_before
        torch.manual_seed(_seed_of(job.seed, shown, job.processes.share.rank))
        rate = self._rate((number - 1) * self.schedule.steps)
        with self.progress.bar(f"Epoch {number} of {section.epochs}") as advance:
            train_loss = self._train(number, advance)
        logits, val_loss = self._validate()
        if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            if not self.best:
                raise InputError(
                    f"The loss is not a number in epoch {shown}: lower `train.learning_rate` (now {rate:g})."
                )
            self.ended = (
                f"the loss was not a number in epoch {shown}, so the best epoch before it is kept; lower "
                f"`train.learning_rate` (now {rate:g})"
            )
            return
        row = {"epoch": shown, "seconds": time.perf_counter() - started, "learning_rate": rate}
        row |= {"train_loss": train_loss, "val_loss": val_loss}
        row |= watched_values(logits, job.validation.labels, job.task)
        if self.history.add(row):
            with self._averaged():
                self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        if section.patience and self.history.epochs_since_best >= section.patience:
            self.ended = f"no better {section.monitor} for {section.patience} epochs"
        elif number == section.epochs:
            self.ended = f"all {section.epochs} epochs done"
        self.seconds += time.perf_counter() - started
        self._save()
        job.track(row)
        brief = row["seconds"] < BRIEF and number % -(-section.epochs // LINES) and number > 1 and not self.ended
        if job.announce and not brief:
            self.progress.say(_epoch_line(row, job.epochs_before + section.epochs))

    def _train(self, number: int, advance: Callable[[int, int], None]) -> float:
        """One epoch of optimisation; the mean loss per image."""
        job = self.job
        _training_mode(self.module, job.section.freeze_norm)
        device = job.processes.device
        total, mass = torch.zeros((), device=device), torch.zeros((), device=device)
        step, seen, everyone = (number - 1) * self.schedule.steps, 0, job.processes.share.processes
        for group in _groups(job.train.shuffled(number + job.epochs_before), job.section.accumulate):
            self._set_rate(step)
            items, weight = self._step(group)
            total, mass, step = total + items, mass + weight, step + 1
            seen += everyone * sum(len(labels) for _, labels in group)
            advance(min(seen, len(job.train.labels)), len(job.train.labels))
            # Looking at a number makes a GPU wait: once in a while will do.
            if (device.type == "cpu" or step % LOOK_EVERY == 0) and not math.isfinite(float(total)):
                break
        both = job.processes.total(torch.stack([total, mass]))
        return float(both[0] / both[1])

    def _step(self, group: list[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the optimiser over a group of batches: the sum of their losses, and what to divide it by."""
        processes, section = self.job.processes, self.job.section
        mass = torch.stack([self.loss.mass(labels) for _, labels in group]).sum().to(processes.device)
        # Gradients are averaged over processes, whose shares may weigh differently: the mean is that of the whole.
        divisor = processes.total(mass) / processes.share.processes
        total = torch.zeros((), device=processes.device)
        self.optimizer.zero_grad(set_to_none=True)
        for i, (inputs, labels) in enumerate(group):
            with out_of_memory_named(len(labels)), processes.without_exchange(self.shared, last=i == len(group) - 1):
                with autocast(processes.device, section.precision):
                    logits = self.shared(inputs.to(processes.device, non_blocking=True))
                items = self.loss.items(logits.float(), labels.to(processes.device, non_blocking=True)).sum()
                with quick_backward(processes.device, section.precision):
                    (items / divisor).backward()  # type: ignore[no-untyped-call]
            total += items.detach()
        with out_of_memory_named(len(group[0][1])):
            if section.clip_gradient:
                nn.utils.clip_grad_norm_(self.module.parameters(), section.clip_gradient)
            self.optimizer.step()
        if self.average:
            self.average.update()
        return total, mass

    def _validate(self) -> tuple[npt.NDArray[np.float32], float]:
        self.job.processes.in_step(self.module)
        with self._averaged():
            return evaluate_module(self.module, self.job.validation, self.loss, self.job.processes)

    def _averaged(self) -> Any:
        return self.average.in_place() if self.average else nullcontext()

    def _rate(self, step: int) -> float:
        return self.schedule.rate(step, [row[self.job.section.monitor] for row in self.history.rows])

    def _set_rate(self, step: int) -> None:
        rate, momentum = self._rate(step), self.schedule.momentum(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif momentum is not None and "momentum" in group:
                group["momentum"] = momentum

    def _save(self) -> None:
        if self.job.state is None or not self.job.processes.first:
            return
        moments, others = optimizer_state(self.optimizer)
        tensors = {"module": self.module.state_dict(), "best": self.best, "optimizer": moments}
        if self.average:
            tensors["average"] = self.average.values
        facts = {
            "seed": self.job.seed,
            "rows": self.history.rows,
            "ended": self.ended,
            "seconds": self.seconds,
            "optimizer": others,
            "averaged": self.average.steps if self.average else 0,
        }
        write_state(self.job.state, State(facts, tensors))

    def _restore(self) -> None:
        found = read_state(self.job.state) if self.job.state else None
        if found is None:
            return
        facts, tensors = found.facts, found.tensors
        if facts["seed"] != self.job.seed:
            raise InputError(
                f"Cannot resume with seed {self.job.seed}: the checkpoint was made with seed {facts['seed']}."
            )
        self.module.load_state_dict(tensors["module"])
        self.best = {k: v.to(self.job.processes.device) for k, v in tensors["best"].items()}
        restore_optimizer(self.optimizer, tensors.get("optimizer", {}), facts["optimizer"])
        if self.average:
            self.average.steps = int(facts["averaged"])
            for name, value in tensors["average"].items():
                self.average.values[name].copy_(value)
        self.history.rows.extend(facts["rows"])
        self.seconds, self.ended = float(facts["seconds"]), str(facts["ended"])
        if self.history.rows and not self.ended:
            self.progress.say(f"Resuming after epoch {int(self.history.rows[-1]['epoch'])}.")


def _seed_of(seed: int, epoch: int, rank: int) -> int:
    """What dropout in an epoch of a process is drawn from."""
    return int(np.random.SeedSequence((seed, epoch, rank, 2)).generate_state(1)[0])


def _groups(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """The batches of each step."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _training_mode(module: nn.Module, freeze_norm: bool) -> None:
    """Training mode, except for what is wholly frozen: its normalisations keep their statistics, it drops nothing.

    With `freeze_norm` every batch normalisation keeps its statistics; its scale and shift still train.
    """
    module.train()
    for part in module.modules():
        own = list(part.parameters())
        frozen = own and not any(p.requires_grad for p in own)
        if frozen or (freeze_norm and isinstance(part, nn.modules.batchnorm._BatchNorm)):
            part.eval()


@torch.inference_mode()
def evaluate_module(
    module: nn.Module, batches: Batches, loss: Loss, processes: Processes
) -> tuple[npt.NDArray[np.float32], float]:
    """Logits (N, L) of all inputs in order, and their loss. In float32, as the exported graph will run."""
    module.eval()
    found: list[torch.Tensor] = []
    for inputs, labels in batches.in_order():
        with out_of_memory_named(len(labels)):
            found.append(module(inputs.to(processes.device, non_blocking=True).float()).float().cpu())
    # Of all at once: a mean over batches would depend on their size, and under class weights on their mixture.
    logits = processes.gathered(torch.cat(found), len(batches.labels))
    return logits.numpy(), float(loss(logits, torch.from_numpy(batches.labels)))


def build_optimizer(module: nn.Module, section: TrainSection) -> torch.optim.Optimizer:
    """The optimiser of a recipe over the parameters that train."""
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "sgd": torch.optim.SGD,
    }
    options: dict[str, Any] = {"lr": section.learning_rate, "weight_decay": section.weight_decay}
    if section.optimizer == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = kinds[section.optimizer](parameters, **options)
    return optimizer


def _epoch_line(row: dict[str, float], epochs: int) -> str:
    figures = "  ".join(f"{words} {row[key]:.4f}" for key, words in FIGURES.items() if key in row)
    return f"epoch {int(row['epoch']):>3}/{epochs}  {figures}  {row['seconds']:.1f} s"
