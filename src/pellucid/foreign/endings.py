"""What a model ends in: a softmax or sigmoid is taken off, so that what is explained are logits."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from .module_graph import ModuleGraph
from .modules import AxisSoftmax, WholeAnswer
from .shapes import Flatten, Reshape, Squeeze, Unsqueeze

ENDINGS = {"softmax", "log_softmax", "sigmoid"}
PASSING = (nn.Identity, nn.Flatten, nn.Dropout, Flatten, Reshape, Squeeze, Unsqueeze)


def strip_activation(graph: ModuleGraph) -> str:
    """Take the last activation off a graph; returns its name: one of ENDINGS, linear, or its class.

    What only passes values on (a reshape, a dropout) is looked through. Where a softmax was, a module checks that it
    went over the whole answer.
    """
    step = graph.last()
    while step is not None:
        module = graph.get_submodule(step.module)
        if isinstance(module, ModuleGraph):
            return strip_activation(module)
        own = getattr(module, "activation", None)
        if own is None and not isinstance(module, PASSING):
            name = activation_name(module)
            if name in ENDINGS:
                graph.replace(step.module, _instead(module))
            return "linear" if name is None else name
        if own is not None and not isinstance(own, nn.Identity):
            name = activation_name(own) or type(own).__name__
            if name in ENDINGS:
                module.activation = _instead(own)
            return name
        if own is not None:
            return "linear"
        step = graph.behind(step.inputs[0])
    return "linear"


def _instead(module: nn.Module) -> nn.Module:
    return WholeAnswer(module.axes) if isinstance(module, AxisSoftmax) else nn.Identity()


def activation_name(module: nn.Module) -> str | None:
    """One of ENDINGS, the class of another activation, or None for a module that is no activation."""
    if isinstance(module, AxisSoftmax):
        return "log_softmax" if module.logarithm else "softmax"
    if isinstance(module, nn.Softmax):
        return "softmax"
    if isinstance(module, nn.LogSoftmax):
        return "log_softmax"
    if isinstance(module, nn.Sigmoid):
        return "sigmoid"
    return type(module).__name__ if type(module).__module__.startswith("torch.nn.modules.activation") else None


def strip_torch(module: nn.Module) -> tuple[nn.Module, str]:
    """A torch module without the activation at the end of its outermost sequence, and what it was.

    A softmax over another dimension than the second is left where it is.
    """
    if not isinstance(module, nn.Sequential) or not len(module):
        return module, "linear"
    name, last = list(module.named_children())[-1]
    before: OrderedDict[str, nn.Module] = OrderedDict(list(module.named_children())[:-1])
    ending = activation_name(last)
    if ending == "sigmoid" or (ending in ENDINGS and last.dim == 1):
        return nn.Sequential(before), str(ending)
    if isinstance(last, nn.Sequential):
        inner, ending_inside = strip_torch(last)
        return nn.Sequential(OrderedDict([*before.items(), (name, inner)])), ending_inside
    return module, "linear"
