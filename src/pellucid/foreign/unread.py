"""Model formats that are known but not read: how each is recognised, and how to convert it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

START = 4096
TF2ONNX = "pip install tf2onnx, then: python -m tf2onnx.convert"
READABLE = ".h5, .keras, .onnx, .pt (TorchScript) or .pt2"


@dataclass(frozen=True, slots=True)
class UnreadFormat:
    """A format by its name, the `signature` at `offset` or `suffixes` or `inside` a folder, and what to do with it."""

    name: str
    remedy: str
    suffixes: tuple[str, ...] = ()
    signature: bytes = b""
    offset: int = 0
    inside: tuple[str, ...] = ()


OUTPUT = "--output"
SAVED_MODEL = " ".join((TF2ONNX, "--saved-model", "FOLDER", OUTPUT, "model.onnx; and import the ONNX file"))
TFLITE = " ".join((TF2ONNX, "--tflite", "model.tflite", OUTPUT, "model.onnx; and import the ONNX file"))
OPTIMUM = " ".join(("optimum-cli export onnx", "--model", "FOLDER onnx/; and import onnx/model.onnx"))
TFJS = (
    "pip install tensorflowjs, then: tensorflowjs_converter --input_format tfjs_layers_model --output_format keras "
    "model.json model.h5; and import the .h5 file. Teachable Machine also exports Keras .h5 directly"
)
SAFETENSORS = (
    "load it into the network that it belongs to and call pellucid.from_torch, or give it to a training as the "
    "initial weights of that backbone"
)
FORMATS = (
    UnreadFormat(
        "a TensorFlow Lite model",
        TFLITE,
        (".tflite", ".lite"),
        b"TFL3",
        4,
    ),
    UnreadFormat(
        "a TensorFlow SavedModel", SAVED_MODEL, inside=("saved_model.pb", "saved_model.pbtxt", "keras_metadata.pb")
    ),
    UnreadFormat("a part of a TensorFlow SavedModel or a frozen graph", SAVED_MODEL, (".pb", ".pbtxt")),
    UnreadFormat("a TensorFlow.js model", TFJS, inside=("model.json",)),
    UnreadFormat(
        "a TensorFlow checkpoint, which holds weights without their model",
        "load it where the model was built, and save the whole model: model.save('model.keras')",
        (".ckpt", ".index", ".meta", ".data-00000-of-00001"),
        inside=("checkpoint",),
    ),
    UnreadFormat("a safetensors file, which holds weights without their network", SAFETENSORS, (".safetensors",)),
    UnreadFormat(
        "a folder of Hugging Face's transformers",
        f"load it by its own library and call pellucid.from_torch, or pip install 'optimum[onnx]', then: {OPTIMUM}",
        inside=("config.json", "pytorch_model.bin"),
    ),
    UnreadFormat(
        "a Core ML model",
        "export the network that it was converted from to ONNX",
        (".mlmodel", ".mlpackage"),
        inside=("Manifest.json",),
    ),
    UnreadFormat(
        "a PaddlePaddle model",
        "pip install paddle2onnx, then: paddle2onnx --model_dir FOLDER --save_file model.onnx; and import that file",
        (".pdmodel", ".pdiparams", ".pdparams"),
        inside=("inference.pdmodel",),
    ),
    UnreadFormat("an OpenVINO model", "import the ONNX file that it was converted from", (".xml",), b"<?xml"),
    UnreadFormat("a Darknet model", "convert it to ONNX, and import that", (".weights", ".cfg")),
    UnreadFormat("a Caffe model", "convert it to ONNX, and import that", (".caffemodel", ".prototxt")),
    UnreadFormat("a GGUF file, as language models have", "pellucid reads image classifiers only", (), b"GGUF"),
    UnreadFormat("a TensorRT engine", "import the ONNX file that it was built from", (".engine", ".plan", ".trt")),
)


def refuse_folder(path: Path) -> InputError:
    """The error for a folder, by what lies in it."""
    names = {f.name for f in path.iterdir()}
    for row in FORMATS:
        if names.intersection(row.inside):
            return _refused(path, row)
    if any(name.endswith(".mlmodel") or path.suffix == ".mlpackage" for name in names):
        return _refused(path, next(r for r in FORMATS if ".mlpackage" in r.suffixes))
    models = sorted(n for n in names if Path(n).suffix.lower() in {".h5", ".keras", ".onnx", ".pt2"})
    hint = f" It holds {', '.join(models[:3])}: import that." if models else ""
    return InputError(f"{path} is a folder; give a model file: {READABLE}.{hint}")


def refuse_archive(path: Path, names: Iterable[str]) -> InputError:
    """The error for a zip file that is no model itself, by what is packed in it."""
    packed = {Path(name).name for name in names}
    for row in FORMATS:
        if packed.intersection(row.inside) and not packed.intersection({"config.json"}):
            return _refused(path, row)
    models = sorted(n for n in packed if Path(n).suffix.lower() in {".h5", ".keras", ".onnx", ".tflite"})
    hint = f" It holds {', '.join(models[:3])}: unpack it, and import that." if models else ""
    return InputError(f"{path} is a zip file and no model that is known.{hint}")


def refuse_file(path: Path, start: bytes) -> InputError | None:
    """The error for a file of a known but unread format; None for any other."""
    if start.startswith(b"version https://git-lfs"):
        return InputError(
            f"{path} is a pointer of Git LFS and not the file itself, which is stored elsewhere. Run git lfs pull in "
            "the repository, or download the file again."
        )
    if start.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return InputError(f"{path} is a web page and not a model file. Download the file itself.")
    if start.lstrip()[:1] == b"{" and (
        b"modelTopology" in start or _json_has(path, "modelTopology", "weightsManifest")
    ):
        return _refused(path, next(r for r in FORMATS if "model.json" in r.inside))
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return _refused(path, next(r for r in FORMATS if ".safetensors" in r.suffixes))
    for row in FORMATS:
        if row.signature and start[row.offset : row.offset + len(row.signature)] == row.signature:
            return _refused(path, row)
    suffix = path.suffix.lower()
    row_by_suffix = next((r for r in FORMATS if suffix in r.suffixes), None)
    return None if row_by_suffix is None else _refused(path, row_by_suffix)


def _refused(path: Path, row: UnreadFormat) -> InputError:
    return InputError(f"{path} is {row.name}, which is not read here. To convert it: {row.remedy}.")


def _json_has(path: Path, *keys: str) -> bool:
    if path.stat().st_size > 64 << 20:
        return False
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(document, dict) and any(key in document for key in keys)
