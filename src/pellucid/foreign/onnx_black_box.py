"""An ONNX graph that stays as it is: run by ONNX Runtime, and written into a bundle between image and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import nn

from ..bundle.manifest import Manifest
from ..errors import InputError
from ..models.further_graphs import root_sentence
from .imported import LUMA, Grey
from .meaning import LEAST, LogitDifference, LogOfProbabilities, Negative, modules_of
from .modules import ReversedChannels

OPSET = 13
PREFIX = "model/"
# Severity of messages that ONNX Runtime prints on its own: none, since errors are caught.
SILENT = 4


class OnnxModule(nn.Module):
    """A graph with one image input, (N, C, H, W) or with `last` (N, H, W, C), whose first output is the answer.

    `activation` is what the graph ends in: what comes before a softmax or sigmoid is made of the probabilities again.
    `fixed` is the number of images that the graph takes at a time, where it takes no other or where the answer for an
    image depends on the others. InputError when ONNX Runtime cannot run the graph.
    """

    def __init__(self, model: onnx.ModelProto, *, last: bool, fixed: int | None, activation: str) -> None:
        super().__init__()
        self.proto, self.last, self.fixed, self.activation = model, last, fixed, activation
        options = onnxruntime.SessionOptions()
        options.log_severity_level = SILENT
        try:
            self.session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise InputError(
                f"ONNX Runtime {onnxruntime.__version__} cannot run the graph: {root_sentence(error)}."
            ) from error

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        return OnnxModule(self.proto, last=self.last, fixed=self.fixed, activation=self.activation)

    def at_most(self, fixed: int) -> OnnxModule:
        """The same graph, run `fixed` images at a time."""
        other = OnnxModule.__new__(OnnxModule)
        nn.Module.__init__(other)
        other.proto, other.last, other.fixed, other.activation = self.proto, self.last, fixed, self.activation
        other.session = self.session
        return other

    def run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Images (N, C, H, W) float32 to the graph's own answers, (N, ...)."""
        name = self.session.get_inputs()[0].name
        given = np.ascontiguousarray(np.moveaxis(batch, 1, -1) if self.last else batch)
        step = self.fixed or max(len(given), 1)
        quiet = onnxruntime.RunOptions()
        quiet.log_severity_level = SILENT
        parts = []
        for start in range(0, len(given), step):
            part = given[start : start + step]
            lacking = step - len(part) if self.fixed else 0
            filled = np.concatenate([part, np.zeros((lacking, *part.shape[1:]), part.dtype)]) if lacking else part
            answer = np.asarray(self.session.run(None, {name: filled}, quiet)[0], np.float32)
            parts.append((answer if answer.ndim > 1 else answer.reshape(len(filled), -1))[: len(part)])
        return np.concatenate(parts)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answers = torch.from_numpy(self.run(image.numpy())).flatten(1)
        if self.activation not in {"softmax", "sigmoid"}:
            return answers
        kept = answers.clamp(LEAST, 1 - LEAST)
        return torch.log(kept) - torch.log1p(-kept) if self.activation == "sigmoid" else torch.log(kept)


