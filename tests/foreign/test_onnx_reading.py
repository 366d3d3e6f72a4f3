"""ONNX files as exporters of many kinds write them, each against ONNX Runtime on the file itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from pellucid.bundle.bundle import Bundle, load
from pellucid.bundle.manifest import Manifest
from pellucid.errors import InputError
from pellucid.foreign.export import export_imported, placeholder
from pellucid.foreign.imported import ImportedNetwork, choose_layer, entry_of
from pellucid.foreign.meaning import gives_of, meaning_of
from pellucid.foreign.onnx_black_box import OnnxModule
from pellucid.foreign.open import open_model
from pellucid.foreign.pictures import made_up_pictures
from pellucid.foreign.settle import Settled, settled
from pellucid.preprocessing import Preprocessing

SIZE = (16, 12)
CLASSES = 3


def convolutional(ending: nn.Module | None = None, outputs: int = CLASSES) -> nn.Module:
    torch.manual_seed(5)
    parts = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    net = nn.Sequential(*parts, nn.Flatten(), nn.Linear(6, outputs), ending or nn.Identity())
    for parameter in net.parameters():
        parameter.data.mul_(3)
    return net.eval()


@pytest.fixture
def exported(tmp_path: Path) -> Any:
    """A function that writes a torch module as ONNX and gives its graph to be changed, then its path."""

    def export(module: nn.Module, **options: Any) -> onnx.ModelProto:
        path = tmp_path / "exported.onnx"
        axes = {"image": {0: "n"}}
        example = (torch.zeros(1, 3, *SIZE),)
        torch.onnx.export(
            module, example, str(path), dynamo=False, input_names=["image"], output_names=["answer"],
            **{"dynamic_axes": axes, **options},
        )  # fmt: skip
        return onnx.load(str(path))

    return export


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def pixels(count: int = 5, scale: float = 255.0) -> Any:
    return np.moveaxis(made_up_pictures(count, SIZE, seed=4), -1, 1).astype(np.float32) / np.float32(scale)


def runtime(path: Path, images: Any) -> Any:
    """What ONNX Runtime answers, one image at a time."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.stack([np.asarray(session.run(None, {name: i[None]})[0], np.float64).reshape(-1) for i in images])


def bundled(path: Path, out: Path, *, scale: float = 1 / 255, **meaning: Any) -> tuple[Bundle, Settled]:
    model = settled(open_model(path), SIZE)
    gives = gives_of(model.source.activation, model.outputs, **meaning)
    result = meaning_of(model.source.activation, model.units, gives=gives)
    network = ImportedNetwork(entry_of(3, "rgb"), model.source.network, result.module).eval()
    black = isinstance(model.source.network, OnnxModule)
    layer = None if black else choose_layer(network, SIZE, result.logits)
    manifest = Manifest(
        pellucid_version="0",
        name="net",
        task=result.task,
        classes=tuple(f"c{i}" for i in range(max(model.units, 2))),
        preprocessing=Preprocessing(height=SIZE[0], width=SIZE[1], scale=scale),
        layer=None if layer is None else placeholder(layer),
        logits=result.logits,
        batchable=model.source.batchable,
        architecture={},
    )
    images = pixels(6, 1 / scale / 1.0 if scale != 1 else 1.0)
    export_imported(network, model.source, manifest, out, images=images, source="noise")
    return load(out, threads=1), model


def softmax(values: Any) -> Any:
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_a_batch_of_minus_one_is_a_free_one(exported: Any, tmp_path: Path) -> None:
    model = exported(convolutional())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].ClearField("dim_param")
        value.type.tensor_type.shape.dim[0].dim_value = -1
    bundle, found = bundled(saved(model, tmp_path / "m.onnx"), tmp_path / "b")
    assert not isinstance(found.source.network, OnnxModule)
    wanted = softmax(runtime(saved(exported(convolutional()), tmp_path / "plain.onnx"), pixels()))
    np.testing.assert_allclose(bundle.probabilities(pixels()), wanted, atol=1e-5)


def test_nodes_out_of_order_are_sorted(exported: Any, tmp_path: Path) -> None:
    model = exported(convolutional(nn.Softmax(1)))
    wanted = runtime(saved(model, tmp_path / "plain.onnx"), pixels())
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
        onnx.checker.check_model(model)
    bundle, _ = bundled(saved(model, tmp_path / "m.onnx"), tmp_path / "b")
    np.testing.assert_allclose(bundle.probabilities(pixels()), wanted, atol=1e-5)


