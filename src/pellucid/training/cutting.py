"""Dividing a network at its first trainable layer: what lies below gives the same for an image in every epoch."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn


@dataclass(frozen=True, slots=True)
class Cut:
    """A network in two parts that share its modules: `rest(frozen(images))` are its logits.

    `frozen` holds no parameter that trains and gives one tensor (N, ...); `layer` names the module that gives it.
    """

    frozen: nn.Module
    rest: nn.Module
    layer: str


def cut_network(network: nn.Module, example: torch.Tensor) -> Cut | str:
    """The network, cut at the last frozen tensor that alone feeds the rest; or a sentence on why it cannot be cut.

    Only modules that hold both kinds of parameters are looked into, by torch.fx; each other one stays whole. The two
    parts are run on `example` (N, 3, H, W) and must agree to the bit with the network. The network keeps its mode.
    """
    if all(p.requires_grad for p in network.parameters()):
        return "no layer is frozen"
    was_training = network.training
    network.eval()
    try:
        graph = _Tracer().trace(network)
        found = _divided(network, graph)
        if isinstance(found, str):
            return found
        with torch.no_grad():
            same = torch.equal(found.rest(found.frozen(example)), network(example))
    except Exception as error:  # a forward method that torch.fx cannot follow may raise anything
        return f"its forward pass cannot be followed ({type(error).__name__})"
    finally:
        network.train(was_training)
    return found if same else "its parts do not give what the whole gives"


class _Tracer(fx.Tracer):
    """Looks into modules of which some parameters train and others do not."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return len({p.requires_grad for p in m.parameters()}) < 2


def _divided(network: nn.Module, graph: fx.Graph) -> Cut | str:
    nodes = [n for n in graph.nodes if n.op != "output"]
    place = {node: i for i, node in enumerate(nodes)}
    last_use = {n: max((place.get(user, len(nodes)) for user in n.users), default=-1) for n in nodes}
    held: set[fx.Node] = set()  # what is given and still used later
    at: fx.Node | None = None
    for i, node in enumerate(nodes):
        if node.op == "get_attr":
            continue
        if not _is_fixed(network, node):
            break
        held = {n for n in held if last_use[n] > i} | {node}
        if held == {node} and node.op == "call_module":
            at = node
    if at is None:
        return "nothing frozen comes before the first layer that trains"
    after = nodes[place[at] + 1 :]
    if any(node.op == "call_function" and "dropout" in str(node.target) for node in after):
        return "its dropout is no module"
    return Cut(
        fx.GraphModule(network, _part(nodes[: place[at] + 1], None, at)),
        fx.GraphModule(network, _part(nodes, at, graph.output_node().args[0])),
        str(at.target),
    )


def _is_fixed(network: nn.Module, node: fx.Node) -> bool:
    """Whether a node that sees only frozen values gives the same for an image in every epoch."""
    if node.op == "placeholder":
        return True
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        own = list(module.parameters())
        if any(p.requires_grad for p in own):
            return False
        # Training mode reaches what has no parameters: there it must not matter.
        return bool(own) or not (list(module.buffers()) or any(_is_random(m) for m in module.modules()))
    trained = (n for n in node.all_input_nodes if n.op == "get_attr")
    return "dropout" not in str(node.target) and not any(_trains(network, str(n.target)) for n in trained)


def _is_random(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    return "drop" in name or "stochastic" in name


def _trains(network: nn.Module, name: str) -> bool:
    return bool(getattr(operator.attrgetter(name)(network), "requires_grad", False))


def _part(nodes: list[fx.Node], start: fx.Node | None, end: Any) -> fx.Graph:
    """The nodes from behind `start` (or the input) to `end` as a graph of their own."""
    part, copied = fx.Graph(), dict[fx.Node, fx.Node]()

    def own(node: fx.Node) -> fx.Node:
        if node.op == "get_attr" and node not in copied:
            copied[node] = part.node_copy(node)
        return copied[node]

    if start is not None:
        copied[start] = part.placeholder("features")
    behind = start is None
    for node in nodes:
        if behind and node.op != "get_attr":
            copied[node] = part.node_copy(node, own)
        behind = behind or node is start
    part.output(fx.map_arg(end, own))
    part.lint()
    return part
