"""A graph that quantises by the values of a whole batch gives each image the answer that it has alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pellucid
from pellucid.bundle.io import model_session, write_bundle
from pellucid.bundle.manifest import MODEL, WEIGHTS, Manifest
from pellucid.preprocessing import Preprocessing

SIZE = 8


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    """A black box: a linear layer in int8, whose scale depends on the largest value of the batch."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 127, (3 * SIZE * SIZE, 3), np.int8)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("DynamicQuantizeLinear", ["flat"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero", "wz"], ["product"]),
        helper.make_node("Cast", ["product"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "small"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIZE, SIZE]),
            helper.make_tensor_value_info("target", TensorProto.FLOAT, ["n", "t", 3]),
            helper.make_tensor_value_info("contrast", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.int8(0), "wz"),
            numpy_helper.from_array(np.float32(0.001), "small"),
        ],
    )
    manifest = Manifest(
        pellucid_version="0",
        name="quantised",
        task="multiclass",
        classes=("a", "b", "c"),
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        logits=3,
        architecture={},
    )
    with write_bundle(tmp_path / "model", manifest) as draft:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, draft.folder / MODEL)
        (draft.folder / WEIGHTS).write_bytes(b"")
    return tmp_path / "model"


def test_an_answer_does_not_depend_on_the_other_images(quantised: Path) -> None:
    rng = np.random.default_rng(1)
    batch = rng.random((6, 3, SIZE, SIZE), np.float32) * np.float32([1, 3, 0.2, 1, 5, 0.01])[:, None, None, None]
    bundle = pellucid.load(quantised)
    alone = np.concatenate([bundle.logits(batch[i : i + 1]) for i in range(len(batch))])
    feed = {"image": batch, "target": np.zeros((6, 1, 3), np.float32), "contrast": np.asarray(1, np.float32)}
    (together,) = model_session(quantised / MODEL).run(None, feed)
    assert np.abs(together - alone).max() > 1e-3, "the graph is meant to depend on its batch"
    np.testing.assert_array_equal(bundle.logits(batch), alone)
    np.testing.assert_array_equal(bundle.logits(batch[::-1].copy())[::-1], alone)
    np.testing.assert_array_equal(bundle.logits_and_features(batch)[0], alone)
    assert not bundle.manifest.batchable


def test_explanations_by_many_passes_do_not_depend_on_their_batches(quantised: Path) -> None:
    bundle = pellucid.load(quantised)
    images = [np.random.default_rng(i).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for i in range(2)]
    one = bundle.explain(images[0], method="occlusion", target="a").values
    read = [bundle.read(image) for image in images]
    several = bundle.explain_images(read, method="occlusion", target="a")
    np.testing.assert_array_equal(several[0].attributions[0].values, one)
