"""Frozen layers run once: what they give for several augmented views of each image, kept as one array."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .hardware import autocast, out_of_memory_named
from .rows import Features

if TYPE_CHECKING:
    from ..models.network import Network
    from .batches import ImageBatches

Precision = Literal["auto", "float32", "bf16"]
# NumPy has no bfloat16: its bits are kept as whole numbers.
STORED: dict[torch.dtype, type] = {torch.float32: np.float32, torch.bfloat16: np.uint16, torch.float16: np.float16}


@dataclass(frozen=True, slots=True)
class Shape:
    """What one image gives: the shape and type of its features, and the operations that they cost."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    operations: float

    @property
    def bytes(self) -> int:
        """Bytes of one view of one image."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@torch.inference_mode()
def measure(frozen: nn.Module, example: torch.Tensor, precision: Precision) -> Shape:
    """What `frozen` gives for an image, from an `example` (1, 3, H, W), and the operations that it takes."""
    from torch.utils.flop_counter import FlopCounterMode

    frozen.eval()
    with autocast(example.device, precision), FlopCounterMode(display=False) as counter:
        given = frozen(example)
    return Shape(tuple(given.shape[1:]), given.dtype, float(counter.get_total_flops()))


def store_features(
    frozen: nn.Module,
    batches: ImageBatches,
    path: Path,
    *,
    views: int,
    precision: Precision,
    advance: Callable[[int, int], None],
    wait: Callable[[], None] = lambda: None,
) -> Features:
    """Run `frozen` on every view of every image into a file at `path`, or take the file that is there.

    View 0 is the image as it is, the others are augmented. Features keep the type in which the layers give them, so
    that training on them is training on the images. Where several processes train, the views are shared out;
    `wait` holds until all have come to it. The file gets its name when it is whole.
    """
    frozen.to(batches.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    count, share = len(batches.labels), batches.share
    example = batches.preprocessing.normalise(np.zeros((1, *batches.pixels.shape[1:]), np.uint8))
    size = measure(frozen, torch.from_numpy(example).to(batches.device), precision)
    shape, kind = (views * count, *size.shape), STORED[size.dtype]
    if not path.is_file():
        draft = path.with_name(path.name + ".part")
        if share.rank == 0:
            with draft.open("wb") as file:
                _reserve(file.fileno(), views * count * size.bytes)
        wait()
        with draft.open("r+b") as file:
            for view in range(share.rank, views, share.processes):
                _fill(frozen, batches, file, view, views, size, precision, advance)
        wait()
        if share.rank == 0:
            draft.rename(path)
        wait()
    return Features(np.memmap(path, kind, "r", shape=shape), size.dtype, views, count)


def _reserve(file: int, size: int) -> None:
    """Take the room on the disk now, so that a disk that is too full says so before hours have gone by."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, max(1, size))
    else:
        os.truncate(file, size)


@torch.inference_mode()
def _fill(
    frozen: nn.Module,
    batches: ImageBatches,
    file: BinaryIO,
    view: int,
    views: int,
    size: Shape,
    precision: Precision,
    advance: Callable[[int, int], None],
) -> None:
    """Write one view of every image."""
    count, done = len(batches.labels), 0
    whole = batches.alone()
    order = np.arange(count) if view == 0 else whole.order(view)
    for inputs, labels in whole.in_order() if view == 0 else whole.shuffled(view):
        with out_of_memory_named(len(labels)), autocast(batches.device, precision):
            values = frozen(inputs).contiguous().cpu()
        bits = values.view(torch.uint16) if values.dtype == torch.bfloat16 else values
        for row, image in zip(bits.numpy(), order[done : done + len(labels)].tolist(), strict=True):
            file.seek((view * count + image) * size.bytes)
            file.write(row.tobytes())
        done += len(labels)
        advance(view * count + done, views * count)


def frozen_features(
    network: Network,
    batches: ImageBatches,
    *,
    advance: Callable[[int, int], None],
) -> npt.NDArray[np.float32]:
    """Pooled features (N, D) float32 of each image as it is, from a whole backbone."""
    # Before inference mode, in which parameters that move could never train again.
    network.to(batches.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    found: list[npt.NDArray[np.float32]] = []
    done = 0
    for inputs, labels in batches.in_order():
        with torch.inference_mode(), out_of_memory_named(len(labels)):
            found.append(network.features(inputs).float().cpu().numpy())
        done += len(labels)
        advance(done, len(batches.labels))
    return np.concatenate(found)
