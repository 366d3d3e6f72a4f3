"""The protocols of classifiers, and the values that they return.

Explanation methods see only these protocols, and work with torch, ONNX Runtime or a plain function behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .errors import InputError, UnknownNameError
from .preprocessing import FloatArray, GridGeometry, Preprocessing

Task = Literal["binary", "multiclass", "regression", "anomaly"]
Score = Literal["log-odds", "logit", "output"]
Target = str | tuple[str, ...] | None
PREDICTED = "(predicted)"
NONE_OF_THESE, REFER = "none of these", "refer to a person"
"""What takes the place of a class where none is answered."""
Outcome = Literal["answer", "none", "refer"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why no class is answered.

    `unlike`: the image is `value` times as far from the training images as one may be (`limit` 1). `unsure`: the answer
    has the confidence `value`, and `limit` is asked. `unpromised`: the error limit `limit` could not be promised,
    so that nothing is answered.
    """

    code: Literal["unlike", "unsure", "unpromised"]
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one image: an answer, `none` of the classes, or a case to `refer` to a person.

    `label` is the class, NONE_OF_THESE or REFER, and `predicted` the class at the operating point in any case.
    `candidates` is the prediction set, the most probable class first, which holds the true class for the share
    `coverage` of images like the validation images; for a regression `interval` holds the target instead. Each is None
    where the model has no such rule. `threshold` decides between two classes; None for more.
    """

    outcome: Outcome
    label: str
    predicted: str
    candidates: tuple[str, ...] | None = None
    interval: tuple[float, float] | None = None
    coverage: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    threshold: float | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def lacks_answer(self) -> bool:
        """Whether the set lacks the class that is answered, as the threshold may answer the less probable one."""
        return self.outcome == "answer" and self.candidates is not None and self.predicted not in self.candidates


def gives_score(task: str) -> bool:
    """Whether a model of this task answers with one score, held against a threshold, and knows no probabilities."""
    return task in ("regression", "anomaly")


class Against(str):
    """The target "why `target` and not `against`": the score is the log of the ratio of their two probabilities.

    That is z_target - z_against, so that for any method that is linear in the score its map is the map of one logit
    minus the map of the other. Of a single logit z it is z or -z. As a string it reads `target against against`.
    """

    __slots__ = ("against", "target")
    target: str
    against: str

    def __new__(cls, target: str, against: str) -> Against:
        if target == against:
            raise InputError(f"A class is explained against another one, not {target!r} against itself.")
        made = super().__new__(cls, f"{target} against {against}")
        made.target, made.against = str(target), str(against)
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.target, self.against


def versus(target: str | None, other: str) -> Against:
    """A class against another one; InputError where the first is not named."""
    if target is None:
        raise InputError("`against=` asks why one class and not another: name the first by `target=`.")
    return Against(target, other)


def against(target: str | None, other: str | None) -> str | None:
    """A target, against another class where one is named; InputError for another class without a target."""
    return target if other is None else versus(target, other)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one image.

    `label` is what is answered: a class, or NONE_OF_THESE or REFER where `decision` withholds the answer.
    `probabilities` maps each class to its probability (they sum to 1). For a regression it is empty, and `output` is
    the predicted score. `confidence` is the probability of `predicted`; None for a regression. `outside_score` is the
    distance of the image from the training images, divided by the distance that gives a warning: above 1 the
    prediction is unreliable. None for a model without reference.
    """

    label: str
    confidence: float | None
    probabilities: dict[str, float]
    output: float | None = None
    path: str | None = None
    warnings: tuple[str, ...] = ()
    outside_score: float | None = None
    decision: Decision | None = None

    @property
    def predicted(self) -> str:
        """The class at the operating point, also where no class is answered."""
        return self.label if self.decision is None else self.decision.predicted


@dataclass(frozen=True, slots=True)
class Evidence:
    """The result of one pass for a batch of N images and T targets.

    `logits` (N, L): L is 1 for a binary or regression model, K for K classes. `activations` (N, C, h, w) of the
    explained layer. `gradients` (N, T, C, h, w): the derivative of each target's score with respect to the
    activations. All float32.
    """

    logits: FloatArray
    activations: FloatArray
    gradients: FloatArray
    geometry: GridGeometry
    layer: str
    targets: tuple[str, ...] = field(default=())

    @property
    def features(self) -> FloatArray:
        """The spatial mean of each channel of the layer, (N, C)."""
        return space_means(self.activations)


@dataclass(frozen=True, slots=True)
class InputGradients:
    """The gradients of one pass with respect to the pixels, for a batch of N images and T targets.

    `logits` (N, L); `gradients` (N, T, 3, height, width): the derivative of each target's score with respect to the
    input tensor. Both float32.
    """

    logits: FloatArray
    gradients: FloatArray
    targets: tuple[str, ...] = field(default=())


