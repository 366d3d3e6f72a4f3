"""The search for what a model goes by, on models whose weights are known, and on those that it cannot search."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small_networks import CLASSES, manifest_of
from torch import nn

from pellucid.bundle.bundle import Bundle, load
from pellucid.bundle.function_classifier import from_function
from pellucid.bundle.goes_by import KnownConcepts
from pellucid.bundle.manifest import Manifest
from pellucid.evaluation.discovered_verdicts import is_proven, is_shortcut, status_of
from pellucid.models.export import export_bundle
from pellucid.preprocessing import Preprocessing
from pellucid.workflow.discovered_files import keep_factors
from pellucid.workflow.discovering import Discovery, discover
from pellucid.workflow.discovering_slices import Subjects

SIDE = 48


class Reads(nn.Module):
    """Cells of four pixels: how far red and blue exceed 0.6; each logit is a weighted mean of these over all cells."""

    def __init__(self, weights: list[list[float]], bias: list[float]) -> None:
        super().__init__()
        convolution = nn.Conv2d(3, 2, 4, stride=4)
        self.cells = nn.Sequential(convolution, nn.ReLU())
        self.head = nn.Linear(2, len(weights))
        with torch.no_grad():
            convolution.weight.zero_()
            convolution.bias.fill_(-0.6)
            for channel, colour in enumerate((0, 2)):
                convolution.weight[channel, colour] = 1 / 16
            self.head.weight.copy_(torch.tensor(weights))
            self.head.bias.copy_(torch.tensor(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(x).mean(dim=(2, 3)))


def bundle_of(folder: Path, network: nn.Module, classes: int, **changes: object) -> Bundle:
    preprocessing = Preprocessing(height=SIDE, width=SIDE)
    manifest = manifest_of(network, preprocessing, classes, "cells").model_copy(update=changes)
    images = preprocessing.normalise(pictures(2, {}, 9)[0])
    export_bundle(network, Manifest.model_validate(manifest.model_dump()), folder, images=images, source="noise")
    return load(folder, threads=1)


def pictures(each: int, colours: dict[int, int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`each` noisy pictures a class, with a square of a colour in those of some classes; labels and places."""
    rng = np.random.default_rng(seed)
    classes = max([1, *colours]) + 1
    labels = np.repeat(np.arange(classes), each)
    pixels = np.clip(rng.normal(100, 8, (len(labels), SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    places = rng.integers(4, SIDE - 12, (len(labels), 2))
    for i, label in enumerate(labels):
        if label in colours:
            top, left = places[i]
            pixels[i, top : top + 8, left : left + 8, colours[int(label)]] = 250
    return pixels, labels.astype(np.int64), places + 4


def searched(bundle: Bundle, pixels: np.ndarray, labels: np.ndarray) -> Discovery:
    paths = tuple(f"{i}.png" for i in range(len(labels)))
    return discover(bundle, Subjects(pixels, labels, np.arange(len(labels)), paths))


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model of two classes that reads red."""
    return bundle_of(tmp_path_factory.mktemp("red") / "bundle", Reads([[600.0, 0.0]], [-3.0]), 2)


def test_the_patch_that_a_model_reads_is_found_proven_and_recognised_again(red: Bundle, tmp_path: Path) -> None:
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in red.folder.iterdir()}
    pixels, labels, places = pictures(40, {1: 0}, 0)
    found = searched(red, pixels, labels)
    first = found.document.concepts[0]
    assert (first.label, first.position) == ("bee", "anywhere")
    assert is_proven(first)
    assert is_shortcut(first)
    for patch in first.patches:
        y, x = places[int(patch.path.removesuffix(".png"))]
        assert abs(patch.y * SIDE - y) < 8
        assert abs(patch.x * SIDE - x) < 8
    effect = first.effect
    assert effect is not None
    assert effect.put_in_changes is not None
    assert effect.put_in_changes.value > 0.9
    assert effect.control_changes == 0
    # The score is linear in the red of the square; most of it is hidden, and all of it put in.
    scores = red.logits(red.preprocessing.normalise(pixels[labels == 1]))[:, 0]
    assert 0.4 < effect.drawn_over.value / (float(scores.mean()) + 3) <= 1
    assert effect.put_in is not None
    assert effect.put_in.value == pytest.approx(float(scores.mean()) + 3, rel=0.3)
    assert found.document.slices == ()
    assert {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in red.folder.iterdir()} == files
    document = keep_factors(found.document, found.factors, tmp_path)
    assert document.factors is not None
    known = KnownConcepts(document.concepts, found.factors)
    shares = known.shares(red, red.preprocessing.normalise(pixels[41:42]), "bee")
    assert shares[0].concept == first.name
    assert shares[0].share > 0.9
    assert shares[0].status == status_of(first) == "shortcut"
    assert known.shares(red, red.preprocessing.normalise(pixels[:1]), "bee") == ()


def test_each_of_several_classes_has_concepts_of_its_own(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", Reads([[0.0, 0.0], [600.0, 0.0], [0.0, 600.0]], [3.0, 0.0, 0.0]), 3)
    pixels, labels, _ = pictures(20, {1: 0, 2: 2}, 1)
    found = searched(bundle, pixels, labels)
    assert {c.label for c in found.document.concepts if is_proven(c)} >= {"bee", "cat"}
    assert set(found.factors) >= {1, 2}


def test_a_regression_is_searched_by_its_output(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", Reads([[60.0, 0.0]], [0.0]), 2, task="regression", logits=1)
    pixels, labels, _ = pictures(40, {1: 0}, 2)
    found = searched(bundle, pixels, labels).document
    assert found.left_out == {}
    first = found.concepts[0]
    assert first.label == CLASSES[1]
    assert first.effect is not None
    assert first.effect.drawn_over.low > 0


def test_a_model_that_learned_nothing_raises_nothing(red: Bundle) -> None:
    pixels, labels, _ = pictures(40, {}, 3)
    found = searched(red, pixels, labels).document
    assert not any(is_proven(c) for c in found.concepts)


def test_what_cannot_be_searched_is_told_with_the_reason(red: Bundle) -> None:
    pixels, labels, _ = pictures(40, {1: 0}, 4)
    few = searched(red, pixels[35:45], labels[35:45]).document
    assert few.concepts == ()
    assert "at least 12 of each" in few.left_out["bee"]
    box = from_function(lambda images: np.full(len(images), 0.5), ("ant", "bee"), size=SIDE)
    without = searched(box, pixels, labels).document
    assert without.concepts == ()
    assert "without an explained layer" in without.left_out["Concepts"]


@pytest.mark.slow
def test_the_tokens_of_a_transformer_are_searched(tmp_path: Path) -> None:
    from tests.small_networks import network_of, noise, recipe_of

    recipe = recipe_of("timm/test_vit", 64)
    network = network_of(recipe, 2)
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    export_bundle(network, manifest, tmp_path / "vit", images=noise(2, 64), source="noise")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (60, 64, 64, 3)).astype(np.uint8)
    found = searched(load(tmp_path / "vit", threads=1), pixels, np.arange(60) % 2).document
    assert found.images == 60
    assert found.left_out == {}
    assert not any(is_shortcut(c) for c in found.concepts)
