"""The description of a Keras model as plain values, the same whichever Keras wrote it.

Keras 1, 2 (TF-Keras) and 3 write the calls between layers in three ways, and Keras 1 names its settings differently;
here they become one `ModelSpec` of `LayerSpec`s, nested where the model is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError

MODELS = {"Sequential", "Functional", "Model"}
MOST_LAYERS = 20_000
DEEPEST = 16
# Layers that give as many values as they take.
PASSING = {"Activation", "Softmax", "Dropout", "ReLU", "BatchNormalization", "ActivityRegularization", "Rescaling"}
OFFICIAL = ("keras", "tf_keras", "tensorflow.keras", "builtins")


@dataclass(frozen=True, slots=True)
class Tensor:
    """What the `call`-th call of a layer gives; `output` counts its outputs."""

    layer: str
    call: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a layer. `arguments` are its other arguments, by name or by place ("0", "1", ...)."""

    inputs: tuple[Tensor, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer: its class in `kind`, its settings, its uses; `inner` when it is a model itself."""

    name: str
    kind: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    inner: ModelSpec | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model: its layers, what goes in and what comes out. `shape` is (height, width, channels), None where open."""

    name: str
    layers: tuple[LayerSpec, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    shape: tuple[int | None, ...] | None

    def leaves(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], LayerSpec]]:
        """Every layer that is no model, with the path of names that leads to it."""
        for layer in self.layers:
            if layer.inner is None:
                yield (*path, layer.name), layer
            else:
                yield from layer.inner.leaves((*path, layer.name))


def answer_units(spec: ModelSpec) -> int | None:
    """The number of outputs of a model that ends in a Dense layer, looked for from its end; None where none is."""
    known = {layer.name: layer for layer in spec.layers}
    layer = known.get(spec.outputs[0].layer) if len(spec.outputs) == 1 else None
    while layer is not None:
        if layer.inner is not None:
            return answer_units(layer.inner)
        if layer.kind == "Dense":
            units = layer.config.get("units", layer.config.get("output_dim"))
            return units if isinstance(units, int) and not isinstance(units, bool) else None
        if layer.kind not in PASSING or not layer.calls or len(layer.calls[0].inputs) != 1:
            return None
        layer = known.get(layer.calls[0].inputs[0].layer)
    return None


def read_configuration(document: Mapping[str, Any]) -> ModelSpec:
    """The description of a whole model. InputError for one that is broken, or that Python code would be part of."""
    try:
        return _model(document, 0)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The model's description is broken ({type(error).__name__}: {error}). Save the model again."
        ) from error


def _model(entry: Mapping[str, Any], depth: int) -> ModelSpec:
    kind, config = str(entry["class_name"]), entry["config"]
    refuse_custom(entry)
    if depth > DEEPEST:
        raise InputError(f"The model is nested more than {DEEPEST} levels deep; it is not read.")
    layers = config if isinstance(config, list) else config.get("layers")
    if kind.rpartition(">")[2] not in MODELS or not isinstance(layers, list):
        raise InputError(
            f"The model is of the class {kind!r}, whose structure is Python code and not in the file; only "
            f"sequential and "
            "functional models can be read. Export it to ONNX, and import that."
        )
    if len(layers) > MOST_LAYERS:
        raise InputError(f"The model has {len(layers):,} layers; up to {MOST_LAYERS:,} are read.")
    name = str(config.get("name", kind)) if isinstance(config, dict) else kind
    if kind == "Sequential":
        return _sequential(name, layers, config, depth)
    specs = tuple(_layer(item, _calls(item.get("inbound_nodes") or []), depth) for item in layers)
    _check_names(specs)
    inputs, outputs = (_tensors(config[key]) for key in ("input_layers", "output_layers"))
    first = next(s for s in specs if s.name == inputs[0].layer)
    return ModelSpec(name, specs, inputs, outputs, _input_shape(first))


