"""A Keras file as a torch module that computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ...errors import InputError
from ..module_graph import ModuleGraph, Step, in_order
from ..modules import Channel, Pointwise, ReversedChannels
from ..normalizations import Affine
from .catalogue import IDLE, find_kind
from .configuration import LayerSpec, ModelSpec, Tensor, read_configuration
from .container import KerasFile, read_keras_file
from .operations import OPERATIONS
from .settings import Settings
from .weights import assign_weights

# Kinds whose arguments say what they compute, and those that compute something else while a model is trained.
CALLED = {"TFOpLambda", "SlicingOpLambda", *OPERATIONS}
RESCALING = {"Rescaling", "Normalization", *CALLED}
TRAINED = {"BatchNormalization", "BatchNormalizationV1", "SyncBatchNormalization", *IDLE} - {"InputLayer", "Identity"}


@dataclass(frozen=True)
class KerasModel:
    """The network, its input's (height, width, channels), None where open, Keras' version, and how it was compiled."""

    network: ModuleGraph
    shape: tuple[int | None, int | None, int]
    version: str
    compiled: dict[str, Any]


def read_keras_model(path: Path) -> KerasModel:
    """Read a whole Keras model, `.h5` or `.keras`, without Keras. Its layers keep their names.

    Raises InputError and its kinds for a file that cannot be read or is refused, and for layers that are not known.
    """
    return build_keras_model(read_keras_file(path), read_description(path)[1])


def read_description(path: Path) -> tuple[KerasFile, ModelSpec]:
    """A model's description without its weights, checked: layers that are not known are refused here already."""
    file = read_keras_file(path, arrays=False)
    spec = read_configuration(file.config)
    _checked_shape(spec)
    if not file.version.startswith("3"):  # Keras 3 predicts without training whatever a call says
        _refuse_training(spec)
    for _, leaf in spec.leaves():
        find_kind(_settings(leaf, file))
    return file, spec


def build_keras_model(file: KerasFile, spec: ModelSpec) -> KerasModel:
    """The network of a description with the weights of its file. Raises as `read_keras_model` does."""
    settings = {p: _settings(leaf, file) for p, leaf in spec.leaves()}
    kinds = {p: find_kind(s) for p, s in settings.items()}
    arrays = assign_weights(file, spec, {p: kinds[p].weights(s) for p, s in settings.items()})
    modules = {p: kinds[p].build(s, arrays[p]) for p, s in settings.items()}
    network = _graph(spec, (), modules)
    return KerasModel(network.eval(), _checked_shape(spec), file.version, file.compiled)


def may_rescale(spec: ModelSpec) -> bool:
    """Whether a model has layers that could change pixel values before its weights do."""
    return any(leaf.kind in RESCALING for _, leaf in spec.leaves())


def _checked_shape(spec: ModelSpec) -> tuple[int | None, int | None, int]:
    if len(spec.inputs) != 1 or len(spec.outputs) != 1:
        raise InputError(
            f"The model has {len(spec.inputs)} inputs and {len(spec.outputs)} outputs; one image and one answer are "
            f"needed."
        )
    shape = spec.shape
    if shape is None or len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(
            f"The model takes inputs of shape {shape}, not images (height, width, channels) of 1 or 3 channels."
        )
    return shape[0], shape[1], shape[2]


def _refuse_training(spec: ModelSpec) -> None:
    """Raise InputError for a call with training=True: its answers depend on the rest of a batch, or on chance."""
    for layer in spec.layers:
        kinds = {layer.kind} if layer.inner is None else {leaf.kind for _, leaf in layer.inner.leaves()}
        if kinds & TRAINED and any(call.arguments.get("training") is True for call in layer.calls):
            raise InputError(
                f"The layer {layer.name!r} is called with training=True, so the model's answers depend on the other "
                "images of a batch, or on chance. Build the model with training=False, load its weights and save it."
            )
        if layer.inner is not None:
            _refuse_training(layer.inner)


def _settings(leaf: LayerSpec, file: KerasFile) -> Settings:
    arguments = leaf.calls[0].arguments if leaf.calls else {}
    if any(call.arguments != arguments for call in leaf.calls[1:]) and leaf.kind in CALLED:
        raise InputError(
            f"The layer {leaf.name!r} ({leaf.kind}) is called with different arguments. Export the model to ONNX, and "
            "import that."
        )
    return Settings(leaf.name, leaf.kind, leaf.config, file.version, arguments)


def _graph(spec: ModelSpec, path: tuple[str, ...], leaves: dict[tuple[str, ...], nn.Module]) -> ModuleGraph:
    if len(spec.outputs) != 1:
        raise InputError(f"The nested model {spec.name!r} has {len(spec.outputs)} outputs; only one can be read.")
    known = {layer.name: layer for layer in spec.layers}
    inputs = [_value(t, known) for t in spec.inputs]
    calls = {
        f"{layer.name}:{i}": (layer.name, tuple(_value(t, known) for t in call.inputs))
        for layer in spec.layers
        for i, call in enumerate(layer.calls)
        if call.inputs
    }
    output = _value(spec.outputs[0], known)
    wanted = _reachable(output, calls, inputs)
    steps = [Step(v, *calls[v]) for v in in_order({v: calls[v][1] for v in wanted}, inputs)]
    modules: dict[str, nn.Module] = {}
    for name in dict.fromkeys(step.module for step in steps):
        inner = known[name].inner
        modules[name] = leaves[(*path, name)] if inner is None else _graph(inner, (*path, name), leaves)
    return ModuleGraph(inputs, steps, output, modules)


def _value(tensor: Tensor, known: dict[str, LayerSpec]) -> str:
    layer = known.get(tensor.layer)
    if tensor.output:
        raise InputError(f"The layer {tensor.layer!r} has several outputs; only one can be read.")
    # Some writers count a nested model's own making as its first call.
    call = 0 if layer is None or len(layer.calls) <= 1 else tensor.call
    return f"{tensor.layer}:{call}"


def _reachable(output: str, calls: dict[str, tuple[str, tuple[str, ...]]], inputs: list[str]) -> list[str]:
    """The values that the output depends on, itself included."""
    waiting, found = [output], set(inputs)
    while waiting:
        value = waiting.pop()
        if value not in found:
            found.add(value)
            waiting += calls[value][1] if value in calls else ()
    missing = found - set(inputs) - set(calls)
    if missing:
        raise InputError(f"The model's description is broken: nothing gives {sorted(missing)[0]!r}. Save it again.")
    return [v for v in calls if v in found]


def first_rescaling(network: ModuleGraph) -> str | None:
    """The name of a layer that changes pixel values before any weights do, where the file has one; else None."""
    value = network.inputs[0]
    while True:
        using = [s for s in network.steps if value in s.inputs]
        if not using or using[0].inputs != (value,):
            return None
        module = network.get_submodule(using[0].module)
        if isinstance(module, ModuleGraph):
            inner = first_rescaling(module)
            return None if inner is None else f"{using[0].module}.{inner}"
        if isinstance(module, Affine | Channel | Pointwise | ReversedChannels):
            return using[0].module
        if len(using) > 1 or next(module.parameters(), None) is not None:
            return None
        value = using[0].value
