"""A torch classifier as one plain forward graph that also gives the gradient of its own decision.

`trace_evidence` runs the model once under make_fx with a detached copy of the explained layer's output as the leaf, so
that the backward pass through what lies behind that layer becomes ordinary forward operations. A runtime without
autograd can then answer and explain in one pass. The inputs and outputs are those of bundle/manifest.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from ..errors import InputError
from .counts import COUNTS, is_counted, with_free_counts
from .decompositions import decompositions
from .layout import Grids, Layout
from .simplify import simplify

aten = torch.ops.aten
GRADIENT_AXES = 5
"""Axes of gradients (N, T, C, h, w), which no other output has."""

Evidence3 = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
NO_FEATURE_MAP = "The explained layer must give a feature map (N, C, h, w); choose another by model.layer."


def evidence_function(
    model: nn.Module, layer: nn.Module
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Evidence3]:
    """The function (image, target, contrast) -> (logits, activations, gradients) of a model in eager torch.

    The model must be in evaluation mode. All targets of an image share its activations: these are repeated T times at
    the explained layer, and only what lies behind it runs more than once. Tokens of a vision transformer are laid out
    as the feature map that they stand for.
    """

    def evidence(image: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor) -> Evidence3:
        images, targets = target.shape[0], target.shape[1]
        with torch.enable_grad(), _leaf_at(model, layer, image, targets) as seen:
            every = model(image)
        if not seen:
            raise InputError("The explained layer takes no part in the answer; choose another by model.layer.")
        (found,) = seen
        logits, gradient = _scored(every, found.leaf, target, contrast)
        gradient = found.layout.maps(gradient)
        return logits, found.layout.maps(found.own), gradient.reshape(images, targets, *gradient.shape[1:])

    return evidence


def input_gradient_function(
    model: nn.Module,
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """The function (image, target, contrast) -> (logits, gradients): those of the score by the image itself.

    As `evidence_function`, with the image as the layer: the whole model runs once per image and target.
    """

    def gradients(
        image: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = repeated(image.detach(), target.shape[1]).requires_grad_(True)
        with torch.enable_grad():
            # Cloned, since the first layer may work in place.
            every = model(leaf.clone())
        logits, gradient = _scored(every, leaf, target, contrast)
        return logits, gradient.reshape(target.shape[0], target.shape[1], *gradient.shape[1:])

    return gradients


def tail_function(
    model: nn.Module, layer: nn.Module, size: tuple[int, int]
) -> Callable[[torch.Tensor], tuple[torch.Tensor]]:
    """The function (activations,) -> (logits,) of what lies behind a layer; what lies before runs on a blank image."""

    def tail(activations: torch.Tensor) -> tuple[torch.Tensor]:
        blank = torch.zeros(1, 3, *size, device=activations.device)
        grids = Grids(model, size)

        def instead(module: nn.Module, inputs: Any, own: Any) -> Any:
            layout = grids.layout(own)
            if layout is None or layout.prefix or layout.element is not None:
                raise InputError("What lies behind the layer needs more than its feature map, such as a class token.")
            # Cloned, since the next layer may work in place.
            return layout.tensor(activations.clone())

        with grids.watching(model):
            handle = layer.register_forward_hook(instead)
            try:
                return (model(blank),)
            finally:
                handle.remove()

    return tail


def _scored(
    every: torch.Tensor, leaf: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, L), and the gradient by the leaf of each image's and target's score; `every` (N T, L) has them all."""
    logits = every.reshape(target.shape[0], target.shape[1], every.shape[1])[:, 0]
    cotangent = score_weights(logits.detach(), target, contrast)
    (gradient,) = torch.autograd.grad((every * cotangent.flatten(0, 1)).sum(), leaf)
    return logits, gradient


def repeated(values: torch.Tensor, targets: Any) -> torch.Tensor:
    """Each image's values (N, ...) once for each target: (N T, ...), a copy."""
    images, shape = values.shape[0], values.shape[1:]
    return values.unsqueeze(1).expand(images, targets, *shape).reshape(images * targets, *shape).clone()


@dataclass(frozen=True)
class _Seen:
    """The explained layer's own tensor, the leaf that took its place (each image T times), and their layout."""

    own: torch.Tensor
    leaf: torch.Tensor
    layout: Layout


@contextmanager
def _leaf_at(model: nn.Module, layer: nn.Module, image: torch.Tensor, targets: Any) -> Iterator[list[_Seen]]:
    """While open, the layer's output is replaced by a detached leaf repeated `targets` times per image.

    Further tensors that the layer gives are repeated too; the gradient does not follow them.
    """
    seen: list[_Seen] = []
    grids = Grids(model, image.shape[2:])

    def replace(module: nn.Module, inputs: Any, output: Any) -> Any:
        layout = grids.layout(output)
        if layout is None:
            raise InputError(NO_FEATURE_MAP)
        if seen:
            raise InputError("The explained layer is used more than once in a pass; choose another by model.layer.")
        # Cloned, so that an in-place activation behind the layer cannot change what is reported.
        own = layout.of(output).detach().clone()
        leaf = repeated(own, targets).requires_grad_(True)
        seen.append(_Seen(own, leaf, layout))
        if layout.element is None:
            return leaf.clone()
        others = [repeated(o.detach(), targets) if isinstance(o, torch.Tensor) else o for o in output]
        others[layout.element] = leaf.clone()
        return type(output)(others)

    with grids.watching(model):
        handle = layer.register_forward_hook(replace)
        try:
            yield seen
        finally:
            handle.remove()