def _sequential(name: str, layers: list[Any], config: Any, depth: int) -> ModelSpec:
    specs: list[LayerSpec] = []
    last: Tensor | None = None
    for item in layers:
        calls = () if last is None and item["class_name"] == "InputLayer" else (Call((last or Tensor("(input)"),)),)
        spec = _layer(item, calls, depth)
        specs.append(spec)
        last = Tensor(spec.name)
    _check_names(specs)
    if last is None:
        raise InputError("The model has no layers.")
    starts = specs[0].kind == "InputLayer"
    built = config.get("build_input_shape") if isinstance(config, dict) else None
    shape = _input_shape(specs[0]) or _shape(built)
    return ModelSpec(name, tuple(specs), (Tensor(specs[0].name if starts else "(input)"),), (last,), shape)


def _layer(item: Mapping[str, Any], calls: tuple[Call, ...], depth: int) -> LayerSpec:
    refuse_custom(item)
    kind, config = str(item["class_name"]), item["config"]
    nested = isinstance(config, list) or (isinstance(config, dict) and isinstance(config.get("layers"), list))
    inner = _model(item, depth + 1) if nested else None
    name = str(item.get("name") or (config.get("name") if isinstance(config, dict) else None) or kind)
    return LayerSpec(name, kind, {} if isinstance(config, list) else config, calls, inner)


def refuse_custom(item: Mapping[str, Any]) -> None:
    """Raise InputError for what is Python code: Lambda layers, and classes that are not Keras' own."""
    kind = str(item["class_name"])
    config = item.get("config")
    name = item.get("name") or (config.get("name") if isinstance(config, dict) else None) or kind
    if kind in {"Lambda", "__lambda__"}:
        raise InputError(
            f"The layer {name!r} is a Lambda: Python code in a model file, which is never run. Replace it by a layer "
            f"of "
            "Keras, or export the model to ONNX and import that."
        )
    module = str(item.get("module") or "keras")
    if not module.startswith(OFFICIAL) or str(item.get("registered_name") or "").startswith("Custom>") or ">" in kind:
        raise InputError(
            f"The layer {name!r} is of the custom class {kind!r}, whose code is not in the file. Export the model to "
            f"ONNX, "
            "and import that."
        )


def _check_names(specs: tuple[LayerSpec, ...] | list[LayerSpec]) -> None:
    names = [s.name for s in specs]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise InputError(f"The model's description is broken: two layers are named {twice!r}.")


def _calls(nodes: list[Any]) -> tuple[Call, ...]:
    return tuple(_call(node) for node in nodes)


def _call(node: Any) -> Call:
    """One entry of `inbound_nodes`: Keras 3's {args, kwargs}, or a list of [layer, call, output, {arguments}]."""
    inputs: list[Tensor] = []
    arguments: dict[str, Any] = {}
    if isinstance(node, dict):
        for place, value in [*enumerate(node["args"]), *(node.get("kwargs") or {}).items()]:
            found = list(_keras_tensors(value))
            inputs += found
            if not found:
                arguments[str(place)] = value
        return Call(tuple(inputs), arguments)
    references = [node] if isinstance(node[0], str) else node
    for reference in references:
        inputs.append(Tensor(str(reference[0]), int(reference[1]), int(reference[2])))
        for key, value in (reference[3] if len(reference) > 3 else {}).items():
            if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
                inputs.append(Tensor(value[0], int(value[1]), int(value[2])))
            else:
                arguments[key] = value
    return Call(tuple(inputs), arguments)


def _keras_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        layer, call, output = value["config"]["keras_history"]
        yield Tensor(str(layer), int(call), int(output))
    elif isinstance(value, list):
        for item in value:
            yield from _keras_tensors(item)


def _tensors(value: Any) -> tuple[Tensor, ...]:
    """`input_layers` and `output_layers`: one [layer, call, output], or a list."""
    several = [value] if isinstance(value[0], str) else value
    return tuple(Tensor(str(v[0]), int(v[1]), int(v[2])) for v in several)


def _input_shape(spec: LayerSpec) -> tuple[int | None, ...] | None:
    if spec.inner is not None:
        return spec.inner.shape
    return _shape(spec.config.get("batch_input_shape") or spec.config.get("batch_shape"))


def _shape(value: Any) -> tuple[int | None, ...] | None:
    if not isinstance(value, list | tuple) or len(value) < 2:
        return None
    return tuple(None if v is None else int(v) for v in value[1:])
