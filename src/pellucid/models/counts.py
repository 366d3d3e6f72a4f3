"""Numbers of images and targets that stand for any number in a trace."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate

aten = torch.ops.aten
COUNTS = (1009, 1013)
"""Of images and of targets: primes, so that a length is a multiple of one only if it counts images or targets."""


def is_counted(length: Any) -> bool:
    """Whether a length in a trace counts images or targets, so that it may be any."""
    return not isinstance(length, int) or (length > 0 and any(length % count == 0 for count in COUNTS))


def with_free_counts(graph: GraphModule) -> GraphModule:
    """A graph that was traced for COUNTS images and targets, for any: each multiple becomes a product with the number.

    The first input has the images on its first axis; the second, if there is one, the targets on its second. Raises
    RuntimeError where a constant of the graph has a length that could be mistaken for a count.
    """
    nodes = list(graph.graph.nodes)
    inputs = [n for n in nodes if n.op == "placeholder"]
    rest = nodes[len(inputs) :]
    if any(is_counted(length) for n in rest if n.op == "get_attr" for length in _attribute(graph, n).shape):
        raise RuntimeError("a constant has the length of a count")
    numbers = _Numbers(graph, inputs, rest[0])
    for node in rest:
        if node.op == "call_function":
            node.args = map_aggregate(node.args, numbers.instead)
            node.kwargs = map_aggregate(node.kwargs, numbers.instead)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class _Numbers:
    """Nodes for the numbers of images and targets and their multiples, each made when it is first asked for."""

    def __init__(self, graph: GraphModule, inputs: list[Node], before: Node) -> None:
        self._graph, self._inputs, self._before = graph.graph, inputs, before
        self._made: dict[int, Node] = {}

    def instead(self, argument: Any) -> Any:
        """An argument, or the node that stands for it."""
        if type(argument) is not int or argument <= 0 or not is_counted(argument):
            return argument
        return self._node(argument)

    def _node(self, number: int) -> Node:
        if number not in self._made:
            images, targets = COUNTS
            factor = next((c for c in (images * targets, images, targets) if number % c == 0), images)
            if number in COUNTS:
                axis = COUNTS.index(number)
                self._add(number, aten.sym_size.int, (self._inputs[axis], axis))
            elif number == images * targets:
                self._add(number, operator.mul, (self._node(images), self._node(targets)))
            else:
                self._add(number, operator.mul, (self._node(factor), number // factor))
        return self._made[number]

    def _add(self, number: int, operation: Any, arguments: tuple[Any, ...]) -> None:
        with self._graph.inserting_before(self._before):
            self._made[number] = self._graph.call_function(operation, arguments)
        self._made[number].meta["val"] = number


def _attribute(graph: GraphModule, node: Node) -> Any:
    owner: Any = graph
    for part in str(node.target).split("."):
        owner = getattr(owner, part)
    return owner
