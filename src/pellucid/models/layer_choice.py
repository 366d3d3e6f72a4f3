"""Which layer of a network to explain by default: the last feature map that decides, and that everything passes.

Behind the last block of a transformer that answers from its class token, no other token matters any more: the gradient
there is exactly 0, and a map would be empty. The tokens that enter that block are then the last that decide.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .evidence_graph import check_layer
from .layout import Grids, Layout

MOST_TRIED = 40
MOST_LAYERED = 3
"""Layers in one graph. Each earlier one makes the way back longer."""

LEAST_LAYERED = 2
NO_LAYERS_BEFORE = "no layer before the explained one gives a map that decides and that everything passes"
QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))
DISTINCT, ALIKE = 1.001, 0.01
"""A quarter of guessed tokens changes more than the others by this factor when its part of the image does. Where all
change alike within this share, nothing can be told."""

_PRIME = (1 << 61) - 1


@dataclass
class LayerCandidate:
    """A layer that gave a map once in a pass. `nodes` are autograd's nodes of its tensors."""

    name: str
    layout: Layout
    tensor: torch.Tensor
    nodes: tuple[Any, ...]


def last_deciding_layer(network: nn.Module, size: tuple[int, int], logits: int, skip: Mapping[str, bool]) -> str | None:
    """The name of the last layer of a frozen network that gives a map, decides, and is passed by everything.

    `skip` tells for names of layers whether they are passed over. None without such a layer.
    """
    tried = _without_zero_weights(network)
    found = [c for c in _candidates(tried, size, skip) if c.layout.grid[0] * c.layout.grid[1] > 1]
    for candidate in found[::-1][:MOST_TRIED]:
        if candidate.layout.guessed and not _lies_on_the_image(tried, candidate, size):
            continue
        try:
            check_layer(tried, tried.get_submodule(candidate.name), size, logits)
        except InputError:
            continue
        return candidate.name
    return None


