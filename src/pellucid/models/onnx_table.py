"""The table from torch operations to ONNX, and how its rows read a node.

A row takes the writer and a node, and returns the name(s) of its output(s). Shapes and types are those that the tracer
noted at each node. An operation is used as torch's core set of operations defines it
(https://docs.pytorch.org/docs/stable/torch.compiler_ir.html), at ONNX opset 20.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from .counts import is_counted
from .onnx_writer import GraphWriter

aten = torch.ops.aten
Row = Callable[[GraphWriter, Node], Any]
OPERATORS: dict[Any, Row] = {}


def row(*targets: Any) -> Callable[[Row], Row]:
    """Register a translation for some operations."""

    def add(function: Row) -> Row:
        OPERATORS.update(dict.fromkeys(targets, function))
        return function

    return add


def argument(node: Any, index: int, name: str, default: Any = None) -> Any:
    """An argument by position or by name."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


def lengths(node: Any) -> list[Any]:
    """The shape of a node's tensor, with None for numbers of images and targets."""
    return [None if is_counted(s) else s for s in node.meta["val"].shape]


def axis_of(node: Any, axis: int, extra: int = 0) -> int:
    """An axis counted from the front."""
    return int(axis % (node.meta["val"].ndim + extra))


def each_axis(values: Any, rank: int) -> list[int]:
    """A setting for each of `rank` axes, from one number or several."""
    numbers = [int(v) for v in values] if isinstance(values, list | tuple) else [int(values)]
    return numbers * rank if len(numbers) == 1 else numbers
