"""Shuffled weights in the bytes of a graph: read as the onnx package reads them, consistent forwards and backwards."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import load
from pellucid.bundle.manifest import MODEL, WEIGHTS
from pellucid.bundle.randomised import Weight, randomised_classifiers, read_weights, shuffle, with_origins
from pellucid.models.export import export_bundle

SIZE = (24, 32)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with two convolutions and a hidden layer behind the pooling, for three classes."""
    recipe = recipe_of("cnn", SIZE, batch_norm=True, pool="average", head=[{"dense": 12}])
    network = network_of(recipe, 3, seed=2)
    folder = tmp_path_factory.mktemp("randomised") / "deep"
    manifest = manifest_of(network, recipe.preprocessing(), 3, network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise", every_method=True)
    return folder


def weights_of(folder: Path) -> list[Weight]:
    return read_weights(*(bytearray((folder / name).read_bytes()) for name in (MODEL, WEIGHTS)))


def test_weights_are_those_that_the_onnx_package_reads(deep: Path) -> None:
    graph = onnx.load(deep / MODEL).graph  # with what it refers to
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    used = {turned.get(n, n): node.op_type for node in graph.node for n in node.input[1:]}
    kinds = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    expected = [
        numpy_helper.to_array(t)
        for t in graph.initializer
        if used.get(t.name) in kinds and len(t.dims) > 1 and t.data_type == 1 and np.prod(t.dims) >= 8
    ]
    found = [w.values for w in weights_of(deep)]
    assert len(found) == len(expected) >= 4
    for values in expected:
        assert any(v.shape == values.shape and np.array_equal(v, values) for v in found)


def test_what_is_written_to_a_weight_changes_the_graph(deep: Path) -> None:
    graph, beside = (bytearray((deep / name).read_bytes()) for name in (MODEL, WEIGHTS))
    before = bytes(graph) + bytes(beside)
    for weight in read_weights(graph, beside):
        weight.values[...] = 0
    assert len(graph) + len(beside) == len(before)
    assert bytes(graph) + bytes(beside) != before
    assert not any(w.values.any() for w in read_weights(graph, beside))


def test_shuffling_keeps_the_values_of_each_filter_and_copies_stay_copies(deep: Path) -> None:
    pixels, beside = (bytearray((deep / name).read_bytes()) for name in ("gradients.onnx", WEIGHTS))
    weights = with_origins([*weights_of(deep), *read_weights(pixels, beside)])
    copies = [w for w in weights if w.origin is not None]
    assert copies
    shuffled = shuffle(weights, seed=0)
    for weight, values in zip(weights, shuffled, strict=True):
        assert values.shape == weight.values.shape
        if weight.origin is None:
            assert not np.array_equal(values, weight.values)
            rows = len(values) if values.ndim > 2 else 1
            before, after = (np.sort(v.reshape(rows, -1), axis=1) for v in (weight.values, values))
            assert np.array_equal(before, after)
        else:
            assert np.array_equal(values, shuffled[weight.origin].transpose(weight.axes))
    assert all(np.array_equal(a, b) for a, b in zip(shuffled, shuffle(weights, seed=0), strict=True))


def test_layers_are_randomised_from_the_answer_backwards(deep: Path) -> None:
    bundle, batch = load(deep, threads=1), noise(4, SIZE, seed=3)
    own = bundle.evidence(batch, target="ant")
    stages = randomised_classifiers(deep, bundle.manifest, (0, 0.5, 1), threads=1)
    found = [(count, total, classifier.evidence(batch, target="ant")) for count, total, classifier in stages]
    assert [count for count, _, _ in found] == [1, 2, 4]
    assert {total for _, total, _ in found} == {4}
    last, half, whole = (evidence for _, _, evidence in found)
    assert np.array_equal(last.activations, own.activations)
    assert not np.allclose(last.logits, own.logits)
    assert np.array_equal(half.activations, own.activations)
    assert not np.allclose(whole.activations, own.activations)


def test_gradients_of_a_randomised_model_are_those_of_its_own_answers(deep: Path) -> None:
    """A small step along a gradient changes the score by the step times the gradient's square, in every graph."""
    bundle, batch = load(deep, threads=1), noise(3, SIZE, seed=4)
    stages = randomised_classifiers(deep, bundle.manifest, (0, 1), seed=1, threads=1)
    for _, _, classifier in stages:
        evidence = classifier.evidence(batch, target="bee", score="logit")
        # Of cells that are 0 a pooling takes one at random: the score has a kink there.
        gradient, step = evidence.gradients[:, 0] * (evidence.activations > 0), 1e-2
        change = classifier.tail(evidence.activations + step * gradient)[:, 1] - evidence.logits[:, 1]
        np.testing.assert_allclose(change, step * np.square(gradient).sum(axis=(1, 2, 3)), rtol=0.05, atol=1e-6)
        inputs = classifier.input_gradients(batch, target="bee", score="logit").gradients[:, 0]
        change = classifier.logits(batch + 1e-3 * inputs)[:, 1] - evidence.logits[:, 1]
        np.testing.assert_allclose(change, 1e-3 * np.square(inputs).sum(axis=(1, 2, 3)), rtol=0.1, atol=1e-6)


def test_the_same_seed_gives_the_same_model(deep: Path) -> None:
    bundle, batch = load(deep, threads=1), noise(2, SIZE)

    def answer(seed: int) -> np.ndarray:
        ((_, _, classifier),) = randomised_classifiers(deep, bundle.manifest, (1,), seed=seed, threads=1)
        return classifier.logits(batch)

    assert np.array_equal(answer(0), answer(0))
    assert not np.allclose(answer(0), answer(1))
