"""Small bundles with random weights, and an archive of small pictures with a few bad files among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

import pellucid
from pellucid.models.export import export_bundle

SIZE = (24, 32)
GOOD, BAD = 40, 3


def exported(folder: Path, classes: int, seed: int) -> Path:
    recipe = recipe_of("cnn", SIZE, batch_norm=True)
    network = network_of(recipe, classes, seed=seed)
    manifest = manifest_of(network, recipe.preprocessing(), classes, network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise")
    if classes == 2:
        # Random weights give nearly the same answer to everything: decide in the middle of the answers.
        answers = pellucid.load(folder).predict([pixels_of(i) for i in range(GOOD)])
        threshold = float(np.median([a.probabilities["bee"] for a in answers]))
        path = folder / "manifest.json"
        text = path.read_text(encoding="utf-8")
        assert '"threshold": 0.5' in text
        path.write_text(text.replace('"threshold": 0.5', f'"threshold": {threshold}'), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a binary model for inputs of 24 x 32 pixels; not to be changed."""
    return exported(tmp_path_factory.mktemp("bundle") / "small", 2, 5)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with other weights."""
    return exported(tmp_path_factory.mktemp("bundle") / "other", 2, 8)


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("bundle") / "three", 3, 5)


def pixels_of(seed: int, size: tuple[int, int] = (40, 50)) -> PIL.Image.Image:
    """Smooth noise, so that models of random weights answer differently."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return PIL.Image.fromarray(pixels).resize(size[::-1], PIL.Image.Resampling.BICUBIC)


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels_of(seed, size).save(path)


def write_archive(root: Path, good: int = GOOD, first_seed: int = 0) -> Path:
    """So many pictures in folders, three bad files, and files that are no images."""
    for i in range(good):
        picture(root / f"day{i % 3}" / f"film{i:03d}.png", first_seed + i, (40 + i, 50))
    (root / "day0" / "broken.png").write_bytes((root / "day0" / "film000.png").read_bytes()[:-40])
    (root / "day1" / "page.jpg").write_text("<html>no image</html>")
    (root / "day2" / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("nothing")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.png").write_bytes(b"")
    return root


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures and 3 bad files; not to be changed."""
    return write_archive(tmp_path_factory.mktemp("data") / "archive")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
