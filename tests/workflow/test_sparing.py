"""Whether a recipe's changes hide what tells classes apart: on drawings whose class is a hairline or a large square."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from pellucid.data.dataset import Dataset, Sample
from pellucid.errors import RecipeError
from pellucid.models.network import Network
from pellucid.progress import Silent
from pellucid.recipe import Recipe, load_recipe, validate_recipe
from pellucid.workflow.sparing import LookedAt, lost_by, sparing_details
from pellucid.workflow.training import train

SIDE = 32


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def recipe(**model: object) -> Recipe:
    return validate_recipe(
        {
            "data": {"size": SIDE},
            "augment": {"blur": 6.0, "grain": 0.1},
            "model": {"backbone": "mobilenet_v2", "weights": "imagenet", **model},
            "details": {"augment.blur": 0.0},
        },
        "test",
    )


def texture(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(120, 20, (SIDE, SIDE))


def hairline(rng: np.random.Generator, ill: bool) -> np.ndarray:
    drawn = texture(rng)
    if ill:
        drawn[:, rng.integers(4, 28)] += 35
    return drawn


def square(rng: np.random.Generator, ill: bool) -> np.ndarray:
    drawn = texture(rng)
    top, left = rng.integers(0, 16, 2)
    drawn[top : top + 16, left : left + 16] += 35 if ill else -35
    return drawn


def seen(draw: Callable[[np.random.Generator, bool], np.ndarray], count: int = 240, split: str = "train") -> LookedAt:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    grey = np.stack([draw(rng, bool(label)) for label in labels]).clip(0, 255).astype(np.uint8)
    samples = tuple(Sample(f"{i}.png", int(label), split) for i, label in enumerate(labels))
    dataset = Dataset(Path("nowhere"), ("a", "b"), samples)
    return LookedAt(dataset, np.repeat(grey[..., None], 3, axis=3), np.arange(count))


def network() -> Network:
    """The strongest answers of random filters: some see lines, others edges or brightness."""
    conv = nn.Conv2d(3, 32, 3, padding=1, padding_mode="replicate", bias=False)
    conv.weight.data.zero_()
    conv.weight.data[:, 0] = torch.randn(32, 3, 3, generator=torch.Generator().manual_seed(0))
    pool = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    return Network(nn.Sequential(conv, nn.ReLU()), pool, nn.Sequential(nn.Linear(32, 1)), "0")


def test_blur_that_hides_a_hairline_is_left_out_and_said() -> None:
    lines = Lines()
    settled, reasons = sparing_details(recipe(), network(), seen(hairline), lines)
    assert (settled.augment.blur, settled.augment.grain) == (0, 0.1)
    assert settled.details == {}
    assert lines.lines == list(reasons)
    assert "hide what tells these classes apart" in lines.lines[0]
    assert "augment.blur = 0" in lines.lines[0]


def test_where_the_sign_is_large_the_recipe_stays() -> None:
    lines = Lines()
    settled, reasons = sparing_details(recipe(), network(), seen(square), lines)
    assert reasons == ()
    assert settled == recipe().model_copy(update={"details": {}})
    assert lines.lines == []


@pytest.mark.parametrize(
    ("wanted", "images"),
    [
        (recipe(weights="none"), seen(hairline)),
        (recipe(), seen(hairline, count=16)),
        (recipe(), seen(hairline, split="val")),
        (recipe().model_copy(update={"details": {"augment.blur": 6.0}}), seen(hairline)),
        (recipe().model_copy(update={"details": {}}), seen(hairline)),
    ],
)
def test_where_nothing_can_be_told_the_recipe_stays(wanted: Recipe, images: LookedAt) -> None:
    lines = Lines()
    assert sparing_details(wanted, network(), images, lines)[0].augment.blur == 6
    assert lines.lines == []


def test_no_image_is_run_where_the_classes_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    images = seen(square)
    samples = tuple(Sample(s.path, i % 40, "train") for i, s in enumerate(images.dataset.samples))
    names = tuple(f"{i:02d}" for i in range(40))
    monkeypatch.setattr(Network, "features", lambda *_: pytest.fail("an image was run"))
    many = LookedAt(Dataset(Path("nowhere"), names, samples), images.pixels, images.rows)
    assert sparing_details(recipe(), network(), many, Silent())[0].augment.blur == 6


def test_only_training_images_are_looked_at() -> None:
    """What is in the others changes nothing, not by a bit."""
    images = seen(square)
    mixed = tuple(Sample(s.path, s.label, "train" if i % 3 else "test") for i, s in enumerate(images.dataset.samples))
    dataset = Dataset(Path("nowhere"), ("a", "b"), mixed)
    lines = Lines(), Lines()
    for poison, said in zip((0, 255), lines, strict=True):
        pixels = images.pixels.copy()
        pixels[::3] = poison
        sparing_details(recipe(), network(), LookedAt(dataset, pixels, images.rows), said)
    assert lines[0].lines == lines[1].lines


def test_the_loss_is_that_of_ridge_regression_by_sklearn() -> None:
    rng = np.random.default_rng(3)
    labels, units = rng.integers(0, 2, 120), np.arange(120) // 2
    plain = rng.normal(size=(120, 5)) + labels[:, None] * [1, 0.5, 0, 0, 0]
    changed = rng.normal(size=(120, 5)) + labels[:, None] * [-0.3, 0.2, 0, 0, 0]
    found = lost_by(plain, changed, labels, units)
    areas = []
    for known in (plain, changed):
        scores = np.zeros(120)
        for own, held in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, units):
            mean, deviation = known[own].mean(axis=0), known[own].std(axis=0)
            weights = len(own) / (2 * np.bincount(labels[own]))[labels[own]]
            model = Ridge(alpha=len(own), fit_intercept=False)
            model.fit((known[own] - mean) / deviation, labels[own] - 0.5, sample_weight=weights)
            scores[held] = model.predict((plain[held] - mean) / deviation)
        areas.append(roc_auc_score(labels, scores))
    assert found is not None
    assert found.value == pytest.approx(areas[0] - areas[1], abs=1e-9)


def test_settings_for_details_are_checked_and_what_is_chosen_by_hand_stays() -> None:
    assert set(load_recipe("default").details) > {"augment.blur", "augment.grain"}
    assert "augment.blur" not in load_recipe("default", ["augment.blur=2"]).details
    with pytest.raises(RecipeError, match="'blur' is not a setting of a section"):
        load_recipe("default", ['details={"blur" = 1}'])
    with pytest.raises(RecipeError, match=r"augment.blur"):
        load_recipe("default", ['details={"augment.blur" = 99}'])


def test_a_training_keeps_what_was_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With settings for details that cannot be judged, since the network has random weights, none are left open."""
    rng = np.random.default_rng(0)
    for name, ill in (("a", False), ("b", True)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(14):
            Image.fromarray(square(rng, ill).clip(0, 255).astype(np.uint8)).save(tmp_path / "data" / name / f"{i}.png")
    wanted = load_recipe("scratch-cnn", ["data.size=32", "train.epochs=1", 'details={"augment.blur" = 1.0}'])
    train(tmp_path / "data", recipe=wanted, out=tmp_path / "run", abroad="none")
    kept = load_recipe(tmp_path / "run" / "recipe.toml")
    assert (kept.details, kept.augment.blur) == ({}, wanted.augment.blur)
