"""Adapting a bundle to a new place: another rule, the same network, and the old bundle as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import load
from pellucid.bundle.io import checksum
from pellucid.errors import DataError, InputError
from pellucid.models.export import export_bundle
from pellucid.workflow.adapt import adapt

SIZE = (24, 24)
RULE = {"calibration", "threshold", "operating_point", "provenance", "answering"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = recipe_of("cnn", SIZE, batch_norm=True)
    network = network_of(recipe, 2, seed=5)
    folder = tmp_path_factory.mktemp("adapted") / "model"
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise")
    return folder


@pytest.fixture(scope="module")
def place(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose class is what the model's logit says of them, against a threshold far from its own."""
    folder, rng, known = tmp_path_factory.mktemp("place"), np.random.default_rng(1), load(bundle)
    pictures = [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(80)]
    tensors = known.preprocessing.tensors([known.read(p) for p in pictures])
    logits = known.logits(tensors)[:, 0]
    order = np.argsort(logits + rng.normal(0, 0.1 * logits.std(), len(logits)))
    for rank, n in enumerate(order):
        path = folder / ("ant" if rank < 40 else "bee") / f"{n:03d}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(pictures[n]).save(path)
    return folder


def sums(folder: Path) -> dict[str, str]:
    return {p.name: checksum(p) for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("parts", [["threshold"], ["calibration"], ["calibration", "threshold"]])
def test_the_network_stays_and_the_old_bundle_is_not_touched(
    bundle: Path, place: Path, tmp_path: Path, parts: list[str]
) -> None:
    before = sums(bundle)
    found = adapt(bundle, place, out=tmp_path / "here", keep=parts)  # type: ignore[arg-type]
    assert sums(bundle) == before
    after = sums(tmp_path / "here")
    assert {n: s for n, s in after.items() if n != "manifest.json"} == {
        n: s for n, s in before.items() if n != "manifest.json"
    }
    old, new = (json.loads((f / "manifest.json").read_text()) for f in (bundle, tmp_path / "here"))
    assert {k for k in old if old[k] != new[k]} <= RULE
    assert new["provenance"]["parent"] == {"name": "small", "manifest_sha256": before["manifest.json"]}
    assert new["provenance"]["adapted"]["refitted"] == parts
    assert load(tmp_path / "here").manifest.threshold == found.rule.threshold
    # What was fitted here is not said to be fitted to validation images.
    written = load(tmp_path / "here").manifest
    assert written.fitted_to == "labelled images of the new place"
    if "threshold" in parts:
        assert "80 labelled images of the new place" in written.operating_point.statement
    if "calibration" in parts:
        assert written.calibration.of == "labelled images of the new place"
    judged = {j.name: j for j in found.judged}
    assert judged["accuracy"].after > 0.85
    assert judged["accuracy"].after >= judged["accuracy"].before


def test_what_is_sure_grows_with_the_images(bundle: Path, place: Path, tmp_path: Path) -> None:
    sure = adapt(bundle, place, out=tmp_path / "here", keep=["threshold"]).sure_of("sensitivity")
    assert list(sure) == [30, 100, 300]
    assert sure[30] < sure[100] < sure[300]


def test_what_cannot_be_is_refused(bundle: Path, place: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="nothing is overwritten"):
        adapt(bundle, place, out=tmp_path / "there", keep=["threshold"])
    with pytest.raises(InputError, match="which mix of classes"):
        adapt(bundle, place, out=tmp_path / "new", keep=["mix"])
    few = tmp_path / "few"
    for name in ("ant", "bee"):
        (few / name).mkdir(parents=True)
        for path in sorted((place / name).iterdir())[:9]:
            shutil.copy(path, few / name)
    with pytest.raises(DataError, match=r"At least 10 independent images .*: ant has 9, bee has 9"):
        adapt(bundle, few, out=tmp_path / "new", keep=["threshold"])
    assert not (tmp_path / "new").exists()
