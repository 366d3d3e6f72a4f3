"""Made-up pictures, on which a model can be tried when there are no images."""

from __future__ import annotations

import numpy as np

from ..preprocessing import Uint8Array


def made_up_pictures(images: int, size: tuple[int, int], seed: int = 0) -> Uint8Array:
    """Smooth coloured patterns with some noise, (images, height, width, 3) uint8: nearer to photographs than noise."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(0, 1, length, dtype=np.float32) for length in size)
    waves = np.zeros((images, *size, 3), np.float32)
    for frequency in (1, 2, 4, 8, 16):
        phase = rng.uniform(0, 2 * np.pi, (images, 1, 1, 3, 2)).astype(np.float32)
        along = np.sin(2 * np.pi * frequency * rows[None, :, None, None] + phase[..., 0])
        across = np.sin(2 * np.pi * frequency * columns[None, None, :, None] + phase[..., 1])
        waves += along * across / frequency
    noisy = 128 + 60 * waves + rng.normal(0, 8, waves.shape)
    pictures: Uint8Array = np.clip(noisy, 0, 255).astype(np.uint8)
    return pictures
