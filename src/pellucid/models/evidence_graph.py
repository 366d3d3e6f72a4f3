"""A torch classifier as one plain forward graph that also gives the gradient of its own decision.

`trace_evidence` runs the model once under make_fx with a detached copy of the explained layer's output as the leaf, so
that the backward pass through what lies behind that layer becomes ordinary forward operations. A runtime without
autograd can then answer and explain in one pass. The inputs and outputs are those of bundle/manifest.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._decomp import core_aten_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from ..errors import InputError

aten = torch.ops.aten
Evidence3 = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def evidence_function(
    model: nn.Module, layer: nn.Module
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Evidence3]:
    """The function (image, target, contrast) -> (logits, activations, gradients) of a model in eager torch.

    The model must be in evaluation mode. All targets of an image share its activations: these are repeated T times at
    the explained layer, and only what lies behind it runs more than once.
    """

    def evidence(image: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor) -> Evidence3:
        images, targets = target.shape[0], target.shape[1]
        with torch.enable_grad(), _leaf_at(layer, targets) as seen:
            every = model(image)
        if "leaf" not in seen:
            raise InputError("The explained layer takes no part in the answer; choose another by model.layer.")
        logits = every.reshape(images, targets, every.shape[1])[:, 0]
        cotangent = score_weights(logits.detach(), target, contrast)
        (gradient,) = torch.autograd.grad((every * cotangent.flatten(0, 1)).sum(), seen["leaf"])
        return logits, seen["activations"], gradient.reshape(images, targets, *gradient.shape[1:])

    return evidence


@contextmanager
def _leaf_at(layer: nn.Module, targets: Any) -> Iterator[dict[str, torch.Tensor]]:
    """While open, the layer's output is replaced by a detached leaf repeated `targets` times per image."""
    seen: dict[str, torch.Tensor] = {}

    def replace(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if not isinstance(output, torch.Tensor) or output.ndim != 4:
            raise InputError("The explained layer must give a feature map (N, C, h, w); choose another by model.layer.")
        if seen:
            raise InputError("The explained layer is used more than once in a pass; choose another by model.layer.")
        n, c, h, w = output.shape
        # Cloned, so that an in-place activation behind the layer cannot change what is reported.
        seen["activations"] = output.detach().clone()
        seen["leaf"] = seen["activations"].unsqueeze(1).expand(n, targets, c, h, w).reshape(n * targets, c, h, w)
        seen["leaf"] = seen["leaf"].clone().requires_grad_(True)
        return seen["leaf"].clone()

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


def _convolution_backward(
    grad: torch.Tensor,
    image: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    mask: list[bool],
) -> tuple[torch.Tensor, None, None]:
    """The input gradient of a convolution is the transposed convolution of the output gradient."""
    if transposed or mask[1] or mask[2]:
        raise InputError(
            "The model has a transposed convolution behind the explained layer; choose a later layer by model.layer."
        )
    extra = [
        image.shape[2 + i]
        - ((grad.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1)
        for i in range(2)
    ]
    return aten.convolution(grad, weight, None, stride, padding, dilation, True, extra, groups), None, None


def _adaptive_average_pool_backward(grad: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Adaptive average pooling is linear, P_y x P_x^T, so its backward pass is P_y^T g P_x."""
    matrices = [_pooling_matrix(int(image.shape[d]), int(grad.shape[d])) for d in (-2, -1)]
    if all(len(m) == m.shape[1] for m in matrices):
        return grad.clone()
    return torch.matmul(torch.matmul(matrices[0].T, grad), matrices[1])


def _pooling_matrix(cells_in: int, cells_out: int) -> torch.Tensor:
    matrix = torch.zeros(cells_out, cells_in)
    for i in range(cells_out):
        start, end = (i * cells_in) // cells_out, -(-((i + 1) * cells_in) // cells_out)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def _max_pool_backward(
    grad: torch.Tensor,
    image: torch.Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: torch.Tensor,
) -> torch.Tensor:
    """Each output gradient goes back to the cell that was the largest."""
    return _adaptive_max_pool_backward(grad, image, indices)


def _adaptive_max_pool_backward(grad: torch.Tensor, image: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """As `_max_pool_backward`: the indices, too, count within each channel."""
    flat = torch.zeros_like(image).flatten(2)
    return flat.scatter_add(2, indices.flatten(2), grad.flatten(2)).reshape(image.shape)


def _average_pool_backward(
    grad: torch.Tensor,
    image: torch.Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> torch.Tensor:
    """Average pooling is a grouped convolution with equal weights, where padding counts; its gradient is that one's."""
    if ceil_mode or (any(padding) and not count_include_pad):
        raise InputError(
            "An average pooling with ceil_mode or uncounted padding follows the explained layer; choose a later one."
        )
    channels = image.shape[1]
    height, width = kernel[0], kernel[-1]
    weight = torch.full((channels, 1, height, width), 1.0 / (divisor_override or height * width))
    steps = list(stride) or list(kernel)
    return _convolution_backward(
        grad, image, weight, None, steps, list(padding), [1, 1], False, [0, 0], channels, [True, False, False]
    )[0]


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Torch's core decompositions, and ours for the backward operations that no exporter knows."""
    return {
        **core_aten_decompositions(),
        aten.convolution_backward.default: _convolution_backward,
        aten._adaptive_avg_pool2d_backward.default: _adaptive_average_pool_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        aten.adaptive_max_pool2d_backward.default: _adaptive_max_pool_backward,
        aten.avg_pool2d_backward.default: _average_pool_backward,
    }


def trace_evidence(
    model: nn.Module, layer: nn.Module, size: tuple[int, int], logits: int
) -> tuple[GraphModule, tuple[torch.Tensor, ...]]:
    """Trace `evidence_function` to a graph of forward operations; returns it with example inputs for an exporter.

    The model is frozen and put in evaluation mode by the caller. The number of images and of targets stay symbolic,
    everything else is fixed. Raises RuntimeError, or what torch raises, for a model that cannot be traced so.
    """
    example = (torch.zeros(3, 3, *size), torch.zeros(3, 2, logits), torch.tensor(1.0))
    free, fixed = DimDynamic.DYNAMIC, DimDynamic.STATIC
    sizes: tuple[list[DimDynamic], ...] = ([free, fixed, fixed, fixed], [free, free, fixed], [])
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = [
        mode.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(dynamic_sizes=dynamic))
        for tensor, dynamic in zip(example, sizes, strict=True)
    ]
    tracer = make_fx(evidence_function(model, layer), decomposition_table=decompositions(), _allow_non_fake_inputs=True)
    # The Python dispatcher keeps sizes symbolic where a C++ kernel (padding, in Swin) would ask for numbers.
    with mode, enable_python_dispatcher():
        graph: GraphModule = tracer(*fakes)
    for node in graph.graph.nodes:  # detach means nothing to an exporter, and stops one
        if node.op == "call_function" and node.target in {aten.detach.default, aten.detach_.default}:
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    _check_counts(graph, size, logits)
    return graph, example


def _check_counts(graph: GraphModule, size: tuple[int, int], logits: int) -> None:
    """Raise RuntimeError when the numbers of images and targets that were traced with are fixed in the graph."""
    with contextlib.suppress(RuntimeError):
        _, activations, gradients = graph(torch.zeros(2, 3, *size), torch.zeros(2, 1, logits), torch.tensor(1.0))
        if len(activations) == 2 and gradients.shape[:2] == (2, 1):
            return
    raise RuntimeError("an operation of the model works for one fixed number of images only")