def check_layer(model: nn.Module, layer: nn.Module, size: tuple[int, int], logits: int) -> None:
    """Raise InputError, before anything is trained, when evidence cannot be taken at a layer.

    The model must be in evaluation mode, on the CPU. Two blank images with two targets each tell.
    """
    try:
        evidence_function(model, layer)(torch.zeros(2, 3, *size), torch.zeros(2, 2, logits), torch.tensor(1.0))
    except RuntimeError as error:
        # What runs beside the layer still has one row per image, what follows it one per image and target.
        message = "The explained layer is one branch of several; choose a layer that everything passes, by model.layer."
        raise InputError(message) from error


def score_weights(logits: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
    """The derivative (N, T, L) of the wanted score with respect to the logits (N, L).

    The score of a target row w is sum_c w_c (z_c - contrast * logsumexp_{j != c} z_j): with contrast 1 the log-odds
    of the class, with 0 the plain logit. A row of zeros is replaced by the predicted class (by the sign of a single
    logit).
    """
    count = logits.shape[-1]
    if count == 1:
        own = torch.where(logits >= 0, 1.0, -1.0)
    else:
        own = nn.functional.one_hot(logits.argmax(-1), count).to(logits.dtype)
    unset = (target.abs().sum(-1, keepdim=True) == 0).to(logits.dtype)
    weights = target + unset * own.unsqueeze(1)
    if count == 1:
        return weights
    itself = torch.eye(count, dtype=torch.bool, device=logits.device)
    others = torch.softmax(logits.unsqueeze(-2).masked_fill(itself, float("-inf")), -1)
    return weights - contrast * torch.matmul(weights, others)


def trace_evidence(
    model: nn.Module, layer: nn.Module, size: tuple[int, int], logits: int
) -> tuple[GraphModule, tuple[torch.Tensor, ...]]:
    """Trace `evidence_function` to a graph of forward operations; returns it with example inputs for an exporter.

    The model is frozen and put in evaluation mode by the caller. The number of images and of targets stay symbolic,
    everything else is fixed. Raises RuntimeError, or what torch raises, for a model that cannot be traced so.
    """
    example = question(3, 2, size, logits)
    return traced(evidence_function(model, layer), example, EVIDENCE_AXES, rework=_spread_last), example


def trace_input_gradients(
    model: nn.Module, size: tuple[int, int], logits: int
) -> tuple[GraphModule, tuple[torch.Tensor, ...]]:
    """Trace `input_gradient_function`, as `trace_evidence` does its function."""
    example = question(3, 2, size, logits)
    return traced(input_gradient_function(model), example, EVIDENCE_AXES), example


def trace_tail(
    model: nn.Module, layer: nn.Module, size: tuple[int, int], cells: tuple[int, int, int]
) -> tuple[GraphModule, tuple[torch.Tensor, ...]]:
    """Trace `tail_function` for activations of (channels, height, width), of any number of images."""
    example = (torch.zeros(3, *cells),)
    return traced(tail_function(model, layer, size), example, (1,)), example


def trace_forward(model: nn.Module, shape: tuple[int, ...]) -> tuple[GraphModule, tuple[torch.Tensor, ...]]:
    """Trace a frozen model that takes any number of inputs of `shape` and returns a tuple, each row on its own."""
    example = (torch.zeros(3, *shape),)
    return traced(model, example, (1,)), example


def question(images: int, targets: int, size: tuple[int, int], logits: int) -> tuple[torch.Tensor, ...]:
    """Blank inputs of an evidence graph: images, targets, contrast."""
    return torch.zeros(images, 3, *size), torch.zeros(images, targets, logits), torch.tensor(1.0)


_ASSERTIONS = {
    aten._assert_async.msg,
    aten._assert_scalar.default,
    aten._assert_tensor_metadata.default,
    aten.sym_constrain_range_for_size.default,
}
EVIDENCE_AXES = (1, 2, 0)
"""How many first axes of each input of an evidence graph have any length."""


def traced(
    function: Callable[..., Any],
    example: tuple[torch.Tensor, ...],
    free: tuple[int, ...],
    *,
    rework: Callable[[GraphModule], None] | None = None,
) -> GraphModule:
    """A function's forward operations as a graph; the `free` first axes of each input may have any length.

    It is traced with numbers of images and targets that stand for any (`counts.py`), which takes a third of the time of
    symbolic sizes; with these where the numbers cannot be told from other lengths. `rework` changes the graph before it
    is tried on other numbers.
    """
    try:
        return _checked(with_free_counts(_operations(function, _counted(example, free))), example, free, rework)
    except InputError:
        raise
    except Exception:  # whatever torch raises where a count is a number and not a symbol
        return _checked(_operations(function, _symbolic(example, free)), example, free, rework)


Inputs = tuple[FakeTensorMode, list[torch.Tensor]]


def _counted(example: tuple[torch.Tensor, ...], free: tuple[int, ...]) -> Inputs:
    """Inputs without values, with COUNTS images and targets."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        shapes = [(*COUNTS[:count], *tensor.shape[count:]) for tensor, count in zip(example, free, strict=True)]
        if any(is_counted(length) for tensor in example for length in tensor.shape):
            raise RuntimeError("an input has the length of a count")
        return mode, [torch.empty(shape, dtype=e.dtype) for shape, e in zip(shapes, example, strict=True)]


def _symbolic(example: tuple[torch.Tensor, ...], free: tuple[int, ...]) -> Inputs:
    """Inputs without values, with symbols for the numbers of images and targets."""
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    kinds = [
        [DimDynamic.DYNAMIC if axis < count else DimDynamic.STATIC for axis in range(tensor.ndim)]
        for tensor, count in zip(example, free, strict=True)
    ]
    contexts: list[Any] = [StatelessSymbolicContext(dynamic_sizes=kind) for kind in kinds]
    return mode, [mode.from_tensor(e, symbolic_context=c) for e, c in zip(example, contexts, strict=True)]


def _operations(function: Callable[..., Any], inputs: Inputs) -> GraphModule:
    """The forward operations of a function on inputs without values."""
    mode, fakes = inputs
    tracer = make_fx(function, decomposition_table=decompositions(), _allow_non_fake_inputs=True)
    # The Python dispatcher keeps sizes symbolic where a C++ kernel (padding, in Swin) would ask for numbers. Attention
    # is written out: the gradients of its fused kernels are nothing that an exporter knows.
    # A recurrent layer is written out as well; without the Nones, `flags` would allow sums of less precision.
    plain = torch.backends.mkldnn.flags(enabled=False, deterministic=None, allow_tf32=None, fp32_precision=None)
    with mode, enable_python_dispatcher(), sdpa_kernel(SDPBackend.MATH), plain, _PlainPooling():
        graph: GraphModule = tracer(*fakes)
    for node in list(graph.graph.nodes):  # detach and assertions mean nothing to an exporter, and stop one
        if node.op == "call_function" and node.target in {aten.detach.default, aten.detach_.default}:
            node.replace_all_uses_with(node.args[0])
        elif node.op == "call_function" and node.target in _ASSERTIONS:
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _checked(
    graph: GraphModule,
    example: tuple[torch.Tensor, ...],
    free: tuple[int, ...],
    rework: Callable[[GraphModule], None] | None,
) -> GraphModule:
    """The graph, simplified, reworked and tried on other numbers; RuntimeError when its numbers are fixed."""
    simplify(graph)
    if rework is not None:
        rework(graph)
    other = tuple(torch.zeros((2, 1)[:count] + e.shape[count:]) for e, count in zip(example, free, strict=True))
    with contextlib.suppress(RuntimeError):
        found = graph(*other)
        if all(len(f) == 2 and (f.ndim != GRADIENT_AXES or f.shape[1] == 1) for f in found):
            return graph
    raise RuntimeError("an operation of the model works for one fixed number of images only")


class _PlainPooling(TorchFunctionMode):
    """Pool maps whose channels come first in memory: of others torch keeps the steps, which no exporter knows."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _POOLING:
            args = (args[0].contiguous(), *args[1:])
        return func(*args, **(kwargs or {}))


_POOLING = {nn.functional.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d}


def _spread_last(graph: GraphModule) -> None:
    """Let a gradient that is the same in every cell be spread over the cells last, as a product with 1 / cells.

    Behind an average over space autograd spreads it first (`expand`), then divides and reshapes: three passes over all
    cells, each slower in ONNX Runtime than the product.
    """
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    gradient = output.args[0][-1]
    divided = _operand(gradient, aten.view.default)
    expanded = _operand(divided, aten.div.Scalar)
    small = _operand(expanded, aten.expand.default)
    if small is None or tuple(small.meta["val"].shape[-2:]) != (1, 1):
        return
    sizes, cells = gradient.args[1], divided.args[1]
    with graph.graph.inserting_before(gradient):
        each = graph.graph.call_function(aten.view.default, (small, [*sizes[:-2], 1, 1]))
        shares = graph.graph.call_function(aten.full.default, (list(sizes[-2:]), 1 / cells))
        spread = graph.graph.call_function(aten.mul.Tensor, (each, shares))
        spread.meta["val"] = gradient.meta["val"]
    gradient.replace_all_uses_with(spread)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _operand(node: Any, operation: Any) -> Any:
    """What a node's operation works on, where it is this one; otherwise None."""
    return node.args[0] if isinstance(node, Node) and node.target == operation else None
