"""An ONNX file as a graph that can be run: checked, in order, with float images in and float answers out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from ..errors import InputError
from ..models.further_graphs import root_sentence
from .module_graph import LARGEST_OUTPUT, in_order

TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8}
FLOATS = {TensorProto.UNDEFINED, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
CAST_OPSET = 13
LARGEST_SIDE = 4096
# Initialisers up to this length may be shapes, which decide how large a value is.
MOST_SHAPE = 64
MOST_IMAGES = 256


@dataclass(frozen=True)
class ImageInput:
    """The one input of a graph: its axes (None where free), whether channels come last, whether it is of bytes."""

    name: str
    axes: tuple[int | None, int | None, int | None, int | None]
    last: bool
    whole: bool

    @property
    def channels(self) -> int:
        """1 or 3; 3 where the graph leaves it open."""
        return (self.axes[3] if self.last else self.axes[1]) or 3

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width), None where free."""
        return (self.axes[1], self.axes[2]) if self.last else (self.axes[2], self.axes[3])


def read_graph(path: Path) -> onnx.ModelProto:
    """The graph of an ONNX file with its weights, its nodes in an order in which they can run.

    Raises InputError when the file is no ONNX model, or weights beside it are missing.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        _load_beside(model, path)
        _refuse_training(model, path)
        _free_lengths(model)
        _sort(model.graph, ())
        onnx.checker.check_model(model)
    except InputError:
        raise
    except Exception as error:  # protobuf, onnx and its checker share no base
        raise InputError(f"{path} cannot be read as an ONNX model: {root_sentence(error)}.") from error
    return model


def _refuse_training(model: onnx.ModelProto, path: Path) -> None:
    """Raise InputError for a graph in training mode, which answers by its batch, by chance or by earlier calls."""
    constants = {t.name: t for g in graphs_of_model(model) for t in g.initializer}
    for graph in graphs_of_model(model):
        constants |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute}
    for node in (n for g in graphs_of_model(model) for n in g.node):
        training = any(a.name == "training_mode" and a.i for a in node.attribute)
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] in constants:
            training = bool(numpy_helper.to_array(constants[node.input[2]]).any())
        if training:
            raise InputError(
                f"{path} was exported in training mode (its {node.op_type} {node.name or node.output[0]!r}), so its "
                "answers depend on the other images of a batch or on chance. Export it again after model.eval()."
            )


def _load_beside(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that lie in other files, which must be in the model's own folder."""
    folder = path.resolve().parent
    wanted = {
        entry.value
        for tensor in _tensors(model.graph)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for location in sorted(wanted):
        place = (folder / location).resolve()
        if not place.is_relative_to(folder) or (folder / location).is_symlink():
            raise InputError(f"{path} is refused: its weights lie at {location!r}, outside of its folder.")
        if not place.is_file():
            raise InputError(
                f"{path} keeps its weights in a second file, {location}, which is not beside it. Copy both into one "
                "folder."
            )
    if wanted:
        load_external_data_for_model(model, str(folder))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the graphs within its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def graphs_of_model(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph of a model and all graphs within its nodes."""
    yield from _graphs(model.graph)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for each in _graphs(graph):
        yield from each.initializer
        for node in each.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _free_lengths(model: onnx.ModelProto) -> None:
    """Lengths of -1 and 0, as PaddlePaddle writes them, become free ones."""
    for values in (model.graph.input, model.graph.output, model.graph.value_info):
        for value in values:
            for place, length in enumerate(value.type.tensor_type.shape.dim):
                if length.HasField("dim_value") and length.dim_value <= 0:
                    length.dim_param = "images" if place == 0 else f"free{place}"


def _sort(graph: onnx.GraphProto, outer: tuple[str, ...]) -> None:
    """Bring nodes into an order in which they can run, which some exporters do not keep."""
    given = {*outer, "", *(i.name for i in graph.input), *(i.name for i in graph.initializer)}
    given |= {s.values.name for s in graph.sparse_initializer}
    made = {name for node in graph.node for name in node.output if name}
    nodes = list(graph.node)
    needs = [
        {n for n in (*node.input, *(c for g in _graphs_of(node) for c in _captured(g))) if n in made} for node in nodes
    ]
    ready: set[str] = set()
    for node, wanted in zip(nodes, needs, strict=True):
        if not wanted <= ready:
            _reorder(graph, needs)
            break
        ready |= set(node.output)
    for node in graph.node:
        for inner_graph in _graphs_of(node):
            _sort(inner_graph, (*given, *made))


def _reorder(graph: onnx.GraphProto, needs: Sequence[set[str]]) -> None:
    nodes = list(graph.node)
    producer = {name: str(i) for i, node in enumerate(nodes) for name in node.output if name}
    waits = {str(i): sorted({producer[n] for n in wanted}) for i, wanted in enumerate(needs)}
    ordered = [onnx.NodeProto.FromString(nodes[int(i)].SerializeToString()) for i in in_order(waits, ())]
    del graph.node[:]
    graph.node.extend(ordered)


def _graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _captured(graph: onnx.GraphProto) -> set[str]:
    """Names that a graph within a node takes from outside."""
    names = {n for node in graph.node for n in node.input} | {o.name for o in graph.output}
    names |= {n for node in graph.node for g in _graphs_of(node) for n in _captured(g)}
    return names - {o for node in graph.node for o in node.output} - {i.name for i in graph.input}


def image_input(model: onnx.ModelProto, path: Path) -> ImageInput:
    """The input of a graph; InputError unless it is one image of 1 or 3 channels, of a sensible size."""
    held = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in held]
    if len(inputs) != 1 or not model.graph.output:
        raise InputError(f"{path} takes {len(inputs)} inputs; one, the image, is needed.")
    kind = inputs[0].type.tensor_type
    axes = [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
    if len(axes) != 4 or kind.elem_type not in TYPES:
        named = TensorProto.DataType.Name(kind.elem_type).lower()
        raise InputError(
            f"{path} takes an input of {len(axes)} axes and the type {named}; float images (N, C, H, W) or "
            "(N, H, W, C) are needed."
        )
    last = axes[1] not in (1, 3) and axes[3] in (1, 3)
    if not last and axes[1] not in (1, 3, None):
        raise InputError(f"{path} takes images of {axes[1]} channels; 1 or 3 are needed.")
    found = ImageInput(inputs[0].name, (axes[0], axes[1], axes[2], axes[3]), last, kind.elem_type == TensorProto.UINT8)
    if any(side is not None and side > LARGEST_SIDE for side in found.size) or (axes[0] or 1) > MOST_IMAGES:
        raise InputError(
            f"{path} takes {axes[0] or 'any number of'} images of {found.size[0]} x {found.size[1]} pixels; up to "
            f"{MOST_IMAGES} images of {LARGEST_SIDE} pixels a side are accepted."
        )
    return found


def with_float_ends(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The graph with float32 images in and float32 answers out, whatever its own types are.

    Bytes are rounded and kept within 0..255. Raises InputError for answers that are no numbers with a fraction.
    """
    held = {i.name for i in model.graph.initializer}
    source = next(i for i in model.graph.input if i.name not in held)
    answer = model.graph.output[0]
    taken, given = source.type.tensor_type.elem_type, answer.type.tensor_type.elem_type
    if given not in FLOATS:
        named = TensorProto.DataType.Name(given).lower()
        raise InputError(
            f"{path} answers by numbers of the type {named}, such as a class already chosen; scores or probabilities "
            "are needed. Export it without its last step."
        )
    if taken == TensorProto.FLOAT and given in {TensorProto.UNDEFINED, TensorProto.FLOAT}:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if taken == TensorProto.UINT8 and opset_of(changed) < CAST_OPSET:
        changed = onnx.version_converter.convert_version(changed, CAST_OPSET)
    if taken != TensorProto.FLOAT:
        _cast_input(changed.graph, source.name, taken)
    if given not in {TensorProto.UNDEFINED, TensorProto.FLOAT}:
        name = f"{answer.name}/float"
        changed.graph.node.append(helper.make_node("Cast", [answer.name], [name], to=TensorProto.FLOAT))
        changed.graph.output[0].name = name
        changed.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return changed


def _cast_input(graph: onnx.GraphProto, name: str, kind: int) -> None:
    value = next(i for i in graph.input if i.name == name)
    value.name, value.type.tensor_type.elem_type = f"{name}/float", TensorProto.FLOAT
    before, nodes = value.name, []
    if kind == TensorProto.UINT8:
        limits = [f"{name}/least", f"{name}/most"]
        for limit, number in zip(limits, (0, 255), strict=True):
            graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), limit))
        nodes.append(helper.make_node("Round", [before], [f"{name}/rounded"]))
        nodes.append(helper.make_node("Clip", [f"{name}/rounded", *limits], [f"{name}/clipped"]))
        before = f"{name}/clipped"
    nodes.append(helper.make_node("Cast", [before], [name], to=kind))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX' own operators that a graph is written for."""
    return int(next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1))


