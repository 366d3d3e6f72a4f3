"""Batches for the loop: from decoded images, or from features that a frozen backbone gave once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..preprocessing import Preprocessing, Uint8Array
from ..recipe import AugmentSection
from .augmentation import augment

Batch = tuple[torch.Tensor, torch.Tensor]
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]


class Batches(Protocol):
    """Inputs and labels, in a new random order each training epoch and in the order given for validation."""

    labels: Labels

    @property
    def steps(self) -> int:
        """Number of batches in a training epoch."""
        ...

    def shuffled(self, epoch: int) -> Iterator[Batch]: ...

    def in_order(self) -> Iterator[Batch]: ...


def _order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _starts(count: int, size: int) -> list[int]:
    """Where chunks of `size` begin; a last item on its own joins its neighbours, as batch normalisation needs two."""
    starts = list(range(0, count, size))
    return starts[:-1] if len(starts) > 1 and count - starts[-1] == 1 else starts


def _chunks(order: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    starts = _starts(len(order), size)
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield order[start:end]


@dataclass
class ImageBatches:
    """Images (height, width, 3) uint8, normalised and, when shuffled, augmented on the fly.

    Image i is `pixels[rows[i]]`, so that several splits share one memory-mapped array. The epoch and the seed decide
    order and augmentation, so that a run can be continued in the middle.
    """

    pixels: Uint8Array
    rows: Rows
    labels: Labels
    preprocessing: Preprocessing
    augmentation: AugmentSection
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Number of batches in a training epoch."""
        return len(_starts(len(self.labels), self.batch_size))

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order (N,) in which `shuffled` gives the images of an epoch."""
        return _order(len(self.labels), self.seed, epoch)

    def shuffled(self, epoch: int) -> Iterator[Batch]:
        """One training epoch, augmented, in random order."""
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0]))
        for chosen in _chunks(self.order(epoch), self.batch_size):
            changed = augment(self._unit(chosen), self.augmentation, generator)
            yield self._normalise(changed), torch.from_numpy(self.labels[chosen])

    def in_order(self) -> Iterator[Batch]:
        """Every image once, unchanged, in the order given."""
        for chosen in _chunks(np.arange(len(self.labels)), self.batch_size):
            yield self._normalise(self._unit(chosen)), torch.from_numpy(self.labels[chosen])

    def _unit(self, chosen: npt.NDArray[np.int64]) -> torch.Tensor:
        # Sorted reading keeps a memory-mapped array's pages in order.
        wanted = self.rows[chosen]
        rank = np.argsort(np.argsort(wanted))
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels[np.sort(wanted)][rank]))
        return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)

    def _normalise(self, unit: torch.Tensor) -> torch.Tensor:
        factor, shift = (torch.from_numpy(v)[:, None, None] for v in self.preprocessing.factor_and_shift())
        return (unit * (255 * factor) + shift).contiguous(memory_format=torch.channels_last)


@dataclass
class FeatureBatches:
    """Features (V, N, D) of V augmented views of each image; each epoch draws one view of each at random.

    View 0 is the image as it is, and the only one used in order.
    """

    features: npt.NDArray[np.float32]
    labels: Labels
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Number of batches in a training epoch."""
        return len(_starts(len(self.labels), self.batch_size))

    def shuffled(self, epoch: int) -> Iterator[Batch]:
        """One training epoch in random order."""
        views = np.random.default_rng((self.seed, epoch, 1)).integers(len(self.features), size=len(self.labels))
        for chosen in _chunks(_order(len(self.labels), self.seed, epoch), self.batch_size):
            yield torch.from_numpy(self.features[views[chosen], chosen]), torch.from_numpy(self.labels[chosen])

    def in_order(self) -> Iterator[Batch]:
        """Every image once, view 0, in the order given."""
        for chosen in _chunks(np.arange(len(self.labels)), max(self.batch_size, 256)):
            yield torch.from_numpy(self.features[0, chosen]), torch.from_numpy(self.labels[chosen])
