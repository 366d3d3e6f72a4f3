"""Further graphs that read their weights out of the main one give what the bundle's own give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.embedding import embedded, external_place, initializers, whole_graph
from pellucid.bundle.manifest import MODEL, WEIGHTS
from pellucid.models.export import export_bundle
from pellucid.private_page.facts import read_exported
from pellucid.private_page.further import graph_files, is_shared, sharing, weights_within
from pellucid.private_page.graphics import named, names

SIZE = (24, 32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = recipe_of("cnn", SIZE, batch_norm=True)
    network = network_of(recipe, 3)
    folder = tmp_path_factory.mktemp("further") / "bundle"
    manifest = manifest_of(network, recipe.preprocessing(), 3, network.explained_layer)
    layers = ["backbone.relu1"]
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="n", layers=layers, every_method=True)
    return folder


def given(name: str, shape: list[int]) -> np.ndarray:
    known = {"image": (1, 3, *SIZE), "target": (1, 1, 3), "contrast": ()}
    return np.asarray(np.random.default_rng(0).normal(size=known.get(name, shape)), np.float32)


def test_every_graph_gives_the_same(bundle: Path, tmp_path: Path) -> None:
    main = whole_graph(bundle)
    places = weights_within((bundle / MODEL).read_bytes(), main)
    (tmp_path / WEIGHTS).write_bytes(main)
    files = graph_files(read_exported(bundle).bundle.manifest)
    assert set(files) == {"gradients", "layered", "layer-2", "tail-1", "tail-2"}
    for name, file in files.items():
        moved = sharing((bundle / file).read_bytes(), places, (bundle / WEIGHTS).read_bytes())
        assert len(moved) < 2 * (bundle / file).stat().st_size, name
        (tmp_path / file).write_bytes(moved)
        own, shared = (onnxruntime.InferenceSession(str(folder / file)) for folder in (bundle, tmp_path))
        feed = {i.name: given(i.name, [n if isinstance(n, int) else 1 for n in i.shape]) for i in own.get_inputs()}
        for mine, theirs in zip(shared.run(None, feed), own.run(None, feed), strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


def test_weights_that_are_not_there_are_put_inside(bundle: Path) -> None:
    graph, weights = (bundle / "gradients.onnx").read_bytes(), (bundle / WEIGHTS).read_bytes()
    assert sharing(graph, {}, weights) == embedded(graph, weights)
    assert all(external_place(tensor) is None for tensor in initializers(embedded(graph, weights)))


def test_a_bundle_whose_graph_holds_its_own_weights_shares_none(bundle: Path, tmp_path: Path) -> None:
    exported = read_exported(bundle)
    assert is_shared(exported)
    whole = embedded((bundle / MODEL).read_bytes(), (bundle / WEIGHTS).read_bytes())
    assert weights_within(whole, whole) == {}


def test_a_pool_with_indices_has_a_name() -> None:
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, 4, 4])
    pooled = onnx.helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, [1, 1, 2, 2])
    places = onnx.helper.make_tensor_value_info("places", onnx.TensorProto.INT64, [1, 1, 2, 2])
    plain = onnx.helper.make_node("MaxPool", ["image"], ["first"], kernel_shape=[1, 1])
    both = onnx.helper.make_node("MaxPool", ["first"], ["pooled", "places"], kernel_shape=[2, 2], strides=[2, 2])
    graph = onnx.helper.make_graph([plain, both], "pools", [image], [pooled, places])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    found = onnx.load_from_string(named(model.SerializeToString()))
    assert [node.name for node in found.graph.node] == ["", names()[0]]
    found.graph.node[1].ClearField("name")
    assert found == model
