"""The processes that train together, by accelerate: which this is, on which device, and what they do in common.

Started by `accelerate launch -m pellucid train ...` or `torchrun`, each process finds its rank and device in its
environment; started plainly there is one. Half precision stays torch's own autocast: the loop evaluates in float32,
as the exported graph will run, and accelerate would wrap the module for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import nn

from .batches import ALONE, ProcessShare

# Features of a large set take longer than the ten minutes after which processes that wait give up by default.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """One process among those that train together. `accelerator` is None where there is one only."""

    device: torch.device
    accelerator: Any = None

    @classmethod
    def join(cls, device: torch.device) -> Processes:
        """The processes that a launcher started, this one among them; alone on `device` when there was no launcher."""
        import os

        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls(device)
        from accelerate import Accelerator, InitProcessGroupKwargs

        accelerator = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
        return cls(accelerator.device, accelerator)

    @property
    def share(self) -> ProcessShare:
        """The rank of this process, and how many there are."""
        if self.accelerator is None:
            return ALONE
        return ProcessShare(self.accelerator.process_index, self.accelerator.num_processes)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.share.rank == 0

    def wait(self) -> None:
        """Hold until every process has come here."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The body in the first process, then in the others, which find what the first one made."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def shared(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are averaged over the processes; on GPUs its batch statistics are in common too."""
        if not self.accelerator:
            return module
        if self.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        wrapped: nn.Module = self.accelerator.prepare_model(module)
        return wrapped

    def without_exchange(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """The context of a backward pass: gradients are exchanged at the `last` batch of a step only."""
        return nullcontext() if last or not self.accelerator else self.accelerator.no_sync(module)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over the processes."""
        if not self.accelerator:
            return value
        summed: torch.Tensor = self.accelerator.reduce(value, reduction="sum")
        return summed

    def gathered(self, block: torch.Tensor, count: int) -> torch.Tensor:
        """All `count` rows, of which this process has its block in order, in every process."""
        if not self.accelerator:
            return block
        sizes = [len(part) for part in np.array_split(np.arange(count), self.share.processes)]
        padded = block.new_zeros((max(sizes), *block.shape[1:]))
        padded[: len(block)] = block
        parts = self.accelerator.gather(padded.to(self.device)).to(block.device).split(max(sizes))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @torch.no_grad()
    def in_step(self, module: nn.Module) -> None:
        """Give every process the mean of their batch statistics, so that all evaluate the same module."""
        if not self.accelerator:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.accelerator.reduce(buffer.clone(), reduction="mean"))


def plain_batch_norm(module: nn.Module) -> None:
    """Make the normalisations that processes had in common plain again, in place: the parts of an export know those."""
    for name, child in module.named_children():
        if isinstance(child, nn.SyncBatchNorm):
            plain = nn.BatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
            for own in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "training"):
                setattr(plain, own, getattr(child, own))
            setattr(module, name, plain)
        else:
            plain_batch_norm(child)
