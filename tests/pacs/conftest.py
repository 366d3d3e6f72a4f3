"""A small bundle that has everything results tell of: calibration, operating point, and what it was trained on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import Cli as Called
from tests.cli.conftest import cli
from tests.pacs import films
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.bundle.io import amend_bundle
from pellucid.evaluation.calibration import Calibration
from pellucid.evaluation.operating_point import OperatingPoint
from pellucid.evaluation.outside import REFERENCE, Reference, describe_surroundings, with_threshold
from pellucid.images import from_array
from pellucid.models.export import export_bundle
from pellucid.pacs.codes import CodeTable, read_codes
from pellucid.pacs.origin import ResultOrigin

__all__ = ["Called", "cli"]
SIZE = (64, 64)
CODES = """
region = ["816094009", "SCT", "Chest"]
[classes.opacity]
finding = ["112001", "DCM", "Opacity"]
also = [["112033", "DCM", "Abnormal opacity"]]
"""


def bundle_of(folder: Path, classes: Sequence[str], seed: int = 5, name: str = "small", **changes: Any) -> Path:
    """A bundle of random weights that answers about half of the phantoms with each of two classes."""
    recipe = recipe_of("cnn", SIZE, batch_norm=True)
    network = network_of(recipe, len(classes), seed=seed)
    manifest = manifest_of(network, recipe.preprocessing(), len(classes), network.explained_layer)
    manifest = manifest.model_copy(update={"classes": tuple(classes), "name": name, "medical": True})
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise")
    plain = load(folder)
    images = [from_array(films.grey(n, 256)) for n in range(6)]
    changes = {"calibration": Calibration(method="temperature", scale=0.5, images=40), **changes}
    if len(classes) == 2:
        scores = sorted(p.probabilities[classes[1]] for p in plain.predict(images))
        threshold = 1 / (1 + ((1 - (t := (scores[2] + scores[3]) / 2)) / t) ** 0.5)
        point = OperatingPoint(asked="0.5", threshold=threshold, statement="The threshold was set, not chosen.")
        changes |= {"threshold": threshold, "operating_point": point}
    features = plain.logits_and_features(plain.preprocessing.tensors(images * 14))[1]
    assert features is not None
    rng = np.random.default_rng(0)
    moved = features * rng.uniform(0.8, 1.2, features.shape).astype(np.float32)
    known = with_threshold(describe_surroundings(moved[:42]), moved[42:])
    layer = plain.manifest.explained_layer
    reference = Reference(layer=layer.name, channels=layer.channels, trained=42, images=42, threshold=known.threshold)
    amend_bundle(folder, {**changes, "reference": reference}, {REFERENCE: known.to_bytes()})
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a medical bundle and figures; not to be changed."""
    root = tmp_path_factory.mktemp("pacs") / "run"
    bundle_of(root / "model", ("normal", "opacity"))
    (root / "evaluation").mkdir()
    (root / "evaluation" / "metrics.json").write_text("{}", encoding="utf-8")
    return root


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "own-run"))


@pytest.fixture(scope="session")
def bundle(run: Path) -> Bundle:
    return load(run, threads=1)


@pytest.fixture(scope="session")
def codes(tmp_path_factory: pytest.TempPathFactory) -> CodeTable:
    path = tmp_path_factory.mktemp("codes") / "codes.toml"
    path.write_text(CODES, encoding="utf-8")
    return read_codes(path)


@pytest.fixture(scope="session")
def origin(bundle: Bundle, codes: CodeTable) -> ResultOrigin:
    return ResultOrigin(bundle, codes)
