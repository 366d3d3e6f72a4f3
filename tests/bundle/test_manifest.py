"""The manifest keeps what it is given, and refuses what is not a manifest."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from pellucid.bundle.bundle import load
from pellucid.bundle.io import read_bundle
from pellucid.bundle.manifest import Layer, Manifest
from pellucid.errors import BundleError
from pellucid.preprocessing import GridGeometry


def test_a_manifest_is_read_as_it_was_written(exported_bundle):
    manifest = read_bundle(exported_bundle)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.mark.parametrize(
    ("task", "classes", "positive"),
    [
        ("binary", ("healthy", "ill"), "ill"),
        ("regression", ("cat", "dog"), "dog"),
        ("multiclass", ("a", "b", "c"), None),
    ],
)
def test_the_positive_class_is_the_second_of_two(exported_bundle, task, classes, positive):
    manifest = read_bundle(exported_bundle).model_copy(update={"task": task, "classes": classes})
    assert manifest.positive == positive


def test_a_layer_gives_the_geometry_of_its_cells():
    layer = Layer(name="x", channels=2, height=3, width=4, stride=(32.0, 16.0), offset=(0.5, 8.0))
    assert layer.geometry == GridGeometry((32.0, 16.0), (0.5, 8.0))


def test_a_manifest_cannot_be_changed_by_the_way(exported_bundle):
    manifest = read_bundle(exported_bundle)
    with pytest.raises(ValidationError):
        manifest.threshold = 0.9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("threshold", float("nan"), "threshold"),
        ("threshold", float("inf"), "threshold"),
        ("threshold", 7, "from 0 to 1, not 7"),
        ("threshold", -0.1, "from 0 to 1"),
        ("classes", ["bee"], "classes"),
        ("classes", [], "classes"),
        ("classes", ["bee", "bee"], "'bee' is there twice"),
        ("classes", ["a", "b", "c"], "has two classes, not 3"),
        ("logits", -1, "logits"),
        ("logits", 0, "logits"),
        ("logits", 2, "has 1 logits, not 2"),
        ("task", "multiclass", "has 2 logits, not 1"),
        ("schema_version", -1, "schema_version"),
        ("schema_version", 0, "schema_version"),
        ("layer.channels", -1, "layer.channels"),
        ("layer.stride", [float("nan"), 1], "layer.stride"),
        ("layer.graph", "../x.onnx", "layer.graph"),
        ("preprocessing.scale", float("nan"), "preprocessing.scale"),
        ("files.model.onnx", "x", "files.model.onnx"),
    ],
)
def test_manifests_that_cannot_be_are_refused_with_the_rule(bundle_folder, rewrite, key, value, words):
    def change(text: str) -> str:
        document = json.loads(text)
        section, _, name = key.partition(".")
        if name:
            document[section][name] = value
        else:
            document[section] = value
        return json.dumps(document)

    rewrite(change)
    with pytest.raises(BundleError) as caught:
        load(bundle_folder)
    assert words in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_a_probability_reaches_the_threshold_as_it_is_printed(exported_bundle):
    logits = np.linspace(-3, 3, 20_001, dtype=np.float32)[:, None]
    manifest = read_bundle(exported_bundle)
    printed = [json.loads(json.dumps(float(p))) for p in manifest.probabilities(logits)[:, 1]]
    ties = 0
    # The shortest text of a float32 is another number in float64, a little above or below.
    for threshold in (0.1, 0.3, 0.7, 0.9, *(float(str(np.float32(p))) for p in printed[::2500])):
        decided = manifest.model_copy(update={"threshold": threshold}).predicted(logits)
        assert decided.tolist() == [int(p >= threshold) for p in printed]
        ties += sum(np.float32(p) == np.float32(threshold) and p != threshold for p in printed)
    assert ties > 0
