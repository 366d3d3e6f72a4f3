"""Model files of other formats: each is named, with the way to convert it, before anything is loaded."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from pellucid.errors import InputError
from pellucid.foreign.open import open_model


def tflite(folder: Path) -> Path:
    return _file(folder / "model.tflite", b"\x20\x00\x00\x00TFL3" + b"\0" * 200)


def tflite_by_its_bytes(folder: Path) -> Path:
    return _file(folder / "model.bin", b"\x1c\x00\x00\x00TFL3" + b"\0" * 200)


def saved_model(folder: Path) -> Path:
    (folder / "saved" / "variables").mkdir(parents=True)
    _file(folder / "saved" / "saved_model.pb", b"\x08\x01")
    return folder / "saved"


def frozen_graph(folder: Path) -> Path:
    return _file(folder / "frozen.pb", b"\n\x10\n\x05input")


def tfjs_folder(folder: Path) -> Path:
    (folder / "js").mkdir()
    _file(folder / "js" / "model.json", json.dumps({"format": "layers-model", "modelTopology": {}}).encode())
    return folder / "js"


def tfjs_file(folder: Path) -> Path:
    return _file(folder / "model.json", json.dumps({"pad": "x" * 9000, "modelTopology": {}}).encode())


def safetensors(folder: Path) -> Path:
    import numpy as np

    save_file({"conv.weight": np.ones((3, 3), np.float32)}, folder / "model.safetensors")
    return folder / "model.safetensors"


def safetensors_by_its_bytes(folder: Path) -> Path:
    return safetensors(folder).rename(folder / "weights.bin")


def hugging_face(folder: Path) -> Path:
    safetensors(folder)
    _file(folder / "config.json", b"{}")
    return folder


def git_lfs(folder: Path) -> Path:
    return _file(folder / "model.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 133\n")


def web_page(folder: Path) -> Path:
    return _file(folder / "model.h5", b"<!DOCTYPE html><html>")


def packed(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "converted_keras.zip", "w") as archive:
        archive.writestr("keras_model.h5", "x")
        archive.writestr("labels.txt", "0 a\n1 b\n")
    return folder / "converted_keras.zip"


def packed_tfjs(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "tm-my-image-model.zip", "w") as archive:
        for name in ("model.json", "metadata.json", "weights.bin"):
            archive.writestr(name, "{}")
    return folder / "tm-my-image-model.zip"


def packed_saved_model(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "converted_savedmodel.zip", "w") as archive:
        archive.writestr("model.savedmodel/saved_model.pb", "x")
        archive.writestr("labels.txt", "0 a\n1 b\n")
    return folder / "converted_savedmodel.zip"


def folder_with_a_model(folder: Path) -> Path:
    _file(folder / "best.keras", b"x")
    return folder


def paddle(folder: Path) -> Path:
    return _file(folder / "inference.pdmodel", b"xx")


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "name", "remedy"),
    [
        (tflite, "TensorFlow Lite", "tf2onnx.convert --tflite"),
        (tflite_by_its_bytes, "TensorFlow Lite", "tf2onnx.convert --tflite"),
        (saved_model, "TensorFlow SavedModel", "tf2onnx.convert --saved-model"),
        (frozen_graph, "frozen graph", "tf2onnx.convert"),
        (tfjs_folder, "TensorFlow.js", "tensorflowjs_converter --input_format tfjs_layers_model"),
        (tfjs_file, "TensorFlow.js", "tensorflowjs_converter"),
        (safetensors, "weights without their network", "pellucid.from_torch"),
        (safetensors_by_its_bytes, "weights without their network", "pellucid.from_torch"),
        (hugging_face, "Hugging Face", "optimum-cli export onnx"),
        (git_lfs, "pointer of Git LFS", "git lfs pull"),
        (web_page, "web page", "Download the file itself"),
        (packed, "zip file", "It holds keras_model.h5: unpack it"),
        (packed_tfjs, "TensorFlow.js", "tensorflowjs_converter"),
        (packed_saved_model, "TensorFlow SavedModel", "tf2onnx.convert --saved-model"),
        (folder_with_a_model, "is a folder", "It holds best.keras: import that"),
        (paddle, "PaddlePaddle", "paddle2onnx"),
    ],
)
def test_a_format_is_named(make: Callable[[Path], Path], name: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_model(make(tmp_path))
    assert name in str(caught.value)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
