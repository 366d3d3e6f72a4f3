"""One small bundle of each task, exported once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.models.export import export_bundle


@pytest.fixture(scope="session")
def exported_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a binary model for inputs of 24 x 32 pixels; not to be changed."""
    recipe = recipe_of("cnn", (24, 32), batch_norm=True)
    network = network_of(recipe, 2, seed=5)
    folder = tmp_path_factory.mktemp("bundle") / "small"
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(2, (24, 32)), source="noise")
    return folder


@pytest.fixture
def bundle_folder(exported_bundle: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(exported_bundle, tmp_path / "small"))


@pytest.fixture
def rewrite(bundle_folder: Path) -> Callable[[Callable[[str], str]], None]:
    """Change the text of the copy's manifest."""

    def change(edit: Callable[[str], str]) -> None:
        path = bundle_folder / "manifest.json"
        text = path.read_text(encoding="utf-8")
        changed = edit(text)
        assert changed != text
        path.write_text(changed, encoding="utf-8")

    return change