def test_log_softmax_at_the_end_is_taken_off(exported: Any, tmp_path: Path) -> None:
    path = saved(exported(convolutional(nn.LogSoftmax(1))), tmp_path / "m.onnx")
    bundle, found = bundled(path, tmp_path / "b")
    assert found.source.activation == "log_softmax"
    np.testing.assert_allclose(bundle.probabilities(pixels()), np.exp(runtime(path, pixels())), atol=1e-5)
    # What is explained is the logit, and not its logarithm of a share.
    with torch.no_grad():
        logits = convolutional()(torch.from_numpy(pixels())).numpy()
    np.testing.assert_allclose(bundle.logits(pixels()), logits, atol=1e-4)


@pytest.mark.parametrize("kind", ["half", "bytes", "double"])
def test_images_of_other_types(kind: str, exported: Any, tmp_path: Path) -> None:
    types = {"half": TensorProto.FLOAT16, "bytes": TensorProto.UINT8, "double": TensorProto.DOUBLE}
    module = convolutional(nn.Softmax(1))
    model = exported(module)
    graph = model.graph
    scale = numpy_helper.from_array(np.array(1 / 255 if kind == "bytes" else 1, np.float32), "scale")
    graph.initializer.append(scale)
    nodes = [helper.make_node("Cast", ["image"], ["plain"], to=1), helper.make_node("Mul", ["plain", "scale"], ["x"])]
    for node in graph.node:
        node.input[:] = ["x" if n == "image" else n for n in node.input]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    graph.input[0].type.tensor_type.elem_type = types[kind]
    path = saved(model, tmp_path / "m.onnx")
    bundle, found = bundled(path, tmp_path / "b", scale=1.0 if kind == "bytes" else 1 / 255)
    batch = pixels(5, 1.0 if kind == "bytes" else 255.0)
    dtype = {"half": np.float16, "bytes": np.uint8, "double": np.float64}[kind]
    np.testing.assert_allclose(bundle.probabilities(batch), runtime(path, batch.astype(dtype)), atol=1e-3)
    assert (found.source.pixels is not None) == (kind == "bytes")


def test_half_precision_throughout(exported: Any, tmp_path: Path) -> None:
    model = exported(convolutional(nn.Softmax(1)))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    path = saved(model, tmp_path / "m.onnx")
    bundle, _ = bundled(path, tmp_path / "b")
    batch = pixels().astype(np.float16)
    np.testing.assert_allclose(bundle.probabilities(batch.astype(np.float32)), runtime(path, batch), atol=2e-3)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("ending", ["Sigmoid", "none"])
def test_one_number_for_each_image(unknown: bool, ending: str, exported: Any, tmp_path: Path) -> None:
    """(N,) is one output, also where the graph stays a black box."""
    last = nn.Sigmoid() if ending == "Sigmoid" else nn.Identity()
    module = nn.Sequential(*convolutional(last, 1).children(), nn.Flatten(0))
    model = exported(module)
    if unknown:
        model.graph.node[0].input[0] = "same"
        first = helper.make_node("Ceil", ["image"], ["up"])
        both = helper.make_node("Where", ["never", "up", "image"], ["same"])
        rest = list(model.graph.node)
        del model.graph.node[:]
        model.graph.initializer.append(numpy_helper.from_array(np.array(False), "never"))
        model.graph.node.extend([first, both, *rest])
    path = saved(model, tmp_path / "m.onnx")
    bundle, found = bundled(path, tmp_path / "b", task="binary" if ending == "none" else None, gives=None)
    assert isinstance(found.source.network, OnnxModule) == unknown
    wanted = runtime(path, pixels())[:, 0]
    if ending == "Sigmoid":
        np.testing.assert_allclose(bundle.probabilities(pixels())[:, 1], wanted, atol=1e-5)
    else:
        np.testing.assert_allclose(bundle.logits(pixels())[:, 0], wanted, atol=1e-4)


