"""What a model's outputs mean, and the module that turns outputs into logits.

Whether outputs are logits, probabilities of one class of several, or of classes that do not exclude each other, is
taken from how the model ends. Where that does not say it, the outputs on a few pictures do, or the caller is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..classifier import Task
from ..errors import InputError
from ..preprocessing import FloatArray
from .endings import ENDINGS

Gives = Literal["logits", "probabilities", "independent"]
GIVES: tuple[Gives, ...] = ("logits", "probabilities", "independent")
LEAST = 1e-7
SUM_TOLERANCE = 1e-3


class LogitDifference(nn.Module):
    """Two logits to one, z[second] - z[1 - second]: the sigmoid of it is the softmax of both."""

    def __init__(self, second: int) -> None:
        super().__init__()
        self.second = second

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, self.second : self.second + 1] - logits[:, 1 - self.second : 2 - self.second]


class Negative(nn.Module):
    """One logit with its sign changed."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return -logits


class LogOfProbabilities(nn.Module):
    """Probabilities (N, K) to logarithms, whose softmax they are; one `alone` (N, 1) to its log-odds.

    They are kept off 0 and 1.
    """

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone = alone

    def forward(self, probabilities: torch.Tensor) -> torch.Tensor:
        kept = probabilities.clamp(LEAST, 1 - LEAST)
        return torch.log(kept) - torch.log1p(-kept) if self.alone else torch.log(kept)


@dataclass(frozen=True)
class OutputMeaning:
    """What a model's outputs mean: the task, how many logits, the module that makes them, and notes for the reader."""

    task: Task
    logits: int
    module: nn.Module
    notes: tuple[str, ...] = ()


def gives_of(
    activation: str, outputs: FloatArray | None, *, gives: Gives | None = None, task: Task | None = None
) -> Gives:
    """What a model gives that ends in `activation`; `outputs` (N, K) are its answers to pictures of several kinds.

    Raises InputError when `gives` contradicts the ending or the outputs, or when neither says what the outputs are.
    """
    if gives is not None and gives not in GIVES:
        raise InputError(f"`gives={gives}`: choose logits, probabilities or independent.")
    if activation in ENDINGS:
        return _of_ending(activation, outputs, gives)
    if outputs is None or not outputs.size or task == "regression":
        return gives or "logits"
    units = outputs.shape[1]
    shares = bool(((outputs >= -1e-6) & (outputs <= 1 + 1e-6)).all())
    sums = units > 1 and bool((abs(outputs.sum(axis=1) - 1) < SUM_TOLERANCE).all())
    if gives == "logits":
        return gives
    if gives is not None:
        if not shares or (gives == "probabilities" and units > 1 and not sums):
            rule = "lie within 0..1" if gives == "independent" or units == 1 else "lie within 0..1 and sum to 1"
            raise InputError(
                f"`gives={gives}` does not fit: such outputs {rule}, and these go from {outputs.min():.3g} to "
                f"{outputs.max():.3g}."
            )
        return gives
    if not shares:
        return "logits"
    if sums:
        return "probabilities"
    if units == 1:
        raise InputError(
            "The output lies between 0 and 1 for every picture tried. Say what it is: `gives='probabilities'` if it "
            "comes out of a sigmoid, `gives='logits'` if not, `task='regression'` if it is no class."
        )
    raise InputError(
        f"The {units} outputs lie between 0 and 1 for every picture tried and do not sum to 1. Say what they are: "
        "`gives='independent'` if each comes out of a sigmoid, `gives='logits'` if a softmax is still to come."
    )


def _of_ending(activation: str, outputs: FloatArray | None, gives: Gives | None) -> Gives:
    several = outputs is not None and outputs.ndim == 2 and outputs.shape[1] > 1
    meant: Gives = "independent" if activation == "sigmoid" and several else "probabilities"
    if gives not in (None, meant):
        raise InputError(f"`gives={gives}` does not fit: the model ends in a {activation}, so it gives {meant}.")
    return meant


def meaning_of(
    activation: str,
    units: int,
    *,
    task: Task | None = None,
    turned: bool = False,
    gives: Gives = "logits",
) -> OutputMeaning:
    """What `units` outputs mean that come before `activation`.

    `turned`: of two classes, the model's first is the positive one. `gives` says what the outputs are where the
    activation is linear. Raises InputError when the task does not fit the outputs.
    """
    if activation in {"softmax", "log_softmax"} and units == 1:
        raise InputError("The model ends in a softmax over one unit, which always answers 1: it has learned nothing.")
    if activation not in {*ENDINGS, "linear"}:
        raise InputError(f"The model ends in the activation {activation}; softmax, sigmoid or none can be read.")
    probable = activation == "linear" and gives != "logits"
    usual = _usual_task(units, activation == "sigmoid" or probable, task)
    if usual == "regression":
        return _regression(activation, turned)
    steps, notes = _steps(activation, units, gives)
    if units == 2:
        steps.append(LogitDifference(0 if turned else 1))
    elif units == 1 and turned:
        steps.append(Negative())
    return OutputMeaning(usual, units if units > 2 else 1, nn.Sequential(*steps), notes)


def _usual_task(units: int, probable: bool, task: Task | None) -> Task:
    usual: Task = "multiclass" if units > 2 else "binary"
    if units == 1 and (not probable or task == "regression"):
        usual = task or "regression"
    if task not in (None, usual):
        raise InputError(f"`task={task}` does not fit a model with {units} outputs, which is {usual}.")
    return usual


def _regression(activation: str, turned: bool) -> OutputMeaning:
    if turned:
        raise InputError("A regression's higher output speaks for the second class: name the classes in that order.")
    return OutputMeaning("regression", 1, nn.Sigmoid() if activation == "sigmoid" else nn.Identity())


def _steps(activation: str, units: int, gives: Gives) -> tuple[list[nn.Module], tuple[str, ...]]:
    """What makes logits of the outputs, and what the reader should know of it."""
    independent = f"The {units} sigmoids are scaled to a sum of 1: one class is answered for each image."
    if activation == "sigmoid" and units > 1:
        return [nn.LogSigmoid()], (independent,)
    if activation != "linear":
        return [], ()
    if gives == "logits":
        return [], ("The model ends without softmax or sigmoid, so its outputs are taken for logits.",)
    if gives == "independent" and units > 1:
        return [LogOfProbabilities(alone=units == 1)], (independent,)
    return [LogOfProbabilities(alone=units == 1)], ("The outputs are taken for probabilities.",)


def modules_of(meaning: nn.Module) -> Sequence[nn.Module]:
    """The steps of a meaning's module, in order."""
    return list(meaning.children()) if isinstance(meaning, nn.Sequential) else [meaning]
