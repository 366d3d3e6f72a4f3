"""Frozen layers run once: the features of a frozen backbone, for several augmented views of each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from ..models.network import Network
from .batches import ImageBatches
from .hardware import autocast
from .loop import out_of_memory_named


@torch.inference_mode()
def frozen_features(
    network: Network,
    batches: ImageBatches,
    *,
    views: int,
    precision: Literal["auto", "float32", "bf16"],
    device: torch.device,
    advance: Callable[[int, int], None],
) -> npt.NDArray[np.float32]:
    """Pooled features (V, N, D) float32. View 0 is the image as it is, computed in float32; the others are augmented.

    By themselves these run in bfloat16 where that is fast: its noise is far below that of the augmentation.
    """
    network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    count = len(batches.labels)
    found: npt.NDArray[np.float32] | None = None
    for view in range(views):
        order = np.arange(count) if view == 0 else batches.order(view)
        stream = batches.in_order() if view == 0 else batches.shuffled(view)
        done = 0
        for inputs, labels in stream:
            with out_of_memory_named(len(labels)), autocast(device, "float32" if view == 0 else precision):
                values = network.features(inputs.to(device)).float().cpu().numpy()
            if found is None:
                found = np.empty((views, count, values.shape[1]), np.float32)
            found[view, order[done : done + len(values)]] = values
            done += len(values)
            advance(view * count + done, views * count)
    if found is None:
        raise ValueError("no images")
    return found