def check_lengths(model: onnx.ModelProto, path: Path | str, size: tuple[int, int] | None = None) -> None:
    """Raise InputError when a value of the graph would be absurdly large for one image, of `size` where given."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    del sized.graph.initializer[:]
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > LARGEST_OUTPUT * 8:
            raise InputError(f"{path} is refused: its weight {tensor.name!r} claims {prod(tensor.dims):,} numbers.")
        if prod(tensor.dims) <= MOST_SHAPE:
            sized.graph.initializer.append(tensor)
        elif tensor.name not in {i.name for i in sized.graph.input}:
            sized.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    held = {i.name for i in model.graph.initializer}
    source = next(i for i in sized.graph.input if i.name not in held)
    lengths = source.type.tensor_type.shape.dim
    lengths[0].dim_value = 1
    if size is not None:
        last = lengths[1].dim_value not in (1, 3) and lengths[3].dim_value in (1, 3)
        for place, side in zip((1, 2) if last else (2, 3), size, strict=True):
            lengths[place].dim_value = side
    try:
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    except Exception:  # onnx' inference shares no base of errors, and does not know every operator
        return
    for value in (*inferred.value_info, *inferred.output):
        count = prod(d.dim_value if d.dim_value > 0 else 1 for d in value.type.tensor_type.shape.dim)
        if count > LARGEST_OUTPUT:
            raise InputError(
                f"{path} is refused: its value {value.name!r} would hold {count:,} numbers for one image; up to "
                f"{LARGEST_OUTPUT:,} are accepted."
            )
