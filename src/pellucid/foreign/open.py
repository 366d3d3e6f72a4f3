"""Which kind of model a file holds, judged by its bytes: a description first, and the model when it is wanted."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx

from ..errors import InputError
from .endings import strip_activation
from .imported import Source
from .keras.configuration import ModelSpec, answer_units
from .keras.container import KerasFile, read_keras_file
from .keras.model import KerasModel, build_keras_model, first_rescaling, may_rescale, read_description
from .keras.truth import keras_original
from .unread import READABLE, refuse_archive, refuse_file, refuse_folder

HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
START = 4096


@dataclass(frozen=True)
class ModelDescription:
    """What a file says of its model before weights are read or anything is run.

    `units` is the number of outputs, None where only a run shows it. `may_take_pixels` is false where the file cannot
    hold a rescaling of its own. `load` reads the model.
    """

    units: int | None
    may_take_pixels: bool
    load: Callable[[], Source]


def open_model(path: Path, size: tuple[int, int] | None = None, *, allow_code: bool = False) -> Source:
    """Read a model file: Keras, ONNX, TorchScript or an exported program; `size` is (height, width) where known.

    Raises InputError and its kinds for a file of another kind, or one that is damaged or refused.
    """
    return describe_model(path, size, allow_code=allow_code).load()


def describe_model(path: Path, size: tuple[int, int] | None = None, *, allow_code: bool = False) -> ModelDescription:
    """As `open_model`, as far as that takes neither weights nor a run. Raises InputError as `open_model` does."""
    if path.is_dir():
        raise refuse_folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(START)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    if start[:8] == HDF5:
        return _describe_keras(path)
    if start[:4] == ZIP:
        return _describe_zip(path, size, allow_code)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise InputError(f"{path} is a Python pickle, which can run code, whatever its name says; it is not opened.")
    unread = refuse_file(path, start)
    if unread is not None:
        raise unread
    if path.suffix.lower() in {".h5", ".hdf5", ".keras"}:
        what = "empty" if not start else "no HDF5 file and no zip file"
        raise InputError(f"{path} is not a Keras model: it is {what}. Copy or download it again.")
    if path.suffix.lower() == ".onnx":
        return _describe_onnx(path)
    raise InputError(f"{path} is no model file that is known; give {READABLE}.")


def _describe_zip(path: Path, size: tuple[int, int] | None, allow_code: bool) -> ModelDescription:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or cut short. Copy or download it again.") from error
    inside = {name.partition("/")[2] for name in names}
    if "config.json" in names or path.suffix.lower() == ".keras":
        return _describe_keras(path)
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        from .torch_files import must_allow, read_torchscript

        must_allow(path, allow_code, size)
        return ModelDescription(None, False, lambda: read_torchscript(path, size))
    if any(name.startswith("models/") and name.endswith(".json") for name in inside):
        from .torch_files import must_allow, read_exported_program

        must_allow(path, allow_code)
        return ModelDescription(None, False, lambda: read_exported_program(path))
    if "data.pkl" in inside:
        raise InputError(
            f"{path} was written by torch.save: a pickle, which can run code, or weights without their network. Save "
            "the model by torch.jit.script(model).save(...) or torch.onnx.export, or use pellucid.from_torch."
        )
    raise refuse_archive(path, names)


def _describe_keras(path: Path) -> ModelDescription:
    described = read_description(path)
    spec: ModelSpec = described[1]

    def load() -> Source:
        file = read_keras_file(path)
        return keras_source(build_keras_model(file, spec), path, file)

    return ModelDescription(answer_units(spec), may_rescale(spec), load)


def _describe_onnx(path: Path) -> ModelDescription:
    from .onnx_model import onnx_source
    from .onnx_reading import image_input, read_graph

    model = read_graph(path)
    taken = image_input(model, path)
    shape = model.graph.output[0].type.tensor_type.shape.dim
    known = [d.dim_value for d in shape[1:]]
    units = prod(known) if known and all(n > 0 for n in known) and _is_ranked(model) else None
    return ModelDescription(units, taken.whole, lambda: onnx_source(model, path))


def _is_ranked(model: onnx.ModelProto) -> bool:
    """Whether the answer has at most one axis beside the batch that is longer than 1."""
    lengths = [int(d.dim_value) for d in model.graph.output[0].type.tensor_type.shape.dim[1:]]
    return sum(n > 1 for n in lengths) <= 1


def keras_source(model: KerasModel, path: Path | None = None, file: KerasFile | None = None) -> Source:
    """A Keras model as a Source; its last softmax or sigmoid is taken off.

    With the `path` and what was read from it, Keras itself is the second truth where it is installed.
    """
    layer = first_rescaling(model.network)
    truth = None if path is None or file is None else keras_original(path, file)
    own = "pellucid's own reading of the file, as no Keras that reads it is installed"
    return Source(
        kind=f"Keras {model.version}",
        network=model.network,
        activation=strip_activation(model.network),
        channels=model.shape[2],
        size=model.shape[:2],
        pixels=None if layer is None else f"it rescales in its layer {layer!r}",
        logits_loss='from_logits": true' in json.dumps(model.compiled).lower() and "binary" in _loss(model.compiled),
        runtime=own if truth is None else truth.name,
        original=None if truth is None else truth.answers,
        second=own,
        notes=() if truth is None else truth.notes,
        versions={"keras (file)": model.version},
    )


def _loss(compiled: Mapping[str, Any]) -> str:
    return json.dumps(compiled.get("loss", "")).lower()
