from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pellucid.bundle.bundle import load
from pellucid.bundle.manifest import Manifest
from pellucid.classifier import probabilities_from_logits
from pellucid.errors import InputError
from pellucid.foreign.export import export_imported, placeholder
from pellucid.foreign.imported import ImportedNetwork, Source, choose_layer, entry_of
from pellucid.foreign.meaning import meaning_of
from pellucid.foreign.onnx_black_box import OnnxModule
from pellucid.foreign.open import open_model
from pellucid.foreign.settle import settled
from pellucid.preprocessing import Preprocessing

SIZE = (18, 15)


class Net(nn.Module):
    """Odd sizes, strides, a branch, several poolings, and a flattened head."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)
        self.average = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        self.largest = nn.MaxPool2d(2)
        self.head = nn.Linear(24, outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(image)))
        x = x + nn.functional.hardswish(self.conv2(x))
        x = nn.functional.relu6(self.average(x))
        return self.head(self.largest(x).flatten(1))


def network(outputs: int = 3, ending: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(3)
    net = Net(outputs)
    net(torch.randn(8, 3, *SIZE))
    return nn.Sequential(net, ending or nn.Identity()).eval()


def written(path: Path, module: nn.Module, *, free: bool = True) -> Path:
    axes = {"image": {0: "n"}} if free else None
    example = (torch.zeros(1, 3, *SIZE),)
    torch.onnx.export(module, example, str(path), dynamo=False, input_names=["image"], dynamic_axes=axes)
    return path


def pixels(count: int = 4) -> Any:
    return np.random.default_rng(0).random((count, 3, *SIZE)).astype(np.float32)


def bundle_of(path: Path, out: Path, **meaning: Any) -> tuple[Any, Source]:
    model = settled(open_model(path), SIZE)
    source, units = model.source, model.units
    answer = meaning_of(source.activation, units, **meaning)
    model = ImportedNetwork(entry_of(source.channels, "rgb"), source.network, answer.module).eval()
    layer = None if isinstance(source.network, OnnxModule) else choose_layer(model, SIZE, answer.logits)
    manifest = Manifest(
        pellucid_version="0",
        name="net",
        task=answer.task,
        classes=tuple("abcd"[: max(units, 2)]),
        preprocessing=Preprocessing(height=SIZE[0], width=SIZE[1]),
        layer=None if layer is None else placeholder(layer),
        logits=answer.logits,
        architecture={},
    )
    export_imported(model, source, manifest, out, images=pixels(), source="noise")
    return load(out, threads=1), source


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("free", "ending"), [(True, nn.Softmax(1)), (False, None)])
def test_a_known_graph_is_differentiated(tmp_path: Path, free: bool, ending: nn.Module | None) -> None:
    """The evidence of the bundle is the one of autograd on the torch network that the file was made from."""
    module = network(3, ending)
    bundle, source = bundle_of(written(tmp_path / "m.onnx", module, free=free), tmp_path / "b")
    assert source.activation == ("softmax" if ending else "linear")
    batch = pixels()
    with torch.no_grad():
        wanted = torch.softmax(module[0](torch.from_numpy(batch)), 1).numpy()
    np.testing.assert_allclose(bundle.probabilities(batch), wanted, atol=1e-6)

    net: Any = module[0]
    leaf = torch.relu(net.norm(net.conv1(torch.from_numpy(batch))))
    leaf = nn.functional.relu6(net.average(leaf + nn.functional.hardswish(net.conv2(leaf)))).detach().requires_grad_()
    logits = net.head(net.largest(leaf).flatten(1))
    (gradient,) = torch.autograd.grad((logits[:, 1] - torch.logsumexp(logits[:, [0, 2]], 1)).sum(), leaf)
    evidence = bundle.evidence(batch, "b")
    np.testing.assert_allclose(evidence.activations, leaf.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(evidence.gradients[:, 0], gradient.numpy(), atol=1e-5)
    assert evidence.geometry.stride == (4.0, 4.0)
    assert bundle.manifest.parity is not None
    assert bundle.manifest.parity.runtime.startswith("onnxruntime")


def with_unknown_operator(path: Path, *, sigmoid: bool = False, fixed: bool = False, last: bool = False) -> Path:
    """Mean over space, then a sort, which nobody can put off as a plain layer; 3 channels, so 3 outputs or 1."""
    axes = [1, 2] if last else [2, 3]
    weight = np.array([[1.0], [-2.0], [3.0]], np.float32) if sigmoid else np.eye(3, dtype=np.float32)[:, ::-1] * 4
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Hardmax", ["mean"], ["most"]),
        helper.make_node("Add", ["most", "mean"], ["sum"]),
        helper.make_node("MatMul", ["sum", "weight"], ["z"]),
        helper.make_node("Sigmoid" if sigmoid else "Softmax", ["z"], ["answer"]),
    ]
    shape = [1 if fixed else "n", *SIZE, 3] if last else [1 if fixed else "n", 3, *SIZE]
    if fixed:  # written down, so that any other number fails
        nodes.insert(0, helper.make_node("Reshape", ["raw", "shape"], ["image"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("raw" if fixed else "image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [shape[0], weight.shape[1]])],
        [numpy_helper.from_array(np.ascontiguousarray(weight), "weight")]
        + ([numpy_helper.from_array(np.array(shape), "shape")] if fixed else []),
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_an_unknown_operator_makes_a_black_box(tmp_path: Path, sigmoid: bool, fixed: bool, last: bool) -> None:
    path = with_unknown_operator(tmp_path / "m.onnx", sigmoid=sigmoid, fixed=fixed, last=last)
    bundle, source = bundle_of(path, tmp_path / "b", turned=sigmoid)
    assert "Hardmax" in source.notes[0]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch = pixels(5)
    given = np.moveaxis(batch, 1, -1) if last else batch
    wanted = np.concatenate([session.run(None, {session.get_inputs()[0].name: i[None]})[0] for i in given])
    if sigmoid:  # turned round: the model's one output speaks for what is now the first class
        wanted = np.concatenate([wanted, 1 - wanted], axis=1)
    np.testing.assert_allclose(bundle.probabilities(batch), wanted, atol=1e-5)
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    assert bundle.explain(image, method="occlusion").values.shape == (40, 30)
    with pytest.raises(InputError, match=r"black box.*occlusion"):
        bundle.explain(image)


def test_a_binary_softmax_is_folded_in_a_black_box(tmp_path: Path) -> None:
    path = with_unknown_operator(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    weight = np.array([[1.0, 0.0], [0.0, -1.0], [2.0, 0.5]], np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2
    onnx.save(model, str(path))
    bundle, _ = bundle_of(path, tmp_path / "b")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch = pixels(3)
    np.testing.assert_allclose(bundle.probabilities(batch), session.run(None, {"image": batch})[0], atol=1e-5)
    assert bundle.logits(batch).shape == (3, 1)
    np.testing.assert_allclose(probabilities_from_logits(bundle.logits(batch)), bundle.probabilities(batch), atol=1e-7)


def test_files_that_are_no_model_for_images(tmp_path: Path) -> None:
    def graph(shape: list[Any], kind: int = TensorProto.FLOAT) -> Path:
        made = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", kind, shape)],
        )
        onnx.save(helper.make_model(made), str(tmp_path / "m.onnx"))
        return tmp_path / "m.onnx"

    with pytest.raises(InputError, match="an input of 2 axes"):
        open_model(graph([1, 10]))
    with pytest.raises(InputError, match="images of 7 channels"):
        open_model(graph([1, 7, 8, 8]))
    with pytest.raises(InputError, match="float images"):
        open_model(graph([1, 3, 8, 8], TensorProto.INT64))
    (tmp_path / "no.onnx").write_bytes(b"\x08\x07nonsense")
    with pytest.raises(InputError, match="cannot be read as an ONNX model"):
        open_model(tmp_path / "no.onnx")
    (tmp_path / "x.bin").write_bytes(b"zzzz")
    with pytest.raises(InputError, match="no model file that is known"):
        open_model(tmp_path / "x.bin")
