"""Batches for the loop: from decoded images, or from features that frozen layers gave once."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from ..evaluation.hiding import SignHiding
from ..preprocessing import Preprocessing, Uint8Array
from ..recipe_sections import AugmentSection
from .augmentation import change, draw_changes
from .rows import Features, RowReader

Batch = tuple[torch.Tensor, torch.Tensor]
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
Positions = npt.NDArray[np.int64]
Load = Callable[[Positions], torch.Tensor]
Finish = Callable[[torch.Tensor, int], torch.Tensor]


class ProcessShare(NamedTuple):
    """Which part of each batch this process takes: every `processes`-th image from number `rank` on."""

    rank: int = 0
    processes: int = 1


ALONE = ProcessShare()


class Batches(Protocol):
    """Inputs and labels, in a new random order each training epoch and in the order given for validation.

    Where several processes train, each sees its own share: of every batch when shuffled, a block of rows in order.
    """

    labels: Labels

    @property
    def steps(self) -> int:
        """Number of batches in a training epoch."""
        ...

    def shuffled(self, epoch: int) -> Iterator[Batch]: ...

    def in_order(self) -> Iterator[Batch]: ...


@dataclass(frozen=True, slots=True)
class Order:
    """In which batches the images of an epoch come: decided by seed and epoch, the same in every process.

    With `balanced` every class comes equally often, as often as makes up the number of images: those of a rare class
    several times, those of a frequent one in turns.
    """

    labels: Labels
    batch_size: int
    seed: int
    share: ProcessShare = ALONE
    sampling: Literal["natural", "balanced"] = "natural"

    def __post_init__(self) -> None:
        if len(self.labels) < self.share.processes:
            raise InputError(
                f"{len(self.labels)} images cannot be shared by {self.share.processes} processes: start fewer."
            )

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return len(self._starts())

    def of(self, epoch: int) -> Positions:
        """Positions (N,) in the order of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        count = len(self.labels)
        if self.sampling == "natural":
            return rng.permutation(count)
        classes = [np.flatnonzero(self.labels == c) for c in np.unique(self.labels)]
        drawn = []
        for rank, own in enumerate(classes):
            wanted = count // len(classes) + (rank < count % len(classes))
            turns = -(-wanted // len(own))
            drawn.append(np.concatenate([rng.permutation(own) for _ in range(turns)])[:wanted])
        return rng.permutation(np.concatenate(drawn))

    def chunks(self, order: Positions) -> Iterator[Positions]:
        """The order in batches, whole: each process takes its share of each."""
        starts = self._starts()
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            yield order[start:end]

    def mine(self) -> slice:
        """The share of a batch that is this process's."""
        return slice(self.share.rank, None, self.share.processes)

    def block(self) -> Positions:
        """The block of all images, in order, that is this process's."""
        return np.array_split(np.arange(len(self.labels)), self.share.processes)[self.share.rank]

    def _starts(self) -> list[int]:
        """Where batches begin; too small a last one joins its neighbour, as batch normalisation needs two images."""
        count, least = len(self.labels), max(2, self.share.processes)
        starts = list(range(0, count, self.batch_size))
        return starts[:-1] if len(starts) > 1 and count - starts[-1] < least else starts


class _Epochs(ABC):
    """What both kinds of batches share: the order of an epoch, the share of this process, and reading ahead."""

    labels: Labels
    batch_size: int
    seed: int
    share: ProcessShare
    sampling: Literal["natural", "balanced"]
    device: torch.device

    def __post_init__(self) -> None:
        self._order = Order(self.labels, self.batch_size, self.seed, self.share, self.sampling)

    @abstractmethod
    def _steps_of(self, epoch: int | None) -> tuple[Load, Finish]:
        """How to load the images at some positions, and how to finish what was loaded on the device.

        `finish` takes the loaded tensor and the number of images in the whole batch. Without an epoch every image comes
        unchanged.
        """

    @property
    def steps(self) -> int:
        """Number of batches in a training epoch."""
        return self._order.steps

    def order(self, epoch: int) -> Positions:
        """The order (N,) in which `shuffled` gives the images of an epoch."""
        return self._order.of(epoch)

    def shuffled(self, epoch: int) -> Iterator[Batch]:
        """One training epoch in random order."""
        return self._batches(self._order.chunks(self.order(epoch)), self._order.mine(), epoch)

    def in_order(self) -> Iterator[Batch]:
        """Every image once, unchanged, in the order given."""
        block, size = self._order.block(), self.batch_size
        return self._batches((block[start : start + size] for start in range(0, len(block), size)), slice(None), None)

    def _batches(self, chunks: Iterable[Positions], mine: slice, epoch: int | None) -> Iterator[Batch]:
        """Inputs and labels of this process's part of each chunk."""
        load, finish = self._steps_of(epoch)
        parts = ((load(chunk[mine]), chunk) for chunk in chunks)
        for loaded, chunk in ahead(parts, self.device):
            yield finish(loaded, len(chunk)), torch.from_numpy(self.labels[chunk[mine]])


@dataclass
class ImageBatches(_Epochs):
    """Images (height, width, 3) uint8, normalised and, when shuffled, augmented on the fly, on `device`.

    Image i is `pixels[rows[i]]`, so that several splits share one memory-mapped array. The epoch and the seed decide
    order and augmentation, so that a run can be continued in the middle. `hiding` changes the pixels before anything
    else, in order as well as shuffled.
    """

    pixels: Uint8Array
    rows: Rows
    labels: Labels
    preprocessing: Preprocessing
    augmentation: AugmentSection
    batch_size: int
    seed: int
    share: ProcessShare = ALONE
    sampling: Literal["natural", "balanced"] = "natural"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    hiding: SignHiding | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._read = RowReader(self.pixels)

    def alone(self) -> ImageBatches:
        """The same images for one process, each once an epoch."""
        return replace(self, share=ALONE, sampling="natural")

    def _steps_of(self, epoch: int | None) -> tuple[Load, Finish]:
        def load(chosen: Positions) -> torch.Tensor:
            rows = self.rows[chosen]
            pixels = self._read(rows)
            if self.hiding is not None:
                pixels = self.hiding.applied(pixels, rows, 0 if epoch is None else epoch)
            return _sent(torch.from_numpy(pixels), self.device)

        if epoch is None:
            return load, lambda pixels, count: self._normalise(self._unit(pixels))
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0]))
        mine, size = self._order.mine(), (self.preprocessing.height, self.preprocessing.width)

        def augmented(pixels: torch.Tensor, count: int) -> torch.Tensor:
            changes = draw_changes(count, size, self.augmentation, generator).of(mine)
            return self._normalise(change(self._unit(pixels), changes))

        return load, augmented

    def _unit(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)

    def _normalise(self, unit: torch.Tensor) -> torch.Tensor:
        factor, shift = (
            torch.from_numpy(v)[:, None, None].to(unit.device) for v in self.preprocessing.factor_and_shift()
        )
        return (unit * (255 * factor) + shift).contiguous(memory_format=torch.channels_last)