def _lies_on_the_image(network: nn.Module, candidate: LayerCandidate, size: tuple[int, int]) -> bool:
    """Whether tokens are parts of the image, row by row: a quarter changes most where the image changes there.

    The steps of a recurrent layer, or the latent tokens of a Perceiver, can be as many as the cells of a square.
    """
    if min(candidate.layout.grid) < 2:
        return True
    kept: list[torch.Tensor] = []
    maps = candidate.layout.maps

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        kept.append(maps(candidate.layout.of(output))[0])

    halves = [(slice(0, n // 2), slice(n - n // 2, n)) for n in (*size, *candidate.layout.grid)]
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randn(2, 1, 3, *size, generator=generator)
    handle = network.get_submodule(candidate.name).register_forward_hook(keep)
    try:
        with torch.no_grad():
            network(first)
            for down, right in QUARTERS:
                image = first.clone()
                image[..., halves[0][down], halves[1][right]] = second[..., halves[0][down], halves[1][right]]
                network(image)
    finally:
        handle.remove()
    far = [(changed - kept[0]).abs().mean(dim=0) for changed in kept[1:]]
    moved = torch.stack([torch.stack([f[halves[2][d], halves[3][r]].mean() for d, r in QUARTERS]) for f in far])
    alike = moved / moved.mean(dim=1, keepdim=True).clamp_min(1e-30)
    if float((alike - 1).abs().max()) < ALIKE:  # every token says the same, as in some networks before training
        return True
    others = moved.masked_fill(torch.eye(len(QUARTERS), dtype=torch.bool), 0).amax(dim=1)
    return int((moved.diagonal() > DISTINCT * others).sum()) >= len(QUARTERS) - 1


def layered_names(network: nn.Module, size: tuple[int, int], last: str) -> tuple[str, ...]:
    """Layers of a frozen network whose maps are combined, from front to back; the explained layer `last` ends them.

    Before it come the last layers of the next finer grids. In a network with a single grid, such as a plain
    transformer, they are blocks at equal distances. Only maps that decide and that everything passes count.
    """
    tried = _without_zero_weights(network)
    found = [c for c in _candidates(tried, size, {}) if c.layout.element is None]
    found = [c for c in found if not c.layout.guessed or _lies_on_the_image(tried, c, size)]
    names = [c.name for c in found]
    if last not in names:
        return (last,)
    own, before = found[names.index(last)], found[: names.index(last)]
    chosen = _of_finer_grids(before, own) or _at_equal_distances(before, own)
    return (*chosen[-(MOST_LAYERED - 1) :], last)


def _of_finer_grids(before: list[LayerCandidate], own: LayerCandidate) -> list[str]:
    """The last candidate of each grid that is finer than the explained layer's, from front to back."""
    last: dict[int, str] = {}
    for candidate in before:
        cells = candidate.layout.grid[0] * candidate.layout.grid[1]
        if cells > own.layout.grid[0] * own.layout.grid[1]:
            last[cells] = candidate.name
    return [last[cells] for cells in sorted(last, reverse=True)]


def _at_equal_distances(before: list[LayerCandidate], own: LayerCandidate) -> list[str]:
    """Numbered layers (`blocks.5`) of the explained layer's grid, at equal distances from the front to it."""
    rows: dict[str, list[str]] = {}
    for candidate in before:
        row, _, number = candidate.name.rpartition(".")
        if number.isdigit() and candidate.layout.grid == own.layout.grid:
            rows.setdefault(row, []).append(candidate.name)
    longest = max(rows.values(), key=len, default=[])
    places = {len(longest) * i // MOST_LAYERED for i in range(1, MOST_LAYERED)}
    return [longest[place] for place in sorted(places) if place < len(longest)]


def _candidates(network: nn.Module, size: tuple[int, int], skip: Mapping[str, bool]) -> list[LayerCandidate]:
    """Layers that give a map once, from front to back: those whose map has a gradient, and that all paths cross.

    One pass forward and one back tell. In a network without any gradient (a step function) all are kept.
    """
    seen: dict[str, list[LayerCandidate]] = {}
    grids = Grids(network, size)
    handles = []
    for name, module in network.named_modules():

        def look(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            if (layout := grids.layout(output)) is not None:
                parts = [output] if layout.element is None else list(output)
                nodes = tuple(p.grad_fn for p in parts if isinstance(p, torch.Tensor) and p.grad_fn is not None)
                seen.setdefault(name, []).append(LayerCandidate(name, layout, layout.of(output), nodes))

        if name and not skip.get(name, False):
            handles.append(module.register_forward_hook(look))
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    try:
        with torch.enable_grad(), grids.watching(network):
            answer = network(image)
    finally:
        for handle in handles:
            handle.remove()
    once = [c[0] for c in seen.values() if len(c) == 1 and len(c[0].tensor) == 2]
    if answer.grad_fn is None:
        return once
    crossed = _crossed_by_all(answer.grad_fn, image)
    kept = [c for c in once if len(c.nodes) > 1 or (c.nodes and crossed(c.nodes[0]))]
    return _with_gradient(answer, kept) or kept


def _with_gradient(answer: torch.Tensor, candidates: list[LayerCandidate]) -> list[LayerCandidate]:
    """The candidates whose map the answer depends on."""
    weights = torch.randn(answer.shape, generator=torch.Generator().manual_seed(1))
    tensors = [c.tensor for c in candidates]
    if not tensors:
        return []
    gradients = torch.autograd.grad((answer * weights).sum(), tensors, allow_unused=True)
    return [
        candidate
        for candidate, gradient in zip(candidates, gradients, strict=True)
        if gradient is not None and bool(candidate.layout.maps(gradient).any())
    ]


def _crossed_by_all(root: Any, image: torch.Tensor) -> Any:
    """A function that tells of a node of autograd's graph whether every path from `root` to `image` crosses it.

    Paths are counted: as many as from the root to the node, times those from there on, are all that there are.
    """
    order = _in_order(root)
    down = {root: 1}  # paths from the root
    for node in order:
        for child, _ in node.next_functions:
            if child is not None:
                down[child] = (down.get(child, 0) + down.get(node, 0)) % _PRIME
    up: dict[Any, int] = {}  # paths to the image; those to trainable weights do not count
    for node in reversed(order):
        children = [c for c, _ in node.next_functions if c is not None]
        up[node] = sum(up[c] for c in children) % _PRIME if children else int(getattr(node, "variable", None) is image)

    def crossed(node: Any) -> bool:
        return node in up and down[node] * up[node] % _PRIME == up[root]

    return crossed


def _in_order(root: Any) -> list[Any]:
    """The nodes below `root`, each before those that it leads to."""
    order: list[Any] = []
    done: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, left = stack.pop()
        if left:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((c, False) for c, _ in node.next_functions if c is not None and c not in done)
    return order[::-1]


def _without_zero_weights(network: nn.Module) -> nn.Module:
    """A copy in which weights that are all 0 (a head before training) have small values, so that gradients exist.

    Without such weights it is the network itself. A copy, because some modules keep what they computed from their
    weights (attention biases of TinyViT and LeViT in timm 1.0.31), which would outlive the small values.
    """
    if not _zero_weights(network):
        return network
    changed = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in _zero_weights(changed):
            parameter.normal_(0, 0.02, generator=generator)
    return changed


def _zero_weights(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.is_floating_point() and p.numel() and not bool(p.any())]