def test_dynamic_quantisation_answers_each_image_by_itself(exported: Any, tmp_path: Path) -> None:
    plain = saved(exported(convolutional(nn.Softmax(1))), tmp_path / "plain.onnx")
    path = tmp_path / "int8.onnx"
    quantize_dynamic(str(plain), str(path), weight_type=QuantType.QUInt8)
    batch = np.concatenate([pixels(4), pixels(4) * 0.05, pixels(4) * 3])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    alone = runtime(path, batch)
    assert np.abs(session.run(None, {"image": batch})[0] - alone).max() > 1e-3  # the fault of the graph itself
    bundle, found = bundled(path, tmp_path / "b")
    assert not found.source.batchable
    assert not bundle.manifest.batchable
    assert any("run one at a time" in note for note in found.source.notes)
    np.testing.assert_allclose(bundle.probabilities(batch), alone, atol=1e-6)
    np.testing.assert_allclose(bundle.probabilities(batch[5:6]), alone[5:6], atol=1e-6)


def in_front(model: onnx.ModelProto, nodes: list[Any]) -> onnx.ModelProto:
    """The graph with `nodes` between its image and the rest, which takes the value `changed`."""
    for node in model.graph.node:
        node.input[:] = ["changed" if n == "image" else n for n in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return model


def test_an_answer_that_depends_on_the_batch_is_found_by_comparison(exported: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], axes=[0, 1, 2, 3]),
        helper.make_node("Sub", ["image", "most"], ["changed"]),
    ]
    model = in_front(exported(convolutional(nn.Softmax(1)), opset_version=13), nodes)
    path = saved(model, tmp_path / "m.onnx")
    bundle, found = bundled(path, tmp_path / "b")
    assert not found.source.batchable
    assert any("as a comparison of batches shows" in note for note in found.source.notes)
    np.testing.assert_allclose(bundle.probabilities(pixels()), runtime(path, pixels()), atol=1e-5)


def test_a_graph_in_training_mode_is_refused(exported: Any, tmp_path: Path) -> None:
    norm = helper.make_node("BatchNormalization", ["image", *"gbmv"], ["changed", "m2", "v2"], training_mode=1)
    model = in_front(exported(convolutional()), [norm])
    for name in "gbmv":
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), name))
    with pytest.raises(InputError, match=r"exported in training mode \(its BatchNormalization"):
        open_model(saved(model, tmp_path / "norm.onnx"))
    drop = helper.make_node("Dropout", ["image", "", "training"], ["changed"])
    model = in_front(exported(convolutional()), [drop])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "training"))
    with pytest.raises(InputError, match=r"exported in training mode \(its Dropout"):
        open_model(saved(model, tmp_path / "drop.onnx"))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (["n", 10, 84], "10 x 84 numbers, so it looks like a detector or a segmenter"),
        (["n", 21, 16, 12], "looks like a detector or a segmenter"),
    ],
)
def test_detectors_and_segmenters_are_refused(shape: list[Any], said: str, tmp_path: Path) -> None:
    count = int(np.prod(shape[1:]))
    weight = np.random.default_rng(0).normal(0, 1, (3, count)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["z"]),
        helper.make_node("Reshape", ["z", "shape"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *SIZE])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([-1, *shape[1:]]), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(InputError, match=said):
        settled(open_model(saved(model, tmp_path / "m.onnx")), SIZE)


@pytest.mark.parametrize("old", [False, True])
def test_a_softmax_over_part_of_the_answer_is_refused(old: bool, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["z"]),
        helper.make_node("Reshape", ["z", "parts"], ["p"]),
        helper.make_node("Softmax", ["p"], ["s"], axis=2),
        helper.make_node("Reshape", ["s", "whole"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *SIZE])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["n", 6])],
        [
            numpy_helper.from_array(np.ones((3, 6), np.float32), "weight"),
            numpy_helper.from_array(np.array([-1, 2, 3]), "parts"),
            numpy_helper.from_array(np.array([-1, 6]), "whole"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11 if old else 13)], ir_version=7)
    with pytest.raises(InputError, match="outputs sum to 2"):
        settled(open_model(saved(model, tmp_path / "m.onnx")), SIZE)


