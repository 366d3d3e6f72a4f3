"""What is minimised, and what is watched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..classifier import Task, probabilities_from_logits
from ..recipe import TrainSection

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def class_weights(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Weights (K,) inversely proportional to class frequency, with a mean of 1 over the images."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


def loss_function(section: TrainSection, task: Task, weights: npt.NDArray[np.float32] | None = None) -> Loss:
    """The loss of logits (N, L) for labels (N,): cross-entropy, or absolute or squared error for a regression."""
    if task == "regression":
        error = functional.mse_loss if section.loss == "mse" else functional.l1_loss
        return lambda logits, labels: error(logits[:, 0], labels.to(logits.dtype))
    balance = None if weights is None else torch.from_numpy(weights)
    smoothing = section.label_smoothing

    def multiclass(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weight = None if balance is None else balance.to(logits.device)
        return functional.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)

    def binary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        wanted = labels.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        each = functional.binary_cross_entropy_with_logits(logits[:, 0], wanted, reduction="none")
        if balance is None:
            return each.mean()
        weight = balance.to(logits.device)[labels]
        return (each * weight).sum() / weight.sum()

    return multiclass if task == "multiclass" else binary


def watched_values(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], task: Task) -> dict[str, float]:
    """Validation figures of one epoch: accuracy and (one against the rest) ROC-AUC, or the MAE of a regression."""
    if task == "regression":
        return {"val_mae": float(np.abs(logits[:, 0] - labels).mean())}
    probabilities = probabilities_from_logits(logits)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return {"val_accuracy": accuracy, "val_roc_auc": _roc_auc(probabilities, labels)}


def _roc_auc(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    from scipy.stats import rankdata

    classes = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = []
    for c in classes:
        positive = labels == c
        p, n = int(positive.sum()), int((~positive).sum())
        if p and n:
            ranks = rankdata(probabilities[:, c])
            areas.append((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))
    return float(np.mean(areas)) if areas else 0.5
