"""Keras itself as the second truth of an import: the same file, read and run by the library that made it.

Keras is given a description in which only what this package knows is left: layers and operations of Keras by name, and
no initialisers, regularisers or functions. So nothing that a file could smuggle in reaches it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import PellucidError
from ...preprocessing import FloatArray
from .activations import LAYERS as ACTIVATION_LAYERS
from .activations import NAMED, OTHER_NAMES
from .catalogue import LAYERS
from .configuration import MODELS
from .container import KerasFile

DROPPED = ("_initializer", "_regularizer", "_constraint")
PLAIN = {
    "__keras_tensor__",
    "__ellipsis__",
    "__numpy__",
    "__tensor__",
    "DTypePolicy",
    "Policy",
    "__tuple__",
    "slice",
    "function",
}
KNOWN = {*LAYERS, *ACTIVATION_LAYERS, *MODELS, *PLAIN}
ACTIVATIONS = {*NAMED, *OTHER_NAMES}
MODULES = ("keras.layers", "keras.activations", "keras.dtype_policies", "keras.src.layers.", "keras.src.models.",
           "keras.src.ops.", "keras.src.activations.")  # fmt: skip
CHANGED = "hard_sigmoid"


@dataclass(frozen=True)
class SecondTruth:
    """The same model in another runtime: its name, images (N, C, H, W) to its answers (N, K), and notes on it."""

    name: str
    answers: Callable[[FloatArray], FloatArray]
    notes: tuple[str, ...] = ()


def keras_original(path: Path, file: KerasFile) -> SecondTruth | None:
    """The model of a file as the installed Keras reads it; None without Keras, or for a file that it cannot read.

    A file that holds an activation which Keras 3 computes otherwise than Keras 1 and 2 did has none either.
    """
    if importlib.util.find_spec("keras") is None:
        return None
    old = not file.version.startswith("3")
    if old and CHANGED in json.dumps(file.config):
        return None
    try:
        config = _with_inputs(harmless(file.config)) if old else harmless(file.config)
        with _quiet():
            keras = _keras()
            if not str(keras.__version__).startswith("3"):
                return None
            model = _loaded(keras, path, config, packed=file.packed)
    except (PellucidError, MemoryError):
        raise
    except Exception:  # Keras raises whatever its layers raise; then there is no second truth
        return None
    read = f", which reads files of Keras {file.version}" if old else ""

    def answers(batch: FloatArray) -> FloatArray:
        with _quiet():
            given = np.ascontiguousarray(np.moveaxis(batch, 1, -1))
            result: FloatArray = np.asarray(model.predict(given, verbose=0), np.float32).reshape(len(batch), -1)
        return result

    return SecondTruth(f"keras {keras.__version__}{read}", answers)


class UnknownContentError(Exception):
    """A description that holds something this package does not know."""


def harmless(value: Any) -> Any:
    """A description without initialisers and their kind; UnknownContentError for what is not Keras' own."""
    if isinstance(value, list):
        return [harmless(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_name" in value:
        _check_class(value)
    kept = {
        k: v for k, v in value.items() if not k.endswith(DROPPED) and k not in {"compile_config", "shared_object_id"}
    }
    return {k: harmless(v) for k, v in kept.items()}


def _check_class(value: dict[str, Any]) -> None:
    name, module = str(value["class_name"]), value.get("module")
    activation = name == "function" and value.get("config") in ACTIVATIONS
    if name not in KNOWN or (name == "function" and not activation):
        raise UnknownContentError(name)
    if module not in (None, "builtins", "keras") and not str(module).startswith(MODULES):
        raise UnknownContentError(str(module))
    registered = value.get("registered_name")
    if registered not in (None, name) and not activation:
        raise UnknownContentError(str(registered))


def _with_inputs(value: Any) -> Any:
    """A description of Keras 1 or 2 whose models state their input in a layer of its own, as Keras 3 wants it."""
    if isinstance(value, list):
        return [_with_inputs(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {k: _with_inputs(v) for k, v in value.items()}
    shape = changed.pop("batch_input_shape", None)
    if changed.get("class_name") == "InputLayer":
        inner = value["config"]
        changed["config"] = {
            "name": inner.get("name"),
            "batch_shape": inner.get("batch_input_shape", inner.get("batch_shape")),
        }
    layers = value.get("layers")
    if shape is None and isinstance(layers, list) and layers and "input_layers" not in value:
        first = layers[0].get("config", {})
        if layers[0].get("class_name") != "InputLayer" and "batch_input_shape" in first:
            start = {"class_name": "InputLayer", "config": {"batch_shape": first["batch_input_shape"]}}
            changed["layers"] = [start, *changed["layers"]]
    return changed


def _keras() -> Any:
    """The module keras, on torch unless the caller has chosen another backend."""
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        return importlib.import_module("keras")
    os.environ["KERAS_BACKEND"] = "torch"
    try:
        return importlib.import_module("keras")
    finally:
        del os.environ["KERAS_BACKEND"]


def _loaded(keras: Any, path: Path, config: dict[str, Any], *, packed: bool) -> Any:
    """The model as Keras' own `load_model` reads a copy of the file that has another description."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / ("model.keras" if packed else "model.h5")
        if packed:
            with zipfile.ZipFile(path) as given, zipfile.ZipFile(copy, "w") as written:
                for name in ("metadata.json", "model.weights.h5"):
                    if name in given.namelist():
                        written.writestr(name, given.read(name))
                written.writestr("config.json", json.dumps(config))
            return keras.saving.load_model(str(copy), compile=False, safe_mode=True)
        import h5py

        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+", locking=False) as file:
            file.attrs["model_config"] = json.dumps(config)
            file.attrs.pop("training_config", None)
        return keras.saving.load_model(str(copy), compile=False)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
