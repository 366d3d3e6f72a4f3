"""Whether frozen layers run once: how much that keeps on disk, what it saves, whether it pays and fits."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..recipe_sections import TrainSection
from .batches import ImageBatches
from .cutting import Cut
from .features import Precision, measure
from .hardware import autocast

# Operations that a device does while a disk gives a byte: features that cost less are not worth keeping.
WORTH = {"cpu": 200.0, "mps": 2_000.0, "cuda": 10_000.0}
SPARE = 0.9


@dataclass(frozen=True, slots=True)
class Caching:
    """The plan: how many views of each training image are kept (0: none), and that in words for people."""

    views: int
    words: str
    bytes: int = 0
    seconds: float = 0.0


class Counts(NamedTuple):
    """How many images are kept in all their views, how many as they are, and how many an epoch goes through."""

    training: int
    plain: int
    an_epoch: int


def plan_caching(
    cut: Cut | str, train: ImageBatches, counts: Counts, section: TrainSection, folder: Path, *, timed: bool = True
) -> Caching:
    """Decide whether to keep what the frozen layers give.

    With `train.cache = "auto"` it is kept where it runs layers less often than training would, costs enough operations
    for its bytes, and fits on the disk of `folder`. The decision depends on the network, the numbers of images and
    epochs, the kind of device and the disk, never on a clock, so that a run can be repeated; only the seconds in the
    plan's words are measured, where they are wanted (`timed`).
    """
    if section.cache == "never" or cut == "no layer is frozen":
        return Caching(0, "")
    if isinstance(cut, str):
        return Caching(0, f"The frozen layers run in every epoch: {cut}.")
    device = train.device
    example = torch.zeros(1, 3, train.preprocessing.height, train.preprocessing.width, device=device)
    cut.frozen.to(device)
    fast = measure(cut.frozen, example, section.precision)
    exact = measure(cut.frozen, example, "float32")
    views = section.cached_views if train.augmentation.active or train.hiding is not None else 1
    images = counts.training
    size = views * images * fast.bytes + counts.plain * exact.bytes
    passes, once = section.epochs * counts.an_epoch, views * images + counts.plain
    free = shutil.disk_usage(folder).free
    where = f"{_bytes(size)} in {folder.parent}"
    if section.cache == "auto":
        if once >= passes:
            return Caching(0, "")
        if fast.operations < WORTH.get(device.type, WORTH["cuda"]) * fast.bytes:
            return Caching(0, "")
    if timed and size > SPARE * free:
        lacking = f"they would need {where}, where {_bytes(free)} are free"
        return Caching(0, f"The frozen layers run in every epoch: {lacking}.")
    seconds = _seconds(cut.frozen, example, section.precision, train.batch_size) if timed else 0.0
    of_each = f"for each of {views} views of " if views > 1 else "for "
    words = f"The layers up to {cut.layer} are frozen: they run once {of_each}{images:,} training images ({where})"
    saved = (passes - once) * seconds
    words += f", which saves about {_duration(saved)} over {section.epochs} epochs." if saved > 0 else "."
    return Caching(views, words, size, saved)


@torch.inference_mode()
def _seconds(frozen: nn.Module, example: torch.Tensor, precision: Precision, batch_size: int) -> float:
    """Seconds that the frozen layers take for an image, measured on one batch after another that does not count."""
    batch = example.expand(min(batch_size, 16), -1, -1, -1).contiguous(memory_format=torch.channels_last)
    frozen.eval()
    with autocast(example.device, precision):
        for counts in (False, True):
            began = time.perf_counter()
            float(frozen(batch).flatten()[0])
            if counts:
                return (time.perf_counter() - began) / len(batch)
    raise AssertionError


def _bytes(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