class _Nodes:
    """Nodes in a row, each working on what the one before gave."""

    def __init__(self, value: str) -> None:
        self.value, self.nodes, self.constants = value, [], []  # type: ignore[var-annotated]

    def add(self, kind: str, *constants: npt.NDArray[Any], **attributes: Any) -> None:
        names = [self.constant(c) for c in constants]
        given = f"pellucid/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.value, *names], [given], **attributes))
        self.value = given

    def rows(self) -> None:
        """A row for each image, whatever axes the value has."""
        answer = self.value
        self.value = "image"
        self.add("Shape")
        self.add("Slice", np.array([0]), np.array([1]))
        self.nodes.append(
            helper.make_node("Concat", [self.value, self.constant(np.array([-1]))], ["pellucid/rows"], axis=0)
        )
        self.value = "pellucid/rows"
        self.join("Reshape", answer)

    def join(self, kind: str, first: str) -> None:
        """A node of two values: `first` and the last one."""
        result = f"pellucid/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [first, self.value], [result]))
        self.value = result

    def constant(self, value: npt.NDArray[Any]) -> str:
        name = f"pellucid/constant/{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def black_box_graph(entry: nn.Module, model: OnnxModule, answer: nn.Module, manifest: Manifest) -> bytes:
    """The graph between `image` and `logits`, with unused inputs `target` and `contrast`, as a bundle wants it.

    Raises InputError for a graph that takes another fixed number of images than one at a time.
    """
    proto = compose.add_prefix(model.proto, PREFIX)
    if next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")) < OPSET:
        proto = onnx.version_converter.convert_version(proto, OPSET)
    graph = proto.graph
    nodes = _Nodes("image")
    if isinstance(entry, ReversedChannels):
        nodes.add("Gather", np.array([2, 1, 0]), axis=1)
    elif isinstance(entry, Grey):
        nodes.add("Conv", np.array(LUMA, np.float32).reshape(1, 3, 1, 1))
    if model.last:
        nodes.add("Transpose", perm=[0, 2, 3, 1])
    held = _initialised(graph)
    source = next(i.name for i in graph.input if i.name not in held)
    inner = list(graph.node)
    initialisers = list(graph.initializer)
    if model.fixed is None:
        nodes.nodes.append(helper.make_node("Identity", [nodes.value], [source]))
        nodes.nodes += inner
        nodes.value = graph.output[0].name
    elif model.fixed == 1:
        _one_by_one(nodes, graph, source)
        initialisers = []
    else:
        raise InputError(
            f"The graph takes {model.fixed} images at a time and no other number. Export it with a free first axis."
        )
    nodes.rows()
    _answer(nodes, model.activation, answer)
    nodes.nodes.append(helper.make_node("Identity", [nodes.value], ["logits"]))
    height, width = manifest.preprocessing.height, manifest.preprocessing.width
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["images", 3, height, width]),
        helper.make_tensor_value_info("target", TensorProto.FLOAT, ["images", "targets", manifest.logits]),
        helper.make_tensor_value_info("contrast", TensorProto.FLOAT, []),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["images", manifest.logits])
    whole = helper.make_graph(nodes.nodes, "pellucid", inputs, [output], [*initialisers, *nodes.constants])
    made = helper.make_model(whole, opset_imports=proto.opset_import, functions=proto.functions)
    made.ir_version = min(max(proto.ir_version, 8), 10)
    data: bytes = made.SerializeToString()
    return data


def _initialised(graph: onnx.GraphProto) -> set[str]:
    return {i.name for i in graph.initializer}


def _one_by_one(nodes: _Nodes, graph: onnx.GraphProto, source: str) -> None:
    """Let the graph go over the images one at a time, by a Scan."""
    axes = numpy_helper.from_array(np.array([0]), "pellucid/axes")
    row = numpy_helper.from_array(np.array([-1]), "pellucid/row")
    given = next(i for i in graph.input if i.name == source).type.tensor_type
    result = graph.output[0]
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["pellucid/one", "pellucid/axes"], [source]),
            *graph.node,
            helper.make_node("Reshape", [result.name, "pellucid/row"], ["pellucid/answer"]),
        ],
        "one",
        [helper.make_tensor_value_info("pellucid/one", given.elem_type, None)],
        [helper.make_tensor_value_info("pellucid/answer", result.type.tensor_type.elem_type, None)],
        [*graph.initializer, axes, row],
    )
    nodes.add("Scan", body=body, num_scan_inputs=1)


def _answer(nodes: _Nodes, activation: str, answer: nn.Module) -> None:
    """What makes logits of the graph's answers."""
    if activation in {"softmax", "sigmoid"}:
        _logarithms(nodes, odds=activation == "sigmoid")
    for step in modules_of(answer):
        if isinstance(step, LogOfProbabilities):
            _logarithms(nodes, odds=step.alone)
        elif isinstance(step, LogitDifference):
            sign = 1.0 if step.second else -1.0
            nodes.add("MatMul", np.array([[-sign], [sign]], np.float32))
        elif isinstance(step, Negative):
            nodes.add("Neg")
        elif isinstance(step, nn.Sigmoid):
            nodes.add("Sigmoid")
        elif isinstance(step, nn.LogSigmoid):
            nodes.add("Neg")
            nodes.add("Softplus")
            nodes.add("Neg")


def _logarithms(nodes: _Nodes, *, odds: bool) -> None:
    """Probabilities, kept off 0 and 1, to their logarithms, or with `odds` to their log-odds."""
    nodes.add("Clip", np.asarray(LEAST, np.float32), np.asarray(1 - LEAST, np.float32))
    kept = nodes.value
    nodes.add("Log")
    if odds:
        logarithm = nodes.value
        nodes.value = kept
        nodes.add("Neg")
        nodes.add("Add", np.asarray(1, np.float32))
        nodes.add("Log")
        nodes.join("Sub", logarithm)
