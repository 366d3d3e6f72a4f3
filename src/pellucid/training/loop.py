"""The training loop: epochs over batches, validation, early stopping, the best weights kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..classifier import Task
from ..errors import InputError, ResourceError
from ..progress import Progress
from ..recipe import TrainSection
from .batches import Batches
from .hardware import autocast
from .history import LARGER_IS_BETTER, History
from .objective import Loss, loss_function, watched_values

Scheduler = torch.optim.lr_scheduler.LRScheduler | torch.optim.lr_scheduler.ReduceLROnPlateau


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a fit went. The module holds the weights of the best epoch."""

    history: History
    ended: str
    seconds: float


def fit(
    module: nn.Module,
    train: Batches,
    validation: Batches,
    section: TrainSection,
    task: Task,
    *,
    device: torch.device,
    weights: npt.NDArray[np.float32] | None = None,
    progress: Progress,
    keep: Callable[[nn.Module], None] = lambda module: None,
) -> Fitted:
    """Train `module` in place and leave it with the weights of its best epoch, in evaluation mode.

    `keep` is called after each epoch that is the best so far. Raises ResourceError when memory runs out, InputError
    when the loss is not a number from the first epoch on; later a NaN ends the training with the best weights so far.
    """
    began = time.perf_counter()
    module.to(device).to(memory_format=torch.channels_last)
    loss = loss_function(section, task, weights)
    optimizer = build_optimizer(module, section)
    scheduler = build_scheduler(optimizer, section, train.steps)
    history = History(section.monitor)
    best: dict[str, torch.Tensor] = {}
    ended = f"all {section.epochs} epochs done"
    for epoch in range(1, section.epochs + 1):
        started = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        with progress.bar(f"Epoch {epoch} of {section.epochs}") as advance:
            train_loss = _train_epoch(module, train, epoch, section, loss, optimizer, scheduler, device, advance)
        logits, val_loss = evaluate_module(module, validation, loss, device)
        if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            if not best:
                raise InputError(
                    f"The loss is not a number in epoch {epoch}: lower train.learning_rate (now {rate:g})."
                )
            ended = f"the loss was not a number in epoch {epoch}; the best epoch before it is kept"
            break
        row = {"epoch": epoch, "seconds": time.perf_counter() - started, "learning_rate": rate}
        row |= {"train_loss": train_loss, "val_loss": val_loss, **watched_values(logits, validation.labels, task)}
        if history.add(row):
            best = copy.deepcopy(module.state_dict())
            keep(module)
        progress.say(_epoch_line(row, section))
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(row[section.monitor])
        if section.patience and history.epochs_since_best >= section.patience:
            ended = f"no better {section.monitor} for {section.patience} epochs"
            break
    module.load_state_dict(best)
    module.eval()
    return Fitted(history, ended, time.perf_counter() - began)


def _train_epoch(
    module: nn.Module,
    train: Batches,
    epoch: int,
    section: TrainSection,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler | None,
    device: torch.device,
    advance: Callable[[int, int], None],
) -> float:
    """One epoch of optimisation; the mean loss per image."""
    _training_mode(module)
    total, seen = 0.0, 0
    for inputs, labels in train.shuffled(epoch):
        with out_of_memory_named(len(labels)):
            with autocast(device, section.precision):
                logits = module(inputs.to(device))
            value = loss(logits.float(), labels.to(device))
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            if section.clip_gradient:
                nn.utils.clip_grad_norm_(module.parameters(), section.clip_gradient)
            optimizer.step()
        if isinstance(scheduler, torch.optim.lr_scheduler.OneCycleLR):
            scheduler.step()
        total += float(value.detach()) * len(labels)
        seen += len(labels)
        advance(seen, len(train.labels))
        if not math.isfinite(total):
            break
    return total / seen


def _training_mode(module: nn.Module) -> None:
    """Training mode, except for normalisation layers that are frozen: those keep their statistics."""
    module.train()
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            part.eval()


@torch.inference_mode()
def evaluate_module(
    module: nn.Module, batches: Batches, loss: Loss, device: torch.device
) -> tuple[npt.NDArray[np.float32], float]:
    """Logits (N, L) of all inputs in order, and their loss. In float32, as the exported graph will run."""
    module.eval()
    found: list[torch.Tensor] = []
    for inputs, labels in batches.in_order():
        with out_of_memory_named(len(labels)):
            found.append(module(inputs.to(device)).float().cpu())
    # Of all at once: a mean over batches would depend on their size, and under class weights on their mixture.
    logits = torch.cat(found)
    return logits.numpy(), float(loss(logits, torch.tensor(batches.labels)))


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


def build_scheduler(optimizer: torch.optim.Optimizer, section: TrainSection, steps: int) -> Scheduler | None:
    """The learning-rate schedule of a recipe: None, on a plateau, or one cycle over all epochs of `steps` each.

    A training too short for a cycle (fewer than 8 steps) keeps its rate.
    """
    if section.schedule == "plateau":
        mode: Literal["min", "max"] = "max" if section.monitor in LARGER_IS_BETTER else "min"
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode, factor=section.plateau_factor, patience=section.plateau_patience
        )
    if section.schedule == "one-cycle" and section.epochs * steps >= 8:
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            section.learning_rate,
            epochs=section.epochs,
            steps_per_epoch=steps,
            pct_start=0.25,
            cycle_momentum=section.optimizer != "rmsprop",
        )
    return None


@contextmanager
def out_of_memory_named(batch: int) -> Iterator[None]:
    """Turn torch's out-of-memory errors into a ResourceError that names the setting to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not known:
            raise
        raise ResourceError(
            f"Memory ran out on a batch of {batch} images: lower it with --set train.batch_size="
            f"{max(1, batch // 2)}, or the image size with --set data.size=..."
        ) from error


def _epoch_line(row: dict[str, float], section: TrainSection) -> str:
    names = {
        "train_loss": "loss",
        "val_loss": "val loss",
        "val_accuracy": "val accuracy",
        "val_roc_auc": "val AUC",
        "val_mae": "val MAE",
    }
    figures = "  ".join(f"{words} {row[key]:.4f}" for key, words in names.items() if key in row)
    return f"epoch {int(row['epoch']):>3}/{section.epochs}  {figures}  {row['seconds']:.1f} s"
