"""How pixel values come to a foreign model: the usual silent error of imports, so it is measured and never guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..classifier import Task, gives_score, probabilities_from_logits
from ..errors import InputError, UnknownNameError
from ..preprocessing import Fit, FloatArray, Interpolation, Preprocessing
from ..recipe import IMAGENET_DEVIATION, IMAGENET_MEAN

Order = Literal["rgb", "bgr"]
Triple = tuple[float, float, float]
ZEROS: Triple = (0.0, 0.0, 0.0)
ONES: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Rescaling:
    """`(pixel * scale - mean) / deviation` of RGB pixels 0..255, then the channels in `order`."""

    name: str
    meaning: str
    scale: float
    mean: Triple = ZEROS
    deviation: Triple = ONES
    order: Order = "rgb"

    def preprocessing(
        self, size: tuple[int, int], fit: Fit = "stretch", interpolation: Interpolation = "bilinear"
    ) -> Preprocessing:
        """The preprocessing of images to a size; the order of channels is left to the network."""
        height, width = size
        return Preprocessing(
            height=height,
            width=width,
            fit=fit,
            interpolation=interpolation,
            scale=self.scale,
            mean=self.mean,
            deviation=self.deviation,
        )


RESCALINGS: tuple[Rescaling, ...] = (
    Rescaling("1/255", "values 0..1", 1 / 255),
    Rescaling("-1..1", "values -1..1, as MobileNet, Inception and Xception", 1 / 255, (0.5,) * 3, (0.5,) * 3),
    Rescaling("imagenet", "ImageNet's mean and deviation, as torchvision", 1 / 255, IMAGENET_MEAN, IMAGENET_DEVIATION),
    Rescaling(
        "caffe", "BGR minus ImageNet's mean, as VGG and ResNet in Keras", 1.0, (123.68, 116.779, 103.939), ONES, "bgr"
    ),
    Rescaling("none", "values 0..255", 1.0),
)


def find_rescaling(name: str, channels: str | None = None) -> Rescaling:
    """A rescaling by name, with its channels in another order where asked for.

    Raises UnknownNameError, or InputError for an order that is neither rgb nor bgr.
    """
    known = {r.name: r for r in RESCALINGS}
    if name not in known:
        raise UnknownNameError("rescaling", name, known, f"Choose one of {', '.join(known)}.")
    if channels not in (None, "rgb", "bgr"):
        raise InputError(f"`channels={channels}` does not fit: it must be rgb or bgr.")
    usual = known[name]
    order: Order = usual.order if channels is None else "bgr" if channels == "bgr" else "rgb"
    return replace(usual, order=order)


def candidates(channels: int, *, grey: bool = False) -> list[Rescaling]:
    """What is tried for a model of 1 or 3 channels; for `grey` images the order of channels makes no difference."""
    plain = ("1/255", "-1..1", "none")
    if channels == 1:
        return [r for r in RESCALINGS if r.name in plain]
    return [*RESCALINGS, *(() if grey else (find_rescaling(name, "bgr") for name in plain))]


@dataclass(frozen=True, slots=True)
class Trial:
    """How well the labels are answered with one rescaling.

    `loss` is the mean cross-entropy in nats (for a regression the mean distance), `accuracy` the share answered
    rightly, `reversed_accuracy` the same with two classes the other way round, else None. `behind` is by how much the
    loss is higher than the best one's, with its 95 % interval; None for the best.
    """

    rescaling: Rescaling
    loss: float
    accuracy: float
    reversed_accuracy: float | None
    behind: tuple[float, float, float] | None = None


def try_rescalings(
    logits: Callable[[Rescaling], FloatArray], labels: npt.NDArray[np.int64], task: Task, tried: Sequence[Rescaling]
) -> list[Trial]:
    """Trials of the rescalings given, best first. `logits` gives the model's logits (N, L) of the images for one."""
    losses = {r: _losses(logits(r), labels, task) for r in tried}
    order = sorted(tried, key=lambda r: float(losses[r][0].mean()))
    best = losses[order[0]][0]
    trials = []
    for place, rescaling in enumerate(order):
        loss, right = losses[rescaling]
        behind = None if place == 0 else _difference(loss - best)
        turned = float(1 - right.mean()) if task == "binary" else None
        trials.append(Trial(rescaling, float(loss.mean()), float(right.mean()), turned, behind))
    return trials


def _losses(
    logits: FloatArray, labels: npt.NDArray[np.int64], task: Task
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Loss of each image, and whether it is answered rightly."""
    if gives_score(task):
        outputs = logits[:, 0].astype(np.float64)
        return np.abs(outputs - labels), (outputs >= 0.5) == labels
    two = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    two = two.astype(np.float64)
    top = two.max(axis=1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(two - top).sum(axis=1))
    chosen = probabilities_from_logits(logits).argmax(axis=1)
    return total - two[np.arange(len(labels)), labels], chosen == labels


def _difference(differences: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean of paired differences with its 95 % interval (normal)."""
    mean = float(differences.mean())
    half = 1.96 * float(differences.std(ddof=1)) / np.sqrt(len(differences)) if len(differences) > 1 else float("inf")
    return mean, mean - half, mean + half


def verdict(trials: Sequence[Trial], images: int) -> str:
    """Which rescaling fits best and by how much, in a few sentences."""
    best, *others = trials
    sentences = [
        f"On {images} images {as_parameters(best.rescaling)} fits the labels best: accuracy {best.accuracy:.3f}, loss "
        f"{best.loss:.3f}."
    ]
    if others and others[0].behind:
        mean, low, high = others[0].behind
        clear = "." if low > 0 else "; more images are needed to tell the two apart."
        sentences.append(
            f"Next is {as_parameters(others[0].rescaling)}, with a loss {mean:.3f} higher (95 % interval {low:.3f} to "
            f"{high:.3f}){clear}"
        )
    rivals = [as_parameters(t.rescaling) for t in others if t.accuracy >= best.accuracy]
    if rivals:
        verb = "is" if len(rivals) == 1 else "are"
        sentences.append(f"But {' and '.join(rivals)} {verb} as accurate, so the labels alone do not decide.")
    backwards = max((t.reversed_accuracy for t in trials if t.reversed_accuracy is not None), default=0.0)
    if backwards > max(t.accuracy for t in trials):
        sentences.append(f"With the two classes exchanged accuracy would reach {backwards:.3f}: is the order right?")
    return " ".join(sentences)


def spelt(rescaling: Rescaling) -> str:
    """A rescaling in a few letters: its name, and the order of channels where it is not the usual one."""
    return rescaling.name + ("" if _usual(rescaling) else f", {rescaling.order}")


def as_parameters(rescaling: Rescaling) -> str:
    """The parameters that choose a rescaling, as messages name them."""
    order = "" if _usual(rescaling) else f" `channels='{rescaling.order}'`"
    return f"`rescale='{rescaling.name}'`{order}"


def _usual(rescaling: Rescaling) -> bool:
    return rescaling.order == find_rescaling(rescaling.name).order
