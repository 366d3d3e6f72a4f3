"""The manifest keeps what it is given, and refuses what is not a manifest."""

import pytest
from pydantic import ValidationError

from pellucid.bundle.io import read_bundle
from pellucid.bundle.manifest import Layer, Manifest
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
