"""What a recipe leaves to the data: settings for photographs, crop or stretch, pixel values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data.dataset import Dataset
from pellucid.data.folder import read_dataset
from pellucid.errors import RecipeError
from pellucid.progress import Silent
from pellucid.recipe import Recipe, load_recipe
from pellucid.workflow.preparing import choose_recipe
from pellucid.workflow.settling import settled_recipe

USUAL = load_recipe("scratch-cnn").data.size
IN_COLOUR = 'photographs={"data.size" = 48, "train.epochs" = 3}'


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def pictures(folder: Path, *, colour: int, grey: int, sides: tuple[tuple[int, int], ...] = ((80, 80),)) -> Dataset:
    rng = np.random.default_rng(5)
    for i in range(colour + grey):
        width, height = sides[i % len(sides)]
        pixels = rng.integers(0, 255, (height, width, 3), np.uint8)
        if i >= colour:
            pixels[:] = pixels[:, :, :1]
        place = folder / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    return read_dataset(folder)


def plain(*overrides: str) -> Recipe:
    return load_recipe("scratch-cnn", [IN_COLOUR, *overrides])


@pytest.mark.parametrize(("colour", "grey", "size"), [(8, 2, 48), (2, 8, USUAL), (10, 0, 48), (0, 10, USUAL)])
def test_settings_for_photographs_hold_where_most_images_are_in_colour(
    tmp_path: Path, colour: int, grey: int, size: int
) -> None:
    lines = Lines()
    data = pictures(tmp_path, colour=colour, grey=grey)
    assert settled_recipe(plain("data.size=64"), data, Silent()).data.size == 64
    settled = settled_recipe(plain(), data, lines)
    assert settled.data.size == size
    assert settled.photographs == {}
    assert settled.train.epochs == (3 if size == 48 else load_recipe("scratch-cnn").train.epochs)
    assert any("data.size = 48, train.epochs = 3" in line for line in lines.lines) is (size == 48)


def test_films_take_no_settings_for_photographs(tmp_path: Path) -> None:
    recipe = plain("medical=true")
    assert settled_recipe(recipe, pictures(tmp_path, colour=10, grey=0), Silent()).data.size == recipe.data.size


def test_settled_once_it_stays(tmp_path: Path) -> None:
    data = pictures(tmp_path, colour=10, grey=0)
    settled = settled_recipe(plain(), data, Silent())
    path = tmp_path / "recipe.toml"
    path.write_text(settled.to_toml())
    assert settled_recipe(load_recipe(path), data, Silent()) == settled


NETWORK, ENOUGH = {"model.backbone", "data.size"}, "fine_tune.enough"


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ("train.epochs=3", {*NETWORK, ENOUGH}),
        ("fine_tune.enough=0.99", NETWORK),
        ("data.size=96", {ENOUGH}),
        ("model.backbone=resnet18", {ENOUGH}),
        ("model.weights=none", {ENOUGH}),
    ],
)
def test_what_is_chosen_is_not_overruled(chosen: str, kept: set[str]) -> None:
    assert set(load_recipe("default", [chosen]).photographs) == kept


def test_a_backbone_or_weights_of_the_call_are_not_overruled() -> None:
    assert set(choose_recipe("default", backbone="resnet18", weights="none").photographs) == {ENOUGH}
    assert set(choose_recipe("default", weights="none").photographs) == {ENOUGH}


def test_weights_that_cannot_be_had_leave_the_recipe_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.errors import WeightsError
    from pellucid.models import weights

    def none_here(name: str) -> None:
        raise WeightsError(f"The ImageNet weights of {name} are not here.")

    monkeypatch.setattr(weights, "fetched", none_here)
    lines, recipe = Lines(), load_recipe("default")
    settled = settled_recipe(recipe, pictures(tmp_path, colour=10, grey=0), lines)
    assert settled.model.backbone == recipe.model.backbone
    assert "Training continues with tf_efficientnet_lite0, which is less accurate on photographs." in lines.lines[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ('{"data.sizes" = 48}', "'data.sizes' is not a setting of a section"),
        ('{"photographs" = 48}', "'photographs' is not a setting of a section"),
        ('{"data.size" = 1}', "data.size = 1: must be one number of pixels"),
        ("3", "photographs = 3: input should be a valid dictionary"),
    ],
)
def test_wrong_settings_for_photographs_are_found_as_the_recipe_is_read(wrong: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words.replace("(", "[(]")):
        load_recipe("scratch-cnn", [f"photographs={wrong}"])


@pytest.mark.parametrize(("sides", "fit"), [(((80, 80),), "stretch"), (((80, 80), (120, 80), (80, 120)), "crop")])
def test_photographs_of_various_shapes_are_cropped(
    tmp_path: Path, sides: tuple[tuple[int, int], ...], fit: str
) -> None:
    recipe = load_recipe("scratch-cnn", ["data.fit=auto"])
    colour = pictures(tmp_path / "colour", colour=9, grey=0, sides=sides)
    assert settled_recipe(recipe, colour, Silent()).data.fit == fit
    grey = pictures(tmp_path / "grey", colour=0, grey=9, sides=sides)
    assert settled_recipe(recipe, grey, Silent()).data.fit == "stretch"
