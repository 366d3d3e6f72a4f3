"""Stand-ins for unusual images, made from a model's own: what a detector of unusual images is chosen by.

Nobody knows what will be sent. What is known is what must not pass: noise, textures, small parts of an image, images
whose parts are shuffled or whose colours are inverted, and the model's own images as a far device would give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..preprocessing import Uint8Array
from .detectors import OutsideDetector
from .intervals import Values

EACH = 40
"""Stand-ins of each kind."""


def stand_ins(images: Uint8Array, seed: int = 0) -> dict[str, Uint8Array]:
    """Stand-ins by kind, as many of each as there are `images` (N, height, width, 3), which are resized images."""
    rng = np.random.default_rng(seed)
    return {name: np.stack([make(image, rng) for image in images]) for name, make in _KINDS.items()}


def _noise(image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """Noise of a random grain, with the image's mean and contrast."""
    height, width = image.shape[:2]
    grain = int(rng.integers(1, max(2, height // 8)))
    small = rng.normal(size=(-(-height // grain), -(-width // grain), 1))
    wide = np.kron(small, np.ones((grain, grain, 1)))[:height, :width]
    return _pixels(image.mean(axis=(0, 1)) + (image.std() + 20) * wide)


def _texture(image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """A grating, rings or a checkerboard in two colours of the image."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] / max(height, width)
    turned = rng.uniform(0, np.pi)
    waves = rng.uniform(4, 24)
    kind = int(rng.integers(3))
    along = np.cos(turned) * x + np.sin(turned) * y
    across = -np.sin(turned) * x + np.cos(turned) * y
    phase = np.hypot(x - rng.random(), y - rng.random()) if kind == 1 else along
    wave = np.sin(2 * np.pi * waves * phase)
    wave = wave * np.sin(2 * np.pi * waves * across) if kind == 2 else wave
    flat = image.reshape(-1, 3)
    one, two = (flat[int(rng.integers(len(flat)))].astype(float) for _ in range(2))
    return _pixels(one + (two - one) * (wave[..., None] + 1) / 2)


def _crop(image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """A small part of the image, enlarged."""
    height, width = image.shape[:2]
    share = rng.uniform(0.1, 0.25)
    rows, columns = (min(side, max(4, round(share * side))) for side in (height, width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return _resized(image[top : top + rows, left : left + columns], height, width)


def _shuffled(image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """The image's parts in another order."""
    height, width = image.shape[:2]
    cells = 4
    rows, columns = height // cells, width // cells
    if not rows or not columns:
        return image[::-1, ::-1].copy()
    parts = [
        image[r * rows : (r + 1) * rows, c * columns : (c + 1) * columns] for r in range(cells) for c in range(cells)
    ]
    order = rng.permutation(cells * cells)
    lines = [np.concatenate([parts[k] for k in order[r * cells : (r + 1) * cells]], axis=1) for r in range(cells)]
    return _resized(np.concatenate(lines), height, width)


def _inverted(image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """The image as a negative."""
    return (255 - image).astype(np.uint8)


def _faded(image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """The image through another window and another gamma, as a far device or reader shows it."""
    low, high = rng.uniform(-0.25, 0.1), rng.uniform(0.7, 1.3)
    power = float(np.exp(rng.choice([-1, 1]) * rng.uniform(0.3, 0.7)))
    return _pixels(255 * np.clip((image / 255 - low) / (high - low), 0, 1) ** power)


def _worn(image: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """The image enlarged from a small size, with grain: what a poor copy leaves of it."""
    height, width = image.shape[:2]
    share = rng.uniform(0.3, 0.6)
    small = _resized(image, max(2, round(share * height)), max(2, round(share * width)))
    return _pixels(_resized(small, height, width) + rng.normal(0, rng.uniform(2, 8), (height, width, 1)))


def _resized(image: Uint8Array, height: int, width: int) -> Uint8Array:
    import PIL.Image

    return np.asarray(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR))


def _pixels(values: npt.NDArray[Any]) -> Uint8Array:
    found: Uint8Array = np.clip(np.round(values), 0, 255).astype(np.uint8)
    return np.broadcast_to(found, (*found.shape[:2], 3)).copy()


_KINDS: dict[str, Callable[[Uint8Array, np.random.Generator], Uint8Array]] = {
    "noise": _noise,
    "texture": _texture,
    "crop": _crop,
    "shuffled": _shuffled,
    "inverted": _inverted,
    "faded": _faded,
    "worn": _worn,
}


def area_under_flag(home: Values, away: Values) -> float:
    """The area under the ROC curve of distances: how likely an image of `away` is farther than one of `home`."""
    order = np.concatenate([home, away])
    from scipy.stats import rankdata

    ranks = rankdata(order)[len(home) :]
    return float((ranks.sum() - len(away) * (len(away) + 1) / 2) / (len(home) * len(away)))


def best_detector(
    candidates: Mapping[str, OutsideDetector],
    home: tuple[npt.ArrayLike, npt.ArrayLike],
    away: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    others: str = "",
) -> tuple[str, dict[str, dict[str, float]]]:
    """The candidate with the highest mean area over kinds of images, and all areas {candidate: {kind: area}}.

    `home` and each of `away` are features (N, C) and logits (N, L) of validation images and of stand-ins by kind. The
    kind `others`, images that the user gave, counts as much as all stand-ins together. Raises InputError without kinds.
    """
    if not away:
        raise InputError("A detector is chosen by stand-ins for unusual images, and none are given.")
    measured = {}
    for name, detector in candidates.items():
        near = detector.distances(*home)
        measured[name] = {kind: area_under_flag(near, detector.distances(*images)) for kind, images in away.items()}
    weights = {kind: float(len(away) - 1) if kind == others and len(away) > 1 else 1.0 for kind in away}
    mean = {name: sum(weights[k] * area for k, area in of.items()) for name, of in measured.items()}
    return max(mean, key=mean.__getitem__), measured
