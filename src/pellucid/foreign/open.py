"""Which kind of model a file holds, told by its bytes, and the reader for it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .imported import Source, strip_activation
from .keras.model import KerasModel, first_rescaling, read_keras_model
from .module_graph import ModuleGraph, check_sizes

HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
AGREEMENT = 1e-3


def open_model(path: Path, size: tuple[int, int] | None = None, *, trust: bool = False) -> Source:
    """Read a model file: Keras, ONNX, TorchScript or an exported program; `size` is (height, width) where given.

    Raises InputError and its kinds for a file that is none of these, is damaged or is refused.
    """
    if path.is_dir():
        saved = " (it is a TensorFlow SavedModel)" if (path / "saved_model.pb").is_file() else ""
        raise InputError(f"{path} is a folder{saved}; give a model file: .h5, .keras, .onnx, .pt or .pt2.")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    if start[:8] == HDF5:
        return keras_source(read_keras_model(path))
    if start[:4] == ZIP:
        return _from_zip(path, size, trust)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise InputError(f"{path} is a Python pickle, which can run code, whatever its name says; it is not opened.")
    if path.suffix.lower() in {".h5", ".hdf5", ".keras"}:
        what = "empty" if not start else "no HDF5 file and no zip file"
        raise InputError(f"{path} is not a Keras model: it is {what}. Copy or download it again.")
    if path.suffix.lower() == ".onnx":
        from .onnx_model import read_onnx_model

        return read_onnx_model(path)
    raise InputError(f"{path} is no model file that is known: .h5, .keras, .onnx, .pt (TorchScript) and .pt2 are.")


def _from_zip(path: Path, size: tuple[int, int] | None, trust: bool) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or cut short. Copy or download it again.") from error
    inside = {name.partition("/")[2] for name in names}
    if "config.json" in names or path.suffix.lower() == ".keras":
        return keras_source(read_keras_model(path))
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        from .torch_files import read_torchscript

        return read_torchscript(path, size, trust=trust)
    if any(name.startswith("models/") and name.endswith(".json") for name in inside):
        from .torch_files import read_exported_program

        return read_exported_program(path, trust=trust)
    if "data.pkl" in inside:
        raise InputError(
            f"{path} was written by torch.save: a pickle, which can run code, or weights without their network. Save "
            f"the "
            "model by torch.jit.script(model).save(...) or torch.onnx.export, or use pellucid.from_torch."
        )
    raise InputError(f"{path} is a zip file that holds no model that is known.")


def keras_source(model: KerasModel) -> Source:
    """A Keras model as a Source; its last softmax or sigmoid is taken off."""
    return Source(
        kind=f"Keras {model.version}",
        network=model.network,
        activation=strip_activation(model.network),
        channels=model.shape[2],
        size=model.shape[:2],
        rescaling=first_rescaling(model.network),
        logits_loss='from_logits": true' in json.dumps(model.compiled).lower() and "binary" in _loss(model.compiled),
        runtime="torch",
        versions={"keras (file)": model.version},
    )


def _loss(compiled: Mapping[str, Any]) -> str:
    return json.dumps(compiled.get("loss", "")).lower()


def settled(source: Source, size: tuple[int, int]) -> tuple[Source, int]:
    """A source for images of a size, checked to run on them, and the number of its outputs.

    Where a converted graph does not compute what its own runtime does, the black box takes its place. Raises InputError
    when the model does not fit the size.
    """
    if source.black_box is not None and not _agrees(source, size):
        note = "The graph could not be differentiated faithfully, so it is a black box: probabilities explain it."
        source = replace(source, network=source.black_box, black_box=None, notes=(*source.notes, note))
    elif isinstance(source.network, ModuleGraph):
        check_sizes(source.network, source.channels, size)
    try:
        with torch.no_grad():
            answers = source.network(torch.zeros(2, source.channels, *size))
    except Exception as error:  # whatever a foreign model raises
        said = str(error).strip().partition("\n")[0][:200].rstrip(".")
        raise InputError(f"The model does not run on images of {size[0]} x {size[1]} pixels: {said}.") from error
    if not isinstance(answers, torch.Tensor) or answers.ndim < 2 or answers.shape[0] != 2:
        raise InputError("The model does not give one row of numbers for each image.")
    units = int(answers.flatten(1).shape[1])
    if not torch.isfinite(answers).all():
        raise InputError(
            "The model's answer for a blank image is no finite number: it is damaged, or its training failed."
        )
    return source, units


def _agrees(source: Source, size: tuple[int, int]) -> bool:
    images = np.random.default_rng(0).random((3, source.channels, *size)).astype(np.float32)
    try:
        with torch.no_grad():
            ours = source.network(torch.from_numpy(images)).flatten(1)
            theirs = source.black_box(torch.from_numpy(images)).flatten(1) if source.black_box else ours
            finish = {"softmax": lambda z: torch.softmax(z, 1), "sigmoid": torch.sigmoid}.get(source.activation)
            ours, theirs = (finish(v) if finish else v for v in (ours, theirs))
    except Exception:  # an operator used in a way that is not known, or the wrong size: the black box will say
        return False
    scale = max(1.0, float(theirs.abs().max()))
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= AGREEMENT * scale)
