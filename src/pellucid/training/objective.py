"""What is minimised, and what is watched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..classifier import Task, probabilities_from_logits
from ..recipe_sections import TrainSection


def class_weights(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Weights (K,) inversely proportional to class frequency, with a mean of 1 over the images."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of logits (N, L) for labels (N,): cross-entropy, or absolute or squared error for a regression.

    Called, it is the mean. A mean is `items` (N,) summed over `mass`, so that the mean of a batch in several parts is
    exact: under class weights parts weigh differently.
    """

    section: TrainSection
    task: Task
    weights: torch.Tensor | None = None

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.items(logits, labels).sum() / self.mass(labels)

    def items(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Each image's loss, times the weight of its class."""
        if self.task == "regression":
            error = functional.mse_loss if self.section.loss == "mse" else functional.l1_loss
            return error(logits[:, 0], labels.to(logits.dtype), reduction="none")
        if self.task == "binary":  # the sigmoid of z is the softmax of (0, z)
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        weight = None if self.weights is None else self.weights.to(logits.device)
        smoothing = self.section.label_smoothing
        return functional.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing, reduction="none")

    def mass(self, labels: torch.Tensor) -> torch.Tensor:
        """What the losses of images are divided by: their number, or the sum of the weights of their classes."""
        if self.weights is None:
            return torch.tensor(float(len(labels)), device=labels.device)
        return self.weights.to(labels.device)[labels].sum()


def loss_function(section: TrainSection, task: Task, weights: npt.NDArray[np.float32] | None = None) -> Loss:
    """The loss that a recipe asks for; `weights` (K,) are those of the classes."""
    return Loss(section, task, None if weights is None else torch.from_numpy(weights))


def watched_values(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], task: Task) -> dict[str, float]:
    """Validation figures of one epoch: accuracy and (one against the rest) ROC-AUC, or the MAE of a regression."""
    if task == "regression":
        return {"val_mae": float(np.abs(logits[:, 0] - labels).mean())}
    probabilities = probabilities_from_logits(logits)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    # A single logit is ranked as it is: probabilities of sure answers would tie at 1.
    return {"val_accuracy": accuracy, "val_roc_auc": _roc_auc(logits if task == "binary" else probabilities, labels)}


def _roc_auc(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Mean area over the columns of scores (N, K), each class against the rest; of the second class for one column."""
    from scipy.stats import rankdata

    areas = []
    for c in range(scores.shape[1]):
        positive = labels == (1 if scores.shape[1] == 1 else c)
        p, n = int(positive.sum()), int((~positive).sum())
        if p and n:
            ranks = rankdata(scores[:, c])
            areas.append((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))
    return float(np.mean(areas)) if areas else 0.5