@runtime_checkable
class Classifier(Protocol):
    """Anything that turns tensors into class probabilities. Black-box methods need no more."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; for a binary model (negative, positive)."""
        ...

    @property
    def task(self) -> Task: ...

    @property
    def preprocessing(self) -> Preprocessing: ...

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to class probabilities (N, K), rows summing to 1."""
        ...


@runtime_checkable
class EvidenceClassifier(Classifier, Protocol):
    """A classifier that also returns activations and gradients of its explained layer."""

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Evidence for `target` (a class, several, or None for each image's own predicted class).

        `score` is the value whose gradient is taken: by default the log-odds of the class, or a regression's output.
        """
        ...


@runtime_checkable
class LayeredClassifier(EvidenceClassifier, Protocol):
    """An evidence classifier that also gives the evidence of several layers from one pass."""

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        """The evidence of two or more layers, from front to back; the explained layer is the last."""
        ...


@runtime_checkable
class TailClassifier(EvidenceClassifier, Protocol):
    """An evidence classifier that can also run from its explained layer onwards."""

    def tail(self, activations: FloatArray) -> FloatArray:
        """Activations (M, C, h, w) of the explained layer to logits (M, L)."""
        ...


@runtime_checkable
class InputGradientClassifier(Classifier, Protocol):
    """A classifier that also returns the gradient of a score with respect to the pixels."""

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        """Gradients for `target`; see `EvidenceClassifier.evidence`."""
        ...


def selected_targets(
    classes: tuple[str, ...], task: Task, images: int, target: Target, score: Score | None
) -> tuple[FloatArray, float, tuple[str, ...]]:
    """The inputs of an evidence graph: target rows (images, T, L), contrast, and the names of the T targets.

    A row of zeros stands for the predicted class, with the name PREDICTED. A single logit z is evidence for the second
    class, -z for the first; a regression's output is explained upwards for the second class, downwards for the first.
    With an Against among the targets the contrast is 0, so every target must be one. Raises UnknownNameError for an
    unknown class, InputError for a score that does not fit the task and for targets of both kinds.
    """
    if score is not None and (score == "output") != gives_score(task):
        fitting = "output" if gives_score(task) else "log-odds or logit"
        raise InputError(f"The score {score!r} does not fit a {task} model; choose {fitting}.")
    names = (PREDICTED,) if target is None else (target,) if isinstance(target, str) else tuple(target)
    if not names:
        raise InputError("`target=` names no class: give at least one, or None for the predicted class.")
    rows = np.zeros((len(names), 1 if task != "multiclass" else len(classes)), np.float32)
    for row, name in zip(rows, names, strict=True):
        if name == PREDICTED:
            if gives_score(task):
                row[0] = 1.0
            continue
        wanted = name.target if isinstance(name, Against) else name
        index = class_index(classes, wanted)
        if task == "multiclass":
            row[index] = 1.0
        else:
            row[0] = 1.0 if index == 1 else -1.0
        if isinstance(name, Against):
            other = class_index(classes, name.against)
            if task == "multiclass":
                row[other] = -1.0
    differences = {isinstance(name, Against) for name in names}
    if len(differences) > 1:
        raise InputError(
            "A class against another one and a class against all others are asked for one after the other."
        )
    return np.repeat(rows[None], images, axis=0), 0.0 if score == "logit" or True in differences else 1.0, names


def class_index(classes: tuple[str, ...], name: str) -> int:
    """The place of a class; UnknownNameError for one that the model does not know."""
    if name not in classes:
        raise UnknownNameError("class", name, classes, f"The model knows {', '.join(classes)}.")
    return classes.index(name)


def reaches(scores: npt.NDArray[np.floating[Any]], threshold: float) -> npt.NDArray[np.bool_]:
    """Whether each score is at least the threshold, compared in float64, as both are printed.

    NumPy would round the threshold to the float32 of the scores, so that 0.69999999 would reach 0.7.
    """
    reached: npt.NDArray[np.bool_] = np.asarray(scores, np.float64) >= threshold
    return reached


def space_means(maps: FloatArray) -> FloatArray:
    """The spatial mean (N, C) of maps (N, C, h, w), as a matrix product: several times faster than `mean`."""
    images, channels, height, width = maps.shape
    cells = height * width
    means: FloatArray = maps.reshape(images * channels, cells) @ np.full(cells, 1 / cells, np.float32)
    return means.reshape(images, channels)


def probabilities_from_logits(logits: FloatArray) -> FloatArray:
    """Logits (N, 1) by the sigmoid to (N, 2), or (N, K) by the softmax to (N, K). Computed stably, float32."""
    if logits.shape[-1] == 1:
        # Softmax over (0, z) is the sigmoid, and is stable at both ends.
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: FloatArray = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32, copy=False)
    return result
