"""SmoothGrad: saliency of the mean gradient over noisy copies of an image. Smilkov et al. 2017, arXiv:1706.03825."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..preprocessing import FloatArray
from .gradients import GradientSettings, Sloped, explain_each_gradient, per_grey_level, strongest_colour
from .maps import Answer
from .masking import check_at_least, check_between


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothGradSettings(GradientSettings):
    """`samples` noisy copies, the noise's deviation being the share `noise` of the image's range of values."""

    samples: int = 64
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        GradientSettings.__post_init__(self)
        check_at_least("samples", self.samples, 2)
        check_between("noise", self.noise, 0, 1)
        check_at_least("seed", self.seed, 0)


def explain_one(subject: Sloped, settings: SmoothGradSettings) -> Answer:
    """Map (T, h, w) of one image, at least 0: the largest magnitude over colours of the mean gradient, per grey level.

    The class is that of the image itself under every noise. The remark has, per target, the typical (root mean square)
    standard error of the mean gradient over the typical size of the mean itself: near 1, noise is all there is to see.
    """
    random = np.random.default_rng(settings.seed)
    deviation = np.float32(settings.noise * float(np.ptp(subject.image)))
    total: FloatArray = np.zeros((len(subject.targets), *subject.image.shape), np.float32)
    squares = np.zeros(len(subject.targets))
    step = subject.at_a_time(len(subject.targets))
    for start in range(0, settings.samples, step):
        count = min(step, settings.samples - start)
        # The same draws whatever the size of a chunk: single numbers follow each other.
        noise: FloatArray = deviation * random.standard_normal((count, *subject.image.shape), np.float32)
        gradients = subject.ask(subject.image + noise, subject.targets).gradients
        total += gradients.sum(axis=0)
        squares += np.square(gradients).sum(axis=(0, 2, 3, 4), dtype=np.float64)
    mean: FloatArray = np.asarray(total / settings.samples, np.float32)
    size = np.square(mean).sum(axis=(1, 2, 3), dtype=np.float64)
    scatter = np.maximum(squares / settings.samples - size, 0) / (settings.samples - 1)
    error = np.sqrt(np.divide(scatter, size, out=np.zeros_like(size), where=size > 0))
    return strongest_colour(per_grey_level(mean, subject.classifier.preprocessing)), {
        "targets": {
            name: {"relative_standard_error": float(f"{e:.3g}")} for name, e in zip(subject.targets, error, strict=True)
        }
    }


smooth_grad = explain_each_gradient(explain_one, "smooth-grad")
