"""Where the cells of the explained layer lie on the input image, derived from the traced graph.

Each convolution or pooling with kernel k, stride s, padding p and dilation d moves the centre of the first cell by
((k - 1) d / 2 - p) times the step so far, and multiplies the step by s (Dumoulin & Visin, arXiv:1603.07285; Araujo et
al., "Computing receptive fields", Distill 2019). In a ResNet the first cell is centred on the first pixel, not half a
cell in, which a plain resize of the map gets wrong by up to 15 pixels of 224.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from ..preprocessing import GridGeometry

aten = torch.ops.aten


@dataclass(frozen=True)
class _Axis:
    """Centre of cell 0 in input pixels (continuous coordinates) and distance between neighbouring cells."""

    offset: float = 0.5
    step: float = 1.0

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> _Axis:
        return _Axis(self.offset + ((kernel - 1) * dilation / 2 - padding) * self.step, self.step * stride)


def grid_geometry(graph: GraphModule, cells: tuple[int, int], size: tuple[int, int], output: int = 1) -> GridGeometry:
    """Geometry of the activations, an `output` of a traced evidence graph, for inputs of `size` and a grid of `cells`.

    Where the layers do not say (a transformer that mixes all positions), the cells are taken to tile the input.
    """
    nodes = list(graph.graph.nodes)
    image = next(n for n in nodes if n.op == "placeholder")
    known: dict[Node, tuple[_Axis, _Axis]] = {image: (_Axis(), _Axis())}
    for node in nodes:
        # A size read off an early layer carries no place: what is reshaped by it must not inherit that layer's cells.
        if node.op == "call_function" and node.target is not aten.sym_size.int:
            axes = _through(node, known)
            if axes is not None:
                known[node] = axes
    axes = known.get(next(n for n in nodes if n.op == "output").args[0][output])
    tiles = tuple(s / c for s, c in zip(size, cells, strict=True))
    if axes is None or any(abs(a.step - t) > 0.5 * t for a, t in zip(axes, tiles, strict=True)):
        return GridGeometry((tiles[0], tiles[1]), (tiles[0] / 2, tiles[1] / 2))
    return GridGeometry((axes[0].step, axes[1].step), (axes[0].offset, axes[1].offset))


def _through(node: Node, known: dict[Node, tuple[_Axis, _Axis]]) -> tuple[_Axis, _Axis] | None:
    sources = [known[a] for a in node.all_input_nodes if a in known]
    if not sources:
        return None
    axes = (_together([s[0] for s in sources]), _together([s[1] for s in sources]))
    window = _window(node)
    if window is None:
        return axes
    kernel, stride, padding, dilation = window
    return tuple(axes[i].window(kernel[i], stride[i], padding[i], dilation[i]) for i in (0, 1))  # type: ignore[return-value]


def _together(sources: list[_Axis]) -> _Axis:
    """What several inputs (a residual sum, a gate) have in common along an axis.

    Those with the finest step have kept their place in space. Where they differ, as in a ResNet-D, whose shortcuts
    average 2 x 2 cells beside convolutions of 3 x 3, the sum lies between them.
    """
    step = min(s.step for s in sources)
    offsets = [s.offset for s in sources if s.step == step]
    return _Axis(sum(offsets) / len(offsets), step)


def _window(node: Node) -> tuple[list[int], list[int], list[int], list[int]] | None:
    """Kernel, stride, padding and dilation of an operation that moves a window over space, each as [y, x]."""
    args: list[Any] = list(node.args)
    if node.target == aten.convolution.default:
        kernel = _shape(args[1], node)[2:]
        if len(kernel) != 2:  # over channels (ECA), which moves no place
            return None
        return kernel, _pair(args[3]), _pair(args[4]), _pair(args[5])
    if node.target in {aten.max_pool2d_with_indices.default, aten.max_pool2d.default}:
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        return kernel, stride, _pair(args[3] if len(args) > 3 else 0), _pair(args[4] if len(args) > 4 else 1)
    if node.target == aten.avg_pool2d.default:
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        return kernel, stride, _pair(args[3] if len(args) > 3 else 0), [1, 1]
    if node.target in {aten.constant_pad_nd.default, aten.reflection_pad2d.default, aten.replication_pad2d.default}:
        left, _, top, _ = [*args[1], 0, 0, 0, 0][:4]
        return [1, 1], [1, 1], [int(top), int(left)], [1, 1]
    return None


def _pair(value: Any) -> list[int]:
    values = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return values * 2 if len(values) == 1 else values


def _shape(argument: Node, node: Node) -> list[int]:
    if "val" in argument.meta:
        return [int(s) for s in argument.meta["val"].shape]
    owner: Any = node.graph.owning_module
    for part in str(argument.target).split("."):
        owner = getattr(owner, part)
    return [int(s) for s in owner.shape]
