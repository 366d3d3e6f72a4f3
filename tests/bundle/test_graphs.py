"""Every graph is a file of the bundle, unchanged when it is opened, and reads nothing that is not in the bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.fixtures.unpacked import unpack

from pellucid.bundle.bundle import load
from pellucid.bundle.graphs import external_files
from pellucid.bundle.io import checksum
from pellucid.errors import BundleError


@pytest.fixture(scope="module")
def with_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a graph for the pixels and a tail, which read `weights.safetensors`."""
    return unpack(tmp_path_factory.mktemp("older")) / "run" / "model"


@pytest.fixture
def folder(with_graphs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(with_graphs, tmp_path / "model"))


def described(folder: Path, change: object) -> None:
    """Change the manifest, with checksums that fit what lies there."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)  # type: ignore[operator]
    document["files"] = {name: checksum(folder / name) for name in document["files"]}
    path.write_text(json.dumps(document))


def batch(bundle: object) -> np.ndarray:
    size = bundle.preprocessing  # type: ignore[attr-defined]
    return np.zeros((1, 3, size.height, size.width), np.float32)


def asked(bundle: object, name: str) -> object:
    if name == "gradients.onnx":
        return bundle.input_gradients(batch(bundle))  # type: ignore[attr-defined]
    return bundle.tail(bundle.evidence(batch(bundle)).activations)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["gradients.onnx", "tail.onnx"])
def test_a_graph_that_was_exchanged_after_loading_is_refused(folder: Path, name: str) -> None:
    bundle = load(folder)
    (folder / name).write_bytes((folder / name).read_bytes() + b"\x08\x08")
    with pytest.raises(BundleError, match=rf"{name} in .* \(sha256 differs\)"):
        asked(bundle, name)
    assert asked(load_again(folder), name) is not None


def load_again(folder: Path):
    described(folder, lambda document: None)
    return load(folder)


def test_weights_that_were_exchanged_after_loading_are_refused(folder: Path) -> None:
    bundle = load(folder)
    assert external_files((folder / "gradients.onnx").read_bytes()) == {"weights.safetensors"}
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match=r"weights\.safetensors in .* \(sha256 differs\)"):
        asked(bundle, "gradients.onnx")


@pytest.mark.parametrize("key", ["input_gradients", "tail", "graph", "further"])
@pytest.mark.parametrize("name", ["../x.onnx", "/tmp/x.onnx", "..\\x.onnx", "x.onnx", ""])
def test_a_graph_outside_the_bundle_is_never_opened(folder: Path, key: str, name: str) -> None:
    shutil.copy(folder / "gradients.onnx", folder.parent / "x.onnx")

    def change(document: dict) -> None:
        if key == "input_gradients":
            document[key] = name
        elif key == "further":
            document["layers"] = [{**document["layer"], "name": "other", "graph": name}]
        else:
            document["layer"][key] = name

    described(folder, change)
    with pytest.raises(BundleError):
        load(folder)


def with_external(location: str) -> onnx.ModelProto:
    """A graph with a tensor in another file, within a subgraph of a node."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    inner = helper.make_graph([], "inner", [], [], [tensor])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def constant(location: str) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    inner = helper.make_function("d", "f", [], ["y"], [node], [helper.make_opsetid("", 17)])
    return helper.make_model(helper.make_graph([], "g", [], []), functions=[inner])


@pytest.mark.parametrize("make", [with_external, constant])
def test_external_files_are_found_wherever_a_tensor_can_be(make) -> None:
    assert external_files(make("../secret.bin").SerializeToString()) == {"../secret.bin"}
    plain = helper.make_model(helper.make_graph([], "location", [], []))
    assert external_files(plain.SerializeToString()) == set()


@pytest.mark.parametrize("graph", ["gradients.onnx", "model.onnx"])
@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "beside.bin", "sub/../weights.safetensors"])
def test_weights_outside_the_bundle_are_never_read(folder: Path, graph: str, location: str) -> None:
    (folder.parent / "secret.bin").write_bytes(b"\0" * 4096)
    (folder / "beside.bin").write_bytes(b"\0" * 4096)
    model = onnx.load(folder / graph, load_external_data=False)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / graph).write_bytes(model.SerializeToString())
    described(folder, lambda document: None)
    with pytest.raises(BundleError, match="which is not a file of the bundle"):
        load(folder)


def test_bytes_that_are_no_graph_are_one_sentence(folder: Path) -> None:
    (folder / "tail.onnx").write_bytes(b"\x3a\xff\xff\x01location")
    described(folder, lambda document: None)
    with pytest.raises(BundleError, match="is not an ONNX graph"):
        load(folder)
