"""What is drawn belongs to what the model saw, and a file is read once."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.explanation.lime import LimeSettings
from pellucid.explanation.superpixels import cut
from pellucid.images import read_image
from pellucid.models.export import export_bundle
from pellucid.workflow import explanation_pictures
from pellucid.workflow.explanation import ToExplain, explain_files

SETTINGS = LimeSettings(samples=64, superpixels=12)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    recipe = recipe_of("cnn", (24, 32), batch_norm=True)
    network = network_of(recipe, 2, seed=5)
    folder = tmp_path_factory.mktemp("pictures") / "bundle"
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(2, (24, 32)), source="noise")
    return load(folder, threads=1)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A JPEG so large that the model's copy of it is decoded at a reduced size."""
    random = np.random.default_rng(3)
    small = PIL.Image.fromarray(random.integers(0, 255, (40, 50, 3), dtype=np.uint8))
    file = tmp_path / "photograph.jpg"
    small.resize((1000, 800), PIL.Image.Resampling.BICUBIC).save(file, quality=80)
    return file


def test_superpixels_of_a_large_photograph_are_cut_from_what_the_model_saw(
    bundle: Bundle, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = explanation_pictures.superpixel_picture
    monkeypatch.setattr(
        explanation_pictures,
        "superpixel_picture",
        lambda image, pieces, *a, **k: drawn.append(pieces) or draw(image, pieces, *a, **k),
    )
    explain_files(bundle, [ToExplain(photograph, "p.jpg")], tmp_path / "out", method="lime", settings=SETTINGS)
    seen = bundle.read(photograph)
    assert seen.reduction > 1
    expected = cut(bundle.preprocessing.to_pixels(bundle.preprocessing.tensors([seen])[0]), SETTINGS)
    assert np.array_equal(drawn[0].labels, expected)
    assert len(drawn[0].weights) == expected.max() + 1


def test_a_file_is_read_once_for_all_of_its_maps(
    bundle: Bundle, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self) or real(self, *a, **k))
    methods = ["grad-cam", "hirescam", "layercam"]
    manifest = explain_files(bundle, [ToExplain(photograph, "p.jpg")], tmp_path / "out", method=methods)
    assert opened.count(photograph) == 1
    with PIL.Image.open(tmp_path / "out" / manifest.images[0].files["overlay"]) as overlay:
        assert (overlay.height, overlay.width) == read_image(photograph).size
