"""Operations of a traced graph that change nothing are left out, before it is written as ONNX.

Runtimes fold constants and fuse layers by themselves. What they keep is what depends on values that they cannot know:
an expansion to the shape that a tensor has already, and a check for rows that a mask hides altogether.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten
_PASSING = {
    *(aten.view.default, aten.expand.default, aten.clone.default, aten.permute.default, aten.slice.Tensor),
    *(aten.unsqueeze.default, aten.squeeze.dims, aten.mul.Scalar, aten.div.Scalar),
}
"""Operations that make no value infinite which is not, but for overflow."""

_PRODUCTS = {aten.bmm.default, aten.mm.default, aten.addmm.default}


def simplify(graph: GraphModule) -> None:
    """Leave out what changes nothing, in place."""
    for node in list(graph.graph.nodes):
        if node.target == aten.expand.default and _shape(node) is not None and _shape(node) == _shape(node.args[0]):
            node.replace_all_uses_with(node.args[0])
        elif node.target == aten.view.default and getattr(node.args[0], "target", None) == aten.view.default:
            node.args = (node.args[0].args[0], *node.args[1:])
        elif (softmax := _unmasked(graph, node)) is not None:
            node.replace_all_uses_with(softmax)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _shape(node: Any) -> tuple[int, ...] | None:
    """The lengths of a node's tensor; None where one is a symbol."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    if not isinstance(value, torch.Tensor) or not all(type(length) is int for length in value.shape):
        return None
    return tuple(value.shape)


def _unmasked(graph: GraphModule, node: Node) -> Node | None:
    """The softmax within an attention that gives 0 in rows which are hidden altogether, where no row can be.

    That is `where(not any(not x == -inf), 0, softmax(x))`.
    """
    if node.target != aten.where.self:
        return None
    hidden, _, softmax = node.args
    scores = _through(hidden, aten.logical_not.default, aten.any.dim, aten.logical_not.default, aten.eq.Scalar)
    if not isinstance(softmax, Node) or softmax.target != aten._softmax.default or scores is None:
        return None
    return softmax if softmax.args[0] is scores and _finite(graph, scores) else None


def _through(node: Any, *operations: Any) -> Node | None:
    """What lies behind a chain of operations, each the first operand of the one before; None for another chain."""
    for operation in operations:
        if not isinstance(node, Node) or node.target != operation:
            return None
        node = node.args[0]
    return node if isinstance(node, Node) else None


def _finite(graph: GraphModule, node: Any) -> bool:
    """Whether scores are products of matrices, with nothing added but constants without an infinity."""
    while isinstance(node, Node) and node.target in _PASSING:
        node = node.args[0]
    if isinstance(node, Node) and node.target == aten.add.Tensor:
        return all(_finite(graph, operand) for operand in node.args)
    if isinstance(node, Node) and node.op == "get_attr":
        value: Any = graph
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return isinstance(value, torch.Tensor) and bool(torch.isfinite(value).all())
    if isinstance(node, int | float):
        return math.isfinite(node)
    return isinstance(node, Node) and node.target in _PRODUCTS
