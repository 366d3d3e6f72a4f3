"""An ONNX file as a torch module where its operators are known, so that it has gradients; else as a black box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import nn

from .imported import Source
from .module_graph import ModuleGraph, Step, in_order
from .onnx_black_box import OnnxModule
from .onnx_operators import OPERATORS, NotConvertible
from .onnx_reading import check_lengths, graphs_of_model, image_input, opset_of, read_graph, with_float_ends

ENDING_OPERATORS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
PASSING = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"}
DYNAMIC = "it is quantised by the values of a whole batch"
ONE_AT_A_TIME = (
    "The answer for an image depends on the others of its batch ({reason}), so images are run one at a time."
)
# Operators behind which a value is a feature map (N, C, h, w), and those that leave it one.
SPATIAL = {"Conv", "MaxPool", "AveragePool", "BatchNormalization"}
POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Dropout", "Cast"}
KEEPING = {
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Gelu", "Tanh", "Clip",
    "Add", "Sum", "Mul", "Sub", "Div", "Concat", "Identity", "Dropout", "Softplus",
}  # fmt: skip


class Operation(nn.Module):
    """One node of a graph; its constants are buffers, or plain numbers where they are whole."""

    def __init__(self, kind: str, attributes: dict[str, Any], constants: dict[int, Any], inputs: int) -> None:
        super().__init__()
        self.kind, self.attributes, self.count = kind, attributes, inputs
        self.plain = {i: c for i, c in constants.items() if not isinstance(c, torch.Tensor)}
        self.held = [i for i, c in constants.items() if isinstance(c, torch.Tensor)]
        for i in self.held:
            self.register_buffer(f"constant{i}", constants[i].clone())  # several nodes may share one

    def forward(self, *values: Any) -> Any:
        given = iter(values)
        inputs = [
            self.get_buffer(f"constant{i}") if i in self.held else self.plain[i] if i in self.plain else next(given)
            for i in range(self.count)
        ]
        while inputs and inputs[-1] is None:
            inputs.pop()
        return OPERATORS[self.kind](self.attributes, inputs)


class Map(Operation):
    """An operation that gives a feature map (N, C, h, w): one that can be explained."""


class Pooling(Operation):
    """An operation that gives no feature map, or one that says no more than the one before it."""

    explainable = False


def read_onnx_model(path: Path) -> Source:
    """Read an ONNX file. Raises InputError when it is none, is damaged, or takes anything but one image."""
    return onnx_source(read_graph(path), path)


def onnx_source(model: onnx.ModelProto, path: Path) -> Source:
    """As `read_onnx_model`, of a model already read; `path` is for messages."""
    taken = image_input(model, path)
    ending, batch = _ending(model.graph), taken.axes[0]
    wrapped = with_float_ends(model, path)
    check_lengths(wrapped, path)
    lone = uses_dynamic_quantisation(model)
    wrapped, fixed = _freed(wrapped, batch, [3 if d is None else d for d in taken.axes])
    fixed = 1 if lone and fixed is None else fixed
    box = OnnxModule(wrapped, last=taken.last, fixed=fixed, activation=ending)
    source = Source(
        kind="ONNX",
        network=box,
        activation=ending,
        channels=taken.channels,
        size=taken.size,
        pixels="its input is of the type uint8" if taken.whole else None,
        runtime=f"onnxruntime {onnxruntime.__version__}",
        original=box.run,
        versions={"producer": f"{model.producer_name} {model.producer_version}".strip() or "unknown"},
        notes=_several(model.graph) + ((ONE_AT_A_TIME.format(reason=DYNAMIC),) if lone else ()),
        batchable=not lone,
    )
    try:
        network = convert(model, last=taken.last, one_image=batch == 1, strip=ending)
    except NotConvertible as error:
        note = f"The graph has {error}, so it is a black box: methods that need only probabilities explain it."
        return replace(source, notes=(note, *source.notes))
    return replace(source, network=network, black_box=box)


def uses_dynamic_quantisation(model: onnx.ModelProto) -> bool:
    """Whether the graph scales activations to integers by the values of a whole batch."""
    return any(node.op_type.startswith("DynamicQuantize") for g in graphs_of_model(model) for node in g.node)


def _several(graph: onnx.GraphProto) -> tuple[str, ...]:
    if len(graph.output) == 1:
        return ()
    others = ", ".join(o.name for o in graph.output[1:6])
    return (f"The graph has {len(graph.output)} outputs: {graph.output[0].name} is the answer, {others} are not used.",)


def _freed(model: onnx.ModelProto, batch: int | None, axes: list[int]) -> tuple[onnx.ModelProto, int | None]:
    """The graph for any number of images, where it gives the same answers then; else with the number that it takes."""
    if batch is None:
        return model, None
    free = onnx.ModelProto()
    free.CopyFrom(model)
    held = {i.name for i in free.graph.initializer}
    for value in (*(i for i in free.graph.input if i.name not in held), *free.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "images"
    del free.graph.value_info[:]
    try:
        boxes = [OnnxModule(m, last=False, fixed=f, activation="linear") for m, f in ((free, None), (model, batch))]
        images = np.random.default_rng(0).random((batch + 1, *axes[1:])).astype(np.float32)
        ours, theirs = (box.run(images) for box in boxes)
        alike = ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-5)
    except Exception:  # onnxruntime's exceptions share no public base; each means that it does not work
        alike = False
    return (free, None) if alike else (model, batch)


def _ending(graph: onnx.GraphProto) -> str:
    """softmax, log_softmax, sigmoid or linear: what the answer comes out of."""
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(graph.output[0].name)
    while node is not None and node.op_type in PASSING:
        node = producers.get(node.input[0])
    return "linear" if node is None else ENDING_OPERATORS.get(node.op_type, "linear")


def convert(model: onnx.ModelProto, *, last: bool, one_image: bool, strip: str) -> ModuleGraph:
    """The graph in torch, without the activation that it ends in. NotConvertible names what stands in the way."""
    graph = model.graph
    constants = {i.name: _constant(i) for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(
                node.attribute[0].t if node.attribute[0].HasField("t") else _made(node)
            )
    source = next(i.name for i in graph.input if i.name not in constants)
    kept = [n for n in graph.node if n.op_type != "Constant"]
    final = _final(graph, strip)
    steps: dict[str, Step] = {}
    modules: dict[str, nn.Module] = {}
    maps: set[str] = set() if last else {source}
    for node in kept:
        _check(node)
        attributes = {a.name: _attribute(a) for a in node.attribute} | {
            "one_image": one_image,
            "opset": opset_of(model),
        }
        fixed = {i: constants[n] if n else None for i, n in enumerate(node.input) if not n or n in constants}
        if node.op_type == "Clip":
            # Limits as numbers: those in a buffer have no value while shapes are worked out without memory.
            fixed = {i: float(c) if isinstance(c, torch.Tensor) else c for i, c in fixed.items()}
        values = tuple(n for n in node.input if n and n not in constants)
        spatial = node.op_type in SPATIAL or (node.op_type in KEEPING and any(v in maps for v in values))
        if spatial:
            maps.add(node.output[0])
        kind = Pooling if node.op_type in POOLS or not spatial else Map
        name = node.name or node.output[0]
        while name in modules:
            name += "_"
        strips = node is final and strip != "linear"
        modules[name] = nn.Identity() if strips else kind(node.op_type, attributes, fixed, len(node.input))
        steps[node.output[0]] = Step(node.output[0], name, values)
    order = list(in_order({v: s.inputs for v, s in steps.items()}, [source]))
    network = ModuleGraph([source], [steps[v] for v in order], graph.output[0].name, modules)
    if last:
        return ModuleGraph(["image"], [Step("last", "last", ("image",)), Step("answer", "graph", ("last",))], "answer",
                           {"last": ChannelsLast(), "graph": network})  # fmt: skip
    return network.eval()


class ChannelsLast(nn.Module):
    """Images (N, C, H, W) to (N, H, W, C)."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.permute(0, 2, 3, 1)


def _check(node: onnx.NodeProto) -> None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise NotConvertible(f"the operator {node.op_type!r}")
    if len([o for o in node.output if o]) > 1 and node.op_type not in {"Dropout", "BatchNormalization", "MaxPool"}:
        raise NotConvertible(f"several outputs of {node.op_type!r}")


def _final(graph: onnx.GraphProto, strip: str) -> onnx.NodeProto | None:
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(graph.output[0].name)
    while node is not None and strip != "linear" and ENDING_OPERATORS.get(node.op_type) != strip:
        node = producers.get(node.input[0])
    return node


def _made(node: onnx.NodeProto) -> onnx.TensorProto:
    """The tensor of a Constant that is written as a plain number or list."""
    value = helper.get_attribute_value(node.attribute[0])
    return numpy_helper.from_array(np.asarray(value, np.float32 if "float" in node.attribute[0].name else np.int64))


def _constant(tensor: onnx.TensorProto) -> Any:
    array = numpy_helper.to_array(tensor)
    if array.dtype.kind in "iub":
        return tuple(int(v) for v in array.ravel()) if array.ndim else int(array)
    return torch.from_numpy(np.array(array, np.float32))


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