@dataclass
class FeatureBatches(_Epochs):
    """Features of V augmented views of each image; each epoch draws one view of each at random.

    Image i is `features` of row `rows[i]`. View 0 is the image as it is, and the only one used in order.
    """

    features: Features
    rows: Rows
    labels: Labels
    batch_size: int
    seed: int
    share: ProcessShare = ALONE
    sampling: Literal["natural", "balanced"] = "natural"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def _steps_of(self, epoch: int | None) -> tuple[Load, Finish]:
        views = np.zeros(len(self.labels), np.int64)
        if epoch is not None:
            views = np.random.default_rng((self.seed, epoch, 1)).integers(self.features.views, size=len(self.labels))

        def load(chosen: Positions) -> torch.Tensor:
            return _sent(self.features.read(views[chosen], self.rows[chosen]), self.device)

        return load, lambda features, count: features


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on its way to a device, by page-locked memory where that lets the copy run beside the computation."""
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def ahead(
    parts: Iterator[tuple[torch.Tensor, Positions]], device: torch.device, depth: int = 3
) -> Iterator[tuple[torch.Tensor, Positions]]:
    """The same parts, read a few ahead of their use by a thread; on a CPU, which has no time to spare, as they come."""
    if device.type == "cpu":
        yield from parts
        return
    waiting: queue.Queue[tuple[torch.Tensor, Positions] | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: tuple[torch.Tensor, Positions] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for part in parts:
                put(part)
            put(None)
        except BaseException as error:  # raised again where the parts are used
            put(error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
