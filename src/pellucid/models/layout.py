"""How the output of a layer lies on the image: feature maps, maps with the channels last, or a transformer's tokens.

Convolutions give (N, C, h, w), Swin and its kind (N, h, w, C), plain transformers (N, prefix + h * w, C), where the
tokens of the prefix (class token, registers) stand for no place. Some layers give several tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Grid = tuple[int, int]
MOST_PREFIX = 32
"""Class token and registers of a transformer; no known one has more."""

MOST_PREFIX_UNSEEN = 2
"""The same where no convolution has shown the grid, and its size is guessed from the image's proportions."""


@dataclass(frozen=True)
class Layout:
    """The place of a feature map in a layer's output; `element` is its index where that is a tuple or list.

    The grid of tokens is `guessed` where no convolution has shown it: as many tokens may be parts of the image, or not.
    """

    kind: Literal["channels first", "channels last", "tokens"]
    grid: Grid
    prefix: int = 0
    element: int | None = None
    guessed: bool = False

    def maps(self, tensor: torch.Tensor) -> torch.Tensor:
        """The layer's tensor as feature maps (N, C, h, w)."""
        if self.kind == "channels first":
            return tensor
        if self.kind == "channels last":
            return tensor.permute(0, 3, 1, 2)
        patches = tensor[:, self.prefix :].transpose(1, 2)
        return patches.reshape(patches.shape[0], patches.shape[1], *self.grid)

    def tensor(self, maps: torch.Tensor) -> torch.Tensor:
        """Feature maps (N, C, h, w) as the layer gives them; ValueError where a prefix would be missing."""
        if self.kind == "channels first":
            return maps
        if self.kind == "channels last":
            return maps.permute(0, 2, 3, 1)
        if self.prefix:
            raise ValueError("tokens without a place cannot be made from feature maps")
        return maps.flatten(2).transpose(1, 2)

    def of(self, output: Any) -> torch.Tensor:
        """The tensor of the map in a layer's output."""
        chosen: torch.Tensor = output if self.element is None else output[self.element]
        return chosen


class Grids:
    """What is known of the grids of a model for images of `size`: (height, width) of maps that convolutions gave."""

    def __init__(self, model: nn.Module, size: Sequence[int]) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.seen: dict[Grid, None] = {}
        self.prefixes: dict[int, None] = {}
        for module in model.modules():
            self._note(module)

    def _note(self, module: nn.Module) -> None:
        """Timm's patch embeddings say their grid, its transformers how many tokens stand for no place."""
        for name in ("grid", "grid_size"):
            grid = getattr(module, name, None)
            if isinstance(grid, tuple) and len(grid) == 2 and all(isinstance(n, int) for n in grid):
                self.seen[grid] = None
        for name in ("prefix", "num_prefix_tokens"):
            prefix = getattr(module, name, None)
            if isinstance(prefix, int):
                self.prefixes[prefix] = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """While open, the grid of each convolution's output is noted."""

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                self.seen[(int(output.shape[2]), int(output.shape[3]))] = None

        handles = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def layout(self, output: Any) -> Layout | None:
        """The layout of a layer's output; of several tensors the last that is a map. None where none is."""
        if isinstance(output, torch.Tensor):
            return self._of_tensor(output, None)
        if isinstance(output, tuple | list):
            for element in reversed(range(len(output))):
                if isinstance(output[element], torch.Tensor) and (found := self._of_tensor(output[element], element)):
                    return found
        return None

    def _of_tensor(self, tensor: torch.Tensor, element: int | None) -> Layout | None:
        if not tensor.is_floating_point():
            return None
        if tensor.ndim == 4:
            _, a, b, c = (int(n) if i else 0 for i, n in enumerate(tensor.shape))
            first = (b, c) in self.seen or self._fits((b, c)) or not self._fits((a, b))
            return (
                Layout("channels first", (b, c), 0, element) if first else Layout("channels last", (a, b), 0, element)
            )
        if tensor.ndim == 3:
            return self._tokens(int(tensor.shape[1]), element)
        return None

    def _tokens(self, count: int, element: int | None) -> Layout | None:
        """The grid of a number of tokens: with a prefix that the model states, else with the smallest that fits."""
        for prefix in self.prefixes:
            for grid in self.seen:
                if grid[0] * grid[1] == count - prefix > 1:
                    return Layout("tokens", grid, prefix, element)
        for prefix in range(min(MOST_PREFIX, count - 2) + 1):
            guessed = self._guesses(count - prefix) if prefix <= MOST_PREFIX_UNSEEN else ()
            for grid in (*self.seen, *guessed):
                if grid[0] * grid[1] == count - prefix:
                    return Layout("tokens", grid, prefix, element, guessed=grid not in self.seen)
        return None

    def _guesses(self, cells: int) -> Iterable[Grid]:
        """Grids of a number of cells with the proportions of the image."""
        return [
            (height, cells // height)
            for height in range(1, cells + 1)
            if cells % height == 0 and cells > 1 and self._fits((height, cells // height))
        ]

    def _fits(self, grid: Grid) -> bool:
        """Whether a grid has the proportions of the image, within the rounding of half a cell."""
        (h, w), (height, width) = grid, self.size
        return h <= height and w <= width and 2 * abs(h * width - w * height) <= max(height, width)
