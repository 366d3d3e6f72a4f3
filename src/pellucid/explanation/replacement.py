"""What a hidden pixel becomes. No choice is neutral (black is itself evidence on an X-ray), so it is recorded."""

from __future__ import annotations

import numpy as np

from ..errors import UnknownNameError
from ..preprocessing import FloatArray, Preprocessing

REPLACEMENTS = ("blur", "mean", "grey", "noise", "black")

LEVELS = {"grey": np.float32(127.5), "black": np.float32(0)}
"""Pixel values that a whole image is set to."""

BLUR_SHARE = 1 / 20
"""Standard deviation of the blur over the longer side of the input."""


def check_replacement(kind: str) -> None:
    """UnknownNameError for a replacement that is not offered."""
    if kind not in REPLACEMENTS:
        raise UnknownNameError("replacement", kind, REPLACEMENTS, f"Choose from {', '.join(REPLACEMENTS)}.")


def replaced(batch: FloatArray, preprocessing: Preprocessing, kind: str, seed: int = 0) -> FloatArray:
    """Tensors (N, 3, h, w) as they are with every pixel hidden, each from its own image, same shape, float32.

    `blur` is the image under a Gaussian blur of a twentieth of its longer side; `mean` its mean colour; `grey` the grey
    half-way between black and white (127.5 of 255) and `black` is 0; `noise` its own pixels in random order, the same
    order for every image. Raises UnknownNameError for any other.
    """
    check_replacement(kind)
    if kind == "blur":
        from scipy.ndimage import gaussian_filter

        deviation = BLUR_SHARE * max(batch.shape[2:])
        return np.asarray(gaussian_filter(batch, (0, 0, deviation, deviation), mode="reflect", truncate=3.0))
    if kind == "mean":
        means = batch.mean(axis=(2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
        return np.broadcast_to(means, batch.shape).copy()
    if kind in LEVELS:
        factor, shift = preprocessing.factor_and_shift()
        return np.broadcast_to((LEVELS[kind] * factor + shift)[:, None, None], batch.shape).astype(np.float32)
    order = np.random.default_rng(seed).permutation(batch.shape[2] * batch.shape[3])
    return np.ascontiguousarray(batch.reshape(*batch.shape[:2], -1)[:, :, order]).reshape(batch.shape)
