"""Occlusion: what the score loses when a window of the image is hidden. Zeiler and Fergus 2014, arXiv:1311.2901."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..preprocessing import FloatArray
from .cost import Cost
from .maps import Answer
from .masking import Hiding, Subject, check_between, explain_each


@dataclass(frozen=True, slots=True, kw_only=True)
class OcclusionSettings(Hiding):
    """How the window slides: its sides and its steps as shares of the image's sides (at 224 pixels: 32 by 32, and 16).

    The steps may not be longer than the window, or pixels would be left out.
    """

    window: float = 1 / 7
    stride: float = 1 / 14

    def __post_init__(self) -> None:
        Hiding.__post_init__(self)
        check_between("window", self.window, 0, 1)
        check_between("stride", self.stride, 0, 1)
        if self.stride > self.window:
            raise InputError(f"stride must be at most the window ({self.window:.4g}), not {self.stride:.4g}.")


def in_pixels(side: int, settings: OcclusionSettings) -> tuple[int, int]:
    """The window and the step in pixels along a side of `side` pixels."""
    window = max(1, round(settings.window * side))
    return window, min(max(1, round(settings.stride * side)), window)


def window_count(length: int, window: int, stride: int) -> int:
    """How many windows cover `length` pixels."""
    return math.ceil(max(length - window, 0) / stride) + 1


def cost_of(settings: OcclusionSettings, size: tuple[int, int]) -> Cost:
    """One pass for the answer, one for the whole image and one for each window."""
    return Cost(2 + math.prod(window_count(side, *in_pixels(side, settings)) for side in size))


def windows(length: int, window: int, stride: int) -> npt.NDArray[np.bool_]:
    """Which of `length` pixels lie in each window, (windows, length); the last window is cut off at the border."""
    starts = np.arange(window_count(length, window, stride)) * stride
    pixels = np.arange(length)
    return (pixels >= starts[:, None]) & (pixels < starts[:, None] + window)


def explain_one(subject: Subject, settings: OcclusionSettings) -> Answer:
    """Map (T, h, w) of one image: the loss in score, averaged over the windows that cover a pixel."""
    window, stride = zip(*(in_pixels(side, settings) for side in subject.size), strict=True)
    down, across = (windows(*sides) for sides in zip(subject.size, window, stride, strict=True))
    count = len(down) * len(across)
    row, column = np.divmod(np.arange(count), len(across))

    def masks() -> Iterator[FloatArray]:
        yield np.ones((1, *subject.size), np.float32)
        for chunk in subject.slices(0, count):
            yield np.subtract(1, down[row[chunk], :, None] & across[column[chunk], None, :], dtype=np.float32)

    scores = np.concatenate([found for _, found in subject.answers(masks())])
    losses = scores[0] - scores[1:]
    grid = losses.T.reshape(-1, len(down), len(across))
    sums = down.T.astype(np.float32) @ grid @ across.astype(np.float32)
    values = sums / np.outer(down.sum(axis=0), across.sum(axis=0)).astype(np.float32)
    return values, {"samples": count + 1, "window_pixels": list(window), "stride_pixels": list(stride)}


occlusion = explain_each(explain_one)