def constant_graph(nodes: list[Any], tensors: list[Any], shape: list[Any] | None = None) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape or ["n", 3, *SIZE])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def absurd_constant() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["one"], keepdims=0),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["mean", "one"], ["answer"]),
    ]
    return constant_graph(nodes, [numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape")])


def absurd_expansion() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Expand", ["image", "shape"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["answer"], axes=[0, 3, 4], keepdims=0),
    ]
    return constant_graph(nodes, [numpy_helper.from_array(np.array([1 << 30, 1, 3, *SIZE]), "shape")])


def absurd_padding() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Pad", ["image", "pads"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["answer"], axes=[2, 3], keepdims=0),
    ]
    return constant_graph(nodes, [numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1 << 20, 1 << 20]), "pads")])


def absurd_resize() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Resize", ["image", "", "scales"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["answer"], axes=[2, 3], keepdims=0),
    ]
    return constant_graph(nodes, [numpy_helper.from_array(np.array([1, 1, 1e5, 1e5], np.float32), "scales")])


def absurd_image() -> onnx.ModelProto:
    return constant_graph([helper.make_node("Flatten", ["image"], ["answer"])], [], [1, 3, 1 << 30, 1 << 30])


def absurd_batch() -> onnx.ModelProto:
    return constant_graph([helper.make_node("Flatten", ["image"], ["answer"])], [], [1 << 40, 3, *SIZE])


def absurd_weight() -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 30, 1 << 30], raw_data=b"")
    nodes = [helper.make_node("Flatten", ["image"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["answer"])]
    return constant_graph(nodes, [tensor])


@pytest.mark.parametrize(
    "make",
    [absurd_constant, absurd_expansion, absurd_padding, absurd_resize, absurd_image, absurd_batch, absurd_weight],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(make: Any, tmp_path: Path) -> None:
    path = saved(make(), tmp_path / "m.onnx")
    with pytest.raises(InputError) as caught:
        settled(open_model(path), SIZE)
    assert "\n" not in str(caught.value)


def test_weights_in_a_second_file(exported: Any, tmp_path: Path) -> None:
    model = exported(convolutional(nn.Softmax(1)))
    wanted = runtime(saved(model, tmp_path / "plain.onnx"), pixels())
    folder = tmp_path / "whole"
    folder.mkdir()
    onnx.save(model, str(folder / "m.onnx"), save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    bundle, _ = bundled(folder / "m.onnx", tmp_path / "b")
    np.testing.assert_allclose(bundle.probabilities(pixels()), wanted, atol=1e-5)
    (folder / "m.onnx.data").unlink()
    with pytest.raises(InputError, match=r"second file, m\.onnx\.data, which is not beside it"):
        open_model(folder / "m.onnx")
    outside = onnx.load(str(folder / "m.onnx"), load_external_data=False)
    for tensor in outside.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../plain.onnx"
    with pytest.raises(InputError, match="outside of its folder"):
        open_model(saved(outside, folder / "m.onnx"))


def test_a_class_already_chosen_is_no_answer(exported: Any, tmp_path: Path) -> None:
    model = exported(convolutional())
    model.graph.node.append(helper.make_node("ArgMax", ["answer"], ["chosen"], axis=1, keepdims=0))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("chosen", TensorProto.INT64, ["n"]))
    with pytest.raises(InputError, match="a class already chosen"):
        open_model(saved(model, tmp_path / "m.onnx"))


def test_the_first_of_several_outputs_is_the_answer_and_said(exported: Any, tmp_path: Path) -> None:
    model = exported(convolutional(nn.Softmax(1)))
    inner = next(n.output[0] for n in model.graph.node if n.op_type == "Relu")
    model.graph.output.append(helper.make_tensor_value_info(inner, TensorProto.FLOAT, ["n", 6, "h", "w"]))
    source = open_model(saved(model, tmp_path / "m.onnx"))
    assert "answer is the answer" in source.notes[0]
    assert inner in source.notes[0]


def test_onnx_runtime_prints_nothing(exported: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A graph whose shapes are written for one image fails for several, which is tried on purpose."""
    module = nn.Sequential(*list(convolutional().children())[:5], nn.Unflatten(1, (6,)), nn.Flatten(), nn.Linear(6, 3))
    model = exported(module.eval(), dynamic_axes=None)
    shape = numpy_helper.from_array(np.array([1, 3]), "one")
    model.graph.initializer.append(shape)
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("Reshape", ["z", "one"], ["answer"]))
    capfd.readouterr()
    source = open_model(saved(model, tmp_path / "m.onnx"))
    settled(source, SIZE)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
